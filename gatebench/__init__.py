"""The gate for a TRL script, and the harness that measures what it changes.

    from gatebench import GatedDPOConfig, GatedDPOTrainer

Names are imported on first use, so that `import gatebench` waits for nothing. The harness (`gatebench.bench`,
`gatebench.dashboards` and the command `bench`) needs the extra `gatebench[bench]`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatebench.objectives.gates import Gate
    from gatebench.objectives.loss import Loss
    from gatebench.objectives.pairs import PairLogProbs
    from gatebench.objectives.trl import GatedDPOConfig, GatedDPOTrainer, GateMixin, SqueezingCallback, gate

__version__ = version("gatebench")
__all__ = [
    "Gate", "GateMixin", "GatedDPOConfig", "GatedDPOTrainer", "Loss", "PairLogProbs", "SqueezingCallback",
    "__version__", "gate",
]  # fmt: skip
_HOME = {
    "Gate": "gates", "PairLogProbs": "pairs", "Loss": "loss", "GatedDPOConfig": "trl", "GatedDPOTrainer": "trl",
    "GateMixin": "trl", "SqueezingCallback": "trl", "gate": "trl",
}  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'gatebench' has no attribute {name!r}")
    return getattr(import_module(f"gatebench.objectives.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
