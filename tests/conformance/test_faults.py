"""What does not keep its contract is found by the test that is about it: one fault a case, and where it shows."""

from dataclasses import dataclass, replace

import pytest
import torch

from gatebench import Loss
from gatebench.bench.executors.api import ExecutorKind, Failed, Made, Progressed
from gatebench.bench.judges.api import JudgeKind, Spec, Verdict
from gatebench.bench.metrics.dynamics import DYNAMICS, margin
from gatebench.bench.metrics.metric import NATS, REGISTERED, Metric
from gatebench.bench.stages.stage import Amount, Stage
from gatebench.bench.store.store import Store
from gatebench.objectives import gates
from gatebench.objectives.gates import Gate
from tests.conformance import stage as stages
from tests.conformance.executor import ExecutorConformance
from tests.conformance.gate import GateConformance
from tests.conformance.judge import COMPARISONS, JudgeConformance
from tests.conformance.loss import LossConformance
from tests.conformance.metric import TABLES, MetricConformance
from tests.conformance.stage import Example, StageConformance
from tests.toys.executor import InProcess


@dataclass
class Loose:
    """Parameters that are not frozen."""

    beta: float = 0.1


@dataclass(frozen=True)
class Firm:
    beta: float = 0.1


def mean(pairs, parameters):
    return pairs.margin.mean()


def by_place(pairs, parameters):
    return -pairs.margin * torch.arange(len(pairs.margin))


def detached(pairs, parameters):
    return -pairs.margin.exp().detach() * pairs.margin


def one_side(pairs, parameters):
    return -pairs.chosen


def margins(pairs, parameters):
    return -pairs.margin


@pytest.mark.parametrize(
    ("loss", "test", "more"),
    [
        (Loss("mean", mean, Firm), "it_gives_a_finite_number_a_pair", ()),
        (Loss("by_place", by_place, Firm), "the_order_of_the_pairs_does_not_matter", (False,)),
        (Loss("detached", detached, Firm), "its_gradients_are_those_of_its_value", ()),
        (Loss("one", one_side, Firm), "its_gradients_reach_the_sides_that_it_says_and_no_reference", (True,)),
    ],
)  # fmt: skip
def test_a_loss(loss, test, more):
    with pytest.raises((AssertionError, RuntimeError)):  # the latter by torch's own check of gradients
        getattr(LossConformance(), f"test_{test}")(loss, loss.make_parameters(), *more)


def test_a_loss_whose_parameters_can_be_changed():
    loss = Loss("loose", margins, Loose)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        LossConformance().test_its_parameters_are_frozen_and_can_stand_in_a_key(loss, loss.make_parameters())


def with_padding(log_probs, mask):
    return log_probs.mean(dim=1).exp()


def of_the_batch(log_probs, mask):
    return torch.linspace(0, 1, len(mask))


@pytest.mark.parametrize(
    ("probability", "test"),
    [
        (with_padding, "padding_has_no_effect_whatever_it_holds"),
        (of_the_batch, "another_order_of_the_batch_gives_the_same_weights_in_that_order"),
    ],
)
def test_a_gate(monkeypatch, probability, test):
    monkeypatch.setattr(gates, "third_parties", lambda: {"faulty": probability})
    with pytest.raises(AssertionError):
        getattr(GateConformance(), f"test_{test}")(Gate("faulty", 20.0, 0.3))


class Faulty:
    """A judge; says: (which time it is asked, a comparison) -> its score."""

    ordered = False

    def __init__(self, says):
        self.says, self.asked = says, 0

    def __call__(self, comparisons, report):
        self.asked += 1
        return [Verdict(self.says(self.asked, comparison)) for comparison in comparisons][
            : 3 if self.asked == 99 else 9
        ]


@pytest.mark.parametrize(
    ("says", "test"),
    [
        (lambda turn, comparison: 1.7, "it_gives_a_verdict_a_comparison"),
        (lambda turn, comparison: None, "it_gives_a_verdict_a_comparison"),  # and does not say why
        (lambda turn, comparison: turn % 2, "asked_again_it_says_the_same"),
        (lambda turn, comparison: 1.0, "one_that_does_not_look_at_the_order_turns_with_the_answers"),
    ],
)
def test_a_judge(says, test):
    with pytest.raises(AssertionError):
        getattr(JudgeConformance(), f"test_{test}")(Faulty(says), COMPARISONS)


@dataclass(frozen=True)
class Taken:
    url: str = ""


