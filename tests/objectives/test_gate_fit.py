"""A gate whose thresholds do not fit the data is called what it is, with what fits."""

import pytest
import torch

from gatebench.objectives.gate_fit import constant_caution
from gatebench.objectives.gates import Gate, resolve_thresholds

P = torch.linspace(0.001, 0.01, 200)  # of a model whose sequences are improbable, as most are


@pytest.mark.parametrize(
    ("alpha", "tau", "told"),
    [
        (1000.0, 0.9, "closed on this data: of 200 rejected responses 100 % have a weight below 0.1, 0 in the mean;"),
        (600.0, 0.0135, "closed on this data: of 200 rejected responses 98 % have a weight below 0.1, "),
        (1e4, 0.0, "open on this data: of 200 rejected responses 100 % have a weight above 0.9;"),
        (1.0, 0.01, "nearly a constant on this data: of 200 rejected responses 90 % have a weight from 0.498 to 0.5;"),
    ],
)
def test_what_numbers_of_another_scale_make_of_a_gate(alpha, tau, told):
    sentence = constant_caution(Gate("seq", alpha, tau), P)
    assert f"gate seq: alpha {alpha:g} with tau {tau:.3g} is {told}" in sentence
    assert "their probabilities run from 0.00145 to 0.00955 (5-95 %)" in sentence
    assert sentence.endswith("Write tau: q50 with alpha: 5/tau, which fit any scale.")


def test_what_is_advised_fits_every_scale():
    for scale in (1e-6, 1e-3, 1.0, 100.0):
        p = P * scale
        assert constant_caution(resolve_thresholds(Gate("seq", alpha="5/tau", tau="q50"), p), p) is None


def test_where_nothing_fits_it_does_not_say_so():
    p = torch.linspace(0.05, 0.0501, 50)
    sentence = constant_caution(Gate("seq", 1.0, 0.05), p)
    assert "0.05 to 0.0501" in sentence
    assert sentence.endswith("They hardly differ, so that no threshold tells these responses apart.")
    assert constant_caution(Gate("seq", 1e6, 0.05005), p) is None


def test_tokens_are_counted_as_tokens_and_what_has_no_probability_is_not():
    p = torch.cat([P, torch.tensor([torch.nan])])
    assert "of 200 rejected tokens 100 % have" in constant_caution(Gate("token", 1000.0, 0.9), p)


def test_a_gate_without_a_threshold_has_none_that_does_not_fit():
    for gate in (Gate(), Gate("constant", value=0.0), Gate("clip", bound=1.0), Gate("seq", tau="q50")):
        assert constant_caution(gate, P) is None
