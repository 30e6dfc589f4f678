"""Finished suites carried between folders and URLs: results to read anywhere, and models where they are asked for."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from gatebench.bench.errors import UserError
from gatebench.bench.store.index import STAGES, StageAddress
from gatebench.bench.store.manifest import Manifest, elsewhere, is_result
from gatebench.bench.store.mirror import Mirror
from gatebench.bench.store.remote import LOCAL_PROTOCOLS, Remote, protocol_of
from gatebench.bench.store.runs import (
    CLAIMS,
    RUNS,
    download_runs,
    mirror_of,
    unite_lines,
    upload_run,
)
from gatebench.bench.store.store import Store
from gatebench.objectives.names import nearest


@dataclass(frozen=True)
class Carried:
    """stages: how many were not there before; runs: the runs, SUITE/RUN."""

    stages: int
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Held:
    """The stages of a kind. results, models: bytes of their files that are there; left: how many lack some."""

    kind: str
    stages: int
    results: int
    models: int
    left: int


def push_results(results: Path, url: str, suite: str | None, weights: bool) -> Carried:
    """Upload the finished stages of a folder of results, its runs and claims; those of one suite, or all. What is there
    stays. Raises UserError where there is nothing to carry."""
    store, mirror = Store(results / "store"), _mirror(results, url)
    folders = [path.parent for path in sorted((results / RUNS).glob(f"{suite or '*'}/*/plan.json"))]
    if suite and not folders:
        names = [path.name for path in (results / RUNS).glob("*")]
        raise UserError(f"{suite}: no run of it in {results / RUNS}" + (f"; {nearest(suite, names)}" if names else ""))
    wanted = _stages_of(folders) if suite else store.all_finished()
    finished = store.finished_among(wanted)
    there = mirror.listed()
    carried = 0
    for one in wanted:
        if one.key not in finished:
            continue
        store.check(*one, thorough=weights)
        if weights:
            store.whole(*one)
        if not mirror.publish(*one, weights=weights):
            raise UserError(f"{url}: {one.kind} {one.key} is there with other contents; push to an empty place")
        carried += one not in there
    for folder in folders:
        upload_run(folder, mirror)
    for file in (results / CLAIMS).glob(f"{suite or '*'}.jsonl"):
        unite_lines(file, mirror)
    if not carried and not folders and not finished:
        raise UserError(f"{results}: no finished stage and no run; name a folder of results with --results")
    return Carried(carried, _names(folders))


def pull_results(url: str, results: Path, suite: str | None, weights: bool) -> Carried:
    """Download stages, runs and claims into a folder of results; those of one suite, or all. What is there stays, but
    for models that were left behind before, which come where weights are asked for."""
    mirror = _mirror(results, url)
    there = mirror.listed()
    if not there:
        raise UserError(
            f"{url}: no finished stage; expected what `bench store push` or a run with --results wrote there"
        )
    store = Store(results / "store")
    store.root.mkdir(parents=True, exist_ok=True)
    with store.in_use():
        folders = download_runs(results, mirror, suite)
        if suite and not folders:
            raise UserError(f"{url}: no run of {suite}; bench store ls {url} shows what is there")
        wanted = _stages_of(folders) if suite else sorted(there)
        before = store.finished_among(wanted)
        mirror.bring(wanted)
        here = [one for one in wanted if one.key in store.finished_among(wanted)]
        for one in here if weights else ():
            mirror.complete(*one)
        for name in mirror.remote.names(f"{CLAIMS}/"):
            if suite in (None, name.split("/")[1]):
                unite_lines(results / CLAIMS / f"{name.split('/')[1]}.jsonl", mirror)
    return Carried(len(here) - len(before), _names(folders))


def is_carried(place: str) -> bool:
    """Whether a place is what `push_results` writes to, a folder of results otherwise."""
    return protocol_of(place) not in LOCAL_PROTOCOLS or (Path(place.rpartition("://")[2]) / STAGES).is_dir()


def held_here(results: Path) -> tuple[list[Held], list[str]]:
    """What a folder of results holds, by kind, and its runs."""
    store = Store(results / "store")
    found = [
        (kind, store.manifest(kind, key), elsewhere(store.path(kind, key)))
        for kind, key in store.all_finished()
    ]  # fmt: skip
    return _by_kind(found), [f"{path.parts[-3]}/{path.parts[-2]}" for path in results.glob(f"{RUNS}/*/*/summary.json")]


def held_at(url: str) -> tuple[list[Held], list[str]]:
    """What is behind a URL, by kind, and its runs."""
    remote = Remote(url)
    remote.check()
    found = []
    for name, content in sorted(remote.read_all(remote.names(f"{STAGES}/")).items()):
        index = json.loads(content)
        found.append((name.split("/")[1], index["manifest"], index["left"]))
    return _by_kind(found), [name.removeprefix(f"{RUNS}/").removesuffix(".json") for name in remote.names(f"{RUNS}/")]


def _by_kind(found: list[tuple[str, Manifest, list[str]]]) -> list[Held]:
    stages, left = Counter[str](), Counter[str]()
    results, models = Counter[str](), Counter[str]()
    for kind, manifest, missing in found:
        stages[kind] += 1
        left[kind] += bool(missing)
        for name, file in manifest["files"].items():
            if name not in missing:
                (results if is_result(name) else models)[kind] += file["bytes"]
    return [Held(kind, count, results[kind], models[kind], left[kind]) for kind, count in stages.items()]


def _mirror(results: Path, url: str) -> Mirror:
    """The stages of a folder beside those of a URL that it is not the cache of."""
    own = mirror_of(results)
    if own is not None and own.remote.url == url.rstrip("/"):
        raise UserError(f"{url}: these results are its cache already; a run with --results {url} carries by itself")
    remote = Remote(url.rstrip("/"))
    remote.check()
    return Mirror(results / "store", remote)


def _stages_of(folders: list[Path]) -> list[StageAddress]:
    """The stages of some runs, as their plans name them."""
    plans = [json.loads((folder / "plan.json").read_bytes())["stages"] for folder in folders]
    return list(dict.fromkeys(StageAddress(stage["kind"], key) for plan in plans for key, stage in plan.items()))


def _names(folders: list[Path]) -> tuple[str, ...]:
    return tuple(f"{folder.parent.name}/{folder.name}" for folder in folders)
