"""GGUF files, mutated: each is planned with, or refused in one sentence, soon and without much memory."""

import random
import resource
import shutil
import struct

import pytest

from gatebench.bench.errors import StageFailed, UserError
from gatebench.bench.models.bounds import within
from gatebench.bench.models.gguf.conversion import convert
from gatebench.bench.models.gguf.source import gguf_source, gguf_tokenizer
from tests.gguf_files import given, words, write
from tests.helpers import no_report
from tests.trust.tally import count, some

MUTATIONS, CONVERSIONS = some(300, 20_000), some(6, 300)
SECONDS, MEMORY = 20, 2**31  # of one file of 100 kB: of the processor, and beyond what the process has
HUGE = (0, 1, 2**31 - 1, 2**32 - 1, 2**60, 2**63, 2**64 - 1)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return write(given("llama", words()), tmp_path_factory.mktemp("gguf") / "tiny.gguf").read_bytes()


def mutated(data, rng):
    """Bytes cut, flipped, overwritten by a length of any size, left out or doubled, most of them in the header."""
    data, header = bytearray(data), data.index(b"output_norm.weight") + 200
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        at = rng.randrange(min(header, len(data)) if rng.random() < 0.9 else len(data))
        kind = rng.choice(("cut", "flip", "length", "lost", "twice", "count"))
        if kind == "cut":
            del data[at:]
        elif kind == "flip":
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == "length":
            data[at : at + 8] = struct.pack("<Q", rng.choice(HUGE))
        elif kind == "lost":
            del data[at : at + rng.randrange(1, 64)]
        elif kind == "twice":
            data[at:at] = data[at : at + rng.randrange(1, 64)]
        else:  # of tensors, or of values
            where = 8 + 8 * rng.randrange(2)
            data[where : where + 8] = struct.pack("<Q", rng.choice(HUGE))
        if not data:
            break
    return bytes(data)


def planned(file):
    """The sentences of a file, as `bench plan` finds them."""
    source, wrong = gguf_source(str(file), [])
    if not wrong:
        try:
            gguf_tokenizer(source)("In 1234 and é.")
        except UserError as error:
            return error.sentences
    return UserError(*wrong).sentences


def test_every_mutated_file_is_planned_with_or_refused_in_a_sentence(sound, tmp_path):
    rng, file, refused = random.Random(0), tmp_path / "tiny.gguf", 0
    file.write_bytes(sound)
    assert not planned(file)
    for number in range(MUTATIONS):
        file.write_bytes(mutated(sound, rng))
        try:
            wrong = within(SECONDS, MEMORY, lambda: planned(file))
        except (TimeoutError, MemoryError) as error:
            count("GGUF files", hangs=1)
            raise AssertionError(f"mutation {number}: {error!r}") from error
        except Exception as error:
            count("GGUF files", tracebacks=1)
            raise AssertionError(f"mutation {number}: {error!r}") from error
        refused += bool(wrong)
        count("GGUF files")
        assert all(sentence and "\n" not in sentence for sentence in wrong), wrong
    assert refused > MUTATIONS / 2


def test_what_is_planned_with_is_converted_or_fails_in_a_sentence(sound, tmp_path):
    rng, file, tried = random.Random(1), tmp_path / "tiny.gguf", 0
    said: list[str] = []
    while tried < CONVERSIONS:
        file.write_bytes(mutated(sound, rng))
        source, wrong = gguf_source(str(file), [])
        if wrong:
            continue
        tried += 1
        out = tmp_path / str(tried)
        out.mkdir()
        try:
            convert(source, out / "model", no_report)
        except (StageFailed, UserError) as error:
            said.append(str(error))
        except Exception as error:
            count("GGUF files, converted", tracebacks=1)
            raise AssertionError(f"conversion {tried}: {error!r}") from error
        count("GGUF files, converted")
        shutil.rmtree(out)
    assert all(len(sentence.splitlines()) == 1 for sentence in said), said


@pytest.mark.parametrize("length", HUGE[2:])
@pytest.mark.parametrize("place", ["tensors", "values", "key", "tokens"])
def test_lengths_beyond_the_file_take_no_memory(length, place, sound, tmp_path):
    at = {"tensors": 8, "values": 16, "key": 24, "tokens": sound.index(b"tokenizer.ggml.tokens") + 21 + 4 + 4}[place]
    (tmp_path / "tiny.gguf").write_bytes(sound[:at] + struct.pack("<Q", length) + sound[at + 8 :])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(planned(tmp_path / "tiny.gguf")) == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_what_is_no_gguf_file_says_so(sound, tmp_path):
    file = tmp_path / "tiny.gguf"
    for data, told in (
        (b"", "it is no GGUF file"), (b"GG", "it is no GGUF file"), (b"PK\x03\x04" + sound, "it is no GGUF file"),
        (b"GGUF", "cut off"), (sound[:-1], "it is cut off: it has"), (sound[: len(sound) // 2], "it is cut off"),
        (sound[:4] + struct.pack("<I", 1) + sound[8:], "of version 1 of GGUF"),
        (sound[:4] + struct.pack(">I", 3) + sound[8:], "little-endian files"),
    ):  # fmt: skip
        file.write_bytes(data)
        (sentence,) = planned(file)
        assert told in sentence
    file.unlink()
    file.mkdir()
    assert "cannot be read" in planned(file)[0]
