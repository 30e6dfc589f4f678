"""`bench report`: the page of a suite again, without running anything."""

from __future__ import annotations

from gatebench.bench.cli.options import DEFAULT_RESULTS, DataFolder, Only, Profile, Results, Settings, SuiteFile
from gatebench.bench.run.prepare import prepare


def report_command(
    suite: SuiteFile,
    profile: Profile = None,
    results: Results = DEFAULT_RESULTS,
    settings: Settings = None,
    only: Only = None,
    data: DataFolder = None,
) -> None:
    """Rebuild the report and summary of a suite from the store, whatever of it is finished."""
    from gatebench.bench.run import suite_run

    prepared = prepare(suite, profile, results, settings, only, data)
    with prepared.store.in_use():
        print(suite_run.build(prepared)[1])
