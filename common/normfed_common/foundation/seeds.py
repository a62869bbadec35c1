"""Randomness: a named generator per purpose, derived from the study's seed. Nothing seeds globally.

The same (seed, names) gives the same stream on every machine, whatever was drawn elsewhere before.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit integer from the study's seed and the purpose's names (SHA-256, so that names never collide)."""
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def of_repeat(seed: int, repeat: int) -> int:
    """The seed of a study's training number ``repeat``; the first, 0, has the study's own."""
    return derive(seed, "repeat", repeat) if repeat else seed


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """The NumPy generator for one purpose."""
    return np.random.default_rng(derive(seed, *names))


def torch_generator(seed: int, *names: str | int) -> torch.Generator:
    """The CPU torch generator for one purpose."""
    import torch

    return torch.Generator().manual_seed(derive(seed, *names))
