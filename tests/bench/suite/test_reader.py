"""Bad suites get one clear sentence each: file, line, key, the nearest valid word."""

import pytest

from gatebench.bench.errors import UserError
from gatebench.bench.suite.reader import load_suite
from tests.helpers import GOOD, SUITES, write


def test_the_good_suite_is_good(tmp_path):
    suite = load_suite(write(tmp_path, GOOD))
    assert [o.warmup for o in suite.objectives] == ["sft", "extended_sft"]
    assert suite.train.lengths.max_length == 64


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("seeds: [0]", "seed: [0]", ["suite.yaml:7: seed: unknown key; did you mean 'seeds'?"]),
        ("[dpo, extended_sft]", "[dpoo, extended_sft]", ["suite.yaml:5: objectives.0", "did you mean 'dpo'?"]),
        (
            "learning_rate: 0.001",
            "learning_rat: 0.001",
            ["suite.yaml:11: train.learning_rat", "did you mean 'learning_rate'?"],
        ),
        ("learning_rate: 0.001", "learning_rate: fast", ["suite.yaml:11: train.learning_rate", "number", "'fast'"]),
        ("batch_size: 4", "batch_size: -4", ["train.batch_size", "greater than 0", "-4"]),
        ("kind: seq", "kind: sequ", ["suite.yaml:6: gates.1", "unknown gate kind 'sequ'; did you mean 'seq'?"]),
        ("alpha: 50", "alfa: 50", ["gates.1.alfa", "did you mean 'alpha'?"]),
        ("tau: q50", "tau: 50%", ["gates.1", "is not a percentile"]),
        ("tau: q50", "tau: 3.5", ["gates.1", "not a probability"]),
        (
            "builtin:ladder/neox-0.3m",
            "builtin:ladder/neox-0.4m",
            ["models.0", "did you mean 'builtin:ladder/neox-0.3m'"],
        ),
        ("path: builtin:toolbox", "path: builtin:toolbux", ["datasets.0", "did you mean 'builtin:toolbox'"]),
        ("models: [builtin:ladder/neox-0.3m]", "models: []", ["models", "at least 1 item"]),
        ("name: good", "nam: good", ["name: missing; this key is required", "did you mean 'name'?"]),
        ("seeds: [0]", "seeds: [0]\nexclude: [{gate: sq}]", ["no gate 'sq' in this suite; did you mean 'seq'?"]),
        ("seeds: [0]", "seeds: [0]\nexclude: [{gates: seq}]", ["unknown axis 'gates'; did you mean 'gate'?"]),
        (
            "seeds: [0]",
            "seeds: [0]\noverrides: [{where: {loss: dpo}, train: {learningrate: 1}}]",
            ["did you mean 'learning_rate'?"],
        ),
        ("kind: seq", "kind: shuffled, of: seq", ["of: no gate 'seq'"]),
        ("name: good", "name: [good", ["not YAML"]),
    ],
)
def test_mistakes(tmp_path, old, new, expected):
    assert old in GOOD
    with pytest.raises(UserError) as caught:
        load_suite(write(tmp_path, GOOD.replace(old, new)))
    text = str(caught.value)
    assert all(part in text for part in expected), text
    assert "Traceback" not in text


def test_every_mistake_is_reported_at_once(tmp_path):
    broken = (
        GOOD.replace("seeds:", "seed:")
        .replace("  learning_rate: 0.001\n", "  learning_rat: 1\n")
        .replace("[dpo,", "[dpoo,")
    )
    with pytest.raises(UserError) as caught:
        load_suite(write(tmp_path, broken))
    assert len(caught.value.sentences) == 3


def test_a_missing_file_names_the_nearest(tmp_path):
    write(tmp_path, GOOD)
    with pytest.raises(UserError, match=r"no such suite file; did you mean 'suite.yaml'"):
        load_suite(tmp_path / "siute.yaml")


def test_a_missing_profile_names_the_nearest(tmp_path):
    with pytest.raises(UserError, match="the suite has none"):
        load_suite(write(tmp_path, GOOD), "quick")
    with pytest.raises(UserError, match="did you mean 'quick'"):
        load_suite(SUITES / "scale_vs_gate.yaml", "quik")


def test_settings_go_over_the_file(tmp_path):
    suite = load_suite(write(tmp_path, GOOD), None, {"train.learning_rate": 0.5})
    assert suite.train.learning_rate == 0.5
    assert suite.train.batch_size == 4


@pytest.mark.parametrize("profile", [None, "quick", "llm"])
def test_the_shipped_suite_is_valid_in_every_profile(profile):
    suite = load_suite(SUITES / "scale_vs_gate.yaml", profile)
    assert suite.name == "scale_vs_gate"
    assert suite.tune
    assert suite.tune.trials == (6 if profile == "quick" else 40)


@pytest.mark.parametrize(
    ("metric", "wanted"),
    [
        ("delta_shared", "evaluate.dynamics.profile is true"),
        ("test_support_kept", "evaluate.dynamics.confidence is true"),
        ("generation_pass_at_8", "evaluate.generate.samples is 8 or more"),
        ("generation_delta_self_bleu", "evaluate.generate.samples is 2 or more"),
    ],
)
def test_a_claim_on_what_the_suite_does_not_measure_says_what_would(tmp_path, metric, wanted):
    claim = f"claims: [{{name: c, metric: {metric}, contrast: {{gate: [seq, none]}}, expect: greater}}]\n"
    answering = GOOD.replace("evaluate:", "evaluate:\n  generate: {samples: 4, temperature: 1.0, prompts: 4}")
    if metric == "generation_delta_self_bleu":
        answering = answering.replace("samples: 4", "samples: 1")
    with pytest.raises(UserError, match=rf"{metric} is measured where {wanted}"):
        load_suite(write(tmp_path, answering + claim))
