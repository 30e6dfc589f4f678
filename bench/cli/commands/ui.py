"""`bench ui`: look at a suite in MLflow and Optuna's dashboard."""

from __future__ import annotations

from typing import Annotated

import typer

from gatebench.bench.cli.options import DEFAULT_RESULTS, Profile, Results, Settings, SuiteFile
from gatebench.bench.run.prepare import settings_of


def ui_command(
    suite: SuiteFile,
    profile: Profile = None,
    results: Results = DEFAULT_RESULTS,
    settings: Settings = None,
    show: Annotated[bool, typer.Option("--open", help="Open the first link in the browser.")] = False,
) -> None:
    """Start MLflow's UI, and Optuna's dashboard where there is a study, on this machine; Ctrl-C ends them."""
    import signal
    import webbrowser

    from rich.console import Console

    from gatebench.bench.console import PLAIN
    from gatebench.bench.suite.reader import load_suite
    from gatebench.bench.tracking import ui as servers
    from gatebench.bench.tracking.delivery import tracking_uri
    from gatebench.bench.tune.study import storage_of

    err = Console(stderr=True)
    loaded = load_suite(suite, profile, settings_of(settings or []))
    err.print("starting MLflow's UI", **PLAIN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with servers.served(
            loaded.name, tracking_uri(results), storage_of(loaded.tune, results), results / "ui.log"
        ) as links:
            for link in links:
                print(f"{link.what}: {link.address}", flush=True)
            if show:
                webbrowser.open(links[0].address)
            err.print("Ctrl-C ends it", **PLAIN)
            while True:
                signal.pause()
    except KeyboardInterrupt:
        err.print("ended", **PLAIN)
