"""An image for the library intensity-normalization, which makes float32 of NumPy's arrays."""

from __future__ import annotations

import os

import numpy as np


class Exact:
    """float64."""

    def __init__(self, data: np.ndarray) -> None:
        self.data = data.astype(np.float64)
        self.shape = data.shape

    def get_data(self) -> np.ndarray:
        return self.data

    def with_data(self, data: np.ndarray) -> Exact:
        return Exact(data)

    def save(self, path: str | os.PathLike[str]) -> None:
        raise NotImplementedError
