"""A pytest plugin of trl_tests.py: our two classes in the module of TRL's own tests, in the mode that SWAP names."""

import os
from dataclasses import dataclass, field, make_dataclass

import pytest

MODES = {
    "none": {"gate": "none"},
    "seq": {"gate": "seq", "gate_alpha": "5/tau", "gate_tau": "q50"},
    "token": {"gate": "token", "gate_tau": "q75"},
    "one_row": {"gate": "seq", "layout": "one_row"},
    "packed": {"gate": "seq", "layout": "packed"},
}


def pytest_configure() -> None:
    """A checkout of another release than the installed one may ask for libraries that this one has forgotten."""
    from trl import import_utils

    def absent(name: str) -> object:
        if name.startswith("is_") and name.endswith("_available"):
            return lambda *_: False
        raise AttributeError(name)

    import_utils.__getattr__ = absent


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mode = os.environ["SWAP"]
    if mode == "stock":
        return
    from gatebench.objectives.trl import GatedDPOConfig, GatedDPOTrainer

    defaults = [(name, type(value), field(default=value)) for name, value in MODES[mode].items()]
    config = dataclass(make_dataclass("Swapped", defaults, bases=(GatedDPOConfig,)))
    config.__module__, globals()["Swapped"] = __name__, config  # where pickle looks for it
    for module in {item.module for item in items if isinstance(item, pytest.Function)}:
        module.DPOConfig, module.DPOTrainer = config, GatedDPOTrainer
