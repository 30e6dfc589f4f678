"""A trial in sqlite is asked again once, however many processes find it stale at the same time."""

import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from gatebench.bench.suite.tuning import Tune
from gatebench.bench.tune.records import Task
from gatebench.bench.tune.study import storage
from tests.helpers import wait_for

FAILS = """
import sys, time
from pathlib import Path
import optuna
from gatebench.bench.tune.study import storage
from tests.bench.tune.test_sqlite import of
study = optuna.load_study(study_name="s", storage=storage(of(sys.argv[1])))
Path(sys.argv[2]).touch()
while not Path(sys.argv[1] + ".go").exists():
    pass
optuna.storages.fail_stale_trials(study)
"""
PROCESSES, TRIALS = 4, 12


def of(file):
    return Task(None, Tune(), None, Path(file).parent, "s", f"sqlite:///{file}")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_stale_trial_is_asked_again_once(tmp_path):
    file = tmp_path / "study.db"
    opened = storage(of(file))
    study = optuna.create_study(study_name="s", storage=opened)
    for _ in range(TRIALS):
        study._storage.record_heartbeat(study.ask()._trial_id)
    with opened.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE trial_heartbeats SET heartbeat = '2000-01-01 00:00:00'")
    ready = [tmp_path / f"ready{index}" for index in range(PROCESSES)]
    processes = [subprocess.Popen([sys.executable, "-c", FAILS, str(file), str(one)]) for one in ready]
    wait_for(lambda: all(one.exists() for one in ready), "processes")
    Path(f"{file}.go").touch()
    assert [process.wait(timeout=120) for process in processes] == [0] * PROCESSES
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.FAIL] * TRIALS + [TrialState.WAITING] * TRIALS
