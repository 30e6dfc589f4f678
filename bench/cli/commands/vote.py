"""`bench vote`: people vote on answers, blind; their votes are a judge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gatebench.bench.cli.options import DEFAULT_RESULTS, AsJson, Only, Profile, Results, Settings, SuiteFile
from gatebench.bench.cli.output import print_tables
from gatebench.bench.console import print_json
from gatebench.bench.errors import UserError
from gatebench.bench.run.prepare import prepare

if TYPE_CHECKING:
    from pathlib import Path

    from gatebench.bench.run.suite_run import Prepared


def vote_command(
    suite: SuiteFile,
    rater: Annotated[str, typer.Option(help="Who votes; their votes are one file.")] = "",
    against: Annotated[str, typer.Option(help="Whose answers stand beside a cell's: warmup, ungated, baseline.")] = (
        "ungated"
    ),
    most: Annotated[int, typer.Option(min=1, help="How many pairs of answers are voted on.")] = 50,
    agreement: Annotated[bool, typer.Option("--agreement", help="Show whether raters and judges agree.")] = False,
    profile: Profile = None,
    results: Results = DEFAULT_RESULTS,
    settings: Settings = None,
    only: Only = None,
    as_json: AsJson = False,
) -> None:
    """Vote on pairs of answers in the browser, not knowing whose they are; Ctrl-C ends it."""
    prepared = prepare(suite, profile, results, settings, only)
    folder = results / "votes" / prepared.plan.suite
    if agreement:
        _show_agreement(prepared, folder, as_json)
        return
    _vote(prepared, folder, rater, against, most)


def _vote(prepared: Prepared, folder: Path, rater: str, against: str, most: int) -> None:
    import signal

    from rich.console import Console

    from gatebench.bench.console import PLAIN
    from gatebench.bench.judged.ballots import make_ballots
    from gatebench.bench.judged.page import Booth, open_booth
    from gatebench.bench.judges.api import OPPONENTS
    from gatebench.objectives.names import UnknownWord

    if not rater.replace("-", "").replace("_", "").isalnum():
        raise UserError(f"--rater {rater!r}: expected a name of letters, digits, - and _, as --rater anna")
    if against not in OPPONENTS:
        raise UserError(f"--against: {UnknownWord('opponent', against, OPPONENTS)}")
    err, file = Console(stderr=True), folder / f"{rater}.jsonl"
    with prepared.store.in_use():
        booth = Booth(make_ballots(prepared.plan, prepared.store, against, most), rater, file)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with open_booth(booth) as address:
            print(f"vote at {address}", flush=True)
            err.print("Ctrl-C ends it; every vote is kept at once", **PLAIN)
            while True:
                signal.pause()
    except KeyboardInterrupt:
        err.print(f"{len(booth.voted)} of {len(booth.ballots)} pairs are voted on: {file}", **PLAIN)


def _show_agreement(prepared: Prepared, folder: Path, as_json: bool) -> None:
    """Of the raters of a suite with each other and with its judge."""
    from dataclasses import asdict

    from gatebench.bench.judged.agreement import agreements, kappa_table
    from gatebench.bench.judged.ballots import scores_of_judges
    from gatebench.bench.judged.comparisons import finished_comparisons
    from gatebench.bench.judges.votes import VotedOn, read_votes, score_of_earlier, texts_of

    votes = read_votes(folder) if folder.is_dir() else []
    if not votes:
        raise UserError(f"{folder}: no votes; `bench vote {prepared.file} --rater NAME` asks for some")
    scores: dict[str, dict[VotedOn, float]] = {}
    for vote in votes:
        scores.setdefault(vote.rater, {})[texts_of(vote)] = score_of_earlier(vote)
    with prepared.store.in_use():
        judges = scores_of_judges(finished_comparisons(prepared.plan, prepared.store))
    found = agreements({**scores, **{f"judge {name}": own for name, own in judges.items()}})
    if as_json:
        print_json([asdict(one) for one in found])
        return
    if not found:
        raise UserError(f"{folder}: no two raters or judges have judged the same answers; a second --rater is needed")
    print_tables([kappa_table(found)])
