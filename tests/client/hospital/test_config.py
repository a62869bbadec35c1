"""What may stand under `device` is what a device can be chosen by."""

from __future__ import annotations

import re

import pytest
import torch

from normfed_client.hospital.config import DEVICE


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:0", "cuda:12"])
def test_what_a_hospital_may_write_is_a_device_of_torch(name: str) -> None:
    assert re.fullmatch(DEVICE, name)
    assert str(torch.device(name)) == name


@pytest.mark.parametrize("name", ["CUDA", "cuda:-1", "cuda0", "cuda:1.5", "mps", "xauto", "cpux", "auto "])
def test_nothing_else_is(name: str) -> None:
    assert not re.search(DEVICE, name)
