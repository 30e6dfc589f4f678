"""CHES and the geometry of gradients beside autograd and sums by hand."""

import math

import pytest
import torch

from gatebench.objectives.geometry import ReadResponse, ches_of, geometry
from gatebench.objectives.layout.head import ScaledHead


def test_ches_by_hand():
    """S+ = (4, 6), S- = (1, 1): <S+, S-> = 10, |S+|^2 = 52."""
    chosen, rejected = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 1.0]])
    assert ches_of(chosen, rejected) == (10 - 52, 10 / 2 - 52 / 4)


def test_ches_is_summed_where_half_precision_overflows():
    chosen = torch.full((400, 64), 40.0, dtype=torch.float16)
    raw, normalised = ches_of(chosen, -chosen)
    assert raw == -2 * 64 * (400 * 40.0) ** 2
    assert normalised == -2 * 64 * 40.0**2


@pytest.mark.parametrize(("scale", "cap"), [(1.0, None), (0.5, None), (1.0, 3.0), (2.0, 5.0)])
def test_the_gradients_are_autograds(scale, cap):
    torch.manual_seed(0)
    linear = torch.nn.Linear(5, 11)
    head = ScaledHead(linear, scale, cap)
    sides = [ReadResponse(torch.randn(n, 5), torch.randint(11, (n,))) for n in (4, 7)]
    gradients = []
    for side in sides:
        log_p = head(side.states).log_softmax(dim=1).gather(1, side.targets[:, None]).sum()
        gradients.append(torch.autograd.grad(log_p, linear.weight)[0].flatten().double())
    chosen, rejected = gradients
    found = geometry(head, *sides)
    assert found.gradient_norm_ratio == pytest.approx(float(rejected.norm() / chosen.norm()), rel=1e-5)
    assert found.gradient_cosine == pytest.approx(
        float(chosen @ rejected / chosen.norm() / rejected.norm()), rel=1e-5, abs=1e-6
    )
    assert (found.ches, found.ches_normalised) == ches_of(sides[0].states, sides[1].states)


def test_the_same_response_twice_has_the_cosine_one():
    side = ReadResponse(torch.randn(6, 5), torch.randint(11, (6,)))
    found = geometry(ScaledHead(torch.nn.Linear(5, 11)), side, side)
    assert (found.gradient_cosine, found.gradient_norm_ratio) == pytest.approx((1, 1))
    assert found.ches == pytest.approx(0, abs=1e-6)


def test_a_side_without_a_token_has_no_geometry():
    side = ReadResponse(torch.randn(6, 5), torch.randint(11, (6,)))
    empty = ReadResponse(torch.zeros(0, 5), torch.zeros(0, dtype=torch.long))
    found = geometry(ScaledHead(torch.nn.Linear(5, 11)), empty, side)
    assert math.isnan(found.gradient_cosine)
    assert math.isnan(found.gradient_norm_ratio)
    assert math.isnan(found.ches_normalised)
