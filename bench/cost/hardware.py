"""What a suite would take on hardware that is not here: `h100`, `8xa100-80gb`, `rtx4090`.

Seconds of a stage = floating-point operations / (peak * UTILISATION), or, where answers are written token by token, the
bytes of all weights read once a token of a batch / (bandwidth * READING); and what starting and loading take. Peaks are
those of dense matrices, by the vendors' data sheets:

h100, h100-pcie, h200   NVIDIA H100 and H200 Tensor Core GPU data sheets (SXM unless said; half of the figures "with
                        sparsity")
a100-40gb, a100-80gb    NVIDIA A100 Tensor Core GPU data sheet (SXM)
b200                    NVIDIA Blackwell data sheet (HGX)
l4, l40s, a10, t4, v100, a6000    the NVIDIA data sheet of each
rtx3090, rtx4090, rtx5090         NVIDIA Ampere, Ada and Blackwell GPU architecture whitepapers (FP32 accumulate)
mi300x                  AMD Instinct MI300X data sheet
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from gatebench.bench.cost.amounts import StageWork, works_of
from gatebench.bench.cost.memory import peak_memory
from gatebench.bench.errors import UserError
from gatebench.bench.machine import Machine
from gatebench.bench.models.source import FLOAT32, Adapter
from gatebench.bench.plan.graph import Plan
from gatebench.bench.stages.stage import BYTES
from gatebench.objectives.names import nearest

# Share of the peak that matrices in training reach: 0.3 to 0.5 in PaLM (Chowdhery et al. 2022, sec. 4.1) and nanoGPT,
# less with the short rows and small micro-batches of preference training.
UTILISATION = 0.35
READING = 0.6  # share of the bandwidth that writing answers reaches
LOADING = 1e9  # bytes a second at which weights come from a disk
START = 15.0  # seconds that a stage takes before its first step
USABLE = 0.94  # share of a device's memory that is left beside its context and what is fragmented


@dataclass(frozen=True)
class Device:
    """wide, narrow: operations a second in float32 and bfloat16 (float16 where a device has no bfloat16);
    memory: bytes; bandwidth: bytes a second of it."""

    wide: float
    narrow: float
    memory: float
    bandwidth: float


def _device(wide: float, narrow: float, gigabytes: float, bandwidth: float) -> Device:
    """In TFLOP/s, TFLOP/s, GB (of 2^30, as memory is sold) and GB/s, as data sheets have them."""
    return Device(wide * 1e12, narrow * 1e12, gigabytes * 2**30, bandwidth * 1e9)


DEVICES = {
    "h100": _device(67, 989, 80, 3350), "h100-pcie": _device(51, 756, 80, 2000), "h200": _device(67, 989, 141, 4800),
    "b200": _device(75, 2250, 180, 7700), "a100-40gb": _device(19.5, 312, 40, 1555),
    "a100-80gb": _device(19.5, 312, 80, 2039), "l4": _device(30.3, 121, 24, 300), "l40s": _device(91.6, 362, 48, 864),
    "a10": _device(31.2, 125, 24, 600), "a6000": _device(38.7, 155, 48, 768), "t4": _device(8.1, 65, 16, 320),
    "v100": _device(15.7, 125, 32, 900), "rtx3090": _device(35.6, 71, 24, 936),
    "rtx4090": _device(82.6, 165, 24, 1008), "rtx5090": _device(104.8, 210, 32, 1792),
    "mi300x": _device(163.4, 1307, 192, 5300),
}  # fmt: skip


@dataclass(frozen=True)
class Hardware:
    """Some devices of one kind; a stage runs on one of them."""

    name: str
    device: Device
    count: int

    @property
    def machine(self) -> Machine:
        label = self.name if self.count == 1 else f"{self.count} x {self.name}"
        return Machine(label, self.count, self.count, int(self.device.memory * USABLE))

    def seconds(self, work: StageWork, computed: float, measured: float) -> float | None:
        """Of one stage on its devices, which share its operations evenly: so many in its model's type and so many more
        in float32; None where the size of its model is not known."""
        if not work.amount.units or not work.amount.held:
            return 0.0
        if work.size is None:
            return None
        amount, n = work.amount, work.size.parameters
        is_wide = amount.wide or work.model.dtype == FLOAT32
        busy = computed / (self.device.wide if is_wide else self.device.narrow) + measured / self.device.wide
        taken = START + amount.held * n / LOADING + busy / UTILISATION / amount.devices
        if amount.at_once:
            passes = -(-amount.units // amount.at_once) * amount.writes
            taken += passes * amount.held * n / (self.device.bandwidth * READING)
        return taken

    def memory(self, work: StageWork) -> float:
        """Bytes that a stage takes of a device."""
        return peak_memory(work.amount, work.size, work.model) if work.size else 0.0


def hardware_of(text: str, workers: int | None = None) -> Hardware:
    """`NAME` or `COUNTxNAME`; a worker has a device, so that `workers` can stand for the count.

    Raises UserError for a device that is not in the table, with the nearest that are, and for another count.
    """
    found = re.fullmatch(r"(?:(\d+)\s*x\s*)?(\S+)", text.strip().lower())
    name = found[2] if found else text
    if found is None or name not in DEVICES or found[1] == "0":
        alike = [device for device in DEVICES if device.startswith(f"{name}-")]
        hint = f"did you mean {' or '.join(alike)}?" if alike else nearest(name, DEVICES)
        raise UserError(f"--hardware {text}: expected a device, or a number of them as 8xa100-80gb; {hint}")
    count = int(found[1] or workers or 1)
    if workers not in (None, count):
        raise UserError(f"--hardware {text} --workers {workers}: expected one worker a device; leave --workers out")
    return Hardware(name, DEVICES[name], count)


def too_large(plan: Plan, finished: AbstractSet[str], hardware: Hardware) -> list[str]:
    """A sentence for each kind of stage and model that does not fit one device, with what would make it fit."""
    room = hardware.machine.memory
    widest = max((node.devices for key, node in plan.nodes.items() if key not in finished), default=1)
    few = [f"a training wants {widest} devices at once and there are {hardware.count}; write {widest}x{hardware.name}"]
    worst: dict[tuple[str, str], StageWork] = {}
    for cell in plan.cells:
        for key in plan.keys_of(cell) - finished:
            work = works_of(plan)[key]
            if work and hardware.memory(work) > room:
                place = (plan.nodes[key].kind, cell.model)
                worst[place] = max(work, worst.get(place, work), key=hardware.memory)
    return [*(few if widest > hardware.count else ())] + [
        f"{kind} of {model} needs about {hardware.memory(work) / 1e9:.0f} GB and one {hardware.name} gives "
        f"{room / 1e9:.0f}; {_remedy(work, hardware)}"
        for (kind, model), work in sorted(worst.items(), key=lambda item: item[0])
    ]


def _remedy(work: StageWork, hardware: Hardware) -> str:
    """What a suite can change: the first thing that makes it fit by itself, else as many as it takes."""
    ways, room = _ways(work), hardware.machine.memory
    for words, change in ways.items():
        if hardware.memory(change(work)) <= room:
            return f"it would fit with {words}"
    told: list[str] = []
    for words, change in ways.items():
        told.append(words)
        work = change(work)
        if hardware.memory(work) <= room:
            return f"it would fit with {' and '.join(told)}"
    return "take a device with more memory, or a smaller model"


def _ways(work: StageWork) -> dict[str, Callable[[StageWork], StageWork]]:
    if not work.amount.states:
        return {}
    found: dict[str, Callable[[StageWork], StageWork]] = {}
    if not work.amount.checkpointing:
        found["gradient_checkpointing: true"] = _recomputed
    if work.amount.batch_tokens > work.amount.unit_tokens:
        found["micro_batch_size: 1"] = _one_by_one
    if work.model.adapter is None:
        found["dtype: bfloat16 and adapter: {kind: lora}"] = _adapted
    return found


def _recomputed(work: StageWork) -> StageWork:
    return replace(work, amount=replace(work.amount, checkpointing=True))


def _one_by_one(work: StageWork) -> StageWork:
    return replace(work, amount=replace(work.amount, batch_tokens=work.amount.unit_tokens))


def _adapted(work: StageWork) -> StageWork:
    model = replace(work.model, dtype="bfloat16", adapter=Adapter())
    return replace(work, model=model, amount=replace(work.amount, held=BYTES["bfloat16"]))
