"""Names users type, and the sentence they get for one we do not have."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, choices: Iterable[str]) -> str:
    """A hint: the nearest valid word, one of the same letters first; else the list of them."""
    choices = [str(choice) for choice in choices]
    swapped = [choice for choice in choices if sorted(choice) == sorted(str(word))]
    close = swapped or get_close_matches(str(word), choices, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"expected one of: {', '.join(choices)}"


class UnknownWord(ValueError):
    """A name that no registry holds. group: the entry points by which other packages, and a user's own, add to it."""

    def __init__(self, what: str, word: str, choices: Iterable[str], group: str = "") -> None:
        own = f" (one of your own: an entry point of the group {group})" if group else ""
        super().__init__(f"unknown {what} {word!r}; {nearest(word, choices)}{own}")
