"""Single bits flipped anywhere in finished results: each is noticed where it is read, or changes nothing."""

import random
from contextlib import suppress
from dataclasses import asdict

import pytest

from gatebench.bench.analysis.saved_runs import read_run
from gatebench.bench.errors import UserError
from tests.helpers import run_folder
from tests.trust.made import copied, prepared, read
from tests.trust.tally import count, some

pytestmark = pytest.mark.slow
FLIPS = some(60, 400)
READ = ("*.parquet", "*.json", "*.html", "*.yaml")


def metrics(summary):
    return {cell.id: dict(cell.metrics) for cell in summary.finished}


def flip(file, rng):
    content = bytearray(file.read_bytes())
    bit = rng.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


def test_a_flipped_bit_of_the_store_gives_no_other_number(finished, tmp_path):
    """Of results and manifests, each read as a report, a comparison and a search for answers read them."""
    results, rng = copied(finished, tmp_path), random.Random(20)
    whole = read(tmp_path)
    files = sorted(file for pattern in READ for file in (results / "store").rglob(pattern) if file.stat().st_size)
    noticed = 0
    for _ in range(FLIPS):
        file = rng.choice(files)
        kept = file.read_bytes()
        flip(file, rng)
        found = read(tmp_path)
        wrong = sum(values != metrics(whole)[cell] for cell, values in metrics(found).items())
        told = [cell.reason for cell in found.cells if cell.status != "finished"]
        count("flipped bits, read by a report", wrong=wrong)
        assert wrong == 0, file
        assert all("run` the suite again" in reason for reason in told)
        noticed += bool(told)
        if not told:
            assert asdict(found)["groups"] == asdict(whole)["groups"]
        try:
            compared = {str(cell.axes): cell.deltas for cell in read_run(str(run_folder(tmp_path)), results).cells()}
            same = {str(cell.axes): cell.deltas for cell in read_run(str(run_folder(finished)), results).cells()}
            assert all(values.equals(same[name]) for name, values in compared.items())
        except UserError:
            pass
        count("flipped bits, read by a comparison")
        file.write_bytes(kept)
    assert noticed > FLIPS / 4


def test_a_flipped_bit_of_a_runs_folder_is_not_shown_as_a_result(finished, tmp_path):
    results, rng = copied(finished, tmp_path), random.Random(21)
    folder = run_folder(tmp_path)
    files = [folder / name for name in ("summary.json", "plan.json", "cells.parquet", "built.json")]
    whole = read_run(str(folder), results).summary
    from gatebench.bench.run.suite_run import _built

    ready = prepared(tmp_path)
    assert _built(ready)
    for _ in range(FLIPS):
        file = rng.choice(files)
        kept = file.read_bytes()
        flip(file, rng)
        assert not _built(ready) or file.name == "built.json"
        with suppress(UserError):
            assert read_run(str(folder), results).summary == whole
        count("flipped bits, run's folder")
        file.write_bytes(kept)
