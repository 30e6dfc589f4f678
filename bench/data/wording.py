"""Many ways to put one answer, for pairs whose sides differ as those of real preference data do: in opening, style and
length. Every sentence ends in its answer, so that it is graded as any other."""

from __future__ import annotations

import random
import re

# A slot in braces is filled with one of its words, each as likely as the others.
SLOTS = {
    "hello": ("Sure", "Of course", "Happy to help", "Good question", "Let me see", "All right", "My pleasure", "Well"),
    "who": ("I", "we", "you", "one"),
    "can": ("can", "could", "should", "would", "may"),
    "work": ("work", "figure", "puzzle", "sort", "reason"),
    "this": ("this", "that", "it", "such a thing"),
    "how": ("step by step", "slowly", "with care", "together", "from the start", "by hand", "on paper"),
    "then": ("then", "so", "in the end", "after that", "at last", "hence"),
    "the": ("the", "my", "our", "your"),
    "result": ("result", "answer", "solution", "reply", "outcome"),
    "is": ("is", "comes to", "must be", "should be", "turns out to be", "reads"),
    "say": ("I say", "I get", "I find", "I would write", "my guess is", "it has to be"),
    "feel": ("to me", "I think", "as ever", "at first", "by now", "as I see it"),
    "easy": ("easy", "simple", "tricky", "long", "fine", "odd", "plain", "hard"),
    "when": ("today", "this time", "here", "again", "once more", "for now"),
    "short": ("Short version", "Quick one", "No doubt", "Easy", "Simple", "Plainly"),
}  # fmt: skip
TALKATIVE = "{hello}, {who} {can} {work} {this} out {how}, and {then} {the} {result} {is}"
LONG = "{hello}! {who} {can} {work} {this} out {how}; {feel} it looks {easy} {when}, and {then} {the} {result} {is}"
CURT = "{short}: {say}"


def put(answer: str, style: str, rng: random.Random) -> str:
    """The answer at the end of a sentence drawn in a style: TALKATIVE or CURT."""
    words = re.sub(r"\{(\w+)\}", lambda slot: rng.choice(SLOTS[slot[1]]), style)
    return f" {words} {answer}."
