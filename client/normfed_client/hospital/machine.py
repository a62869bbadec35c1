"""What an operator may know of a hospital's machine, in round figures."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

import psutil
import torch

from normfed_client.hospital.site import Site
from normfed_common.wire.messages import Machine

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
