"""A hospital's machine: how a study computes on it, and what an operator may know of it, in round figures."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import psutil
import torch
from threadpoolctl import ThreadpoolController

from normfed_client.hospital.site import Site
from normfed_common.foundation.units import GIGABYTE
from normfed_common.foundation.versions import PROTOCOL, installed_version
from normfed_common.study.config import StudyConfig
from normfed_common.wire.answers import Machine


def describe(site: Site, power_w: float) -> Machine:
    """Versions, free memory and disk, GPU; and the study's digest as this site reads it."""
    gpu, gpu_memory = "", 0.0
    if site.device.type == "cuda":
        gpu = torch.cuda.get_device_name(site.device)
        gpu_memory = torch.cuda.mem_get_info(site.device)[0] / GIGABYTE
    return Machine(
        normfed=installed_version(),
        protocol=PROTOCOL,
        flwr=version("flwr"),
        torch=torch.__version__,
        python=platform.python_version(),
        study=site.study.digest,
        cores=psutil.cpu_count() or 0,
        memory_gb=round(psutil.virtual_memory().available / GIGABYTE, 1),
        disk_gb=round(free_disk_gb(site.config.output), 1),
        gpu=gpu,
        gpu_memory_gb=round(gpu_memory, 1),
        power_w=power_w,
    )


def free_disk_gb(folder: Path) -> float:
    """Gigabytes free on the disk that holds a folder, or will."""
    while not folder.exists():
        folder = folder.parent
    return psutil.disk_usage(str(folder)).free / GIGABYTE


@contextmanager
def computing(study: StudyConfig, device: torch.device) -> Iterator[None]:
    """Compute so that the same machine comes to the same weights again.

    Sums of floats depend on how many threads share the work: as many as the study gives a site. On a GPU they depend
    on which kernel is taken: those that repeat, in true float32. A model that uses an operation without such a kernel
    goes on, with torch's warning, and may differ in the last digits from one training to the next.
    """
    count, before = study.federation.threads_per_site, torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with _controller().limit(limits=count), repeatable(device):
            yield
    finally:
        torch.set_num_threads(before)


def bound_gpu(device: torch.device, share: float) -> None:
    """Let this process take at most a share of the GPU's memory; torch refuses what is beyond as if it were full."""
    if device.type == "cuda":  # torch takes no device without its number here
        number = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.set_per_process_memory_fraction(share, number)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """On a GPU only kernels that give the same sums again, and no TF32 in the place of float32."""
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it is first used
    settings = [
        (torch.backends.cudnn, "deterministic", True),
        (torch.backends.cudnn, "benchmark", False),
        (torch.backends.cudnn, "allow_tf32", False),
        (torch.backends.cuda.matmul, "allow_tf32", False),
        (torch.utils.deterministic, "fill_uninitialized_memory", False),  # finds mistakes, at a kernel per tensor
    ]
    before = [getattr(place, name) for place, name, _ in settings]
    enabled = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    for place, name, value in settings:
        setattr(place, name, value)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warned)
        for (place, name, _), value in zip(settings, before, strict=True):
            setattr(place, name, value)


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    """Looking for the libraries that have threads takes 20 ms: done once."""
    return ThreadpoolController()
