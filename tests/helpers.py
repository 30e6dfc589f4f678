"""What several tests make by hand: a small good suite that they run, change and break."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SUITES = ROOT / "suites"  # the shipped ones
GOOD = """name: good
models: [builtin:ladder/neox-0.3m]
datasets:
  - {name: toolbox, path: builtin:toolbox, train: 24, test: 8}
objectives: [dpo, extended_sft]
gates: [none, {kind: seq, alpha: 50, tau: q50}]
seeds: [0]
base: {tokens: 4096, learning_rate: 0.002, batch_size: 8, context: 64}
warmup: {epochs: 1, learning_rate: 0.001, batch_size: 8}
train:
  learning_rate: 0.001
  steps: 4
  batch_size: 4
  warmup_steps: 0
  max_length: 64
  evaluate_every: 2
evaluate:
  dynamics: {probes: 6}
"""
CLAIM = """claims:
  - {name: the gate raises it, metric: delta_chosen, contrast: {gate: [seq, none]}, by: [objective], expect: greater}
"""


def write(folder: Path, text: str, name: str = "suite.yaml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file
