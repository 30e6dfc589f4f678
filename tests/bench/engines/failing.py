"""Engines that cannot serve, through the real code on both sides of the pipe.

    python -m tests.bench.engines.failing [N]

starts N (20) engines of as many architectures, all of which fail, and prints what is left of them: of vLLM where it is
installed (heads of 16, which its processor build has no kernel for), else of a stand-in for its package.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from gatebench.bench.engines import vllm

PROMPTS, LOG_PROBS = [[1, 2, 3]], [[-1.0, -1.0]]
# What the server imports of vLLM. WAY says how the engine goes wrong, or whether it does.
STAND_IN = """
import os, subprocess, sys, time, types
WAY = os.environ["STAND_IN_WAY"]
class Place:
    def __init__(self, logprob): self.logprob, self.rank = logprob, 1
class SamplingParams:
    def __init__(self, **given): pass
class LLM:
    def __init__(self, folder, **given):
        self.held = bytearray(os.urandom(2**20)) * 50
        self.helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        with open(os.environ["STAND_IN_STARTS"], "a") as file: print(self.helper.pid, os.getpid(), file=file)
        if WAY == "refuses": raise ValueError("no kernel for heads of 16")
        if WAY == "ends": os._exit(3)
        if WAY == "is killed": os.kill(os.getpid(), 9)
        if WAY == "is stuck": time.sleep(600)
    def generate(self, prompts, given, use_tqdm):
        if WAY == "fails to score": raise RuntimeError("unsupported")
        value = -1.0 if WAY == "serves" else -2.0
        rows = [[None, *({token: Place(value)} for token in p["prompt_token_ids"][1:])] for p in prompts]
        return [types.SimpleNamespace(prompt_logprobs=row) for row in rows]
def module(name, **has):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(has)
module("vllm.model_executor"), module("vllm.model_executor.layers")
module("vllm.model_executor.layers.linear", LinearBase=type("LinearBase", (), {}))
module("vllm.platforms", current_platform=types.SimpleNamespace(is_cpu=lambda: False))
"""


def stand_in(folder: Path, way: str) -> dict[str, str]:
    """The environment in which a server finds the stand-in; its processes are written down in folder/starts."""
    (folder / "vllm").mkdir(exist_ok=True)
    (folder / "vllm/__init__.py").write_text(STAND_IN)
    return {"PYTHONPATH": str(folder), "STAND_IN_WAY": way, "STAND_IN_STARTS": str(folder / "starts")}


def started(folder: Path) -> list[int]:
    """Ids of all processes that stand-ins and what they started were."""
    file = folder / "starts"
    return [int(word) for word in file.read_text().split()] if file.exists() else []


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _resident(process: int) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def architecture(folder: Path, number: int) -> Path:
    """A folder whose configuration no other number has."""
    place = folder / f"model-{number}"
    place.mkdir()
    (place / "config.json").write_text(json.dumps({"hidden_size": number}))
    return place


def unserved(folder: Path, number: int) -> Path:
    """A real model that vLLM's processor build refuses."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    from gatebench.bench.data import toolbox
    from gatebench.bench.models.ladder import make_tokenizer

    config = LlamaConfig(vocab_size=2048, hidden_size=64, intermediate_size=64 + 16 * number, num_hidden_layers=1,
                         num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=128)  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / f"{number}")
    make_tokenizer(toolbox.toolbox_corpus(10, 10, 0, 1500)).save_pretrained(folder / f"{number}")
    return folder / f"{number}"


def main() -> None:
    number, real = int(sys.argv[1]) if len(sys.argv) > 1 else 20, vllm.installed()
    with TemporaryDirectory() as name:
        folder = Path(name)
        if not real:
            os.environ.update(stand_in(folder, "disagrees"))
        places = [(unserved if real else architecture)(folder, at) for at in range(number)]
        begun, said = time.monotonic(), set()
        for place in places:
            try:
                vllm.serve(place, "float32", 64, PROMPTS, LOG_PROBS)
            except vllm.VllmFailed as failure:
                said.add(str(failure))
        own = [int(child) for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
        alive = [process for process in {*own, *started(folder)} if is_alive(process)]
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        print(f"{real or 'a stand-in for vLLM'}: {number} failed starts in {time.monotonic() - begun:.0f} s")
        print(f"processes left: {len(alive)}")
        print(f"memory of theirs: {sum(map(_resident, alive)) / 1e6:.0f} MB; the largest had {largest / 1e3:.0f} MB")
        print("said:", *sorted(said), sep="\n  ")


if __name__ == "__main__":
    main()
