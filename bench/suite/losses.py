"""How a suite writes the loss of an objective, and which numbers of one can be searched."""

from __future__ import annotations

from collections.abc import Mapping

from gatebench.objectives.names import UnknownWord

OF_MOVING_REFERENCE = ("sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps")  # TRL's arguments


def with_loss(given: dict[str, object]) -> dict[str, object]:
    """An objective's entry with one name for its loss: of a mix of weighted losses, or of TRL's loss_type and
    loss_weights; and without a warm-up where the loss is of a method that has none and nothing else is asked."""
    from gatebench.objectives import mixes
    from gatebench.objectives.registry import get_loss

    moving = [name for name in OF_MOVING_REFERENCE if name in given or name in _mapping(given.get("parameters"))]
    if moving:
        raise ValueError(
            f"{moving[0]}: a suite's reference is the warm-up policy, scored once before the training, and does not "
            "move with it; a script of GatedDPOTrainer takes TRL's sync_ref_model"
        )
    types, weights = given.pop("loss_type", None), given.pop("loss_weights", None)
    if types is not None:
        if "loss" in given:
            raise ValueError("loss and loss_type are two ways to say one thing; keep one of them")
        types = types if isinstance(types, list) else [types]
        weights = [1] * len(types) if weights is None else weights
        if not isinstance(weights, list) or len(weights) != len(types):
            raise ValueError(f"loss_weights: expected one number for each of loss_type's {len(types)}")
        given["loss"] = {f"trl:{name}": weight for name, weight in zip(types, weights, strict=True)}
    elif weights is not None:
        raise ValueError("loss_weights belong to a list loss_type, as in loss_type: [sigmoid, sft]")
    loss = given.get("loss", given.get("name"))
    if isinstance(loss, dict):
        loss = given["loss"] = mixes.name_of(loss)
    elif isinstance(loss, str) and mixes.is_mix(loss):
        loss = given["loss"] = mixes.name_of(mixes.weights_of(loss))
    try:
        warmed = get_loss(str(loss)).warmed
    except UnknownWord:  # which is said with the place of the loss
        return given
    return given if warmed else {"warmup": "none", **given}


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def numbers_of(loss: str) -> tuple[str, ...]:
    """What of an objective's loss can be searched: its parameters; of a mix also a part's name, for its weight, and
    PART.PARAMETER for a parameter of that part alone."""
    from gatebench.objectives.mixes import Mix
    from gatebench.objectives.registry import get_loss

    found = get_loss(loss)
    of = found.of if isinstance(found, Mix) else {}
    return (*found.known, *(f"{name}.{own}" for name, (_, part) in of.items() for own in part.known))


def with_number(
    loss: str, parameters: Mapping[str, object], name: str, value: float | str
) -> tuple[str, dict[str, object]]:
    """The loss and its parameters with another value of what numbers_of names; ValueError for one without meaning."""
    from gatebench.objectives import mixes
    from gatebench.objectives.registry import get_loss

    weights = mixes.weights_of(loss) if mixes.is_mix(loss) else {}
    part, dot, own = name.partition(".")
    if name in weights:
        loss, changed = mixes.name_of({**weights, name: value}), dict(parameters)
    elif dot:
        changed = {**parameters, part: {**_mapping(parameters.get(part)), own: value}}
    else:
        changed = {**parameters, name: value}
    get_loss(loss).make_parameters(**changed)
    return loss, changed
