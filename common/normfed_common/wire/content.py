"""The digest of what an answer says, the same at the site that sends it and at the server that reads it.

It is of the arrays as they are once unpacked, compressed or masked as they may be, and of the header without what
travels with it and is no part of the answer: how long the site's books are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import numpy as np

from normfed_common.foundation.arrays import Arrays

TRAVELS = ("ledger", "head")  # of a header: no part of what is answered

Row = tuple[str, str, tuple[int, ...], int, str]
"""Name, type, shape, bytes and SHA-256 of one array."""


def rows(arrays: Arrays) -> list[Row]:
    """One per array, in the order of their names."""
    return [(name, str(a.dtype), a.shape, a.nbytes, _sha256(a)) for name, a in sorted(arrays.items())]


def content_digest(header: str, found: Iterable[Row]) -> str:
    """SHA-256 of an answer.

    Parameters
    ----------
    header
        As JSON, in whatever order.
    """
    said = {key: value for key, value in json.loads(header).items() if key not in TRAVELS}
    listed = [[name, dtype, list(shape), size, sha256] for name, dtype, shape, size, sha256 in found]
    text = json.dumps([said, listed], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _sha256(array: np.ndarray) -> str:
    """Of the values in C order."""
    whole = np.ascontiguousarray(array)
    return hashlib.sha256(whole.data if whole.size else b"").hexdigest()
