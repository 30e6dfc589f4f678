"""The report while its run goes on: built again beside the run when there is something new to show."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from gatebench.bench.executors.api import Elsewhere, Event, Failed, Finished
from gatebench.dashboards.report import SECONDS_TO_REFRESH

SHARE_OF_TIME = 0.05  # of the run's time at most is spent on building


class LiveReport:
    """Listens to a run. build: writes the report of what is finished so far; one at a time, in a thread of its own.

    A build that fails ends the live report and is told by `say`; it never ends the run.
    """

    def __init__(self, build: Callable[[], object], say: Callable[[str], object]) -> None:
        self._build, self._say = build, say
        self._news, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep, name="live report", daemon=True)

    def __enter__(self) -> LiveReport:
        self._news.set()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._news.set()
        self._thread.join()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Finished | Elsewhere | Failed):
            self._news.set()

    def _keep(self) -> None:
        while True:
            self._news.wait()
            if self._over.is_set():
                return
            self._news.clear()
            started = time.monotonic()
            try:
                self._build()
            except Exception as error:
                self._say(f"caution: the report is not kept up to date any more: {error!r}; it is built at the end")
                return
            spent = time.monotonic() - started
            self._over.wait(max(SECONDS_TO_REFRESH, spent / SHARE_OF_TIME - spent))
