"""python -m tests.drop_in.trl_tests SOURCE [MODE ...]: TRL's own tests of its DPO trainer, with our classes.

SOURCE: a checkout of TRL; its tests/test_dpo_trainer.py is run as it stands. The tiny models and data sets of TRL's
that it names are built here, with random weights and rows of ours, where the hub would have them. A test that fails
with stock (another release's, a model that is not built) is not counted. Exits with 1 where one fails that passes for
stock.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from gatebench.bench.data import toolbox
from tests import architectures
from tests.drop_in.swap import MODES
from tests.tokenizers import family

HUB = "trl-internal-testing"
MODELS = {
    "tiny-Qwen2ForCausalLM-2.5": "qwen2", "tiny-Cohere2ForCausalLM": "cohere2", "tiny-GptOssForCausalLM": "gpt_oss",
    "tiny-Qwen3MoeForCausalLM": "qwen3_moe", "tiny-Olmo3ForCausalLM": "olmo3", "tiny-Lfm2ForCausalLM": "lfm2",
    "tiny-Lfm2ForCausalLM-2.5": "lfm2",
}  # fmt: skip
RESULT = re.compile(r"^(\S+::\S.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL)", re.M)


def build(hub: Path) -> None:
    tokenizer = family("qwen3")
    tokenizer.pad_token = tokenizer.eos_token
    for name, kind in MODELS.items():
        architectures.save(kind, tokenizer, hub / name)
    pairs = toolbox.load_toolbox(21, 4, 0).train
    text = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in pairs]
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    chats = [{key: [{"role": roles[key], "content": row[key]}] for key in row} for row in text]
    unpaired = [{"prompt": row["prompt"], "completion": row["chosen"], "label": True} for row in text]
    save(hub / "zen", {
        "standard_preference": text, "conversational_preference": chats, "standard_unpaired_preference": unpaired,
        "standard_implicit_prompt_preference": [
            {side: row["prompt"] + row[side] for side in ("chosen", "rejected")} for row in text
        ],
        "conversational_implicit_prompt_preference": [
            {side: row["prompt"] + row[side] for side in ("chosen", "rejected")} for row in chats
        ],
    })  # fmt: skip
    save(hub / "harmony", {"preference": chats})
    tool = {"type": "function", "function": {"name": "add", "description": "adds", "parameters": {"type": "object"}}}
    save(hub / "toolcall", {"preference": [{**row, "tools": json.dumps([tool])} for row in chats]})


def save(folder: Path, configs: dict[str, list[dict[str, object]]]) -> None:
    """As a data set on the hub, with 19 rows to train on."""
    listed = []
    for name, rows in configs.items():
        files = []
        for split, part in (("train", rows[:19]), ("test", rows[19:])):
            file = folder / name / f"{split}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(json.dumps(row) + "\n" for row in part))
            files.append({"split": split, "path": f"{name}/{split}.jsonl"})
        listed.append({"config_name": name, "data_files": files})
    (folder / "README.md").write_text(f"---\nconfigs: {json.dumps(listed)}\n---\n")


def run(source: Path, place: Path, mode: str) -> tuple[dict[str, str], str]:
    """Result by test, and the output."""
    own = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "swap", "-p", "no:cacheprovider", "-v", "-rfE", "--tb=line",
         "-o", "addopts=", "--rootdir", source, source / "tests" / "test_dpo_trainer.py"],
        cwd=place, capture_output=True, text=True, check=False,
        env={**os.environ, "SWAP": mode, "PYTHONPATH": str(own), "HF_HUB_OFFLINE": "1", "CI": "true",
             "ACCELERATE_USE_CPU": "true", "COLUMNS": "400", "HF_DATASETS_CACHE": str(place / "cache")},
    )  # fmt: skip
    return dict(RESULT.findall(done.stdout)), done.stdout + done.stderr


def main(source: Path, modes: list[str]) -> int:
    worse = 0
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        build(place / HUB)
        stock, said = run(source, place, "stock")
        if not stock:
            print(said[-3000:])
            return 1
        counts = {result: list(stock.values()).count(result) for result in sorted(set(stock.values()))}
        print(f"stock: {counts}", flush=True)
        for mode in modes:
            found, said = run(source, place, mode)
            failed = [test for test, result in stock.items() if result == "PASSED" and found.get(test) != "PASSED"]
            passed = list(stock.values()).count("PASSED") - len(failed)
            print(f"{mode}: {passed} of {passed + len(failed)} that pass with stock", flush=True)
            reasons = dict(re.findall(r"^(?:FAILED|ERROR) (\S+::\S.*?) - (.*)$", said, re.M))
            for test in failed:
                print(f"  {test.split('::', 1)[-1]}: {reasons.get(test, found.get(test, 'not run'))}")
            worse += len(failed)
    return int(worse > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:] or list(MODES)))
