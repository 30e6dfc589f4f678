"""Optuna's journal file with the heartbeat of its databases: a killed worker's trial is asked again there too."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import JournalStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

BEAT = "heartbeat"  # a trial's system attribute: seconds since the epoch


class BeatingJournal(JournalStorage, BaseHeartbeat):
    """A trial whose process has not been heard of for `grace` seconds fails and is asked again, `retries` times.

    The machines that share the file need clocks that differ by less than `grace`.
    """

    def __init__(self, file: str, interval: int, grace: int, retries: int) -> None:
        super().__init__(JournalFileBackend(file))
        self._interval, self._grace = interval, grace
        self._again = RetryHeartbeatStaleTrialCallback(max_retry=retries)

    def record_heartbeat(self, trial_id: int) -> None:
        with suppress(UpdateFinishedTrialError):  # it ended between two beats
            self.set_trial_system_attr(trial_id, BEAT, time.time())

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        silent = time.time() - self._grace
        return [
            trial._trial_id for trial in self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
            # one that is asked again brings its last run's beat along: it is as young as its start
            if trial.datetime_start and max(trial.datetime_start.timestamp(), trial.system_attrs.get(BEAT, 0)) < silent
        ]  # fmt: skip

    def get_heartbeat_interval(self) -> int:
        return self._interval

    def get_heartbeat_stale_trial_callback(self) -> Callable[[Study, FrozenTrial], None]:
        return self._again
