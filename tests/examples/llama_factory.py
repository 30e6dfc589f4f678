"""PYTHON -m tests.examples.llama_factory FOLDER MODEL: two trainings by LLaMA-Factory, ungated and gated, compared.

PYTHON: of an environment with LLaMA-Factory, which needs another TRL than the one here. Exits with 1 where the gate
does nothing, or more than scale the rejected side.
"""

import json
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
ROW = {"instruction": "Question: What is 2 plus 2?", "input": "", "chosen": "It is 4.", "rejected": "It is surely 5."}
RECIPE = {
    "stage": "dpo", "do_train": True, "finetuning_type": "full", "pref_beta": 0.1, "pref_loss": "sigmoid",
    "dataset": "pairs", "template": "default", "cutoff_len": 64, "per_device_train_batch_size": 4, "max_steps": 3,
    "learning_rate": 1e-2, "lr_scheduler_type": "constant", "logging_steps": 1, "report_to": "none", "seed": 1,
    "save_strategy": "no", "preprocessing_num_workers": 1, "use_cpu": True, "optim": "sgd",
}  # fmt: skip


def losses(folder: Path, model: str, name: str, *gate: str) -> list[dict[str, float]]:
    """The lines of the log of a training; gate: tau and alpha, none where it is LLaMA-Factory's own."""
    recipe = {**RECIPE, "model_name_or_path": model, "dataset_dir": str(folder), "output_dir": str(folder / name)}
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(recipe))
    start = [str(ROOT / "examples" / "llama_factory.py"), *gate] if gate else ["-m", "llamafactory.cli", "train"]
    subprocess.run([sys.executable, *start, str(file)], check=True, cwd=ROOT)
    log = json.loads((folder / name / "trainer_state.json").read_text())["log_history"]
    return [line for line in log if "rewards/margins" in line]


def main(folder: Path, model: str) -> int:
    information = {"file_name": "pairs.json", "ranking": True, "columns": {
        "prompt": "instruction", "query": "input", "chosen": "chosen", "rejected": "rejected"}}  # fmt: skip
    (folder / "dataset_info.json").write_text(json.dumps({"pairs": information}))
    (folder / "pairs.json").write_text(json.dumps([ROW] * 16))
    plain, shut = losses(folder, model, "plain"), losses(folder, model, "shut", "0.9", "1000")
    opened = losses(folder, model, "opened", "0.0", "1e9")
    said = {
        "a gate changes no value of the first step": plain[0]["loss"] == shut[0]["loss"],
        "a shut gate leaves the rejected side alone": shut[-1]["rewards/rejected"] > plain[-1]["rewards/rejected"],
        "an open gate is no gate": [line["loss"] for line in opened] == [line["loss"] for line in plain],
    }
    print(json.dumps({"plain": plain[-1], "shut": shut[-1]}, indent=1))
    print("\n".join(f"{sentence}: {holds}" for sentence, holds in said.items()))
    return int(not all(said.values()))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
