"""The probes of one model: every response's log-prob, and where the mass along chosen and rejected ones is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, TypeAlias, cast

from gatebench.bench.data.pairs import role_of
from gatebench.bench.data.source import DataSource
from gatebench.bench.errors import StageFailed
from gatebench.bench.metrics.calibration import GAPS
from gatebench.bench.metrics.dynamics import PLACES, SHARED
from gatebench.bench.models.encoding import EncodedProbe, Lengths
from gatebench.bench.stages.finite import check_finite

if TYPE_CHECKING:
    import pandas
    import torch

    from gatebench.objectives.causal_lm import CausalLM, Tokenizer
    from gatebench.objectives.layout.scoring import Reader, Scored

PROBES = "probes.parquet"
CHOSEN, REJECTED = "chosen", "rejected"
SUPPORT = 8  # tokens
# Where the mass along a rejected response can be; a token belongs to the first that it is in.
MASSES = ("target", "top1", "chosen", "chosen_paraphrases", "rejected_paraphrases", "unrelated", "rest")
Encoded: TypeAlias = dict[str, list[tuple[int, EncodedProbe]]]  # of a split: (prompt, its probe)
# Logits [N, V] in float32 of one response to each of some prompts, under the policy that a training began from.
Reference: TypeAlias = "Callable[[Sequence[list[int]], Sequence[list[int]]], torch.Tensor]"


@dataclass(frozen=True)
class Followed:
    """The probes of a data set as a model reads them. tokens: of all; cautions: on those that it cannot read; profile:
    whether the chosen response is measured by the places of its tokens as well; confidence: and by `confidence`."""

    encoded: Encoded
    tokens: int
    cautions: tuple[str, ...]
    profile: int = 0
    confidence: bool = False

    def reader(self, model: CausalLM) -> Reader:
        """How a model reads them."""
        from gatebench.objectives.layout.scoring import reader_of

        probes = [probe for rows in self.encoded.values() for _, probe in rows]
        return reader_of(model, [p.prompt for p in probes], [list(p.responses.values()) for p in probes])


def followed(tokenizer: Tokenizer, data: DataSource, lengths: Lengths, *, profile: int, confidence: bool) -> Followed:
    from gatebench.bench.data.adapters import load
    from gatebench.bench.models.encoding import Encoder, unread

    encoder, given = Encoder(tokenizer, lengths), load(data).probes
    encoded = {split: encoder.probes(rows) for split, rows in given.items()}
    left_out = [unread(data, f"{split} probes", len(encoded[split]), len(rows)) for split, rows in given.items()]
    tokens = sum(len(p.prompt) + sum(map(len, p.responses.values())) for rows in encoded.values() for _, p in rows)
    cautions = tuple(sentence for found in left_out for sentence in found)
    return Followed(encoded, tokens, cautions, profile, confidence)


def probes_after(
    step: int, model: CausalLM, start: CausalLM | None, probes: Followed, report: Callable[[float], None]
) -> tuple[pandas.DataFrame, str | None]:
    """The probes of a model after some steps of training, and a caution on how it was read.

    start: the policy that it began as, None for a model with an adapter, which is that policy without it. The policy
    decides how both are read, so that no two steps differ by how they were read.
    """
    from gatebench.objectives.causal_lm import AdaptedLM, without_adapter
    from gatebench.objectives.layout.scoring import score

    own = without_adapter(model)

    def turned_off() -> AbstractContextManager[object]:
        return nullcontext() if start else cast(AdaptedLM, model).disable_adapter()

    with turned_off():
        reader = probes.reader(start or own)

    def reference(prompts: Sequence[list[int]], responses: Sequence[list[int]]) -> torch.Tensor:
        with turned_off():
            return score(reader, prompts, responses)

    return measure_probes(replace(reader, model=own), reference, probes, step, report), reader.caution


def measure_probes(
    model: Reader, reference: Reference | None, given: Followed, step: int, report: Callable[[float], None]
) -> pandas.DataFrame:
    """One row a probe and kind: step, split, prompt, kind, tokens, log_prob (summed), in nats.

    reference: None where the model is itself what a training begins from.

    The rows of the chosen response also have argmax (summed log-prob of the most likely tokens), entropy, mass_target,
    mass_top1 (0 where the target is the most likely token), mass_rest (means over tokens) and kl (summed
    KL(policy || reference)); with a profile also the summed log-prob of the tokens at each of PLACES and of those
    that both responses begin with (SHARED, none where they part at once), and with confidence what `confidence` says.
    Those of the rejected response have mass_target, mass_top1 and what is left of the rest in mass_chosen,
    mass_chosen_paraphrases, mass_rejected_paraphrases, mass_unrelated: the mean mass on tokens that those responses
    consist of, each token counted once, in this order. The masses of a row sum to 1.

    Raises StageFailed for log-probs that are not numbers.
    """
    import pandas
    import torch

    from gatebench.objectives.layout.scoring import map_batches

    def rows_of(split: str, rows: list[tuple[int, EncodedProbe]], scored: Scored) -> pandas.DataFrame:
        kinds = [list(rows[i][1].responses)[k] for i, k in scored.owners]
        try:
            frame = pandas.DataFrame(response_sums(scored))
        except StageFailed as failure:
            raise StageFailed(f"probes at step {step}: {failure}") from None
        frame["split"], frame["kind"] = split, kinds
        frame["prompt"] = [rows[i][0] for i, _ in scored.owners]
        probes = [rows[i][1] for i, _ in scored.owners]
        of_chosen = partial(chosen_quantities, more=given.confidence)
        for wanted, quantities in ((CHOSEN, of_chosen), (REJECTED, rejected_quantities)):
            places = [at for at, kind in enumerate(kinds) if kind == wanted]
            if places:
                found = quantities(scored.only(places), [probes[at] for at in places], reference)
                for name, values in found.items():
                    frame.loc[places, name] = values.tolist()
                if wanted == CHOSEN and given.profile:
                    chosen = scored.only(places)
                    for name, values in by_place(chosen).items():
                        frame.loc[places, name] = values.tolist()
                    frame.loc[places, SHARED] = shared(chosen, [probes[at] for at in places]).tolist()
        return frame

    frames: list[pandas.DataFrame] = []
    total, done = sum(map(len, given.encoded.values())), 0
    with torch.no_grad():  # no inference mode: what a model keeps for later, it may train with
        for split, rows in given.encoded.items():
            prompts = [probe.prompt for _, probe in rows]
            responses = [list(probe.responses.values()) for _, probe in rows]
            frames += map_batches(
                model, prompts, responses, lambda scored: rows_of(split, rows, scored),  # noqa: B023
                lambda share: report((done + share * len(rows)) / total),  # noqa: B023
                {(i, k): own for i, (_, probe) in enumerate(rows) for k, own in probe.gaps()},
            )  # fmt: skip
            done += len(rows)
    frame = pandas.concat(frames, ignore_index=True).sort_values(["split", "prompt", "kind"], ignore_index=True)
    frame.insert(0, "step", step)
    return frame


def response_sums(scored: Scored) -> dict[str, list[float]]:
    """tokens and log_prob of every response. Raises StageFailed for log-probs that are not numbers."""
    import torch

    from gatebench.objectives.layout.shared_prompt import target_log_probs

    target = target_log_probs(scored.logits, scored.targets)
    tokens = scored.sums(torch.ones_like(target)).long()
    log_prob: list[float] = scored.sums(target).tolist()
    check_finite(log_prob, "responses scored at once")
    return {"tokens": tokens.tolist(), "log_prob": log_prob}


def by_place(scored: Scored) -> dict[str, torch.Tensor]:
    """The summed log-prob of each response's tokens at each of PLACES, [responses] each; 0 where it ends before."""
    import torch

    from gatebench.objectives.layout.shared_prompt import target_log_probs

    target, place = target_log_probs(scored.logits, scored.targets), _places(scored)
    found = {}
    for name, (first, last) in PLACES.items():
        own = (place >= first) & (place <= (last or len(target)))
        found[name] = scored.sums(torch.where(own, target, torch.zeros_like(target)))
    return found


