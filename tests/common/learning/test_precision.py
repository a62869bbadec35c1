"""In what numbers a network computes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from synthetic import setting

from normfed_common.study.federation import Precision


@pytest.mark.parametrize(
    ("chosen", "kind"), [("float32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_a_matrix_product_is_of_the_chosen_type(chosen: Precision, kind: torch.dtype) -> None:
    matrix = torch.ones(3, 3, device=setting().device)
    with replace(setting(), precision=chosen).autocast():
        assert (matrix @ matrix).dtype is kind
    assert (matrix @ matrix).dtype is torch.float32
