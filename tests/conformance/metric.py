"""What a metric keeps: a number a prompt, or none where the data have none, and one entry from which all lists come."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from gatebench.bench.metrics import answers, dynamics, geometry, registry, rewards, verdicts
from gatebench.bench.metrics.metric import REGISTERED, AnyMetric, Source

if TYPE_CHECKING:
    import pandas

LAST = 4  # step
PROMPTS = range(6)
KINDS = ("chosen", "rejected", "chosen_initial", "reject_gptsemantic", "irr_train", "random_permute", "other_1")
OPTIONAL_MASSES = ("mass_chosen_paraphrases", "mass_rejected_paraphrases", "mass_unrelated")


def probes(kinds: tuple[str, ...] = KINDS) -> pandas.DataFrame:
    """The table of a dynamics stage, at random; of a kind that is left out no response has any mass."""
    import numpy
    import pandas

    random, rows = numpy.random.default_rng(0), []
    for step in (0, 2, LAST):
        for split in ("train", "test"):
            for prompt in PROMPTS:
                for kind in KINDS:
                    masses = random.dirichlet([1.0] * 7)
                    rows.append({
                        "step": step, "split": split, "prompt": prompt, "kind": kind, "tokens": 1 + prompt,
                        "log_prob": -5 - 10 * random.random(), "argmax": -5 * random.random(), "kl": random.random(),
                        "entropy": random.random(),
                        **dict.fromkeys((*dynamics.PLACES, dynamics.SHARED), -random.random()),
                        "support": random.random(), **dict.fromkeys(dynamics.GAPS, random.random() - 0.5),
                        **dict(zip((f"mass_{part}" for part in MASSES), masses, strict=True)),
                    })  # fmt: skip
    frame = pandas.DataFrame(rows)
    if len(kinds) < len(KINDS):
        frame = frame[frame["kind"].isin(kinds)].reset_index(drop=True)
        frame.loc[:, list(OPTIONAL_MASSES)] = 0.0
    return frame


MASSES = ("target", "top1", "chosen", "chosen_paraphrases", "rejected_paraphrases", "unrelated", "rest")


def placed() -> pandas.DataFrame:
    """The table of a geometry stage, of its probes."""
    import pandas

    places = [(split, prompt) for split in ("train", "test") for prompt in PROMPTS]
    frame = pandas.DataFrame(places, columns=["split", "prompt"])
    names = ("edit_distance", "near_miss", "ches", "ches_normalised", "gradient_cosine", "gradient_norm_ratio")
    return frame.assign(**{name: frame["prompt"] / (2.0 + place) for place, name in enumerate(names)})


def answered(graded: bool = True) -> pandas.DataFrame:
    """The table of a generate stage, of as many samples as a metric can ask for."""
    import pandas

    ids = [[1, 2, 3, 1, 2], [], [7], [4, 4, 4, 4], [1, 2, 9], [5, 6]]
    rows = [
        {"prompt": prompt, "sample": sample, "ids": own, "response": " ".join(map(str, own)),
         "finish_reason": ("stop", "length")[(prompt + sample) % 2], "passed": (prompt * sample) % 3 == 1}
        for sample in range(answers.PASS_TRIES[-1]) for prompt in PROMPTS for own in [ids[(prompt * (sample + 1)) % 6]]
    ]  # fmt: skip
    frame = pandas.DataFrame(rows)
    return frame if graded else frame.drop(columns="passed")


def judged(graded: bool = True, numbers: bool = True) -> pandas.DataFrame:
    """The table of a judge stage against one opponent; the last comparison has no verdict in one order. Of a judge that
    knows no degrees, the texts not being at hand, with graded=False; numbers: whether it gives each answer one."""
    import pandas

    frame = pandas.DataFrame({
        "prompt": PROMPTS, "first": [1, 0, 0.5, 1, 0, 1], "second": [1, 0, 0.5, 0, 1, None],
        "tokens": [3, 4, 5, 6, 7, 9], "opponent_tokens": [3, 5, 2, 6, 1, 4],
        "reward": [0.5, -1, 2, 0, 1, None], "opponent_reward": [0.1, 1, 2, -3, 4, None],
    })  # fmt: skip
    if graded:
        texts = {"response": [*"abcdef"], "opponent_response": ["", "**a**", "- a", "abc", "", "a"]}
        more = {"first_much": [True, False] * 3, "second_much": False, "difficulty": [0.1, 2, -1, 0, 0.5, 1]}
        frame = frame.assign(**more, **texts)
    return frame if numbers else frame.drop(columns=["reward", "opponent_reward"])


def rewarded(ties: bool = True) -> pandas.DataFrame:
    """The rewards of right and wrong answers: four of six prompts are pairs, two are one question of the Ties."""
    import pandas

    numbers = [[1, 0], [0, 1], [1, 1], [2, -1], [3, 1, 0], [3, 2.5, 1, 0]]
    rows = [
        {"prompt": prompt, "id": {4: "ref:0", 5: "tied:0"}.get(prompt, ""), "answer": n, "reward": float(value),
         "right": n == 0 or (prompt == 5 and n == 1)}
        for prompt, own in enumerate(numbers) for n, value in enumerate(own) if ties or prompt < 4
    ]  # fmt: skip
    return pandas.DataFrame(rows)


Values = Callable[["pandas.DataFrame"], Any]
# source -> a table, the same without what data need not have, and what metrics are handed of a table
TABLES: dict[Source[Any], tuple[Callable[[], Any], Callable[[], Any], Values]] = {
    dynamics.DYNAMICS: (probes, lambda: probes(("chosen", "rejected")), lambda frame: dynamics.Probes(frame, LAST)),
    geometry.GEOMETRY: (placed, placed, lambda frame: frame.set_index(["split", "prompt"])),
    answers.ANSWERS: (answered, lambda: answered(graded=False), answers.Answers),
    rewards.REWARDS: (rewarded, lambda: rewarded(ties=False), rewards.Rewards),
    verdicts.VERDICTS: (
        judged,
        lambda: judged(graded=False, numbers=False),
        lambda frame: verdicts.Verdicts(frame.set_index("prompt")),
    ),
}


class MetricConformance:
    """Fixtures: metric, the registered entry. For a source that is not ours also frame (a table of its stage), poorer
    (the same without what data need not have) and values (what the source makes of a table)."""

    @pytest.fixture
    def metric(self) -> AnyMetric:
        raise NotImplementedError

    @pytest.fixture
    def frame(self, metric: AnyMetric) -> pandas.DataFrame:
        return TABLES[metric.source][0]()

    @pytest.fixture
    def poorer(self, metric: AnyMetric) -> pandas.DataFrame:
        return TABLES[metric.source][1]()

    @pytest.fixture
    def values(self, metric: AnyMetric) -> Values:
        return TABLES[metric.source][2]

    def test_it_is_registered_and_listed_once_in_every_way_that_its_source_has(self, metric):
        assert REGISTERED[metric.source.stage, metric.name] is metric
        listed = registry.names()
        for split, variant in metric.source.splits:
            for way in metric.source.variants:
                name = f"{variant.prefix}{way.prefix}{metric.name}"
                assert listed.count(name) == 1
                assert registry.get_metric(name) is metric
                assert registry.place_of(name) == (split, f"{way.prefix}{metric.name}")

    def test_it_says_what_it_is(self, metric):
        assert metric.name.isidentifier()
        assert metric.title
        assert metric.unit
        assert metric.better in ("higher", "lower", None)
        assert metric.reported or not metric.headline
        titles = [
            registry.title(name) for name in registry.names() if registry.get_metric(name).source == metric.source
        ]
        assert all(titles.count(registry.title(name)) == 1 for name in registry.names(lambda own: own is metric))

    def test_it_gives_a_number_a_prompt(self, metric, frame, values):
        found = metric.compute(values(frame))
        assert found is not None
        assert found.index.is_unique
        assert len(found) == len(metric.source.table(values(frame)))
        assert found.astype(float).notna().any()

    def test_it_does_not_depend_on_the_order_of_the_rows(self, metric, frame, values):
        shuffled = frame.sample(frac=1, random_state=0)
        expected, found = metric.compute(values(frame)), metric.compute(values(shuffled))
        assert set(found.index) == set(expected.index)
        assert found.reindex(expected.index).to_numpy() == pytest.approx(expected.to_numpy(), nan_ok=True)

    def test_it_changes_nothing_of_what_was_measured(self, metric, frame, values):
        before = frame.copy(deep=True)
        metric.compute(values(frame))
        assert frame.equals(before)

    def test_what_the_data_have_not_is_missing_and_never_0(self, metric, frame, poorer, values):
        whole, found = metric.compute(values(frame)), metric.compute(values(poorer))
        if found is None:
            assert metric.name not in metric.source.table(values(poorer))
            return
        there = found.dropna()
        assert there.to_numpy() == pytest.approx(whole.reindex(there.index).to_numpy())
