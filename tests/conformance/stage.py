"""What every stage keeps. A third party's test subclasses StageConformance and gives `stage`, `spec`, `inputs`.

Where `inputs` is None only what a stage says of itself is checked, nothing is run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gatebench.bench import keys
from gatebench.bench.metrics import registry
from gatebench.bench.stages.stage import AnyStage


class StageConformance:
    """pairs: training pairs of its data set."""

    stage: AnyStage
    pairs: int | None = 24

    @pytest.fixture
    def spec(self) -> Any:
        raise NotImplementedError

    @pytest.fixture
    def inputs(self) -> Mapping[str, Path] | None:
        """The folders of the finished stages that it rests on, by role."""
        return None

    @pytest.fixture
    def input_specs(self) -> Mapping[str, Any]:
        return {}

    def test_its_spec_is_frozen_and_has_a_key(self, spec: Any) -> None:
        assert isinstance(spec, self.stage.spec)
        with pytest.raises(dataclasses.FrozenInstanceError):
            spec.anything = 1
        assert keys.digest(spec) == keys.digest(dataclasses.replace(spec))
        assert isinstance(self.stage.version, int)

    def test_what_it_costs_follows_from_its_spec(self, spec: Any, input_specs: Mapping[str, Any]) -> None:
        found = self.stage.amount(spec, input_specs, self.pairs)
        assert found == self.stage.amount(spec, input_specs, self.pairs)
        assert found is not None
        assert min(found.units, found.unit_tokens, found.batch_tokens, found.saved) >= 0
        keys.canonical(found.like)
        assert self.stage.guess > 0

    def test_its_short_form_is_no_longer(self, spec: Any, input_specs: Mapping[str, Any]) -> None:
        if self.stage.shorten:
            short = self.stage.shorten(spec, 1, 0)
            assert isinstance(short, self.stage.spec)
            long, cut = (self.stage.amount(s, input_specs, self.pairs) for s in (spec, short))
            assert long is not None
            assert cut is not None
            assert cut.units <= long.units

    def test_run_again_it_writes_the_same_bits_into_its_folder_alone(
        self, spec: Any, inputs: Mapping[str, Path] | None, tmp_path: Path
    ) -> None:
        if inputs is None:
            pytest.skip("what this stage rests on is not made here")
        before = {role: _bits(folder) for role, folder in inputs.items()}
        runs = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            shares: list[float] = []
            facts = self.stage.run(spec, inputs, tmp_path / name, lambda share, text, to=shares: to.append(share))  # type: ignore[misc]
            assert all(0 <= share <= 1 for share in shares)
            runs.append((json.loads(json.dumps(facts)), _bits(tmp_path / name)))
        assert runs[0] == runs[1]
        assert before == {role: _bits(folder) for role, folder in inputs.items()}
        assert {"one", "two"} == {path.name for path in tmp_path.iterdir()}
        assert set(self.stage.artifacts) <= set(runs[0][1])

    def test_its_values_by_prompt_are_registered_metrics(
        self, spec: Any, inputs: Mapping[str, Path] | None, tmp_path: Path
    ) -> None:
        if inputs is None or self.stage.by_prompt is None:
            pytest.skip("this stage has no values by prompt, or what it rests on is not made here")
        self.stage.run(spec, inputs, tmp_path, lambda share, text: None)
        found = self.stage.by_prompt(tmp_path, inputs)
        assert {"split", "prompt"} <= set(found.columns)
        known = {registry.place_of(name) for name in registry.names()}
        for split, rows in found.groupby("split"):
            assert not rows["prompt"].duplicated().any()
            own = [name for name in rows.columns.drop(["split", "prompt"]) if rows[name].notna().any()]
            assert {(str(split), name) for name in own} <= known


def _bits(folder: Path) -> dict[str, str]:
    """sha256 of every file of a folder."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*")) if file.is_file()
    }  # fmt: skip
