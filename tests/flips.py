"""Bits that flip on a disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def flip(path: Path, bits: int = 3, seed: int = 0) -> None:
    """Flip ``bits`` bits of a file, the last of them in its last byte, where the values of arrays are."""
    content = bytearray(path.read_bytes())
    where = np.random.default_rng(seed).integers(len(content), size=bits - 1).tolist()
    for number, position in enumerate([*where, len(content) - 1]):
        content[position] ^= 1 << number % 8
    path.write_bytes(content)
