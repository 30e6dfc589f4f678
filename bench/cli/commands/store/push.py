"""`bench store push`: carry finished stages and runs away."""

from __future__ import annotations

import typer

from gatebench.bench.cli.options import DEFAULT_RESULTS, CarriedSuite, Results, StoreUrl, WithWeights


def push_command(
    url: StoreUrl, suite: CarriedSuite = None, weights: WithWeights = False, results: Results = DEFAULT_RESULTS
) -> None:
    """Upload what is finished, with its runs and claims, to be read or gone on with elsewhere."""
    from gatebench.bench.store.store import Store
    from gatebench.bench.store.travel import push_results

    with Store(results / "store").in_use():
        found = push_results(results, url, suite, weights)
    print(f"{found.stages} stages and {len(found.runs)} runs went to {url}")
    if not weights:
        typer.echo("without weights: reports and comparisons need none; --with-weights carries them too", err=True)
