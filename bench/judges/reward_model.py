"""A reward model (a sequence classifier with one output): the answer with the higher reward wins."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gatebench.bench.judges.api import Comparison, JudgeKind, Spec, Verdict, preferred

ROWS_A_BATCH = 16


class RewardModel:
    """Raises StageFailed for a model that is no reward model."""

    ordered = False

    def __init__(self, spec: Spec) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        from gatebench.bench.errors import StageFailed

        try:
            self.model = AutoModelForSequenceClassification.from_pretrained(
                spec.model, use_safetensors=True, trust_remote_code=False
            ).eval()
            self.tokenizer = AutoTokenizer.from_pretrained(spec.model, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise StageFailed(f"reward model {spec.model}: {str(error).splitlines()[0]}") from error
        outputs = self.model.config.num_labels
        if outputs != 1:
            raise StageFailed(f"reward model {spec.model}: it has {outputs} outputs; a reward model has one")

    def __call__(self, comparisons: Sequence[Comparison], report: Callable[[float], None]) -> list[Verdict]:
        texts = [(c.prompt, answer) for c in comparisons for answer in (c.first, c.second)]
        # the same answer is compared with several others
        different = list(dict.fromkeys(texts))
        rewards: dict[tuple[str, str], float] = {}
        for start in range(0, len(different), ROWS_A_BATCH):
            some = different[start : start + ROWS_A_BATCH]
            rewards |= dict(zip(some, self._rewards(some), strict=True))
            report(len(rewards) / len(different))
        return [preferred(rewards[c.prompt, c.first], rewards[c.prompt, c.second]) for c in comparisons]

    def _rewards(self, texts: Sequence[tuple[str, str]]) -> list[float]:
        import torch

        rows = [self._row(prompt, answer) for prompt, answer in texts]
        batch = self.tokenizer(rows, padding=True, truncation=True, return_tensors="pt").to(self.model.device)
        with torch.inference_mode():
            found: list[float] = self.model(**batch).logits[:, 0].float().tolist()
        return found

    def _row(self, prompt: str, answer: str) -> str:
        if not self.tokenizer.chat_template:
            return prompt + answer
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        return str(self.tokenizer.apply_chat_template(turns, tokenize=False))


JUDGE = JudgeKind("reward_model", RewardModel, needs=("model",), weights=True)
