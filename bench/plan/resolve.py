"""The suite's names -> content: the only reading that happens before a plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gatebench.bench.data.adapters import TOOLBOX_DEFAULTS, load
from gatebench.bench.data.choices import load_choices, number_of_answers
from gatebench.bench.data.source import TOOLBOX, DataSource, file_digest
from gatebench.bench.data.source import data_content_of as data_content
from gatebench.bench.engines import vllm
from gatebench.bench.errors import UserError, at
from gatebench.bench.judges.registry import get_judge
from gatebench.bench.models import ladder
from gatebench.bench.models.checks import examine
from gatebench.bench.models.encoding import Lengths
from gatebench.bench.models.gguf.source import gguf_source
from gatebench.bench.models.gguf.wheels import WHEEL, is_gguf
from gatebench.bench.models.source import BUILTIN, ModelSource
from gatebench.bench.models.source import model_content_of as model_content
from gatebench.bench.plan import task_files
from gatebench.bench.plan.graph import Sources
from gatebench.bench.stages import implicit_reward, lm_eval
from gatebench.bench.stages import judge as judging
from gatebench.bench.suite.recipes import ImplicitReward, JudgeRecipe, LmEval
from gatebench.bench.suite.schema import Dataset, Model, Suite
from gatebench.objectives.names import nearest


def resolve(suite: Suite, file: Path) -> Sources:
    """Models and data sets of a suite; relative paths are relative to the suite file.

    Local files are hashed, hub names are taken by name and revision (no network). Raises UserError, all
    at once, for paths that do not exist.
    """
    mistakes: list[str] = []
    models = {m.name: _model(m, file, f"models.{i}", mistakes) for i, m in enumerate(suite.models)}
    probes = suite.evaluate.dynamics.probes
    datasets = {d.name: _dataset(d, file, f"datasets.{i}", probes, mistakes) for i, d in enumerate(suite.datasets)}
    answers = suite.evaluate.generate
    with_vllm = answers is not None and answers.backend == "vllm"
    tasks = _tasks(suite.evaluate.lm_eval, with_vllm, file, mistakes) if suite.evaluate.lm_eval else None
    judge = _judge(suite.evaluate.judge, suite, file, mistakes) if suite.evaluate.judge else None
    wish = suite.evaluate.implicit_reward
    rewards = _rewards(wish, suite.train.lengths, file, mistakes) if wish else None
    if mistakes:
        raise UserError(*mistakes)
    return Sources(models, datasets, tasks, judge, rewards)


def _judge(wish: JudgeRecipe, suite: Suite, file: Path, mistakes: list[str]) -> judging.Spec | None:
    """Who judges; a reward model's weights count by their content."""
    kind, model, content = get_judge(wish.kind), wish.model, ""
    if kind.weights:
        model = _local(wish.model, file)
        if looks_local(wish.model) and not Path(model).exists():
            mistakes.append(f"{at(file, None, 'evaluate.judge.model')}: {wish.model!r} does not exist{_beside(model)}")
            return None
        if is_gguf(wish.model) and not Path(model).is_dir():
            why = "a GGUF file is a language model's, which does not judge; name a reward model's folder or hub id"
            mistakes.append(f"{at(file, None, 'evaluate.judge.model')}: {wish.model!r}: {why}")
            return None
        content = model_content(model, None)
    wrong = [d.name for d in suite.datasets if d.path != TOOLBOX] if kind.exact else []
    if wrong:
        place = at(file, None, "evaluate.judge")
        mistakes.append(f"{place}: {wrong[0]} has no exact grading; judge it by an endpoint or a reward_model")
    return judging.Spec(wish.kind, model, content, wish.url, wish.key, wish.make_parameters())


def _rewards(wish: ImplicitReward, lengths: Lengths, file: Path, mistakes: list[str]) -> implicit_reward.Spec | None:
    """The file that the implicit reward is tested by, read once, so that a bad row is refused before anything runs."""
    path = _local(wish.path, file)
    if not Path(path).is_file():
        place = at(file, None, "evaluate.implicit_reward.path")
        mistakes.append(f"{place}: {wish.path!r} is no file{_beside(path)}")
        return None
    try:
        answers = number_of_answers(load_choices(Path(path), wish.prompts, wish.limit))
    except UserError as error:
        mistakes += error.sentences
        return None
    own = lengths if wish.max_length is None else Lengths(wish.max_length)
    return implicit_reward.Spec(file_digest(path), own, wish.prompts, wish.limit, path=path, answers=answers)


def _tasks(wish: LmEval, with_vllm: bool, file: Path, mistakes: list[str]) -> lm_eval.Spec | None:
    """lm-eval's tasks, through vLLM where the suite has it running anyway; task files are hashed."""
    key = "evaluate.lm_eval"
    try:
        found = version("lm-eval")
    except PackageNotFoundError:
        mistakes.append(f"{at(file, None, key)}: lm-eval is not installed; pip install lm-eval")
        return None
    folder = _local(wish.include_path, file) if wish.include_path else None
    if folder and not Path(folder).is_dir():
        mistakes.append(f"{at(file, None, task_files.PLACE)}: {wish.include_path!r} is no folder{_beside(folder)}")
        return None
    if folder and not wish.confirm_run_unsafe_code:
        mistakes.append(f"{at(file, None, task_files.PLACE)}: {task_files.why_unconfirmed(folder)}")
        return None
    backend = (vllm.installed() if with_vllm else None) or "hf"
    content = lm_eval.content_of_tasks(folder)
    return lm_eval.Spec(
        wish.tasks, content, wish.limit, "float32", found, backend, folder, None, wish.num_fewshot,
        wish.apply_chat_template, wish.fewshot_as_multiturn, wish.system_instruction,
        wish.options(lm_eval.EVALUATION), wish.options(lm_eval.MODEL_OPTIONS),
    )  # fmt: skip


