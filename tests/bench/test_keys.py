"""What moves a key and what does not."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from gatebench.bench import keys
from gatebench.bench.data.source import DataSource
from gatebench.objectives.gates import Gate


@dataclass(frozen=True)
class Spec:
    rate: float = 1e-3
    path: str = field(default="a", metadata={"key": False})


def test_a_value_in_the_key_moves_it_and_one_out_of_it_does_not():
    assert keys.digest(Spec()) == keys.digest(Spec(path="b"))
    assert keys.digest(Spec()) != keys.digest(Spec(rate=2e-3))


def test_order_of_a_mapping_does_not_matter_and_lists_are_tuples():
    assert keys.digest({"a": 1, "b": [1, 2]}) == keys.digest({"b": (1, 2), "a": 1})
    assert keys.digest([1, 2]) != keys.digest([2, 1])


def test_ints_floats_and_booleans_are_told_apart_by_their_json():
    assert len({keys.digest(value) for value in (1, 1.5, True, "1", None)}) == 5


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1: 2}, Path("x"), {1, 2}, lambda: 0])
def test_what_has_no_canonical_form_is_refused(value):
    with pytest.raises(TypeError, match="key"):
        keys.digest({"x": value})


def test_a_data_source_is_its_content_not_its_place():
    source = DataSource("abc", 10, 5, 3, path="/here", probes_path="/there")
    assert keys.digest(source) == keys.digest(replace(source, path="/elsewhere", probes_path=None))
    assert keys.digest(source) != keys.digest(replace(source, content="abd"))


def test_gates_differ_in_the_key_by_every_parameter():
    variants = [Gate("seq"), Gate("q10"), Gate("seq", 1.0), Gate("seq", tau=0.5), Gate("seq", side="down")]
    variants += [
        Gate("seq", probability="reference"),
        Gate("shuffled", of=Gate("seq")),
        Gate("shuffled", of=Gate("q10")),
    ]
    assert len({keys.digest(gate) for gate in variants}) == len(variants)


@dataclass(frozen=True)
class Later:
    """Spec with an option that was added later."""

    rate: float = 1e-3
    path: str = field(default="a", metadata={"key": False})
    option: object = field(default=None, metadata={"key": "given"})


def test_an_option_that_was_added_later_moves_no_key_until_it_is_given():
    assert keys.canonical(Later()) == keys.canonical(Spec())
    assert keys.digest(Later()) == keys.digest(Spec())
    assert keys.digest(Later(option=None)) == keys.digest(Spec())
    assert keys.canonical(Later(option=2)) == {"rate": 1e-3, "option": 2}


def test_given_options_differ_by_their_values():
    assert len({keys.digest(Later(option=value)) for value in (None, False, 0.5, "x", [1], Spec(2.0))}) == 6


def test_a_given_option_inside_another_value_counts_too_with_and_without_a_memo():
    memo = {}
    for own in (Later(), Later(option=1)):
        assert keys.canonical([own, own], memo) == [keys.canonical(own)] * 2
