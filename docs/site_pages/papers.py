"""The index of losses, each from its own file: paper, equation, file, defaults, trap."""

from __future__ import annotations

import dataclasses
import inspect
import re
from dataclasses import dataclass
from pathlib import Path

from gatebench.objectives import trl_losses
from gatebench.objectives.loss import AnyLoss
from gatebench.objectives.registry import BUILT_IN
from site_pages.markdown import code, table

OFF = (None, False)  # the default of a switch that does nothing
SWITCHES = ("f_divergence_type", "f_alpha_divergence_coef")  # at TRL's defaults they leave a loss what it is
TRL = "trl:"


@dataclass(frozen=True)
class Row:
    """A loss as its own file describes it; "" where that says nothing."""

    name: str
    paper: str
    equation: str
    file: str
    defaults: str
    trap: str


def row_of(loss: AnyLoss) -> Row:
    """What the docstrings of a loss's module and function, and its parameter class, say."""
    function = inspect.unwrap(loss.function)
    module = inspect.getmodule(function)
    said, about = inspect.getdoc(function) or "", (module and module.__doc__) or ""
    is_trl = module is trl_losses
    return Row(
        name=loss.name,
        paper=_first(r"Source: (.+?)\.(?:\n|$)", said) if is_trl else _first(r"(.+?)\.?(?:\n\n|$)", about),
        equation=_first(r"(L = .+?); \[B\]", said),
        file=Path(*(module.__name__.split(".")[1:])).with_suffix(".py").as_posix(),
        defaults=", ".join(
            f"{own.name} {own.default}" for own in dataclasses.fields(loss.parameters)
            if own.default not in OFF and own.name not in SWITCHES and (not is_trl or own.name in f"beta {said}")
        ) or "none",
        trap=_first(r"Trap: (.+?)(?:\n\n|$)", said),
    )  # fmt: skip


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.S)
    return " ".join(found[1].split()) if found else ""


def linked(text: str) -> str:
    """`arXiv 2305.18290` as a link to the paper."""
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", text)


def rows(of_trl: bool) -> list[Row]:
    return [row_of(loss) for loss in BUILT_IN if loss.name.startswith(TRL) is of_trl]


def losses_table() -> str:
    head = ("loss", "paper", "a pair", "our file", "defaults", "trap")
    return table(head, [
        (code(row.name), linked(row.paper), code(row.equation), code(row.file), row.defaults, row.trap)
        for row in rows(of_trl=False)
    ])  # fmt: skip


def trl_losses_table() -> str:
    head = ("loss", "paper", "a pair", "defaults", "trap")
    return table(head, [
        (code(row.name), linked(row.paper), code(row.equation), row.defaults, row.trap) for row in rows(of_trl=True)
    ])  # fmt: skip
