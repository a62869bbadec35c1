"""The precision in which a network computes.

Weights and optimiser are float32 throughout (mixed precision: Micikevicius 2018, arXiv 1710.03740). bf16 has the range
of float32 and needs no scaling of losses; fp16 is for GPUs before 2020. Networks whose steps are many small kernels are
faster without: on an H100 casts cost the published models more than they saved (`benchmarks/bench_gpu.py`).
"""

from __future__ import annotations

import torch

from normfed_common.study.federation import Precision

TYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which a network computes."""
    return torch.autocast(device.type, TYPES[precision], enabled=precision != "float32")
