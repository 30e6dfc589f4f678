"""`bench doctor`: what this machine has, and what to do where something is missing."""

from __future__ import annotations

import typer

from gatebench.bench.cli.options import DEFAULT_RESULTS, AsJson, Results
from gatebench.bench.cli.output import print_tables
from gatebench.bench.console import print_json


def doctor_command(results: Results = DEFAULT_RESULTS, as_json: AsJson = False) -> None:
    """Look through this machine: libraries, torch, GPU, memory, disk, hub, vLLM; exit code 1 if something is broken."""
    from dataclasses import asdict

    from rich.console import Console

    from gatebench.bench.console import PLAIN
    from gatebench.bench.doctor.finding import findings_table
    from gatebench.bench.doctor.machine_checks import examine_machine

    Console(stderr=True).print("torch is loaded and the hub asked, which takes some seconds", **PLAIN)
    findings = list(examine_machine(results))
    if as_json:
        print_json([asdict(one) for one in findings])
    else:
        print_tables([findings_table(findings)])
    if any(one.state == "broken" for one in findings):
        raise typer.Exit(1)
