"""What several tests make by hand: suites, plans and stages, the command line, waiting, a judge to ask, measured cells.

Libraries are imported where they are used, so that a test of plain Python waits for none of them.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from gatebench.bench.analysis.probe_arrays import Measured
    from gatebench.bench.plan.graph import Node, Plan
    from gatebench.bench.suite.schema import Suite

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
DPO = GOOD.replace("[dpo, extended_sft]", "[dpo]")  # one objective: an ungated and a gated cell
GATED_DPO = DPO.replace("[none, {", "[{")  # one cell
CLAIM = """claims:
  - {name: the gate raises it, metric: delta_chosen, contrast: {gate: [seq, none]}, by: [objective], expect: greater}
"""
LONGEST_WAIT = 300.0  # seconds for any one thing to happen on a busy machine


def write(folder: Path, text: str, name: str = "suite.yaml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


# suites, plans and stages, in this process


def suite_of(folder: Path, text: str) -> Suite:
    """A suite written into a folder, read."""
    from gatebench.bench.suite.reader import load_suite

    return load_suite(write(folder, text))


def plan_of(folder: Path, text: str = GOOD, **settings: Any) -> Plan:
    """The plan of a suite written into a folder."""
    from gatebench.bench.plan.planner import make_plan
    from gatebench.bench.plan.resolve import resolve
    from gatebench.bench.suite.reader import load_suite

    file = write(folder, text)
    suite = load_suite(file, None, settings)
    return make_plan(suite, resolve(suite, file))


def no_report(share: float, text: str = "") -> None:
    pass


def run_stage(
    node: Node, finished: Path, out: Path, report: Callable[[float, str], None] = no_report
) -> dict[str, Any]:
    """Make a stage from the folders, named by their keys, of those that it rests on; its facts."""
    from gatebench.bench.stages.registry import stage_of

    out.mkdir(parents=True, exist_ok=True)
    inputs = {role: finished / key for role, _, key in node.inputs}
    return stage_of(node.kind).run(node.spec, inputs, out, report)


# the command line and other processes


def bench(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """`bench ARGUMENTS` in a process of its own, to its end. A run or a search of which they say no more has one
    worker: of a suite of seconds a second one costs more than it brings, its imports."""
    words = [*map(str, arguments)]
    if words[0] in ("run", "tune") and not {"--workers", "--executor"} & {*words}:
        words += ["--workers", "1"]
    return subprocess.run(
        [sys.executable, "-m", "gatebench", *words], capture_output=True, text=True, cwd=cwd, check=False,
        stdin=subprocess.DEVNULL, env={**os.environ, **environment}, timeout=500,
    )  # fmt: skip


def start_bench(
    *arguments: object, stdout: int = subprocess.DEVNULL, stderr: int = subprocess.PIPE, **environment: str
) -> subprocess.Popen[str]:
    """`bench ARGUMENTS` in a process group of its own, to be watched, signalled or killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "gatebench", *map(str, arguments)], start_new_session=True, stdin=subprocess.DEVNULL,
        stdout=stdout, stderr=stderr, text=True, env={**os.environ, **environment},
        # a shell that runs these tests behind an & makes its children deaf to SIGINT
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def python(
    code: str, *arguments: object, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A fresh process that runs code with arguments, to its end."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


def run_folder(folder: Path) -> Path:
    """The one run of the good suite with its results below a folder."""
    (found,) = (folder / "results" / "runs" / "good").iterdir()
    return found


def summary_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return found


def stage_folder(results: Path, cell: Mapping[str, Any], kind: str) -> Path:
    """A finished stage of a cell of the summary."""
    return results / "store" / kind / str(cell["stages"][kind]["key"])


def manifests(results: Path, kind: str = "*") -> list[Path]:
    """Those of all finished stages."""
    return list((results / "store").glob(f"{kind}/*/manifest.json"))


@dataclass(frozen=True)
class Ran:
    """A suite that was run to its end without a failure: in folder/suite.yaml, to folder/results."""

    folder: Path
    stdout: str
    stderr: str

    @property
    def run(self) -> Path:
        return run_folder(self.folder)

    def copy_store(self, folder: Path) -> None:
        """Its finished stages as those of another folder, so that what is run there makes only what differs."""
        kept = shutil.ignore_patterns(".locks", ".partial")
        shutil.copytree(self.folder / "results/store", folder / "results/store", ignore=kept)


def once(folder: Path, make: Callable[[Path], object]) -> Path:
    """A folder that the first test process to ask for makes, while the others wait."""
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = folder / ".made"
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


def wait_for(happened: Callable[[], Any], what: str, seconds: float = LONGEST_WAIT, pause: float = 0.1) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(pause)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def as_written(stage: Path) -> None:
    """A finished stage with its files as they are now, as if it had been made so."""
    from gatebench.bench.store.store import Store

    manifest = json.loads((stage / "manifest.json").read_text())
    (stage / "manifest.json").unlink()
    store, (kind, key) = Store(stage.parents[1]), stage.parts[-2:]
    place = store.begin(kind, key)
    shutil.rmtree(place)
    stage.rename(place)
    store.commit(place, kind, key, {name: value for name, value in manifest.items() if name != "seal"})


# small models


def load_model(path: str | Path, **more: Any) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path, **more).eval()


