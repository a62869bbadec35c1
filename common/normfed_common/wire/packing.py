"""All arrays of a message as one: Flower moves every array in several requests of its own, on every leg of the way.

A network of forty small arrays takes half a thousand requests from server to site and back; packed it takes twenty.
Packed is what safetensors writes to a file: names, types, shapes, bytes; no pickle.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from flwr.app import Array, ArrayRecord
from safetensors import SafetensorError
from safetensors.numpy import load, save

from normfed_common.foundation.errors import WireError

NAME, STYPE = "packed", "safetensors"


def pack(arrays: Mapping[str, np.ndarray]) -> ArrayRecord:
    """One array of bytes that holds all."""
    content = save({name: np.asarray(array, order="C") for name, array in arrays.items()})
    return ArrayRecord({NAME: Array("uint8", (len(content),), STYPE, content)})


def is_packed(record: ArrayRecord) -> bool:
    """Whether a record is one that `pack` made."""
    return list(record) == [NAME] and record[NAME].stype == STYPE


def unpack(record: ArrayRecord, consume: bool) -> dict[str, np.ndarray]:
    """What was packed.

    Parameters
    ----------
    consume
        Take the bytes out of the record; the arrays then may share them, and are not to be written to.

    Raises
    ------
    WireError
        If it is not what it says.
    """
    content = record.pop(NAME).data if consume else record[NAME].data
    try:
        arrays: dict[str, np.ndarray] = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise WireError("the packed arrays of a message cannot be read") from error
    return arrays if consume else {name: array.copy() for name, array in arrays.items()}
