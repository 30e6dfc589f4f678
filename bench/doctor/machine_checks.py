"""What this machine has for `bench run`: torch and a device, memory, disk, the hub, vLLM, local copies of data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from gatebench.bench.data.hub import Hub
from gatebench.bench.doctor.finding import Finding
from gatebench.bench.doctor.libraries import installed_version, library_findings, needed, python_finding
from gatebench.bench.engines import vllm
from gatebench.bench.machine import MEMORY_A_WORKER, available_memory, cores, default_workers, memory
from gatebench.bench.shipped import DATA_VARIABLE, tested_versions
from gatebench.bench.stages.stage import code_revision

ENOUGH_DISK = 5e9  # bytes on disk: the quick profile writes 2 GB, a suite of 96 small cells 4
SECONDS_FOR_HUB = 15.0  # that the hub is waited for


def examine_machine(results: Path) -> Iterator[Finding]:
    """Every finding, as it is made. results: the folder that runs would write to."""
    yield Finding("gatebench", code_revision())
    yield python_finding()
    yield from library_findings(needed(), tested_versions(), installed_version)
    yield from torch_findings(default_workers()[2])
    yield memory_finding(memory(), available_memory())
    yield disk_finding(results)
    yield hub_finding()
    yield vllm_finding(vllm.installed())
    yield data_finding(os.environ.get(DATA_VARIABLE))


def torch_findings(drivers: int) -> Iterator[Finding]:
    """torch's build and the device that stages will use; drivers: GPUs that the system's driver shows."""
    try:
        import torch

        torch.ones(2).sum()
    except Exception as error:  # a broken build fails in as many ways as there are
        why = " ".join(str(error).split())[:200]
        yield Finding("torch", f"cannot be used ({type(error).__name__}: {why})", "broken",
                      "install it anew: pip install --force-reinstall torch")  # fmt: skip
        return
    cuda = torch.version.cuda or torch.version.hip
    yield Finding("torch", f"{torch.__version__}, {f'built for {cuda}' if cuda else 'a processor build'}")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            yield Finding("GPU", f"{device.name}, {device.total_memory / 1e9:.0f} GB")
    elif drivers and not cuda:
        told = "this torch cannot use it; install a torch built for CUDA"
        yield Finding("GPU", f"{drivers} by the driver, none by torch", "note", told)
    elif drivers:
        told = "torch cannot reach it: the driver may be older than torch's CUDA; nvidia-smi says which it is"
        yield Finding("GPU", f"{drivers} by the driver, none by torch", "broken", told)
    else:
        told = "models up to some 100M parameters train on a processor; bench plan SUITE --hardware h100 prices others"
        yield Finding("GPU", "none", "note", told)


def memory_finding(whole: int, free: int | None) -> Finding:
    """whole, free: bytes."""
    left = whole if free is None else free
    said = f"{whole / 1e9:.1f} GB, {left / 1e9:.1f} free; {cores()} cores"
    if left < MEMORY_A_WORKER:
        told = f"a worker takes {MEMORY_A_WORKER / 1e9:.1f} GB at least: end other programs, or a stage may be killed"
        return Finding("memory", said, "broken", told)
    return Finding("memory", said)


def disk_finding(results: Path) -> Finding:
    place = next(place for place in (results.resolve(), *results.resolve().parents) if place.is_dir())
    free = shutil.disk_usage(place).free
    said = f"{free / 1e9:.0f} GB free in {place}"
    if not os.access(place, os.W_OK | os.X_OK):
        return Finding("disk", f"{place} cannot be written to", "broken", "name another folder with --results")
    if free < ENOUGH_DISK:
        return Finding("disk", said, "note", "bench plan SUITE says what a suite writes; bench gc makes room")
    return Finding("disk", said)


def hub_finding(hub: Hub | None = None) -> Finding:
    from huggingface_hub import constants, get_session, get_token

    account = "with an account's key" if get_token() else "without an account's key"
    without = "built-in models and data, wheel: models and local files (--data DIR) need no hub"
    if constants.HF_HUB_OFFLINE:
        return Finding("hub", "switched off (HF_HUB_OFFLINE)", "note", f"what is in its cache is used; {without}")
    try:
        status = (hub or Hub()).ask(lambda: get_session().head(constants.ENDPOINT).status_code, SECONDS_FOR_HUB)
    except Exception as error:  # no network, a proxy, a server in trouble: as many kinds as there are ways to it
        why = " ".join(str(error).split())[:100]
        return Finding("hub", f"{constants.ENDPOINT} does not answer ({why})", "note", without)
    if status >= 400:
        return Finding("hub", f"{constants.ENDPOINT} answers with status {status}", "note", without)
    return Finding("hub", f"{constants.ENDPOINT} answers, {account}")


def vllm_finding(found: str | None) -> Finding:
    if found:
        return Finding("vLLM", found)
    told = "transformers generates answers, several times slower; pip install 'gatebench[vllm]' on a GPU"
    return Finding("vLLM", "not installed", "note", told)


def data_finding(folder: str | None) -> Finding:
    """folder: what the variable for local copies of data sets says."""
    if not folder:
        return Finding("local data", f"none named ({DATA_VARIABLE} or --data DIR)")
    if not Path(folder).is_dir():
        return Finding("local data", f"{DATA_VARIABLE}: {folder} is no folder", "broken",
                       f"set {DATA_VARIABLE} to the folder of your copies, or unset it")  # fmt: skip
    return Finding("local data", f"{folder}, {sum(1 for _ in Path(folder).iterdir())} entries")