def check_data(sources: Sources) -> None:
    """Read every local data set once, so that a bad one is refused before anything runs."""
    for source in sources.datasets.values():
        if not source.content.startswith("hub:"):
            load(source)


def _model(model: Model, file: Path, key: str, mistakes: list[str]) -> ModelSource:
    path = _local(model.path, file) if not model.path.startswith((BUILTIN, WHEEL)) else model.path
    if looks_local(model.path) and not Path(path).exists():
        mistakes.append(f"{at(file, None, key + '.path')}: {model.path!r} does not exist{_beside(path)}")
        return ModelSource("", path=path)
    if is_gguf(path) and not Path(path).is_dir():
        return _gguf(model, path, file, key, mistakes)
    context = ladder.CONTEXT if path.startswith(BUILTIN) else None
    if Path(path).is_dir():
        found = examine(path)
        context = found.context
        mistakes += (f"{at(file, None, key + '.path')}: {model.path!r}: {sentence}" for sentence in found.wrong)
    return ModelSource(
        model_content(path, model.revision), model.dtype, model.adapter, path, model.revision, context,
        attention=model.attention,
    )  # fmt: skip


def _gguf(model: Model, path: str, file: Path, key: str, mistakes: list[str]) -> ModelSource:
    """A GGUF file, or one in a wheel, which is looked for beside the suite and in the current folder."""
    if model.revision is not None:
        why = "a GGUF file has no revisions, so this would have no effect; leave it out"
        mistakes.append(f"{at(file, None, key + '.revision')}: {why}")
    found, wrong = gguf_source(path, dict.fromkeys((file.parent.resolve(), Path.cwd())))
    mistakes += (f"{at(file, None, key + '.path')}: {model.path!r}: {sentence}" for sentence in wrong)
    return replace(found, dtype=model.dtype, adapter=model.adapter, attention=model.attention)


def _dataset(dataset: Dataset, file: Path, key: str, probes: int, mistakes: list[str]) -> DataSource:
    mistakes += [f"{at(file, None, f'{key}.{name}')}: {why}" for name, why in _without_effect(dataset, file)]
    if dataset.path == TOOLBOX:
        train, test = dataset.train or TOOLBOX_DEFAULTS[0], dataset.test or TOOLBOX_DEFAULTS[1]
        return DataSource(data_content(TOOLBOX, None, None), train, test, probes, path=TOOLBOX)
    found = {name: _local(value, file) for name in ("path", "test_path", "probes") if (value := getattr(dataset, name))}
    for name, path in found.items():
        given = getattr(dataset, name)
        if (looks_local(given) or name != "path") and not Path(path).exists():
            mistakes.append(f"{at(file, None, f'{key}.{name}')}: {given!r} does not exist{_beside(path)}")
    if mistakes:
        return DataSource("", None, None, probes)
    return DataSource(
        data_content(found["path"], dataset.subset, dataset.revision, found.get("test_path"), found.get("probes")),
        dataset.train, dataset.test, probes, dataset.train_split, dataset.test_split, dataset.max_dropped,
        tuple(sorted(dataset.columns.items())), dataset.transcripts,
        found["path"], dataset.subset, dataset.revision, found.get("test_path"), found.get("probes"),
    )  # fmt: skip


def _without_effect(dataset: Dataset, file: Path) -> Iterator[tuple[str, str]]:
    """Keys that were given and that this kind of data set would ignore."""
    local, splits = Path(_local(dataset.path, file)), ("subset", "train_split", "test_split")
    ignored: tuple[str, ...] = ()
    if dataset.path == TOOLBOX:
        ignored = ("revision", *splits, "test_path", "probes", "columns", "transcripts", "max_dropped")
        why = "the built-in data set makes its own rows"
    elif local.is_file():
        ignored, why = ("revision", *splits), "a single file has neither splits nor revisions"
    elif local.is_dir():
        ignored, why = ("revision",), "a local folder has no revisions"
    for name in ignored:
        if name in dataset.model_fields_set:
            yield name, f"{why}, so this would have no effect; leave it out"


def looks_local(path: str) -> bool:
    """A path rather than a hub name: it starts like one or names a data file."""
    return path.startswith(("/", "./", "../", "~")) or path.endswith((".jsonl", ".gz", ".json", ".parquet", ".gguf"))


def _local(path: str, file: Path) -> str:
    beside = (file.parent / Path(path).expanduser()).resolve()
    return str(beside) if looks_local(path) or beside.exists() else path


def _beside(path: str) -> str:
    parent = Path(path).parent
    if not parent.exists():
        return f"; neither does the folder {parent}"
    return f"; {nearest(Path(path).name, [p.name for p in sorted(parent.iterdir())])}" if any(parent.iterdir()) else ""
