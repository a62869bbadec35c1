"""Smaller messages: models as fp16 or bf16, updates as differences in fp16, bf16 or int8.

An update is the difference from the model that the site received; the server adds it to its own exact model, so that
rounding a model on its way out does not add up over rounds. int8 has one scale per array, max |d| / 127, and is rounded
up or down at random so that its mean is right (QSGD, Alistarh 2017, arXiv 1610.02132); models then go out as fp16.
"""

from __future__ import annotations

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import WireError
from normfed_common.study.federation import Compression

SCALE = "scale/"
LARGEST_FP16 = float(np.finfo(np.float16).max)
TYPES = {"none": "float32", "fp16": "float16", "bf16": "uint16", "int8": "int8"}
OUTWARD: dict[Compression, Compression] = {"none": "none", "fp16": "fp16", "bf16": "bf16", "int8": "fp16"}


def compress_model(arrays: Arrays, kind: Compression) -> Arrays:
    """What the server sends instead of float32 ``arrays``."""
    return {name: _pack(array, OUTWARD[kind]) for name, array in arrays.items()}


def expand_model(arrays: Arrays, kind: Compression) -> Arrays:
    """Undo `compress_model`; always float32.

    Raises
    ------
    WireError
        If an array has another type than the study declares, or is not finite.
    """
    return {name: _unpack(name, array, OUTWARD[kind]) for name, array in arrays.items()}


def compress_update(arrays: Arrays, base: Arrays, kind: Compression, rng: np.random.Generator) -> Arrays:
    """What a site sends instead of its trained ``arrays``, which began as ``base``."""
    if kind == "none":
        return arrays
    packed: Arrays = {}
    for name, array in arrays.items():
        difference = array - base[name]
        if kind == "int8":
            scale = np.float32(np.abs(difference).max(initial=0.0) / 127)
            steps = difference / scale if scale > 0 else np.zeros_like(difference)
            packed[name] = np.clip(np.floor(steps + rng.random(steps.shape)), -127, 127).astype(np.int8)
            packed[SCALE + name] = np.asarray(scale)
        else:
            packed[name] = _pack(difference, kind)
    return packed


def expand_update(arrays: Arrays, model: Arrays, kind: Compression) -> Arrays:
    """The trained arrays, around the server's own ``model``.

    Raises
    ------
    WireError
        If an array has another type than the study declares, or is not finite.
    """
    if kind == "none":
        return arrays
    found: Arrays = {}
    for name, array in arrays.items():
        if name.startswith(SCALE):
            continue
        if name not in model or array.shape != model[name].shape:
            raise WireError(f"array {name!r} is not the model's")
        difference = _unpack(name, array, kind)
        if kind == "int8":
            scale = arrays.get(SCALE + name)
            if scale is None or scale.shape != () or scale.dtype != np.float32:
                raise WireError(f"array {name!r} came without its scale")
            difference = difference * scale
        found[name] = model[name] + difference
    return found


def _pack(array: np.ndarray, kind: Compression) -> np.ndarray:
    if kind == "fp16":
        return np.clip(array, -LARGEST_FP16, LARGEST_FP16).astype(np.float16)
    if kind == "bf16":
        bits = np.asarray(array, np.float32, order="C").view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)  # to nearest, ties to even
    return array


def _unpack(name: str, array: np.ndarray, kind: Compression) -> np.ndarray:
    if array.dtype != TYPES[kind]:
        raise WireError(f"array {name!r} is {array.dtype}; compression {kind} sends {TYPES[kind]}")
    if kind == "bf16":
        found = (array.astype(np.uint32) << 16).view(np.float32)
        if not np.isfinite(found).all():
            raise WireError(f"array {name!r} is not finite")
        return found
    return array.astype(np.float32)
