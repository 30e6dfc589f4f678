"""What a preference training reads: its pairs as token ids beside the stored reference, and its gate in numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas
    import torch
    from datasets import Dataset

    from gatebench.bench.models.encoding import EncodedPair
    from gatebench.objectives.gates import Gate


def training_rows(
    pairs: Sequence[EncodedPair], reference: pandas.DataFrame | None, gate: Gate, ld_alpha: float | None = None
) -> Dataset:
    """The columns that GatedDPOTrainer expects of tokenized pairs; reference: their token log-probs, a row a pair, None
    where nothing reads them; ld_alpha: what those beyond the shorter response's length count, None in full."""
    from datasets import Dataset

    from gatebench.bench.stages.reference import PAIR_SIDES
    from gatebench.objectives.trl.collators import LEARNED, REFERENCE_TOKENS
    from gatebench.objectives.trl.scores import columns_of

    rows = Dataset.from_dict({
        "prompt_ids": [pair.prompt for pair in pairs],
        "chosen_ids": [pair.chosen for pair in pairs],
        "rejected_ids": [pair.rejected for pair in pairs],
    })  # fmt: skip
    if reference is not None:
        shared = [min(map(len, both)) for both in zip(*(reference[side] for side in PAIR_SIDES), strict=True)]
        rest = 1.0 if ld_alpha is None else ld_alpha
        for side in PAIR_SIDES:
            sums = [
                float(sum(tokens)) if rest == 1 else float(sum(tokens[:n]) + rest * sum(tokens[n:]))
                for tokens, n in zip(reference[side], shared, strict=True)
            ]
            rows = rows.add_column(f"ref_{side}_logps", sums)
    if any(pair.learned for pair in pairs):
        for side in PAIR_SIDES:
            rows = rows.add_column(LEARNED.format(side), [pair.own(side) for pair in pairs])
    if reference is not None and gate.reads_reference:
        for column in columns_of(gate):
            side = "rejected" if column == REFERENCE_TOKENS else "chosen"
            rows = rows.add_column(column, [list(map(float, tokens)) for tokens in reference[side]])
    return rows


def in_numbers(gate: Gate, reference: pandas.DataFrame | None) -> tuple[Gate, str | None]:
    """The gate with its thresholds as numbers, and a caution where they make a constant of it on these pairs."""
    from gatebench.objectives import gates
    from gatebench.objectives.gate_fit import constant_caution

    if reference is None or not gate.compares:
        return gate, None
    p = rejected_probabilities(gate.source.kind, reference["rejected"])
    resolved = gates.resolve_thresholds(gate, p)
    return resolved, constant_caution(resolved, p)


def rejected_probabilities(kind: str, token_log_probs: Iterable[Sequence[float]]) -> torch.Tensor:
    """p of every rejected response under the warm-up policy, from its stored token log-probs."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from gatebench.objectives import gates

    rows = [torch.tensor(tokens, dtype=torch.float32) for tokens in token_log_probs]
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return gates.counted_probabilities(kind, pad_sequence(rows, batch_first=True), mask)
