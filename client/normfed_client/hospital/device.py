"""The device that a site computes on."""

from __future__ import annotations

import re

import torch

from normfed_client.hospital.config import DEVICE
from normfed_common.foundation.errors import DatasetError


def choose_device(name: str) -> torch.device:
    """The device to compute on; `auto` takes CUDA where there is one.

    Raises
    ------
    DatasetError
        If there is no such device, or CUDA is asked for and there is none.
    """
    if not re.fullmatch(DEVICE, name):
        raise DatasetError(f"device {name}: not known. Known: auto, cpu, cuda, and cuda:1 for the second card.")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise DatasetError(f"device {name}: this machine has no usable CUDA device. Take auto or cpu.")
    if name.startswith("cuda:") and int(name.removeprefix("cuda:")) >= torch.cuda.device_count():
        raise DatasetError(f"device {name}: this machine has {torch.cuda.device_count()}, counted from cuda:0.")
    return torch.device(name)


def kernels(device: torch.device) -> str:
    """What computes: elsewhere the last digits of a sum are others."""
    cuda = device.type == "cuda"
    return torch.cuda.get_device_name(device) if cuda else torch.backends.cpu.get_cpu_capability()
