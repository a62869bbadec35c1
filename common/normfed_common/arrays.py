"""Named arrays: what a model shares, on the wire and on disk (safetensors, never pickle)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from normfed_common.errors import RunError, WireError
from normfed_common.files import atomic

Arrays = dict[str, np.ndarray]
HEADER = "normfed"


def save(path: Path, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any] | None = None) -> None:
    """Write named arrays, and JSON beside them, as one safetensors file, atomically."""
    text = {HEADER: json.dumps(header)} if header else {}
    with atomic(path) as temporary:
        save_file({k: np.asarray(v, order="C") for k, v in arrays.items()}, temporary, text)


def load(path: Path) -> Arrays:
    """Read named arrays.

    Raises
    ------
    RunError
        If the file is missing, truncated or not safetensors.
    """
    try:
        loaded: Arrays = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{path}: not readable as a model ({error}). Copy it again, or resume the run that writes it."
        ) from error
    return loaded


def header(path: Path) -> dict[str, Any]:
    """The JSON that was saved beside the arrays under HEADER; empty where there is none."""
    with safe_open(path, "numpy") as file:
        found: dict[str, Any] = json.loads((file.metadata() or {}).get(HEADER, "{}"))
    return found


def add(parts: Iterable[Mapping[str, np.ndarray]]) -> Arrays:
    """Sum named arrays over sites in the order given, one at a time.

    Raises
    ------
    WireError
        If a site sent other names or shapes than the first.
    """
    total: Arrays = {}
    for part in parts:
        if not total:
            total = {name: value.copy() for name, value in part.items()}
        elif {n: v.shape for n, v in part.items()} != {n: v.shape for n, v in total.items()}:
            raise WireError("sites sent sums of different names or shapes")
        else:
            for name in total:
                total[name] += part[name]
    return total
