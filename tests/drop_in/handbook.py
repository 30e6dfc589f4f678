"""python -m tests.drop_in.handbook SOURCE: the alignment handbook's DPO script, its two names swapped, against stock's.

SOURCE: a checkout of the handbook. Both runs are of copies of its script and package, in which names that TRL has moved
since are what they are now. Exits with 1 where the weights differ in a bit.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file

from gatebench.bench.data import toolbox
from tests import architectures
from tests.tokenizers import family

MOVED = {
    "trl.ORPOConfig": "trl.DPOConfig", "model_args.torch_dtype": "model_args.dtype",
    "ModelConfig, get_kbit_device_map, ": "ModelConfig, ",  # of quantized models only
    "model_args.trust_remote_code": "training_args.trust_remote_code",
}  # fmt: skip
ARGUMENTS = (
    "--max_steps 2 --per_device_train_batch_size 4 --learning_rate 1e-3 --bf16 False --use_cpu --report_to none"
    " --logging_steps 1 --save_strategy no --max_length 64 --seed 1 --dtype float32"
)


def copy(source: Path, folder: Path, swapped: bool) -> Path:
    """The script, with its package beside it."""
    (folder / "alignment").mkdir(parents=True)
    for file in (source / "src" / "alignment").glob("*.py"):
        text = file.read_text(encoding="utf-8")
        for before, now in MOVED.items():
            text = text.replace(before, now)
        if swapped:
            text = text.replace("class DPOConfig(trl.DPOConfig)", "class DPOConfig(gatebench.GatedDPOConfig)")
            text = text.replace("import trl\n", "import gatebench\nimport trl\n")
        (folder / "alignment" / file.name).write_text(text, encoding="utf-8")
    text = (source / "scripts" / "dpo.py").read_text(encoding="utf-8")
    if swapped:
        text = text.replace("from trl import DPOTrainer, ", "from gatebench import GatedDPOTrainer\nfrom trl import ")
        text = text.replace("trainer = DPOTrainer(", "trainer = GatedDPOTrainer(")
    script = folder / "dpo.py"
    script.write_text(text, encoding="utf-8")
    return script


def main(source: Path) -> int:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        tokenizer = family("qwen3")
        tokenizer.pad_token = tokenizer.eos_token
        model = architectures.save("llama", tokenizer, folder / "model")
        (folder / "data").mkdir()
        pairs = toolbox.load_toolbox(16, 4, 0).train
        rows = [{"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected} for pair in pairs]
        (folder / "data" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        weights = []
        for name in ("stock", "ours", "gated"):
            script, out = copy(source, folder / name, name != "stock"), folder / f"{name}-out"
            gate = "--gate seq --gate_tau q30 --gate_alpha 5/tau".split() if name == "gated" else []
            done = subprocess.run(
                [sys.executable, script, *ARGUMENTS.split(), "--model_name_or_path", model, "--dataset_name",
                 folder / "data", "--output_dir", out, *gate],
                capture_output=True, text=True, check=False, cwd=folder,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "CI": "true"},
            )  # fmt: skip
            if done.returncode:
                print(f"{name}: {done.stderr[-2000:]}")
                return 1
            weights.append(load_file(out / "model.safetensors"))
    stock, ours, gated = weights
    same = all(torch.equal(ours[name], stock[name]) for name in stock)
    print(f"weights of the swapped script are {'' if same else 'NOT '}those of stock, bit for bit")
    print(f"with a gate {sum(not torch.equal(gated[name], stock[name]) for name in stock)} of {len(stock)} differ")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
