"""Trainings by torchrun on this machine, over gloo."""

import json
import subprocess
import sys

import torch

from tests.helpers import ROOT

SCRIPT = """
import json, sys
import torch
from datasets import Dataset
from peft import LoraConfig
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.distributed import DistributedConfig
from trl import DPOConfig, DPOTrainer
from gatebench.objectives.trl import GatedDPOConfig, GatedDPOTrainer, SqueezingCallback, layouts

model, rows, out, arguments = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
output, fallen_back = layouts.output, []
def watched(*given):
    found = output(*given)
    fallen_back.append(found is None)
    return found
layouts.output = watched
for name, more in arguments.items():
    config, kind = (DPOConfig, DPOTrainer) if name == "stock" else (GatedDPOConfig, GatedDPOTrainer)
    adapter = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM") if more.pop("lora", False) else None
    fallen_back.clear()
    shared_out, watched_too = more.pop("shared_out", None), more.pop("squeezing", False)
    loading = {"distributed_config": DistributedConfig(fsdp_size=2)} if shared_out == "when it is loaded" else {}
    trainer = kind(
        model=AutoModelForCausalLM.from_pretrained(model, **loading),
        ref_model=None if adapter else AutoModelForCausalLM.from_pretrained(model),
        processing_class=AutoTokenizer.from_pretrained(model),
        args=config(output_dir=out, **more), train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(rows[:5]), peft_config=adapter,
        callbacks=[SqueezingCallback(every=1)] if watched_too else None,
    )
    wrapped = []
    trainer.add_callback(type("Watch", (type(trainer.callback_handler.callbacks[0]),), {
        "on_step_end": lambda self, *_, **__: wrapped.append(type(trainer.model_wrapped).__name__)
    }))
    if shared_out == "when the training begins":  # as accelerate does it, which refuses to on a CPU
        network = trainer.accelerator.unwrap_model(trainer.model)
        for part in (*network.model.layers, network):
            fully_shard(part)
        trainer.is_distributed_loading_by_transformers = True
    trainer.train()
    trainer.evaluate()
    whole = {}
    for part, weight in trainer.accelerator.unwrap_model(trainer.model).named_parameters():
        whole[part] = weight.full_tensor().detach() if isinstance(weight, DTensor) else weight.detach()
    torch.save({
        "weights": whole,
        "log": trainer.state.log_history, "fallen_back": list(fallen_back), "wrapped": wrapped[0],
        "gate": None if name == "stock" else (trainer.gate.source.tau, trainer.gate.source.alpha),
        "caution": None if name == "stock" else trainer.layout_caution,
    }, f"{out}/{name}-{trainer.accelerator.process_index}.pt")
"""
SETTINGS = {
    "learning_rate": 1e-2, "optim": "sgd", "warmup_steps": 0, "max_grad_norm": 0.0,  # Adam divides by rounding
    "max_steps": 3, "logging_steps": 1, "gradient_checkpointing": False, "bf16": False, "report_to": [],
    "save_strategy": "no", "disable_tqdm": True, "use_cpu": True, "max_length": 64, "seed": 1,
    "per_device_eval_batch_size": 2,
}  # fmt: skip


def trained_on(processes, model, rows, trainings, folder):
    """trainings: name -> arguments over SETTINGS. Name -> what each process found."""
    folder.mkdir()
    script = folder / "script.py"
    script.write_text(SCRIPT)
    given = {name: {**SETTINGS, **arguments} for name, arguments in trainings.items()}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    done = subprocess.run(
        [*launch, script, model, json.dumps(rows), folder, json.dumps(given)],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: [torch.load(folder / f"{name}-{rank}.pt") for rank in range(processes)] for name in trainings}
