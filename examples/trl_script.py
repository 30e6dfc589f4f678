"""TRL's DPO with a gate on the rejected gradient: python examples/trl_script.py MODEL PAIRS.jsonl

PAIRS.jsonl: rows of prompt, chosen and rejected. Three lines are not TRL's: the import, the gate, the trainer's name.
"""

import sys

from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from gatebench import GatedDPOConfig, GatedDPOTrainer  # 1, was: from trl import DPOConfig, DPOTrainer

model, pairs = sys.argv[1:]
args = GatedDPOConfig(  # was: DPOConfig(
    gate="seq", gate_alpha="5/tau", gate_tau="q50",  # 2
    output_dir="out",
    max_steps=8,
    per_device_train_batch_size=4,
    learning_rate=1e-4,
    bf16=False,
    logging_steps=1,
    report_to="none",
)  # fmt: skip
trainer = GatedDPOTrainer(  # 3, was: DPOTrainer(
    model=AutoModelForCausalLM.from_pretrained(model),
    args=args,
    train_dataset=load_dataset("json", data_files=pairs, split="train"),
    processing_class=AutoTokenizer.from_pretrained(model),
)
trainer.train()
