"""What a command line gives -> a prepared suite: profile, --set and --only applied, models and data found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebench.bench.plan.graph import Where
    from gatebench.bench.run.suite_run import Prepared


def prepare(
    suite: Path,
    profile: str | None,
    results: Path,
    settings: list[str] | None,
    only: str | None,
    data: Path | None = None,
) -> Prepared:
    """data: the folder of local copies of data sets."""
    from gatebench.bench.plan.planner import make_plan
    from gatebench.bench.plan.resolve import resolve
    from gatebench.bench.run.suite_run import Prepared
    from gatebench.bench.suite.reader import load_suite, text_of_suite

    text = text_of_suite(suite)
    loaded = load_suite(suite, profile, settings_of(settings or []), text)
    sources = resolve(loaded, suite, data)
    made = make_plan(loaded, sources, only_of(only))
    if not made.cells:
        raise UserError(f"{suite}: no cell is left; loosen --only or exclude")
    return Prepared(suite, text, made, sources, results, _command(suite, profile, settings, only, data))


def _command(suite: Path, profile: str | None, settings: list[str] | None, only: str | None, data: Path | None) -> str:
    import shlex

    words = ["bench", "run", str(suite), *(("--profile", profile) if profile else ())]
    words += [word for setting in settings or () for word in ("--set", setting)]
    words += [*(("--only", only) if only else ()), *(("--data", str(data)) if data else ())]
    return shlex.join(words)


def settings_of(given: list[str]) -> dict[str, object]:
    from gatebench.bench.suite.strict_yaml import parse

    found = {}
    for setting in given:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"--set {setting}: expected KEY=VALUE, as in train.learning_rate=1e-6")
        found[key], _ = parse(value, f"--set {key}")
    return found


def only_of(text: str | None) -> Callable[[Where], bool]:
    from gatebench.objectives.names import nearest

    wanted = {}
    for part in (text or "").split(","):
        if part:
            key, _, values = part.partition("=")
            wanted[key.strip()] = values.split("|")

    def keep(axes: Where) -> bool:
        for key in wanted:
            if key not in axes:
                raise UserError(f"--only {text}: unknown axis {key!r}; {nearest(key, axes)}")
        return all(str(axes[key]) in values for key, values in wanted.items())

    return keep