def shared(scored: Scored, probes: Sequence[EncodedProbe]) -> torch.Tensor:
    """The summed log-prob of the tokens that chosen responses have in common with the rejected one before they part,
    [responses]; nan where they part at their first token, or where there is no rejected one."""
    import torch

    from gatebench.objectives.layout.shared_prompt import target_log_probs

    counts = torch.tensor([_in_common(probe) for probe in probes], device=scored.logits.device)
    target = target_log_probs(scored.logits, scored.targets)
    own = _places(scored) <= counts[scored.response]
    sums = scored.sums(torch.where(own, target, torch.zeros_like(target)))
    return sums.masked_fill(counts == 0, math.nan)


def _in_common(probe: EncodedProbe) -> int:
    """How many learned tokens the chosen response has before it parts from the rejected one."""
    sides = zip(probe.responses[CHOSEN], probe.responses.get(REJECTED, []), strict=False)
    until = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], sides))
    own = probe.learned.get(CHOSEN)
    return until if own is None else sum(own[:until])


def _places(scored: Scored) -> torch.Tensor:
    """[tokens] where each stands in its response, from 1."""
    import torch

    ends = scored.sums(torch.ones_like(scored.targets, dtype=torch.float32)).long().cumsum(0)
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    return torch.arange(len(scored.targets), device=ends.device) - starts[scored.response] + 1


