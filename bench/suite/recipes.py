"""The parts of a suite that stages are run with: schema of the YAML and content of the stage keys in one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from gatebench.bench.judges.registry import get_judge, judge_kinds
from gatebench.bench.models.encoding import Lengths
from gatebench.bench.suite.optimizers import Optimizer, Schedule, has_adams_numbers, states_of
from gatebench.bench.suite.strict import Place
from gatebench.objectives.names import UnknownWord

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0, lt=2**40)]
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
GIVEN = {"key": "given"}  # of a field that was added later: it moves no key of those who do not use it
OF_NO_STUDY = Field(exclude=True)  # of what a tuning study is not told by
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, config=STRICT)
class Base:
    """How built-in models are trained from scratch: tokens of the corpus, packed into rows of `context`."""

    tokens: Count = 2_500_000
    learning_rate: Positive = 2e-3
    batch_size: Count = 16
    context: Count = 256


@dataclass(frozen=True, config=STRICT)
class Warmup:
    """Supervised epochs before the preference loss, with a cosine schedule; pairs: how many of the training pairs (all
    by default)."""

    epochs: Count = 2
    learning_rate: Positive = 5e-6
    batch_size: Count = 16
    pairs: Count | None = None
    optimizer: Optimizer = field(default="adamw_torch_fused", metadata=GIVEN)
    gradient_checkpointing: bool = field(default=False, metadata=GIVEN)

    @property
    def states(self) -> int:
        return states_of(self.optimizer)


@dataclass(frozen=True, config=STRICT)
class Train:
    """Preference training. `steps` wins over `epochs`; the defaults are Ren & Sutherland's protocol.

    optimizer, schedule: by transformers' names; warmup_ratio: the share of all steps in which the learning rate rises,
    in place of warmup_steps; keep: which weights stay: the last ones (in the type that is computed in), none, or all of
    those after every evaluate_every steps, from which other probes can be measured later without training again.
    """

    epochs: Count = 5
    steps: Count | None = None
    batch_size: Count = 16
    micro_batch_size: Count | None = None
    learning_rate: Positive = 5e-7
    optimizer: Optimizer = "rmsprop"
    warmup_steps: Annotated[int, Field(ge=0)] = 150
    max_grad_norm: Positive = 10.0
    max_length: Count = 512
    max_prompt_length: Count | None = None
    evaluate_every: Count = 100
    layout: Literal["one_row", "packed", "trl"] = "one_row"
    keep: Literal["all", "final", "none"] = field(default="final", metadata=GIVEN)
    schedule: Schedule = field(default="constant_with_warmup", metadata=GIVEN)
    warmup_ratio: Annotated[float, Field(gt=0, lt=1)] | None = field(default=None, metadata=GIVEN)
    weight_decay: Annotated[float, Field(ge=0)] = field(default=0.0, metadata=GIVEN)
    adam_beta1: Share = field(default=0.9, metadata=GIVEN)
    adam_beta2: Share = field(default=0.999, metadata=GIVEN)
    adam_epsilon: Positive = field(default=1e-8, metadata=GIVEN)
    gradient_checkpointing: bool = field(default=False, metadata=GIVEN)
    torch_compile: bool = field(default=False, metadata=GIVEN)

    def __post_init__(self) -> None:
        default = type(self)
        if self.warmup_ratio and self.warmup_steps != default.warmup_steps:
            raise ValueError(
                f"warmup_steps {self.warmup_steps} and warmup_ratio {self.warmup_ratio:g} both say how long the "
                "learning rate rises; leave out one of them"
            )
        if self.schedule == "constant" and (self.warmup_ratio or self.warmup_steps not in (0, default.warmup_steps)):
            raise ValueError("schedule constant has no warm-up; write constant_with_warmup, or leave the warm-up out")
        for name in ("adam_beta1", "adam_beta2", "adam_epsilon"):
            if getattr(self, name) != getattr(default, name) and not has_adams_numbers(self.optimizer):
                raise ValueError(f"optimizer {self.optimizer} reads no {name}; leave it out, or take adamw_torch")
        if self.max_prompt_length and self.max_prompt_length >= self.max_length:
            raise ValueError(
                f"max_prompt_length {self.max_prompt_length} leaves no room in max_length {self.max_length}"
            )
        if self.micro_batch_size and self.batch_size % self.micro_batch_size:
            raise ValueError(f"micro_batch_size {self.micro_batch_size} does not divide batch_size {self.batch_size}")

    @property
    def states(self) -> int:
        return states_of(self.optimizer)

    @property
    def lengths(self) -> Lengths:
        return Lengths(self.max_length, self.max_prompt_length)


@dataclass(frozen=True, config=STRICT)
class Generate:
    """Answers to held-out prompts. temperature 0 is greedy; stop: texts that end an answer; questions: a local file of
    other prompts, in AlpacaEval's or Arena-Hard's format, of which the first `prompts` are asked; samples: answers to
    each prompt, drawn apart."""

    backend: Literal["vllm", "transformers"] = "vllm"
    prompts: Count = 100
    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Count = 64
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    seed: int = 0
    questions: Annotated[Place | None, Field(exclude=True)] = None  # of no study's identity
    samples: Annotated[Count, OF_NO_STUDY] = 1

    def __post_init__(self) -> None:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(
                f"samples: {self.samples} greedy answers to a prompt are one and the same; give a temperature above 0, "
                "as temperature: 1.0"
            )


@dataclass(frozen=True, config=STRICT)
class LmEval:
    """Tasks of lm-eval by its names; include_path: a folder of local task files, which run as code and therefore need
    confirm_run_unsafe_code: true. The rest is lm-eval's own, of its simple_evaluate or of its hf model, by its names:
    None leaves num_fewshot to each task, and any other to lm-eval; a chat template is applied only where it is asked
    for; samples: the numbers of the documents of each task that are asked, in place of limit."""

    tasks: Annotated[tuple[str, ...], Field(min_length=1)]
    limit: Count | None = None
    include_path: Place | None = None
    confirm_run_unsafe_code: Annotated[bool, OF_NO_STUDY] = False
    num_fewshot: Annotated[int, Field(ge=0)] | None = None
    apply_chat_template: bool | None = None
    fewshot_as_multiturn: bool | None = None
    system_instruction: str | None = None
    gen_kwargs: Annotated[dict[str, str | float | int | bool | list[str]], OF_NO_STUDY] = field(default_factory=dict)
    samples: Annotated[dict[str, list[Annotated[int, Field(ge=0)]]], OF_NO_STUDY] = field(default_factory=dict)
    bootstrap_iters: Annotated[int | None, Field(ge=0, exclude=True)] = None
    random_seed: Annotated[int | None, OF_NO_STUDY] = None
    numpy_random_seed: Annotated[int | None, OF_NO_STUDY] = None
    torch_random_seed: Annotated[int | None, OF_NO_STUDY] = None
    fewshot_random_seed: Annotated[int | None, OF_NO_STUDY] = None
    batch_size: Annotated[int | None, Field(ge=1, exclude=True)] = None
    max_length: Annotated[int | None, Field(ge=1, exclude=True)] = None
    add_bos_token: Annotated[bool | None, OF_NO_STUDY] = None
    enable_thinking: Annotated[bool | None, OF_NO_STUDY] = None
    think_end_token: Annotated[str | int | None, OF_NO_STUDY] = None
    chat_template_args: Annotated[dict[str, str | float | int | bool], OF_NO_STUDY] = field(default_factory=dict)

    def options(self, names: Sequence[str]) -> dict[str, object]:
        """Those of the named options that are given."""
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value not in (None, {})}

    def __post_init__(self) -> None:
        for task in self.samples:
            if task not in self.tasks:
                raise UnknownWord("task of samples", task, self.tasks)
        if self.samples and self.limit:
            raise ValueError("samples and limit both say which documents are asked; leave out one of them")
        for name in ("chat_template_args", "enable_thinking"):
            if getattr(self, name) and not self.apply_chat_template:
                raise ValueError(f"{name} is read by a chat template; give apply_chat_template: true as well")
        if self.fewshot_as_multiturn and not self.apply_chat_template:
            raise ValueError("fewshot_as_multiturn makes turns of the examples; give apply_chat_template: true as well")
        if self.confirm_run_unsafe_code and not self.include_path:
            raise ValueError(
                "confirm_run_unsafe_code allows the task files of include_path to run, and there is none; leave it "
                "out. Tasks that run what a model writes are not offered"
            )


@dataclass(frozen=True, config=STRICT)
class ImplicitReward:
    """A local file of right and wrong answers, by which the implicit reward log pi/pi_ref is tested: pairs, or
    RewardBench 2's rows. prompts: whether a prompt of text is a user's turn; limit: how many rows; max_length: of a
    prompt and an answer in tokens, the training's by default."""

    path: Place
    prompts: Literal["text", "messages"] = "text"
    limit: Count | None = None
    max_length: Count | None = None


