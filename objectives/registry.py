"""Loss names. A third party adds one through an entry point of the group `gatebench.losses`, whose
value is a `Loss`: one file in its own package, nothing here changes."""

from __future__ import annotations

from functools import cache

import torch

from gatebench.objectives import trl_losses
from gatebench.objectives.entry_points import LOSS_GROUP, with_third_parties
from gatebench.objectives.gates import HUMANLINE, Gate
from gatebench.objectives.loss import AnyLoss, Loss
from gatebench.objectives.losses import alpha_dpo, bdpo, beta_dpo, bpo, cal_dpo, dpo, dpo_shift, dpop, ipo, r_dpo
from gatebench.objectives.losses.reference_free import cpo, nll, orpo, sft, simpo, slic
from gatebench.objectives.mixes import Mix, is_mix, mix, weights_of
from gatebench.objectives.names import UnknownWord

BUILT_IN: tuple[AnyLoss, ...] = (
    Loss("dpo", dpo.dpo, dpo.DPO),
    Loss("ipo", ipo.ipo, ipo.IPO, ipo.caution),
    Loss("cal_dpo", cal_dpo.cal_dpo, cal_dpo.CalDPO, cal_dpo.caution, torch.float64),
    Loss("dpo_shift", dpo_shift.dpo_shift, dpo_shift.DPOShift),
    Loss("dpop", dpop.dpop, dpop.DPOP),
    Loss("bdpo", bdpo.bdpo, bdpo.BDPO),
    Loss("bpo", bpo.bpo, bpo.BPO),
    Loss("r_dpo", r_dpo.r_dpo, r_dpo.RDPO),
    Loss("simpo", simpo.simpo, simpo.SimPO, reference=False),
    Loss("alpha_dpo", alpha_dpo.alpha_dpo, alpha_dpo.AlphaDPO, of_batch=alpha_dpo.gaps_of_batch),
    Loss("beta_dpo", beta_dpo.beta_dpo, beta_dpo.BetaDPO, of_batch=beta_dpo.beta_of_batch),
    Loss("cpo", cpo.cpo, cpo.CPO, reference=False),
    Loss("orpo", orpo.orpo, orpo.ORPO, reference=False, warmed=False),
    Loss("slic", slic.slic, slic.SLiC, reference=False),
    Loss("nll", nll.nll, nll.NLL, reference=False),
    Loss("sft", sft.sft, sft.SFT, reference=False),
    *(
        Loss(f"trl:{name}", function, parameters, couples_pairs=name in trl_losses.COUPLING, reference=name != "sft")
        for name, (function, parameters) in trl_losses.TYPES.items()
    ),
)


@cache
def losses() -> dict[str, AnyLoss]:
    """Every loss by name; ValueError when a third party takes a name that is ours."""
    return with_third_parties(LOSS_GROUP, {loss.name: loss for loss in BUILT_IN})


def get_loss(name: str) -> AnyLoss:
    """The loss of that name, or the mix that it writes (mixes.py); UnknownWord with the nearest name otherwise."""
    if is_mix(name):
        return mix({part: (weight, get_loss(part)) for part, weight in weights_of(name).items()})
    if name not in losses():
        raise UnknownWord("loss", name, losses(), LOSS_GROUP)
    return losses()[name]


def unanchored_caution(name: str, gate: Gate) -> str | None:
    """A sentence where humanline's band, which is about the reference, cuts a loss that does not read it; else None."""
    loss = get_loss(name)
    parts = [part for _, part in loss.of.values()] if isinstance(loss, Mix) else [loss]
    free = [part.name for part in parts if not part.reference]
    if gate.kind != HUMANLINE or not free:
        return None
    return (
        f"gate humanline leaves out tokens by their log-ratio to the reference, which {' and '.join(free)} does not "
        "read: a chosen token that has fallen below the band is not pulled up by it either"
    )


def coupling_caution(name: str, pairs_a_batch: int, pairs_at_once: int) -> str | None:
    """A sentence where a loss that couples pairs does not see the effective batch at once, or where a batch has no
    other pair for a loss that asks about them; else None."""
    if pairs_a_batch == 1 and get_loss(name).of_batch is not None:
        return (
            f"loss {name} compares a pair with the others of its effective batch, which is one pair here: nothing of "
            "that acts; a larger batch_size makes it what it says"
        )
    if pairs_at_once >= pairs_a_batch or not get_loss(name).couples_pairs:
        return None
    return (
        f"loss {name} takes the pairs that it sees at once together, and sees {pairs_at_once} of a batch of "
        f"{pairs_a_batch}: its result is another than that of micro-batches of {pairs_a_batch}. Compare it only with "
        "trainings that were cut alike, or make room for the whole batch"
    )
