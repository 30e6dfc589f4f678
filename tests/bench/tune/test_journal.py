"""A study in a journal file outlives a killed process, as one in a database does."""

import os
import signal
import subprocess
import sys
import time

import optuna
import pytest
from optuna.trial import TrialState

from gatebench.bench.tracking.optuna_server import storage_at
from gatebench.bench.tune.journal import BEAT, BeatingJournal
from tests.helpers import wait_for

HANGS = """
import sys, time, optuna
from gatebench.bench.tune.journal import BeatingJournal
study = optuna.load_study(study_name="s", storage=BeatingJournal(sys.argv[1], 1, 3, 1))
study.optimize(lambda trial: trial.suggest_float("x", 0, 1) + time.sleep(600), n_trials=1)
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_killed_trial_is_asked_again_and_a_living_one_is_not(tmp_path):
    file = str(tmp_path / "journal")
    study = optuna.create_study(study_name="s", storage=BeatingJournal(file, 1, 3, 1))
    process = subprocess.Popen([sys.executable, "-c", HANGS, file])
    wait_for(lambda: study.trials and study.trials[0].params and BEAT in study.trials[0].system_attrs, "beating trial")
    time.sleep(4)  # longer than the grace: it lives by its beats
    optuna.storages.fail_stale_trials(study)
    assert study.trials[0].state == TrialState.RUNNING
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    def failed():
        optuna.storages.fail_stale_trials(study)
        return study.trials[0].state == TrialState.FAIL

    wait_for(failed, "failed trial")
    again = study.trials[1]
    assert again.state == TrialState.WAITING
    assert again.params == study.trials[0].params
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert study.trials[1].value == study.trials[0].params["x"]

    assert [found.study_name for found in storage_at(f"journal:{file}").get_all_studies()] == ["s"]
