"""What is fed to the reader of suites: one sentence each, or a suite; never anything else."""

import random
import re

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gatebench.bench.errors import UserError
from gatebench.bench.plan.planner import make_plan
from gatebench.bench.plan.resolve import resolve
from gatebench.bench.run.prepare import settings_of
from gatebench.bench.suite import strict_yaml
from gatebench.bench.suite.reader import load_suite
from tests.helpers import GOOD, ROOT, write
from tests.trust.tally import count, some

CASES = ROOT.parent / "shared" / "cases" / "suites"
pytestmark = pytest.mark.usefixtures("offline")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def listed():
    if not CASES.is_dir():
        return []
    rows = re.findall(r"^\| (\d\d\.yaml) \| (.*?) \| (.*?) \| (.*?) \|$", (CASES / "README.md").read_text(), re.M)
    return [
        pytest.param(file, profile.strip(), given.strip(), id=f"{file} {what}") for file, what, profile, given in rows
    ]


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no cases in {CASES}")
@pytest.mark.parametrize(("file", "profile", "setting"), listed())
def test_a_case_is_refused_in_a_sentence(tmp_path, file, profile, setting):
    def planned():
        suite = load_suite(CASES / file, profile or None, settings_of([setting] if setting else []))
        make_plan(suite, resolve(suite, CASES / file))

    with pytest.raises(UserError) as caught:
        planned()
    assert all(sentence.startswith(("--set", str(CASES / file), "/")) for sentence in caught.value.sentences)
    assert "Traceback" not in str(caught.value)


