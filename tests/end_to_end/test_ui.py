"""`bench ui` in a real browser: MLflow's pages and Optuna's dashboard over one small suite."""

import itertools
import re
import signal
import socket
import subprocess
import urllib.parse

import pytest

from tests.end_to_end.browser import page
from tests.helpers import GOOD, bench, start_bench, write

pytestmark = [pytest.mark.slow, pytest.mark.browser]
SLOW = 60_000  # milliseconds for a page of MLflow's on a busy machine


@pytest.fixture(scope="module")
def suite(tmp_path_factory, good_run):
    folder = tmp_path_factory.mktemp("ui")
    file = write(folder, GOOD)
    good_run.copy_store(folder)
    done = bench("run", file, "--results", folder / "results")
    assert done.returncode == 0, done.stderr
    import optuna

    study = optuna.create_study(storage=f"sqlite:///{folder / 'results/studies.db'}", study_name="good dpo gates")
    study.optimize(lambda trial: trial.suggest_float("kappa", 0, 1), n_trials=3)
    return file


@pytest.fixture(scope="module")
def links(suite):
    """What the command says -> its address, while it runs."""
    server = start_bench(
        "ui", suite, "--results", suite.parent / "results", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said = list(itertools.takewhile(lambda line: "Ctrl-C ends it" not in line, server.stdout))
    found = {
        what: "http" + address for what, _, address in (line.strip().partition(": http") for line in said) if address
    }
    assert found, said
    yield found
    server.send_signal(signal.SIGINT)
    assert server.wait(30) == 0
    for address in found.values():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", urllib.parse.urlparse(address).port)) != 0  # nothing is left


def test_every_link_is_of_this_machine_alone(links):
    assert len(links) == 5
    assert {urllib.parse.urlparse(address).hostname for address in links.values()} == {"127.0.0.1"}


def test_mlflow_shows_the_cells_with_the_suites_columns(links):
    with page(viewport={"width": 2200, "height": 900}) as (found, _):
        found.goto(links["the cells of the newest run, with this suite's columns"])
        found.get_by_text("neox-0.3m/toolbox/dpo/seq/0").first.wait_for(timeout=SLOW)
        for column in ("held-out/test_delta_chosen", "probes/delta_chosen"):  # those of the report's table alone fit
            found.get_by_text(column, exact=True).first.wait_for(timeout=SLOW)
        assert found.get_by_text(re.compile("neox-0.3m/toolbox/.*/0")).count() >= 4


def test_mlflow_shows_the_parent_run_and_its_files(links):
    with page(viewport={"width": 1600, "height": 900}) as (found, _):
        found.goto(links["the run with its report"])
        found.get_by_text(re.compile("^good [0-9a-f]{12}")).first.wait_for(timeout=SLOW)
        found.goto(links["the run with its report"] + "/artifacts")
        found.get_by_text("report.html").first.wait_for(timeout=SLOW)


def test_mlflow_compares_the_cells_and_draws_their_curves(links):
    with page(viewport={"width": 1600, "height": 900}) as (found, _):
        found.goto(links["its cells compared"])
        found.get_by_text("Comparing 4 Runs").first.wait_for(timeout=SLOW)
    with page(viewport={"width": 1600, "height": 1200}) as (found, _):
        found.goto(links["their curves"])
        found.get_by_text(re.compile("^dynamics")).first.wait_for(timeout=SLOW)
        found.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=SLOW)


def test_optunas_dashboard_shows_the_study(links):
    with page() as (found, _):
        found.goto(next(address for what, address in links.items() if "dashboard" in what))
        found.get_by_text("good dpo gates").first.wait_for(timeout=SLOW)


def test_a_suite_that_never_ran_is_told_so(tmp_path):
    done = bench("ui", write(tmp_path, GOOD), "--results", tmp_path / "results")
    assert done.returncode == 2
    assert "holds no run of suite 'good'" in done.stderr
    assert "Traceback" not in done.stderr
