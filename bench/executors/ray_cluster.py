"""The Ray cluster that stages run on: how it is reached, and how many workers it holds."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from types import ModuleType
from typing import cast

from gatebench.bench.errors import UserError
from gatebench.bench.stages.stage import library_versions

ANSWER = 5.0  # seconds that a head node has to answer
RAYS_OWN = ("auto", "local")  # addresses: a cluster that runs on this machine; one for this command alone


def room(address: str | None, threads: int, memory: int, width: int = 1) -> tuple[int, int, int]:
    """`divided_cluster` of the cluster of an address as it stands.

    Raises UserError where Ray is not installed, the cluster does not answer, or no node has room for one worker.
    """
    nodes = connected(address).nodes()
    return divided_cluster([node["Resources"] for node in nodes if node["Alive"]], threads, memory, width)


def divided_cluster(
    nodes: Sequence[Mapping[str, float]], threads: int, memory: int, width: int = 1
) -> tuple[int, int, int]:
    """(workers, threads a device, GPUs): a worker for each `width` GPUs, else as many as the nodes' cores and memory
    (bytes) hold.

    nodes: what each has, by Ray's names of resources; threads: that a device has here, which no node need have.
    """
    gpus = [node for node in nodes if node.get("GPU", 0) >= width]
    if not gpus and any(node.get("GPU", 0) >= 1 for node in nodes):
        raise UserError(f"--executor ray: a training wants {width} GPUs at once, which no node of the cluster has")
    if gpus:
        threads = max(1, min(int(node.get("CPU", 0) // node["GPU"]) for node in gpus))
        count = sum(int(node["GPU"] // width) for node in gpus)
        return count, threads, count * width
    threads = max(1, min(threads, max((int(node.get("CPU", 0) // width) for node in nodes), default=0)))
    own = width * threads
    workers = sum(int(min(node.get("CPU", 0) // own, node.get("memory", 0) // memory)) for node in nodes)
    if not workers:
        raise UserError(
            f"--executor ray: none of the cluster's {len(nodes)} nodes has {own} CPUs and {memory / 1e9:.1f} GB of "
            "memory for a worker; `ray status` shows what they have"
        )
    return workers, threads, 0


def deciding_versions() -> dict[str, str]:
    """What is installed here of what decides results."""
    return {**library_versions(), "gatebench": version("gatebench")}


def connected(address: str | None) -> ModuleType:
    """Ray, connected to the cluster of an address; without one by Ray's own rule: RAY_ADDRESS, else a cluster that runs
    on this machine, else one of this process alone.

    Raises UserError where Ray is not installed, nobody answers at the address, another Ray or Python does, or one that
    asks for another token.
    """
    wanted = address or os.environ.get("RAY_ADDRESS") or ""
    remote = bool(wanted) and wanted not in RAYS_OWN
    if remote:  # Ray asks one that does not answer for minutes, time and again
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")  # read when Ray is imported
    try:
        import ray
    except ImportError:
        raise UserError("--executor ray: Ray is not installed; pip install 'gatebench[ray]'") from None
    if ray.is_initialized():
        return cast("ModuleType", ray)
    if remote:
        _check_answers(wanted)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers of a cluster that starts here
    try:
        ray.init(address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray raises bare ones too
        raise UserError(f"--address {wanted or 'auto'}: {_reason(f'{error}{chr(10)}{error.__cause__}')}") from None
    return cast("ModuleType", ray)


def _check_answers(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise UserError(f"--address {address}: expected HOST:PORT of the cluster's head node, auto or local")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise UserError(
            f"--address {address}: nobody answers there ({error}); `ray status` on the head node tells its address"
        ) from None


def _reason(said: str) -> str:
    """One sentence of what Ray says, line by line, when it cannot connect."""
    if "uthenticat" in said:
        return (
            "the cluster asks for another token than this machine has; give all nodes RAY_AUTH_MODE=token and the same "
            "RAY_AUTH_TOKEN, or the same ~/.ray/auth_token"
        )
    found = [" ".join(pair) for pair in re.findall(r"(Ray|Python): (\S+)", said)]
    if said.startswith("Version mismatch") and len(found) == 4:
        theirs, ours = " and ".join(found[:2]), " and ".join(found[2:])
        return f"the cluster has {theirs}, this machine {ours}; install the same on both"
    return f"{said.strip().partition(chr(10))[0]}; `ray status` on the head node tells its address"
