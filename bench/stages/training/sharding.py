"""A trainer whose model lies in parts on the processes of a team: torch's FSDP2, each weight over all of them.

By fully_shard itself and not through accelerate's plugin, which refuses a CPU, so that what runs on GPUs is what is
tested. A checkpoint has the whole weights in one file, as that of one device, and beside them each process's own part
of the optimizer's state.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from gatebench.bench.stages.training.dealing import TrainerKind, dealing

if TYPE_CHECKING:
    import torch
    from transformers import Trainer

    from gatebench.bench.stages.training.team import Team
    from gatebench.objectives.causal_lm import CausalLM

Gathered = TypeVar("Gathered", bound="CausalLM")
OPTIMIZER, SCHEDULER = "optimizer-{}.pt", "scheduler.pt"


def shard(trainer: Trainer, team: Team) -> None:
    """Share out the trainer's model, layer by layer, once its first weights are in it, where `team` does."""
    if not team.sharded:
        return
    from torch.distributed.fsdp import fully_shard

    model = cast("torch.nn.Module", trainer.model)
    units = set(getattr(model, "_no_split_modules", None) or ())  # transformers' names of what a layer is
    for part in [*(module for module in model.modules() if type(module).__name__ in units), model]:
        fully_shard(part)
    trainer.is_distributed_loading_by_transformers = True  # placed and reduced by its own hooks


def gathered_model(model: Gathered, team: Team, fresh: Callable[[], Gathered]) -> Gathered:
    """The model with all its weights, on the first process; on others anything. fresh: makes one of the same shape,
    for them to lie in. All processes have to ask."""
    if not team.sharded:
        return model
    weights = _whole_weights(model)
    if not team.leads:
        return model
    made = fresh()
    cast("torch.nn.Module", made).load_state_dict(weights)
    return made


def _whole_weights(model: CausalLM) -> dict[str, torch.Tensor]:
    """All weights, on the CPU of the first process; nothing on others. All have to ask."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return cast("dict[str, torch.Tensor]", get_model_state_dict(cast("torch.nn.Module", model), options=options))


def team_trainer(kind: TrainerKind, batch_size: int, team: Team) -> TrainerKind:
    """The class of a team's trainers: its batches are dealt evenly, and its checkpoints are those of a model in parts
    where it lies in parts; `kind` itself on one device."""
    return _sharding(dealing(kind, batch_size, team), team)


def _sharding(kind: TrainerKind, team: Team) -> TrainerKind:
    if not team.sharded:
        return kind

    def _load_from_checkpoint(self: Trainer, *_: object) -> None:
        """Nothing: `restore` put the weights in before they were shared out."""

    def _save(self: Trainer, output_dir: str, state_dict: object = None) -> None:
        weights = _whole_weights(self.model)
        if self.args.should_save:
            self.model.save_pretrained(output_dir, state_dict=weights)

    def _save_optimizer_and_scheduler(self: Trainer, output_dir: str) -> None:
        import torch
        from torch.distributed.tensor import DTensor

        found = self.optimizer.state_dict()
        own = {
            place: {name: value.to_local() if isinstance(value, DTensor) else value for name, value in state.items()}
            for place, state in found["state"].items()
        }
        Path(output_dir).mkdir(parents=True, exist_ok=True)  # the first process may still be on its way to it
        torch.save({**found, "state": own}, Path(output_dir, OPTIMIZER.format(team.rank)))
        if self.args.should_save:
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir, SCHEDULER))

    def _load_optimizer_and_scheduler(self: Trainer, checkpoint: str | None) -> None:
        import torch
        from torch.distributed.tensor import DTensor

        kind._load_optimizer_and_scheduler(self, checkpoint)  # which finds no optimizer of one file
        if checkpoint is None:
            return
        found = torch.load(Path(checkpoint, OPTIMIZER.format(team.rank)), map_location="cpu", weights_only=True)
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        for place, state in found["state"].items():
            parameter = parameters[place]
            for name, value in state.items():
                if value.shape == parameter.to_local().shape and name != "step":
                    state[name] = DTensor.from_local(
                        value.to(parameter.device), parameter.device_mesh, parameter.placements, run_check=False,
                        shape=parameter.shape, stride=parameter.stride(),
                    )  # fmt: skip
        self.optimizer.load_state_dict(found)
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint, SCHEDULER), weights_only=True))

    own = (_load_from_checkpoint, _save, _save_optimizer_and_scheduler, _load_optimizer_and_scheduler)
    made: TrainerKind = type(kind.__name__, (kind,), {method.__name__: method for method in own})  # type: ignore[assignment]
    return made
