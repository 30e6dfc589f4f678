"""The suite's names -> content: the only reading that happens before a plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gatebench.bench.data.adapters import TOOLBOX_DEFAULTS, load
from gatebench.bench.data.choices import load_choices, number_of_answers
from gatebench.bench.data.questions import read_baseline, read_questions
from gatebench.bench.data.readers import FORMATS
from gatebench.bench.data.source import ROWS, TOOLBOX, DataSource, file_digest
from gatebench.bench.data.source import data_content_of as data_content
from gatebench.bench.engines import vllm
from gatebench.bench.errors import UserError, at
from gatebench.bench.judges.registry import get_judge
from gatebench.bench.judges.votes import read_votes
from gatebench.bench.models import ladder
from gatebench.bench.models.checks import examine
from gatebench.bench.models.encoding import Lengths
from gatebench.bench.models.gguf.source import gguf_source
from gatebench.bench.models.gguf.wheels import WHEEL, is_gguf
from gatebench.bench.models.source import BUILTIN, ModelSource
from gatebench.bench.models.source import model_content_of as model_content
from gatebench.bench.plan import task_files
from gatebench.bench.plan.graph import Questions, Sources
from gatebench.bench.shipped import DATA_VARIABLE
from gatebench.bench.stages import implicit_reward, lm_eval
from gatebench.bench.stages import judge as judging
from gatebench.bench.suite.recipes import ImplicitReward, JudgeRecipe, LmEval
from gatebench.bench.suite.schema import Dataset, LocalCopy, Model, Suite
from gatebench.objectives.names import nearest


def resolve(suite: Suite, file: Path, data: Path | None = None) -> Sources:
    """Models and data sets of a suite; relative paths are relative to the suite file, those of local copies to `data`.

    Local files are hashed, hub names are taken by name and revision (no network). Raises UserError, all
    at once, for paths that do not exist.
    """
    mistakes: list[str] = []
    models = {m.name: _model(m, file, f"models.{i}", mistakes) for i, m in enumerate(suite.models)}
    probes = suite.evaluate.dynamics.probes
    datasets = {
        d.name: _dataset(d, file, f"datasets.{i}", probes, mistakes, data) for i, d in enumerate(suite.datasets)
    }
    answers = suite.evaluate.generate
    with_vllm = answers is not None and answers.backend == "vllm"
    tasks = _tasks(suite.evaluate.lm_eval, with_vllm, file, mistakes) if suite.evaluate.lm_eval else None
    judge = _judge(suite.evaluate.judge, suite, file, mistakes) if suite.evaluate.judge else None
    asked = _local_file(answers.questions, file, "evaluate.generate.questions", mistakes) if answers else ""
    wish = suite.evaluate.implicit_reward
    rewards = _rewards(wish, suite.train.lengths, file, mistakes) if wish else None
    if mistakes:
        raise UserError(*mistakes)
    if asked:
        read_questions(Path(asked))
    return Sources(models, datasets, tasks, judge, Questions(asked, file_digest(asked)) if asked else None, rewards)


def _local_file(given: str | None, file: Path, key: str, mistakes: list[str]) -> str:
    """The path of a local file or folder that a suite names, "" for none."""
    if not given:
        return ""
    path = _beside_suite(given, file)
    if not Path(path).exists():
        mistakes.append(f"{at(file, None, key)}: {given!r} does not exist{_beside(path)}")
        return ""
    return path


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
    if kind.exact and suite.evaluate.generate and suite.evaluate.generate.questions:
        wrong = [suite.evaluate.generate.questions]
    if wrong:
        place = at(file, None, "evaluate.judge")
        mistakes.append(f"{place}: {wrong[0]} has no exact grading; judge it by an endpoint or a reward_model")
    votes = _local_file(wish.votes, file, "evaluate.judge.votes", mistakes)
    baseline = _local_file(wish.baseline, file, "evaluate.judge.baseline", mistakes)
    if votes:
        read_votes(Path(votes))
        content = file_digest(votes)
    if baseline:
        read_baseline(Path(baseline))
    return judging.Spec(wish.kind, model, content, wish.url, wish.key, wish.make_parameters(), votes, baseline,
                        file_digest(baseline) if baseline else "")  # fmt: skip


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
        if not source.is_on_hub:
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
        attention=model.attention, spread=model.spread,
    )  # fmt: skip


def _gguf(model: Model, path: str, file: Path, key: str, mistakes: list[str]) -> ModelSource:
    """A GGUF file, or one in a wheel, which is looked for beside the suite and in the current folder."""
    if model.revision is not None:
        why = "a GGUF file has no revisions, so this would have no effect; leave it out"
        mistakes.append(f"{at(file, None, key + '.revision')}: {why}")
    found, wrong = gguf_source(path, dict.fromkeys((file.parent.resolve(), Path.cwd())))
    mistakes += (f"{at(file, None, key + '.path')}: {model.path!r}: {sentence}" for sentence in wrong)
    return replace(found, dtype=model.dtype, adapter=model.adapter, attention=model.attention, spread=model.spread)


def _dataset(dataset: Dataset, file: Path, key: str, probes: int, mistakes: list[str], data: Path | None) -> DataSource:
    if data and dataset.local:
        return _copy(dataset, dataset.local, data, at(file, None, f"{key}.local"), probes, mistakes)
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
    known = _by_rows(dataset)
    return DataSource(
        known
        or data_content(found["path"], dataset.subset, dataset.revision, found.get("test_path"), found.get("probes")),
        dataset.train, dataset.test, probes, dataset.train_split, dataset.test_split, dataset.max_dropped,
        tuple(sorted(dataset.columns.items())), dataset.transcripts,
        found["path"], dataset.subset, dataset.revision, found.get("test_path"), found.get("probes"),
    )  # fmt: skip


def _by_rows(dataset: Dataset) -> str:
    return f"{ROWS}{dataset.rows}" if dataset.rows else ""


def _copy(dataset: Dataset, copy: LocalCopy, folder: Path, place: str, probes: int, mistakes: list[str]) -> DataSource:
    """A data set of the hub from files of a folder of local copies."""
    files = {name: str((folder / own).resolve()) for name, own in copy.model_dump(exclude_none=True).items()}
    if lacking := [Path(path).name for path in files.values() if not Path(path).is_file()]:
        told = f"put it there, or read {dataset.path} from the hub: without --data, and {DATA_VARIABLE} unset"
        mistakes.append(f"{place}: {folder} has no {', '.join(lacking)}; {told}")
    if mistakes:
        return DataSource("", None, None, probes)
    own = _by_rows(dataset) or data_content(files["train"], None, None, files["test"], files.get("probes"))
    return DataSource(
        own, dataset.train, dataset.test, probes, max_dropped=dataset.max_dropped,
        columns=tuple(sorted(dataset.columns.items())), transcripts=dataset.transcripts, path=files["train"],
        test_path=files["test"], probes_path=files.get("probes"), copy_of=dataset.path,
    )  # fmt: skip


def _without_effect(dataset: Dataset, file: Path) -> Iterator[tuple[str, str]]:
    """Keys that were given and that this kind of data set would ignore."""
    local, splits = Path(_local(dataset.path, file)), ("subset", "train_split", "test_split")
    ignored: tuple[str, ...] = ()
    if dataset.path == TOOLBOX:
        ignored = ("revision", *splits, "test_path", "probes", "columns", "transcripts", "max_dropped", "local", "rows")
        why = "the built-in data set makes its own rows"
    elif local.is_file():
        ignored, why = ("revision", *splits, "local"), "a single file has neither splits nor revisions"
    elif local.is_dir():
        ignored, why = ("revision", "local"), "a local folder has no revisions"
    for name in ignored:
        if name in dataset.model_fields_set:
            yield name, f"{why}, so this would have no effect; leave it out"


def looks_local(path: str) -> bool:
    """A path rather than a hub name: it starts like one or names a data file."""
    return path.startswith(("/", "./", "../", "~")) or path.endswith((*FORMATS, ".gz", ".gguf"))


def _beside_suite(path: str, file: Path) -> str:
    return str((file.parent / Path(path).expanduser()).resolve())


def _local(path: str, file: Path) -> str:
    beside = Path(_beside_suite(path, file))
    return str(beside) if looks_local(path) or beside.exists() else path


def _beside(path: str) -> str:
    parent = Path(path).parent
    if not parent.exists():
        return f"; neither does the folder {parent}"
    return f"; {nearest(Path(path).name, [p.name for p in sorted(parent.iterdir())])}" if any(parent.iterdir()) else ""