def test_a_judge_whose_parameter_has_a_name_that_is_taken():
    with pytest.raises(AssertionError):
        JudgeConformance().test_it_says_what_a_suite_has_to_give(JudgeKind("taken", Faulty, parameters=Taken))
    with pytest.raises(AssertionError):
        JudgeConformance().test_parameters_of_its_own_are_frozen_and_have_a_place_in_the_key(
            JudgeKind("taken", Faulty, parameters=Taken), Spec("taken")
        )


def by_the_first_row(probes):
    return margin(probes) + probes.values["log_prob"].iloc[0]


def zero_where_missing(probes):
    return probes.change[probes.unrelated].mean(axis=1).fillna(0.0)


@pytest.mark.parametrize(
    ("compute", "test", "takes"),
    [
        (by_the_first_row, "it_does_not_depend_on_the_order_of_the_rows", ("frame", "values")),
        (zero_where_missing, "what_the_data_have_not_is_missing_and_never_0", ("frame", "poorer", "values")),
    ],
)
def test_a_metric(monkeypatch, compute, test, takes):
    faulty = Metric("faulty", "faulty", NATS, DYNAMICS, compute)
    monkeypatch.setitem(REGISTERED, ("dynamics", "faulty"), faulty)
    full, poorer, values = TABLES[DYNAMICS]
    given = {"frame": full(), "poorer": poorer(), "values": values}
    with pytest.raises(AssertionError):
        getattr(MetricConformance(), f"test_{test}")(faulty, **{name: given[name] for name in takes})


@dataclass(frozen=True)
class Paths:
    """A Spec that counts what changes no bits."""

    rate: float = 1.0
    path: set = frozenset()


def amount(spec, inputs, pairs):
    return Amount(-1, 1, 2, 1, 1, 0)


def run(spec, inputs, out, report):
    report(2.0, "too far")
    return {}


STAGE = Stage("faulty", 1, Paths, run, amount)


@pytest.mark.parametrize(
    ("test", "more"),
    [
        ("it_is_registered_under_its_own_name_with_a_version", ()),
        ("its_spec_is_frozen_and_has_a_canonical_form", (Example(Paths(), {}, {}),)),
        ("its_work_follows_from_its_parameters_alone", (Example(Paths(path=()), {}, {}, 4),)),
        ("its_facts_are_json_and_take_no_name_of_the_manifest", ([stages.Run(None, {"version": 3}, [])],)),
    ],
)
def test_a_stage(test, more):
    with pytest.raises((AssertionError, TypeError)):
        getattr(StageConformance(), f"test_{test}")(STAGE, *more)


@pytest.mark.parametrize(
    ("test", "run"),
    [
        ("it_writes_into_its_folder_alone", {"beside": ["left"]}),
        ("it_writes_into_its_folder_alone", {"inputs_kept": False}),
        ("it_tells_its_progress_in_shares", {"told": [(2.0, "too far")]}),
    ],
)
def test_what_a_stage_did(tmp_path, test, run):
    (tmp_path / "file").touch()
    with pytest.raises(AssertionError):
        getattr(StageConformance(), f"test_{test}")([replace(stages.Run(tmp_path, {}, []), **run)])


def test_a_stage_that_is_another_one_when_it_runs_again(tmp_path):
    runs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        runs.append(stages.Run(tmp_path / name, {}, []))
    with pytest.raises(AssertionError):
        StageConformance().test_run_again_it_gives_the_same_bits_and_facts(runs)


class Forgetful(InProcess):
    """An executor that tells no sentence and progress beyond the end."""

    def results(self):
        for told in super().results():
            if isinstance(told, Failed):
                yield Failed(told.node, replace(told.failure, message="something"))
            elif isinstance(told, Made):
                yield Progressed(told.node, 1.5, "a more than done")
                yield told
            else:
                yield told


@pytest.mark.parametrize("test", ["a_stage_that_refuses_fails_with_its_sentence_alone",
                                  "progress_is_told_in_shares_between_start_and_end"])  # fmt: skip
def test_an_executor(tmp_path, monkeypatch, test):
    suite = ExecutorConformance()
    make = ExecutorConformance.make.__wrapped__(suite, ExecutorKind("forgetful", Forgetful), tmp_path)
    run_plan = ExecutorConformance.run_plan.__wrapped__(suite, make, Store(tmp_path / "store"), monkeypatch)
    with pytest.raises(AssertionError):
        getattr(suite, f"test_{test}")(run_plan)
