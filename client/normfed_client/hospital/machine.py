"""A hospital's machine: how many threads a study may use, and what an operator may know of it, in round figures."""

from __future__ import annotations

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
from normfed_common.study.config import StudyConfig
from normfed_common.wire.answers import Machine

GIGABYTE = 1e9


def describe(site: Site, power_w: float) -> Machine:
    """Versions, free memory and disk, GPU; and the study's digest as this site reads it."""
    gpu, gpu_memory = "", 0.0
    if site.device.type == "cuda":
        gpu = torch.cuda.get_device_name(site.device)
        gpu_memory = torch.cuda.mem_get_info(site.device)[0] / GIGABYTE
    return Machine(
        normfed=version("normfed"),
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
def threads_of(study: StudyConfig) -> Iterator[None]:
    """As many threads as the study gives a site: sums of floats depend on how many share the work."""
    count, before = study.federation.threads_per_site, torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with _controller().limit(limits=count):
            yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    """Looking for the libraries that have threads takes 20 ms: done once."""
    return ThreadpoolController()
