"""One sentence says what a suite came to, whatever is missing."""

from gatebench.bench.analysis.aggregates import GateAggregate, Interval
from gatebench.bench.analysis.answer import answer
from gatebench.bench.analysis.claims import ClaimResult, ContrastResult
from gatebench.bench.analysis.summary import CellResult, Summary

CELL = CellResult("m/d/dpo/none/0", "m", "d", "dpo", "dpo", "sft", "none", 0, "finished")


def claim(name, verdict, *contrasts, seen=0):
    return ClaimResult(name, "delta_chosen", "greater", verdict, contrasts, seen=seen)


def told(*claims, cells=(CELL,), gates=()):
    return answer(Summary("s", "run", cells, claims, gates=gates))


def test_the_decided_come_first_with_their_difference():
    open_ = claim("a", "undecided", ContrastResult("a", 0.1, -1.0, 1.2, 0.8))
    decided = claim("b", "refuted", ContrastResult("b", -0.449, -0.77, -0.13, 0.018), seen=2)
    assert (
        told(open_, decided)
        == "Refuted, after the fact: “b” (-0.45 [-0.77, -0.13]); Undecided: “a” (0.10 [-1.00, 1.20])."
    )


def test_many_of_one_verdict_are_counted():
    claims = [claim(str(number), "undecided", ContrastResult("x")) for number in range(4)]
    assert told(*claims, claim("b", "supported", ContrastResult("b", 1.0), ContrastResult("c", 2.0))) == (
        "Supported: “b”; 4 claims undecided."
    )


def test_without_claims_or_results_it_says_so():
    gate = GateAggregate("seq", "delta_chosen", 4, 2, Interval(-3.0, -4.0, -2.0), None)
    assert told(gates=(gate,)) == (
        "Δ chosen over all points, nats a response: seq -3.00 [-4.00, -2.00]; the suite claims nothing."
    )
    assert told() == "1 of 1 cells are finished; the suite claims nothing."
    assert told(cells=()) == "Nothing of it is finished yet."