def response_log_prob(model: PreTrainedModel, prompt: list[int], tokens: list[int]) -> float:
    """Summed log-prob of a response in an ordinary causal row."""
    import torch

    log_p = model(input_ids=torch.tensor([prompt + tokens])).logits.float().log_softmax(dim=-1)[0]
    return sum(log_p[len(prompt) + at - 1, token].item() for at, token in enumerate(tokens))


# cells as the analysis reads them

UNGATED = ("none", "baseline")  # names of gates whose kind is none
MODEL_SIZES = {"small": 1_000_000, "large": 10_000_000}
MEANS = {  # Δ chosen of (model, objective, gate)
    ("small", "dpo", "none"): -10.0, ("small", "dpo", "seq"): 2.0, ("small", "ipo", "none"): -4.0,
    ("small", "ipo", "seq"): 1.0, ("large", "dpo", "none"): -20.0, ("large", "dpo", "seq"): 3.0,
    ("large", "ipo", "none"): -6.0, ("large", "ipo", "seq"): 0.0,
}  # fmt: skip


def measured(
    model: str = "small", objective: str = "dpo", gate: str = "none", seed: int = 0, mean: float = 0.0,
    dataset: str = "hh", probes: int = 40,
) -> Measured:  # fmt: skip
    """A cell whose probes' Δ chosen have the given mean exactly; the spread over probes is shared by all cells."""
    import numpy
    import pandas

    from gatebench.bench.analysis.probe_arrays import Measured

    spread = numpy.linspace(-3, 3, probes)
    deltas = pandas.DataFrame({"split": "train", "prompt": range(probes), "delta_chosen": mean + spread})
    held_out = deltas.assign(split="test", delta_chosen=-mean + spread)
    axes = {"model": model, "dataset": dataset, "objective": objective, "loss": "ipo" if objective == "ipo" else "dpo",
            "warmup": "sft", "gate": gate, "seed": seed}  # fmt: skip
    return Measured(axes, pandas.concat([deltas, held_out]), MODEL_SIZES[model], gated=gate not in UNGATED)


def measured_cells(means: Mapping[tuple[str, str, str], float], seeds: Sequence[int] = (0, 1, 2)) -> list[Measured]:
    """Cells from {(model, objective, gate): mean}, each seed 0.1 above the last."""
    return [measured(*point, seed=seed, mean=mean + 0.1 * seed) for point, mean in means.items() for seed in seeds]


# a judge to ask


class JudgeServer:
    """An OpenAI-compatible judge: `replies` are given in turn, the last one for ever. A reply is a verdict's text, a
    number for an HTTP status, a message's first tokens with their log-probs, or a function of the question."""

    def __init__(self, *replies: Any) -> None:
        self.replies, self.requests = list(replies), []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append((self.path, self.headers.get("Authorization"), body))
                reply = outer.replies.pop(0) if len(outer.replies) > 1 else outer.replies[0]
                if callable(reply):
                    reply = reply(body["messages"][1]["content"])
                self.send_response(reply if isinstance(reply, int) else 200)
                if reply == 429:
                    self.send_header("Retry-After", "1")
                choice = {"message": {"role": "assistant", "content": reply}}
                if isinstance(reply, dict):
                    told = [{"token": token, "logprob": log_p} for token, log_p in reply.items()]
                    choice["message"]["content"] = next(iter(reply))
                    choice["logprobs"] = {"content": [{**told[0], "top_logprobs": told}]}
                content = {"choices": [choice]}
                data = b"" if isinstance(reply, int) else json.dumps(content).encode()
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@contextmanager
def judge_server(*replies: Any) -> Iterator[JudgeServer]:
    server = JudgeServer(*replies)
    yield server
    server.server.shutdown()
    server.server.server_close()


def answers_in(question: str) -> tuple[str, str]:
    """The two that a judge is asked about, in their order."""
    first, second = (question.split(f"<answer {name}>\n")[1].split("\n</answer")[0] for name in "AB")
    return first, second


def prefers_the_longer(question: str) -> str:
    """A reply of a judge who looks at nothing else."""
    first, second = answers_in(question)
    return "Both are fine. [[A]]" if len(first) > len(second) else "[[B]]"
