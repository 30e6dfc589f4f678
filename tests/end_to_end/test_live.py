"""`bench run --live`: the page can be read while the run goes on, and says so."""

import time

import pytest

from tests.helpers import GOOD, start_bench, write

pytestmark = pytest.mark.slow
GOES_ON = "The run goes on; this page reads itself again"


def test_the_report_is_there_while_the_run_goes_on_and_final_after_it(tmp_path, good_run):
    suite = write(tmp_path, GOOD.replace("seeds: [0]", "seeds: [0, 1]"))
    good_run.copy_store(tmp_path)  # the cells of the other seed are left
    running = start_bench("run", suite, "--live", "--results", tmp_path / "results")
    meanwhile = []
    while running.poll() is None:
        pages = (tmp_path / "results/runs").glob("good/*/report.html")
        meanwhile += [page.read_text(encoding="utf-8") for page in pages]
        time.sleep(0.1)
    said = running.stderr.read()
    assert running.returncode == 0, said
    (page,) = (tmp_path / "results/runs").glob("good/*/report.html")
    assert f"report, kept up to date while the run goes on: {page}" in said
    assert GOES_ON in meanwhile[0]
    assert 'http-equiv="refresh"' in meanwhile[0]
    # what is read at any moment is a whole page
    assert all(text.rstrip().endswith("</html>") for text in meanwhile)
    final = page.read_text(encoding="utf-8")
    assert GOES_ON not in final
    assert 'http-equiv="refresh"' not in final
    assert (page.parent / "figures").is_dir()
