"""In what numbers a network computes: what a study asks for, and what `auto` makes of a device."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from synthetic import setting

from normfed_common.learning import precision
from normfed_common.learning.precision import Precision

CUDA = torch.device("cuda")


@pytest.mark.parametrize("asked", ["float32", "bf16", "fp16"])
@pytest.mark.parametrize("device", [torch.device("cpu"), CUDA], ids=str)
def test_what_is_asked_for_is_what_is_computed_in(asked: Precision, device: torch.device) -> None:
    assert precision.choose(asked, device) == asked


@pytest.mark.parametrize(("capable", "expected"), [(True, "bf16"), (False, "float32")])
def test_auto_is_bf16_where_a_gpu_computes_in_it_and_float32_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capable: bool, expected: str
) -> None:
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: capable and not including_emulation
    )
    assert precision.choose("auto", CUDA) == expected
    assert precision.choose("auto", torch.device("cpu")) == "float32"


@pytest.mark.parametrize(
    ("chosen", "kind"), [("float32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_a_matrix_product_is_of_the_chosen_type(chosen: Precision, kind: torch.dtype) -> None:
    matrix = torch.ones(3, 3, device=setting().device)
    with replace(setting(), precision=chosen).autocast():
        assert (matrix @ matrix).dtype is kind
    assert (matrix @ matrix).dtype is torch.float32
