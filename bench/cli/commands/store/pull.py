"""`bench store pull`: fetch finished stages and runs."""

from __future__ import annotations

import typer

from gatebench.bench.cli.options import DEFAULT_RESULTS, CarriedSuite, Results, StoreUrl, WithWeights


def pull_command(
    url: StoreUrl, suite: CarriedSuite = None, weights: WithWeights = False, results: Results = DEFAULT_RESULTS
) -> None:
    """Download what is finished, with its runs and claims, and analyse it without training."""
    from gatebench.bench.store.travel import pull_results

    found = pull_results(url, results, suite, weights)
    print(f"{found.stages} stages and {len(found.runs)} runs came to {results}")
    if not weights:
        typer.echo("without weights: reports and comparisons need none; --with-weights fetches them too", err=True)
