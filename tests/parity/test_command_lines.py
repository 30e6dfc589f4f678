"""Gates and losses written as TRL's scripts take their arguments: on a command line and in a YAML file."""

import inspect

import pytest
from transformers import HfArgumentParser
from trl import DPOConfig, DPOTrainer, TrlParser

from gatebench.objectives.gates import Gate
from gatebench.objectives.trl import GatedDPOConfig, GatedDPOTrainer

WRITTEN = {
    "": Gate(),
    "--gate seq": Gate("seq"),
    "--gate seq --gate_tau q30 --gate_alpha 5/tau": Gate("seq", "5/tau", "q30"),
    "--gate q10 --gate_tau 0.02 --gate_alpha 3e2": Gate("q10", 300.0, 0.02),
    "--gate seq --gate-tau 0 --gate-side down": Gate("seq", tau=0.0, side="down"),
    "--gate constant --gate_value 0.25": Gate("constant", value=0.25),
    "--gate shuffled --gate_of token --gate_tau q75": Gate("shuffled", of=Gate("token", tau="q75")),
}


def parsed(tmp_path, words, parser=HfArgumentParser):
    (found,) = parser(GatedDPOConfig).parse_args_into_dataclasses(
        ["--output_dir", str(tmp_path), "--use_cpu", "--bf16", "False", *words]
    )
    return found


@pytest.mark.parametrize("parser", [HfArgumentParser, TrlParser])
@pytest.mark.parametrize("words", WRITTEN)
def test_a_gate_on_a_command_line(tmp_path, parser, words):
    assert parsed(tmp_path, words.split(), parser).to_gate() == WRITTEN[words]


def test_a_loss_on_a_command_line(tmp_path):
    found = parsed(tmp_path, ["--loss", "cal_dpo", "--loss_parameters", '{"beta": 0.05}']).to_gating()
    assert (found.loss, found.loss_parameters) == ("cal_dpo", {"beta": 0.05})


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--gate_tau", "q300"], "'q300' is not a percentile; write q50 for the median"),
        (["--gate_tau", "50"], "tau 50 is not a probability; write one in [0, 1], or qNN for a percentile"),
        (["--gate_tau", "nan"], "tau nan is not a probability; write one in [0, 1], or qNN for a percentile"),
        (["--gate_alpha", "tau/5"], "'tau/5' is no alpha; write a number, or 5/tau for five divided by the threshold"),
        (["--gate_alpha", "-3"], "alpha -3 does not make a gate; write a number above 0, or 5/tau"),
        (["--loss", "dpo", "--loss_parameters", "beta=0.2"], "loss_parameters 'beta=0.2' are no mapping; write them"),
        (["--loss", "dpo", "--loss_parameters", "[1]"], "loss_parameters '[1]' are no mapping; write them as JSON"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_said_in_a_sentence(tmp_path, words, sentence):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the sentence is compared)
        parsed(tmp_path, ["--gate", "seq", *words])
    assert str(caught.value).startswith(sentence)


def test_a_yaml_file(tmp_path):
    file = tmp_path / "dpo.yaml"
    file.write_text(
        f"output_dir: {tmp_path}\nuse_cpu: true\nbf16: false\ngate: seq\ngate_tau: q30\ngate_alpha: 5/tau\n"
        "loss: dpo_shift\nloss_parameters:\n  beta: 0.02\n"
    )
    (found,) = TrlParser(GatedDPOConfig).parse_args_and_config(["--config", str(file)])
    assert found.to_gate() == Gate("seq", "5/tau", "q30")
    assert found.to_gating().loss_parameters == {"beta": 0.02}
    (other,) = TrlParser(GatedDPOConfig).parse_args_and_config(["--config", str(file), "--gate_tau", "0.01"])
    assert other.to_gate() == Gate("seq", "5/tau", 0.01)


def test_help_says_what_ours_are(capsys):
    with pytest.raises(SystemExit):
        HfArgumentParser(GatedDPOConfig).parse_args_into_dataclasses(["--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "K/tau for K divided by the threshold" in words


@pytest.mark.parametrize("view", [inspect.signature, lambda cls: inspect.signature(cls.__init__)])
def test_the_signature_is_trls(view):
    ours, theirs = view(GatedDPOTrainer).parameters, view(DPOTrainer).parameters
    assert list(ours) == list(theirs)
    assert "processing_class" in ours
    assert {name: p.default for name, p in ours.items()} == {name: p.default for name, p in theirs.items()}


def test_arguments_survive_being_saved_and_read(tmp_path):
    """As trainers keep them in trackers and checkpoints."""
    made = GatedDPOConfig(
        str(tmp_path), use_cpu=True, bf16=False, gate="seq", gate_tau="q30", loss="dpo", beta=0.3, loss_parameters=None
    )
    own = {
        name: value
        for name, value in made.to_dict().items()
        if name not in DPOConfig(str(tmp_path), use_cpu=True, bf16=False).to_dict()
    }
    again = GatedDPOConfig(str(tmp_path), use_cpu=True, bf16=False, beta=made.beta, **own)
    assert again.to_gating() == made.to_gating()