@dataclass(frozen=True, config=STRICT)
class JudgeRecipe:
    """Who compares a cell's answers with its warm-up policy's and its ungated twin's.

    kind: exact (data with exact grading), endpoint (url of an OpenAI-compatible server, model, and key: the environment
    variable that holds its key), arena_hard (the same, with degrees), reward_model (model: a folder or hub id), human
    (votes: a file or folder that `bench vote` wrote), or a third party's. parameters: of a kind's own, whose names a
    suite may also write beside the others. baseline: a local file of answers, in AlpacaEval's or Arena-Hard's format,
    to compare with as well.
    """

    kind: str
    model: str = ""
    url: str = ""
    key: str = "OPENAI_API_KEY"
    votes: Annotated[str, Field(exclude=True)] = ""  # of no study's identity, nor is the next
    baseline: Annotated[Place | None, Field(exclude=True)] = None
    parameters: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        needed = get_judge(self.kind).needs
        for name in needed:
            if not getattr(self, name):
                raise ValueError(f"a judge of kind {self.kind} needs {' and '.join(needed)}; {name} is missing")
        if self.url and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url {self.url!r} is no address; expected http://HOST:PORT/v1 or https://HOST/v1")
        if not VARIABLE.fullmatch(self.key):  # which is not repeated: it may be the key itself
            raise ValueError(
                "key names the environment variable that holds the judge's key, as OPENAI_API_KEY does; the key itself "
                "never stands in a suite"
            )
        self.make_parameters()

    def make_parameters(self) -> object:
        """The kind's own frozen parameters, None where it has none. Raises UnknownWord and ValueError."""
        kind = get_judge(self.kind)
        for name in self.parameters:
            if name not in kind.own_keys:
                raise UnknownWord(f"parameter of judge {self.kind}", name, kind.own_keys or ("none",))
        return kind.parameters(**self.parameters) if kind.parameters else None


def with_own_keys(value: object) -> object:
    """A raw judge block with the keys that its kind alone has gathered as its parameters."""
    value = {"kind": value} if isinstance(value, str) else value
    if not isinstance(value, dict) or value.get("kind") not in judge_kinds():
        return value
    own = {key: value[key] for key in value if key in get_judge(value["kind"]).own_keys}
    rest = {key: value[key] for key in value if key not in own}
    return {**rest, "parameters": {**rest.get("parameters", {}), **own}} if own else rest


@dataclass(frozen=True, config=STRICT)
class Dynamics:
    """How many probes of each split are tracked. tuned_on: how many of the first probes of training prompts something
    was tuned on; they are left out of every figure. profile: whether it is also measured where in the chosen response
    its log-prob changes; confidence: and along it the support that is kept and the calibration of the next token."""

    probes: Count = 500
    tuned_on: Annotated[int, Field(ge=0)] = 0
    profile: Annotated[bool, OF_NO_STUDY] = False
    confidence: Annotated[bool, OF_NO_STUDY] = False

    def __post_init__(self) -> None:
        if self.tuned_on >= self.probes:
            raise ValueError(f"tuned_on {self.tuned_on} leaves none of the {self.probes} probes to judge on")
