"""A reward model (a sequence classifier with one output): the answer with the higher reward wins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from gatebench.bench.data.conversation import chat_of_transcript, is_transcript
from gatebench.bench.judges.api import Comparison, JudgeKind, Spec, Verdict, preferred
from gatebench.bench.models.chat_template import Rendering, TemplateRefused

ROWS_A_BATCH = 16
Turns: TypeAlias = tuple[tuple[str, str], ...]  # role and content
Answered: TypeAlias = tuple[str, Turns, str]  # a prompt as text and as messages, and an answer
NO_LIMIT = 10**9  # tokens


class RewardModel:
    """Raises StageFailed for a model that is no reward model."""

    ordered = False

    def __init__(self, spec: Spec) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        from gatebench.bench.errors import StageFailed
        from gatebench.bench.models.tensors import wrong_tensors

        try:
            self.model, loaded = AutoModelForSequenceClassification.from_pretrained(
                spec.model, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
            self.tokenizer = AutoTokenizer.from_pretrained(spec.model, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise StageFailed(f"reward model {spec.model}: {str(error).splitlines()[0]}") from error
        self.model.eval()
        self.rendering = Rendering(self.tokenizer)
        config, pad = self.model.config, self.tokenizer.pad_token_id
        self.pad = config.pad_token_id if pad is None else pad
        wrong = [
            f"it has {config.num_labels} outputs; a reward model has one" if config.num_labels != 1 else "",
            wrong_tensors(loaded["missing_keys"], loaded["unexpected_keys"]),
            "it has no padding token; set pad_token in its tokenizer_config.json" if self.pad is None else "",
        ]
        for sentence in filter(None, wrong):
            raise StageFailed(f"reward model {spec.model}: {sentence}")
        config.pad_token_id = self.pad  # the reward is read at a row's last token that is not this one
        self.room = min(getattr(config, "max_position_embeddings", None) or NO_LIMIT, self.tokenizer.model_max_length)

    def __call__(self, comparisons: Sequence[Comparison], report: Callable[[float], None]) -> list[Verdict]:
        # the same answer is compared with several others
        rows = {asked: self._row(*asked) for comparison in comparisons for asked in _both(comparison)}
        found: dict[Answered, float | str] = {asked: row for asked, row in rows.items() if isinstance(row, str)}
        left = [(asked, row) for asked, row in rows.items() if not isinstance(row, str)]
        for start in range(0, len(left), ROWS_A_BATCH):
            some = left[start : start + ROWS_A_BATCH]
            found |= zip((asked for asked, _ in some), self._rewards([row for _, row in some]), strict=True)
            report((start + len(some)) / len(left))
        return [_verdict(*(found[asked] for asked in _both(comparison))) for comparison in comparisons]

    def _row(self, prompt: str, turns: Turns, answer: str) -> list[int] | str:
        """The tokens to judge, or why there are none: a row that is cut to fit would be judged without its end."""
        try:
            ids = self._encoded(prompt, turns, answer)
        except TemplateRefused as error:
            return f"the chat template refuses the conversation ({error.why})"
        return ids if len(ids) <= self.room else f"{len(ids)} tokens are more than the {self.room} it reads"

    def _encoded(self, prompt: str, turns: Turns, answer: str) -> list[int]:
        if not self.tokenizer.chat_template:
            return list(self.tokenizer(prompt + (f" {answer}" if turns else answer))["input_ids"])
        asked = turns or _turns_of(prompt)
        whole = [{"role": role, "content": content} for role, content in (*asked, ("assistant", answer.strip()))]
        # the template writes the special tokens, the first one included
        return list(self.tokenizer(self.rendering(whole), add_special_tokens=False)["input_ids"])

    def _rewards(self, rows: Sequence[list[int]]) -> list[float]:
        import torch

        width = max(map(len, rows))
        ids = torch.tensor([row + [self.pad] * (width - len(row)) for row in rows], device=self.model.device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=self.model.device)
        with torch.inference_mode():
            found: list[float] = self.model(input_ids=ids, attention_mask=mask).logits[:, 0].float().tolist()
        return found


def _both(comparison: Comparison) -> tuple[Answered, Answered]:
    prompt, turns = comparison.prompt, comparison.messages
    return (prompt, turns, comparison.first), (prompt, turns, comparison.second)


def _turns_of(prompt: str) -> Turns:
    """The turns of a dialogue that was written out as text, else one of the user's."""
    if not is_transcript(prompt):
        return (("user", prompt),)
    return tuple((message.role, message.content) for message in chat_of_transcript(prompt).messages)


def _verdict(first: float | str, second: float | str) -> Verdict:
    for reward in (first, second):
        if isinstance(reward, str):
            return Verdict(None, reward)
        if reward != reward:
            return Verdict(None, "its reward is not a number")
    rewards = float(first), float(second)
    return replace(preferred(*rewards), rewards=rewards)


JUDGE = JudgeKind("reward_model", RewardModel, needs=("model",), weights=True)
