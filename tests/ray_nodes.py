"""A Ray cluster of two nodes on loopback; its processes are no children of the tests, as those of a real one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

from tests.helpers import free_port, wait_for

NODE = ("--num-cpus=1", "--num-gpus=0", "--object-store-memory=80000000", "--memory=4000000000")
SLOW = {  # seconds and milliseconds that a busy machine may take
    "RAY_raylet_start_wait_time_s": "300", "RAY_worker_register_timeout_seconds": "300",
    "RAY_USAGE_STATS_ENABLED": "0",
}  # fmt: skip


@dataclass
class RayNodes:
    """folder: of the session, which tells its processes from others'; nodes: their main processes."""

    folder: str
    address: str
    nodes: list[psutil.Process] = field(default_factory=list)

    def join(self, *options: str) -> None:
        """Add a node of one CPU."""
        known = {node.pid for node in self.nodes}
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, *NODE]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, env={**os.environ, **SLOW}, timeout=120, check=False
            )
        except subprocess.TimeoutExpired:  # once in a while Ray waits for itself for ever on a full machine
            self.end()
            raise
        assert done.returncode == 0, done.stdout + done.stderr
        self.nodes += [own for own in self.own() if own.name() == "raylet" and own.pid not in known]

    def lose(self) -> None:
        """The last node is gone, without a word."""
        node = self.nodes.pop()
        below = node.children(recursive=True)
        node.send_signal(signal.SIGKILL)
        wait_for(lambda: not any(map(_lives, [node, *below])), "end of the processes of a lost node")

    def own(self) -> list[psutil.Process]:
        """The processes that Ray itself needs."""
        return [own for own in psutil.process_iter() if self.folder in " ".join(_command(own))]

    def workers(self) -> list[psutil.Process]:
        """Actors, and the processes in which stages run."""
        below = [own for node in self.nodes if _lives(node) for own in node.children(recursive=True)]
        return [own for own in below if "ray::Seat" in " ".join(_command(own)) or is_stage(own)]

    def end(self) -> None:
        below = [own for node in self.nodes if _lives(node) for own in node.children(recursive=True)]
        for own in [*below, *self.own()]:
            if _lives(own):
                own.send_signal(signal.SIGKILL)


def is_stage(process: psutil.Process) -> bool:
    return "multiprocessing.spawn" in " ".join(_command(process))


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


@contextmanager
def two_nodes() -> Iterator[RayNodes]:
    nodes = _started(tries=3)
    try:
        yield nodes
    finally:
        nodes.end()
        shutil.rmtree(nodes.folder, ignore_errors=True)


def _started(tries: int) -> RayNodes:
    folder = tempfile.mkdtemp(prefix="ray")  # short: the paths of sockets must be
    port = free_port()
    nodes = RayNodes(folder, f"127.0.0.1:{port}")
    try:
        nodes.join("--head", f"--port={port}", "--node-ip-address=127.0.0.1", f"--temp-dir={folder}",
                   "--include-dashboard=false")  # fmt: skip
        nodes.join(f"--address={nodes.address}", "--node-ip-address=127.0.0.1")
    except subprocess.TimeoutExpired:
        shutil.rmtree(folder, ignore_errors=True)
        if tries == 1:
            raise
        return _started(tries - 1)
    return nodes
