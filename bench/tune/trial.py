"""One trial: a cell's train stage, watched at rungs on the tuning probes and stopped where it is not worth its time.

The stage goes into the same store as those of any suite: warm-up and reference are shared, a finished one is not
trained again, and one that was pruned goes on from where it stopped if its numbers come up again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench.errors import StageFailed
from gatebench.bench.executors.loop import check_store
from gatebench.bench.models.source import FLOAT32
from gatebench.bench.plan.graph import Node, Plan, identity
from gatebench.bench.plan.planner import make_plan
from gatebench.bench.stages.stage import Report, code_revision
from gatebench.bench.store.sending import has_arrived, send
from gatebench.bench.store.store import Store
from gatebench.bench.tune.answering import AnswerScorer
from gatebench.bench.tune.pruning import is_hopeless
from gatebench.bench.tune.records import CONSTRAINTS, MEASURED, PARAMETERS, REASON, RUNG, SAME_AS, SURPLUS, Task
from gatebench.bench.tune.scorer import Scorer
from gatebench.bench.tune.space import Parameters, dimensions, suggest, trial_suite, tuned_point

if TYPE_CHECKING:
    import optuna

    from gatebench.bench.stages.training.callbacks import Watch
    from gatebench.objectives.causal_lm import CausalLM

RUNGS = (1 / 4, 1 / 2)  # shares of the training after which a trial may be stopped
SECONDS_BETWEEN_TRIES = 0.5  # at a trial of equal numbers that another process runs


class Surplus(Exception):
    """A trial that was asked for after the budget was given out."""


@dataclass
class Runner:
    """Optuna's objective function. Needs the finished stages of `Task.shared`. report: told how far a training is."""

    task: Task
    report: Report = lambda share, text: None
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        self.store = Store(self.task.store)

    def __call__(self, trial: optuna.Trial) -> tuple[float, ...]:
        import optuna

        tune = self.task.tune
        if _rank(trial) >= tune.trials:
            trial.set_user_attr(SURPLUS, True)
            raise Surplus
        parameters = suggest(trial, dimensions(tuned_point(self.task.suite, tune), tune))
        trial.set_user_attr(PARAMETERS, parameters)
        known = _equal(trial.study, parameters)
        try:
            metrics = known.user_attrs[MEASURED] if known else self._of_all_seeds(trial, parameters)
        except StageFailed as failure:
            trial.set_user_attr(REASON, str(failure))
            self._keep(trial, dict.fromkeys((b.metric for b in tune.bounds), float("-inf")))
            raise optuna.TrialPruned(str(failure)) from None
        if known:
            trial.set_user_attr(SAME_AS, known.number)
        trial.set_user_attr(MEASURED, metrics)
        self._keep(trial, metrics)
        return tuple(metrics[name] for name in tune.maximize)

    def _keep(self, trial: optuna.Trial, metrics: Mapping[str, float]) -> None:
        """Store how far each constraint is missed, as Optuna's samplers want it: at most 0 where it holds."""
        gaps = [min(bound.violation(metrics), 1e9) for bound in self.task.tune.bounds]
        trial.set_user_attr(CONSTRAINTS, gaps)

    def _of_all_seeds(self, trial: optuna.Trial, parameters: Parameters) -> dict[str, float]:
        suite = trial_suite(self.task.suite, self.task.tune, parameters)
        plan = make_plan(suite, self.task.sources)
        found: list[dict[str, float]] = []
        for cell in plan.cells:
            node = _alone(plan.nodes[cell.stages["train"]])
            found.append(self._trained(trial if not found else None, node))
        return {name: sum(metrics[name] for metrics in found) / len(found) for name in found[0]}

    def _trained(self, trial: optuna.Trial | None, node: Node) -> dict[str, float]:
        """The metrics of a train stage, which is made if it is not there. trial: asked at rungs whether to stop."""
        import optuna

        from gatebench.bench.models.loading import load_policy
        from gatebench.bench.stages import train

        check_store(Plan(self.task.name, (), {node.key: node}), self.store, [node.key])
        while not has_arrived(self.store, "train", node.key):
            lock = self.store.lock("train", node.key)
            if lock is None:
                time.sleep(SECONDS_BETWEEN_TRIES)
                continue
            started, made = time.monotonic(), False
            try:
                if self.store.is_finished("train", node.key):  # by another process, while this one was asking
                    made = True
                    continue
                inputs = {role: self.store.whole(kind, i) for role, kind, i in node.inputs}
                place = self.store.begin("train", node.key)
                facts = train.run(node.spec, inputs, place, self.report, self._watch(trial))
                facts["seconds"] = time.monotonic() - started
                manifest = {**identity("train", node.spec, node.inputs), **facts, "code": code_revision()}
                self.store.commit(place, "train", node.key, manifest)
                send(self.store, "train", node.key)
                made = True
            except train.Stopped:
                raise optuna.TrialPruned from None
            finally:
                lock.release(made)
        folder = self.store.whole("train", node.key)
        return self._measured(load_policy(folder, FLOAT32).eval())

    def _watch(self, trial: optuna.Trial | None) -> Watch | None:
        def watch(step: int, model: CausalLM) -> bool:
            if trial is None or step not in self.rungs:
                return False
            model.eval()
            metrics = self._measured(model)
            model.train()
            trial.set_user_attr(f"{RUNG}{step}", metrics)
            self._keep(trial, metrics)
            return is_hopeless(trial, self.task.tune, step, metrics)

        return watch if trial is not None else None

    def _measured(self, model: CausalLM) -> dict[str, float]:
        return {**self.scorer(model), **(self.answer_scorer(model) if self.answer_scorer else {})}

    @cached_property
    def shared(self) -> Plan:
        return self.task.shared()

    @property
    def _start(self) -> tuple[Node, Path]:
        """The probes before training, and the folder of the policy that they are measured on."""
        (start,) = [node for node in self.shared.nodes.values() if node.kind == "dynamics"]
        return start, next(self.store.whole(kind, key) for role, kind, key in start.inputs if role == "policy")

    @cached_property
    def rungs(self) -> set[int]:
        """Steps at which a trial is measured on its way, right after a logging step so that no metric is cut in two."""
        from gatebench.bench.models.encoding import Encoder
        from gatebench.bench.models.loading import load_tokenizer
        from gatebench.bench.stages.train import LOGGING_STEPS

        recipe = tuned_point(self.task.suite, self.task.tune).train
        start, policy = self._start
        pairs, _ = Encoder(load_tokenizer(policy), start.spec.lengths).training_pairs(start.spec.data)
        steps = recipe.steps or recipe.epochs * -(-len(pairs) // recipe.batch_size)
        wanted = {LOGGING_STEPS * max(1, round(steps * share / LOGGING_STEPS)) for share in RUNGS}
        return {step for step in wanted if step < steps} if self.task.tune.pruner != "none" else set()

    @cached_property
    def scorer(self) -> Scorer:
        """model -> its metrics on the tuning probes."""
        start, policy = self._start
        wanted = (*self.task.tune.maximize, *self.task.tune.subject_to)
        return Scorer(start.spec, policy, self.store.path("dynamics", start.key), self.task.tuned_on, wanted)

    @cached_property
    def answer_scorer(self) -> AnswerScorer | None:
        """model -> the metrics of its answers, where the search asks for one."""
        if not self.task.tune.of_answers:
            return None
        (asked,) = [node for node in self.shared.nodes.values() if node.kind == "generate"]
        start, policy = self._start
        return AnswerScorer(asked.spec, start.spec.data, policy, self.task.tuned_on)


def _alone(node: Node) -> Node:
    """A trial's training measures at its rungs alone, and leaves its last weights as they are."""
    return node.of(replace(node.spec, followed=None, recipe=replace(node.spec.recipe, keep="final")))


def _rank(trial: optuna.Trial) -> int:
    """How many trials before this one count towards the budget: all processes agree, so none is given out twice."""
    from optuna.trial import TrialState

    # a waiting one too: another process takes it before it asks for a new one
    counted = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.WAITING)
    return sum(other.number < trial.number for other in trial.study.get_trials(deepcopy=False, states=counted))


def _equal(study: optuna.Study, parameters: Parameters) -> optuna.trial.FrozenTrial | None:
    """A completed trial of the same numbers."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if trial.user_attrs.get(PARAMETERS) == parameters:
            return trial
    return None
