"""Records of what was timed: damaged they count for nothing, in a sentence, and the next run writes them anew."""

import pytest

from gatebench.bench.cost.calibration import CALIBRATION_FOLDER, Record, records, remember, unreadable
from gatebench.bench.machine import Machine
from gatebench.bench.store.store import Store

MACHINE = Machine("a machine", 2, 0, 10**9)
RECORD = Record("train", 10.0, 1.5, 100, 1000)


@pytest.mark.parametrize(
    "content", [b"", b"{half", b"\xff", b"3", b'[{"group": 1}]', b"[" * 9000, b'[{"grope": "a"}]', None]
)
def test_damaged_records_are_written_anew(tmp_path, content):
    store = Store(tmp_path)
    remember([RECORD], store, MACHINE)
    assert records(store, MACHINE) == [RECORD]
    (file,) = (tmp_path / CALIBRATION_FOLDER).glob("*.json")
    file.unlink()
    file.mkdir() if content is None else file.write_bytes(content)
    assert records(store, MACHINE) == []
    (sentence,) = unreadable(store, MACHINE)
    assert sentence.startswith(f"{file} cannot be read")
    remember([RECORD], store, MACHINE)
    assert records(store, MACHINE) == [RECORD]
    assert unreadable(store, MACHINE) == []


def test_no_records_are_no_damage(tmp_path):
    assert (records(Store(tmp_path), MACHINE), unreadable(Store(tmp_path), MACHINE)) == ([], [])
