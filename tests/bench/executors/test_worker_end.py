"""A worker that is stopped in the middle of a bar leaves nothing that Python complains of on the terminal."""

import subprocess
import sys

import pytest

STOPPED = """
import multiprocessing, sys, time
from pathlib import Path

from gatebench.bench.process import become_worker


def work(folder):
    become_worker(1, None, Path(folder) / "log")
    from tqdm import tqdm
    for _ in tqdm(range(3)):
        pass
    (Path(folder) / "ready").touch()
    time.sleep(600)


if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=work, args=(sys.argv[1],), daemon=True)
    process.start()
    while not (Path(sys.argv[1]) / "ready").exists():
        time.sleep(0.1)
    process.terminate()
    process.join()
"""


@pytest.mark.slow
def test_a_stopped_worker_leaves_no_complaint(tmp_path):
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
