"""What a stage keeps: it says all about itself, its Spec decides its bits, and it writes into its own folder alone."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from math import isfinite
from pathlib import Path
from typing import Any

import pytest

from gatebench.bench import keys
from gatebench.bench.metrics import registry
from gatebench.bench.stages.registry import kinds, stage_of
from gatebench.bench.stages.stage import Amount, AnyStage

# what a manifest says beside a stage's own facts
TAKEN = {"kind", "version", "spec", "inputs", "libraries", "code", "key", "files", "finished", "remade"}


@dataclass(frozen=True)
class Example:
    """A small stage of the kind. inputs: the finished folders that it rests on, by role; specs: what these were made
    by; pairs: training pairs of its data."""

    spec: Any
    inputs: Mapping[str, Path]
    specs: Mapping[str, Any]
    pairs: int | None = None


@dataclass(frozen=True)
class Run:
    """beside: what it left where it was started."""

    out: Path
    facts: Mapping[str, Any]
    told: list[tuple[float, str]]
    beside: Sequence[Path] = ()
    inputs_kept: bool = True


class StageConformance:
    """Fixtures of a class's scope: stage, example; both know their kind, so MODULES has to have it by then."""

    @pytest.fixture(scope="class")
    def stage(self) -> AnyStage:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    def example(self, stage: AnyStage) -> Example:
        raise NotImplementedError

    def results(self, run: Run) -> Any:
        """What has to be equal when it runs again: every byte that it wrote, if it writes no clock down."""
        return contents(run.out)

    @pytest.fixture(scope="class")
    def runs(self, stage: AnyStage, example: Example, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
        """Run twice, from a folder of their own."""
        place = tmp_path_factory.mktemp("place")
        found, before = [], {role: contents(folder) for role, folder in example.inputs.items()}
        for name in ("first", "second"):
            run = Run(place / name, {}, [])
            run.out.mkdir()
            tell = run.told
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(tmp_path_factory.mktemp("elsewhere"))
                facts = stage.run(example.spec, example.inputs, run.out, lambda s, t, tell=tell: tell.append((s, t)))
                found.append(replace(run, facts=facts, beside=list(Path().iterdir())))
        after = {role: contents(folder) for role, folder in example.inputs.items()}
        return [replace(run, inputs_kept=after == before) for run in found]

    def test_it_is_registered_under_its_own_name_with_a_version(self, stage):
        assert stage.kind in kinds()
        assert stage_of(stage.kind) is stage
        assert type(stage.version) is int
        assert stage.version >= 1

    def test_its_spec_is_frozen_and_has_a_canonical_form(self, stage, example):
        assert type(example.spec) is stage.spec
        for field in fields(example.spec):
            with pytest.raises(FrozenInstanceError):
                setattr(example.spec, field.name, None)
        assert keys.digest(example.spec) == keys.digest(copy.deepcopy(example.spec))
        json.dumps(keys.canonical(example.spec), allow_nan=False)

    def test_what_changes_no_bits_is_not_in_its_key(self, stage, example):
        for field in fields(example.spec):
            if field.metadata.get("key", True) is False:
                moved = replace(example.spec, **{field.name: "somewhere else"})
                assert keys.digest(moved) == keys.digest(example.spec)

    def test_it_can_be_sent_to_another_process(self, stage, example):
        assert pickle.loads(pickle.dumps(stage.run)) is stage.run  # noqa: S301 (our own)
        assert keys.digest(pickle.loads(pickle.dumps(example.spec))) == keys.digest(example.spec)  # noqa: S301

    def test_its_work_follows_from_its_parameters_alone(self, stage, example):
        before = keys.digest(example.spec)
        for pairs in (example.pairs, None):
            found = stage.amount(example.spec, example.specs, pairs)
            assert found == stage.amount(example.spec, example.specs, pairs)
            if found is not None:
                assert isinstance(found, Amount)
                sizes = (found.units, found.unit_tokens, found.flops_a_token, found.batch_tokens, found.states)
                assert all(isfinite(size) and size >= 0 for size in (*sizes, found.saved))
                hash(found.like)
        assert keys.digest(example.spec) == before

    def test_its_short_form_is_a_smaller_stage_of_the_kind(self, stage, example):
        if stage.shorten is None:
            return
        short = stage.shorten(example.spec, 1, 0)
        assert type(short) is stage.spec
        assert keys.digest(short) == keys.digest(stage.shorten(example.spec, 1, 0))
        whole, less = (stage.amount(spec, example.specs, example.pairs) for spec in (example.spec, short))
        if whole is not None:
            assert less.units <= whole.units

    def test_run_again_it_gives_the_same_bits_and_facts(self, runs):
        first, second = runs
        assert first.facts == second.facts
        assert self.results(first) == self.results(second)

    def test_it_writes_into_its_folder_alone(self, runs):
        for run in runs:
            assert contents(run.out)
            assert run.beside == []
            assert run.inputs_kept

    def test_its_facts_are_json_and_take_no_name_of_the_manifest(self, stage, runs):
        facts = runs[0].facts
        assert json.loads(json.dumps(facts, allow_nan=False)) == facts
        assert not TAKEN & facts.keys()
        assert not TAKEN & set(stage.facts)
        assert len(set(stage.facts)) == len(stage.facts)

    def test_it_tells_its_progress_in_shares(self, runs):
        for share, text in runs[0].told:
            assert 0 <= share <= 1
            assert isinstance(text, str)

    def test_files_that_are_logged_with_a_cell_are_there(self, stage, runs):
        assert all((runs[0].out / name).is_file() for name in stage.artifacts)

    def test_its_values_by_prompt_are_registered_metrics_of_its_own(self, stage, runs, example):
        if stage.by_prompt is None:
            return
        found = stage.by_prompt(runs[0].out, example.inputs)
        own = [source for source in registry.sources() if source.stage == stage.kind]
        known = {f"{variant.prefix}{metric.name}" for source in own for variant in source.variants
                 for metric in source.metrics()}  # fmt: skip
        assert {"split", "prompt"} < set(found.columns)
        assert set(found.columns) - {"split", "prompt"} <= known
        assert set(found["split"]) <= {split for source in own for split, _ in source.splits}
        assert not found.duplicated(["split", "prompt"]).any()

    def test_metrics_that_bring_their_own_errors_are_named(self, stage, runs):
        if stage.with_errors is None:
            return
        found = stage.with_errors(runs[0].out)
        assert found
        for name, (value, error) in found.items():
            assert name
            assert isfinite(value)
            assert error is None or error >= 0

    def test_metrics_by_item_are_means_of_them(self, stage, runs):
        if stage.by_item is None:
            return
        known = stage.with_errors(runs[0].out)
        for name, items in stage.by_item(runs[0].out).items():
            assert items.index.is_unique
            assert items.mean() == pytest.approx(known[name][0])


def contents(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*")) if file.is_file()
    }  # fmt: skip
