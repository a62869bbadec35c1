"""In what numbers a network computes.

bf16 has the range of float32 and needs no scaling of losses; fp16 is for GPUs before 2020. Weights and optimiser stay
float32 (mixed precision: Micikevicius 2018, arXiv 1710.03740).
"""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["float32", "bf16", "fp16"]
TYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose(asked: Literal["auto", "float32", "bf16", "fp16"], device: torch.device) -> Precision:
    """What a study asks for; `auto` is bf16 on a GPU that computes in it, float32 elsewhere."""
    if asked != "auto":
        return asked
    capable = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if capable else "float32"


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which a network computes."""
    return torch.autocast(device.type, TYPES[precision], enabled=precision != "float32")