BLOCK = GOOD.replace("name: good\n", "")
REFUSED = {
    "a number of 5000 digits": ("seeds: [0]", f"seeds: [{'9' * 5000}]", ":7: not YAML that a suite can be: "),
    "a date": ("name: good", "name: 2024-02-30", ":1: not YAML that a suite can be: '2024-02-30' is no timestamp"),
    "a good date": ("name: good", "name: 2024-02-20", ":1: not YAML that a suite can be: a date; put quotes around it"),
    "a set": ("seeds: [0]", "seeds: !!set {0, 1}", ":7: not YAML that a suite can be: a set"),
    "bytes": ("name: good", "name: !!binary aGVsbG8=", ":1: not YAML that a suite can be: a bytes"),
    "a tag that runs": ("seeds: [0]", "seeds: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
    "a ring": ("seeds: [0]", "seeds: &a [*a]", "an alias of a block that it stands in"),
    "a key of a list": ("seeds: [0]", "? [a, b]\n: 1", ":7: not YAML that a suite can be: a key that is no word"),
    "two documents": ("seeds: [0]", "seeds: [0]\n---\nname: b", "not YAML that a suite can be: but found another doc"),
    "a zero byte": ("name: good", 'name: "a\\0b"', ":1: not YAML that a suite can be: a zero byte, which no text has"),
    "a name of spaces": ("name: good", "name: '  '", "a name has 1 to 100 letters and no space at its"),
    "a name above": ("name: good", "name: ../up", ":1: name: '../up' cannot be a name, as it has '/'"),
    "control letters": ("name: good", 'name: "a\\eb"', ":1: name: 'a\\x1bb' cannot be a name, as it has '\\x1b'"),
    "steps of all stars": ("steps: 4", "steps: 9000000000000000", ":12: train.steps: Input should be less than"),
    "a shuffled constant": (
        "gates: [none,", "gates: [{name: k, kind: constant, of: s}, {name: s, kind: shuffled, of: seq}, none,",
        "gate k: of: s is a control itself; name a selective gate",
    ),
    "a gate of itself": (
        "gates: [none,", "gates: [{name: k, kind: constant, of: k}, none,", "of: k is a control itself; name a",
    ),
    "a list": ("objectives: [dpo,", "objectives: [{name: dpo, parameters: [1]},", "objectives.0"),
    "a word that is none": (
        "objectives: [dpo,", "objectives: [{name: ipo, length: meen},", "did you mean 'mean'?",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_kind_is_refused_in_a_sentence(tmp_path, what):
    before, after, sentence = REFUSED[what]
    assert before in GOOD
    with pytest.raises(UserError) as caught:
        load_suite(write(tmp_path, GOOD.replace(before, after)))
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_large_file_is_not_read(tmp_path):
    file = write(tmp_path, GOOD + "#" * strict_yaml.LARGEST_FILE)
    with pytest.raises(UserError, match="a suite is a text file of at most 1,048,576 bytes"):
        load_suite(file)
    with pytest.raises(UserError, match="no regular file; a suite is a text file"):
        load_suite(tmp_path)


def test_what_is_written_on_the_command_line_is_blamed_there(tmp_path):
    file = write(tmp_path, GOOD)
    with pytest.raises(UserError) as caught:
        load_suite(file, settings=settings_of(["train.steps=-3"]))
    assert str(caught.value) == "--set train.steps: Input should be greater than 0 (got -3)"


def test_anchors_and_a_byte_order_mark_are_read(tmp_path):
    text = GOOD.replace("base: {", "base: &a {").replace("seeds: [0]", "seeds: &s [0, 1]")
    file = tmp_path / "suite.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load_suite(file).seeds == [0, 1]
    numbers = GOOD.replace("learning_rate: 0.001\n", "learning_rate: 1e-3\n").replace(
        "[dpo,", "[{name: dpo, beta: 1e-2},"
    )
    suite = load_suite(write(tmp_path, numbers))  # which YAML reads as words
    assert suite.train.learning_rate == 1e-3
    assert suite.objectives[0].parameters == {"beta": "1e-2"}


MUTATIONS = some(1500, 12_000)
VALUES = [
    "null", "true", "-1", "0", "1e400", ".nan", "-.inf", "''", "x", "[]", "{}", "[[]]", "{a: b}", "'[/x]'", "q50",
    "q999", "5/tau", "0/tau", "../x", "/proc/self/mem", "!!python/name:os.system", "&a [*a]", "*b", "9" * 30, "1.0",
    '"\\ud800"', '"\\e[31m"', "2024-01-01", "0o17", "0x1f", "1_000", "~", "<<", "- -", "{", "]", "|", "> ", "%", "@",
    "'\\0'", "`",
]  # fmt: skip


def read(folder, text):
    """A suite that can be planned, or a sentence; every other end fails the test."""
    file = folder / "suite.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    count("suite files")
    try:
        suite = load_suite(file)
        make_plan(suite, resolve(suite, file))
    except UserError as error:
        told = error.sentences
    else:
        return suite
    assert all(len(sentence.strip().splitlines()) == 1 for sentence in told)
    return None


def test_files_by_mutation(tmp_path):
    draw, accepted = random.Random(0), 0
    for _ in range(MUTATIONS):
        lines = GOOD.splitlines()
        for _ in range(draw.randint(1, 3)):
            place = draw.randrange(len(lines))
            parts = re.split(r"(?<=[:,\[{ ])(?=\S)", lines[place])
            match draw.randrange(4):
                case 0:
                    parts[draw.randrange(len(parts))] = draw.choice(VALUES)
                    lines[place] = "".join(parts)
                case 1:
                    lines.insert(place, lines[draw.randrange(len(lines))])
                case 2:
                    del lines[place]
                case _:
                    cut = draw.randrange(len(lines[place]) + 1)
                    lines[place] = lines[place][:cut] + draw.choice(VALUES) + lines[place][cut:]
            if not lines:
                break
        accepted += read(tmp_path, "\n".join(lines)) is not None
    assert MUTATIONS / 150 < accepted < 0.95 * MUTATIONS


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = sorted(yaml.safe_load(GOOD))


@example(key="base", value={"\n": None})
@example(key="name", value="\u2028")
@settings(max_examples=some(300, 3000), deadline=None)
@given(key=st.sampled_from(KEYS), value=TREES)
def test_any_value_of_any_key(tmp_path_factory, key, value):
    raw = {**yaml.safe_load(GOOD), key: value}
    read(tmp_path_factory.mktemp("suites"), yaml.safe_dump(raw, allow_unicode=True))
