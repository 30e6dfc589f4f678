"""What is told of the time left, against a run whose every stage's length is known: a simulated clock, by hand."""

from dataclasses import dataclass

import pytest

from gatebench.bench.cost.schedule import simulate
from gatebench.bench.executors.api import Elsewhere, Finished, Progressed, Skipped, Started
from gatebench.bench.executors.clock import Clock, Left, StageLengths, in_words
from gatebench.bench.plan.graph import Cell, Node, Plan

SMALL, LARGE = {"base": 20.0, "train": 10.0, "dynamics": 2.0}, {"base": 90.0, "train": 100.0, "dynamics": 8.0}
MODELS = {"small": SMALL, "large": LARGE}
GATES = ("none", "seq", "constant")


def node(kind, key, *inputs):
    return Node(kind, None, inputs, key)


def suite():
    """(plan, seconds by key): of each model a base, and of each gate a training and its dynamics."""
    nodes, cells, seconds = {}, [], {}
    for model, takes in MODELS.items():
        base = f"{model}-base"
        nodes[base] = node("base", base)
        for gate in GATES:
            train, end = f"{model}-{gate}-train", f"{model}-{gate}-dynamics"
            nodes[train] = node("train", train, ("policy", "base", base))
            nodes[end] = node("dynamics", end, ("policy", "base", base), ("train", "train", train))
            own = {"base": base, "train": train, "dynamics": end}
            cells.append(Cell(f"{model}/{gate}", model, "d", "dpo", "dpo", "sft", gate, 0, own))
            seconds |= {key: takes[kind] for kind, key in own.items()}
    return Plan("s", tuple(cells), nodes), seconds


PLAN, SECONDS = suite()


@dataclass(frozen=True)
class Told:
    """At a moment of the run: what is left in truth, and what was told. ended: kinds with a finished stage."""

    truth: float
    left: Left | None
    ended: frozenset[str]


def run(lengths=None, workers=1, loading=0.0):
    """Everything that is told; every stage tells its share ten times, evenly after a part of it that is loading."""
    simulated = simulate(PLAN.inputs, SECONDS, list(PLAN.nodes), workers)
    events = []
    for key, start in simulated.starts.items():
        own, took = PLAN.nodes[key], SECONDS[key]
        events.append((start, 0, Started(own)))
        for tenth in range(10):
            at = start + took * (loading + (1 - loading) * tenth / 10)
            events.append((at, 1, Progressed(own, tenth / 10, "")))
        events.append((start + took, -1, Finished(own)))
    clock, told, ended = Clock(PLAN, (), workers, lengths), [], set()
    for at, _, event in sorted(events, key=lambda entry: entry[:2]):
        clock.note(event, at)
        if isinstance(event, Finished):
            ended.add(event.node.kind)
        told.append(Told(simulated.wall - at, clock.remaining(at), frozenset(ended)))
    return told


def foreseen(**off):
    """Seconds of an earlier run, `off` by a factor for each kind."""
    return StageLengths({key: SECONDS[key] * off.get(PLAN.nodes[key].kind, 1.0) for key in SECONDS}, True)


def test_what_others_made_and_what_nobody_makes_is_not_waited_for():
    clock = Clock(PLAN, (), 1, foreseen())
    clock.note(Elsewhere(PLAN.nodes["small-base"]), 0.0)
    clock.note(Skipped(PLAN.nodes["large-none-train"]), 0.0)
    assert clock.remaining(0.0) == Clock(PLAN, ("small-base", "large-none-train"), 1, foreseen()).remaining(0.0)
    assert clock.remaining(0.0).least < Clock(PLAN, (), 1, foreseen()).remaining(0.0).least


OPERATIONS = StageLengths({key: seconds**1.4 for key, seconds in SECONDS.items()}, False)  # small stages waste more


def test_before_anything_is_known_nothing_is_claimed():
    told = run()
    assert told[0].left is None
    assert in_words(told[0].left) == "time left: measuring"
    first = next(one.left for one in told if one.left)
    assert first.most is None  # other kinds wait that nobody has seen
    assert in_words(first).startswith("at least ")


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("lengths", [None, OPERATIONS, foreseen()], ids=["nothing", "operations", "seconds"])
def test_the_truth_is_never_below_the_least_that_is_told_nor_far_above_the_most(lengths, workers):
    for one in run(lengths, workers):
        if one.left and one.truth > 5:
            assert one.left.least <= one.truth * 1.05
            # the longest chain and all work over the workers bound a schedule from below: it may be some longer
            assert one.left.most is None or one.truth <= one.left.most * (1.05 if workers == 1 else 1.9)


def test_a_small_model_does_not_speak_for_a_large_one():
    """After the small trainings their mean would foretell a tenth of the large ones: that is no more than one end."""
    (after,) = [one for one in run(OPERATIONS) if one.ended == {"base", "train", "dynamics"}][:1]
    assert after.left.least < after.truth < after.left.most
    assert " to " in in_words(after.left)
    (blind,) = [one for one in run() if one.ended == {"base", "train", "dynamics"}][:1]
    assert blind.left.most is None


def test_what_an_earlier_run_foretold_is_set_right_by_the_first_of_its_kind():
    """All took twice as long as foreseen, which an end of the range allows for until a stage of its kind says so."""
    half = foreseen(base=0.5, train=0.5, dynamics=0.5)
    told = run(half)
    start = told[0].left
    assert start.most == pytest.approx(start.least * 1.5 * 1.5)
    assert start.least == pytest.approx(told[0].truth / 2 / 1.5)
    for one in told:
        if one.ended == {"base", "train", "dynamics"} and one.truth > 5:
            assert one.left.least == pytest.approx(one.truth, rel=0.05)
            assert one.left.most == pytest.approx(one.truth, rel=0.05)


def test_one_kind_that_was_slower_says_nothing_of_another():
    told = run(foreseen(base=0.25))
    (after,) = [one for one in told if one.ended == {"base"}][:1]
    assert after.left.least <= after.truth <= after.left.most


def test_loading_is_no_pace():
    """Half of a stage loads before its first word: its time so far over its share would be 99 s that are left."""
    first = next(one.left for one in run(loading=0.5) if one.left)
    assert first.least == pytest.approx(9.0)  # of the base, which takes 20 s and trains for 10 of them


def test_a_chain_takes_its_time_whatever_the_workers():
    """The last training and what measures it wait for each other."""
    told = run(foreseen(), workers=4)
    assert all(one.left.most >= one.truth * 0.95 for one in told if 0 < one.truth < 60)


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (None, "time left: measuring"),
        (Left(0.0, None), "time left: measuring"),
        (Left(50.0, None), "at least 50 s left"),
        (Left(100.0, 110.0), "about 2 min left"),
        (Left(40.0, 200.0), "40 s to 3 min left"),
        (Left(7200.0, 20000.0), "2.0 h to 5.6 h left"),
    ],
)
def test_in_words(left, words):
    assert in_words(left) == words