def chosen_quantities(
    scored: Scored, probes: Sequence[EncodedProbe], reference: Reference | None, more: bool = False
) -> dict[str, torch.Tensor]:
    """Quantities of the whole distribution along chosen responses, [responses] each; more: those of `confidence`."""
    import torch

    from gatebench.objectives.layout.scoring import counted

    log_p = scored.logits.log_softmax(dim=1)
    target = log_p.gather(1, scored.targets[:, None]).squeeze(1)
    top = log_p.max(dim=1).values
    mean = 1 / scored.sums(torch.ones_like(target))
    began = log_p
    if reference is None:
        kl = torch.zeros_like(target)
    else:
        responses = [probe.responses[CHOSEN] for probe in probes]
        logits = reference([probe.prompt for probe in probes], responses)
        gaps = {(i, 0): own for i, probe in enumerate(probes) if (own := probe.learned.get(CHOSEN))}
        kept = counted([(i, 0) for i in range(len(probes))], responses, gaps)
        logits = logits if kept is None else logits[kept.to(logits.device)]
        began = logits.log_softmax(dim=1)
        kl = (log_p.exp() * (log_p - began)).sum(dim=1)
    found = {
        "argmax": scored.sums(top),
        "entropy": scored.sums(-(log_p.exp() * log_p).sum(dim=1)) * mean,
        "mass_target": scored.sums(target.exp()) * mean,
        "mass_top1": scored.sums(torch.where(top > target, top.exp(), torch.zeros_like(top))) * mean,
        "kl": scored.sums(kl),
    }
    found["mass_rest"] = 1 - found["mass_target"] - found["mass_top1"]
    return {**found, **confidence(scored, log_p, began)} if more else found


def confidence(scored: Scored, log_p: torch.Tensor, began: torch.Tensor) -> dict[str, torch.Tensor]:
    """How the next token is predicted along responses, [responses] each. log_p, began: [N, V] of the policy, and of the
    one that its training began from.

    support: the mean mass on the SUPPORT tokens that were likeliest where the training began. GAPS: the sum of
    (probability of the likeliest token - whether it was right) over the tokens whose probability lies in that bin.
    """
    import torch

    likeliest = began.topk(min(SUPPORT, began.shape[1]), dim=1).indices
    mass = log_p.gather(1, likeliest).exp().sum(dim=1)
    top, guess = log_p.exp().max(dim=1)
    bins = (top * len(GAPS)).ceil().long().clamp(1, len(GAPS)) - 1  # (0, 1/15], (1/15, 2/15] ... as in the source
    gap = top - (guess == scored.targets).float()
    found = {name: scored.sums(torch.where(bins == at, gap, torch.zeros_like(gap))) for at, name in enumerate(GAPS)}
    return {"support": scored.sums(mass) / scored.sums(torch.ones_like(mass)), **found}


def rejected_quantities(
    scored: Scored, probes: Sequence[EncodedProbe], reference: Reference | None
) -> dict[str, torch.Tensor]:
    """The masses along rejected responses, [responses] each."""
    import torch

    p = scored.logits.softmax(dim=1)
    classes = torch.stack([token_classes(probe, p.shape[1]) for probe in probes]).to(p.device)[scored.response]
    classes = classes.scatter(1, p.argmax(dim=1, keepdim=True), MASSES.index("top1"))
    classes = classes.scatter(1, scored.targets[:, None], MASSES.index("target"))
    masses = torch.zeros(len(p), len(MASSES), device=p.device).scatter_add(1, classes, p)
    mean = 1 / scored.sums(torch.ones(len(p), device=p.device))
    return {f"mass_{name}": scored.sums(masses[:, column]) * mean for column, name in enumerate(MASSES)}


def token_classes(probe: EncodedProbe, vocabulary: int) -> torch.Tensor:
    """[V] the index in MASSES of every token: of the first of the listed responses that it occurs in."""
    import torch

    classes = torch.full((vocabulary,), MASSES.index("rest"))
    for name in reversed(MASSES):
        for kind, tokens in probe.responses.items():
            if role_of(kind) == name:
                classes[tokens] = MASSES.index(name)
    return classes
