"""Named arrays: what a model shares, on the wire and on disk (safetensors, never pickle).

Every file carries a SHA-256 of all that is in it: a bit that flips on the disk is noticed when it is read back.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from normfed_common.foundation import digests
from normfed_common.foundation.errors import DamagedError, RunError, WireError
from normfed_common.foundation.files import atomic

Arrays = dict[str, np.ndarray]
T = TypeVar("T")  # an array: of NumPy, or of Flower
NUMBER = re.compile("0|[1-9][0-9]{0,5}")
HEADER, DIGEST = "normfed", "normfed-sha256"


def save(path: Path, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any] | None = None) -> None:
    """Write named arrays, and JSON beside them, as one safetensors file, atomically.

    The same content is the same bytes.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    text = json.dumps(header or {})
    metadata = {HEADER: text, DIGEST: digests.of_arrays(text, arrays)}
    with atomic(path) as temporary:
        try:
            save_file({k: np.asarray(v, order="C") for k, v in arrays.items()}, temporary, metadata)
        except SafetensorError as error:  # an operating system's error, whose number it keeps in the text
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]) if number else errno.EIO, str(error), str(path)) from error
        _order_metadata(temporary)


def _order_metadata(path: Path) -> None:
    """Sort the metadata in a file's header, in its place: safetensors writes it in the order of a hash map, which is
    another in every process."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        found = json.loads(file.read(size))
        metadata = dict(sorted(found.pop("__metadata__").items()))
        ordered = json.dumps({"__metadata__": metadata, **found}, ensure_ascii=False, separators=(",", ":"))
        file.seek(8)
        file.write(ordered.encode().ljust(size))  # as many bytes: safetensors, too, fills up with spaces


def read(path: Path, foreign: bool = False) -> tuple[Arrays, dict[str, Any]]:
    """Read named arrays and the JSON beside them.

    Parameters
    ----------
    foreign
        Whether a file without a digest is taken: one that another program wrote.

    Raises
    ------
    RunError
        If the file is missing or may not be read.
    DamagedError
        If it is truncated, not safetensors, or not what was written.
    """
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            arrays: Arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    except (FileNotFoundError, PermissionError) as error:
        raise RunError(_unreadable(path, error)) from error
    except (OSError, SafetensorError, TypeError, AttributeError) as error:  # the last two: a type that NumPy lacks
        raise _damaged(path, str(error)) from error
    text, digest = metadata.get(HEADER, "{}"), metadata.get(DIGEST)
    if digest is None and not foreign:
        raise _damaged(path, "it has no digest")
    if digest is not None and digest != digests.of_arrays(text, arrays):
        raise _damaged(path, "its digest is not that of its content")
    try:
        return arrays, dict(json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise _damaged(path, "its header is not JSON") from error


def load(path: Path, foreign: bool = False) -> Arrays:
    """Named arrays alone; see `read`."""
    return read(path, foreign)[0]


def header(path: Path, foreign: bool = False) -> dict[str, Any]:
    """The JSON that was saved beside the arrays; empty where there is none. See `read`."""
    return read(path, foreign)[1]


def _damaged(path: Path, why: str) -> DamagedError:
    return DamagedError(_unreadable(path, why), why)


def _unreadable(path: Path, why: object) -> str:
    return f"{path}: not readable as a model ({why}). Copy it again, or resume the run that writes it."


def check_shapes(arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Whether all of ``shapes`` are there; what else there is does not matter.

    Raises
    ------
    WireError
        If one is not, or has another shape.
    """
    for name, shape in shapes.items():
        if name not in arrays:
            raise WireError(f"there is no {name}")
        if arrays[name].shape != shape:
            raise WireError(f"{name} is of shape {arrays[name].shape}, not {shape}")


def add(parts: Iterable[Mapping[str, np.ndarray]]) -> Arrays:
    """Sum named arrays over sites in the order given, one at a time.

    Raises
    ------
    WireError
        If a site sent names or shapes other than the first's.
    """
    total: Arrays | None = None
    for part in parts:
        if total is None:
            total = {name: value.copy() for name, value in part.items()}
        elif {n: v.shape for n, v in part.items()} != {n: v.shape for n, v in total.items()}:
            raise WireError("sites sent sums of different names or shapes")
        else:
            for name in total:
                total[name] += part[name]
    return total or {}


def stacked(models: Sequence[Mapping[str, T]]) -> dict[str, T]:
    """Several models' arrays in one mapping: ``0/name``, ``1/name``, ..."""
    return {f"{number}/{name}": array for number, model in enumerate(models) for name, array in model.items()}


def unstacked(arrays: Mapping[str, T]) -> list[dict[str, T]]:
    """Undo `stacked`.

    Raises
    ------
    WireError
        If a name carries no number, or a number is missing.
    """
    found: dict[int, dict[str, T]] = {}
    for name, array in arrays.items():
        number, slash, rest = name.partition("/")
        if not slash or not NUMBER.fullmatch(number):
            raise WireError(f"array {name!r} does not say which model it belongs to")
        found.setdefault(int(number), {})[rest] = array
    if sorted(found) != list(range(len(found))):
        raise WireError(f"models {sorted(found)} are not numbered from 0")
    return [found[number] for number in sorted(found)]


def norm(arrays: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray] | None = None) -> float:
    """L2 norm over all arrays, or of their difference from ``other``."""
    total = 0.0
    for name, array in arrays.items():
        difference = array.astype(np.float64) - (0 if other is None else other[name])
        total += float(np.square(difference).sum())
    return total**0.5
