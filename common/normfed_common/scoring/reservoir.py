"""A bounded random sample of latents that arrive scan by scan."""

from __future__ import annotations

import numpy as np


class Reservoir:
    """Of all latents at a location at most ``most``, each as likely as any other: those with the smallest random keys.

    The same latents are kept however they were divided into blocks.

    Attributes
    ----------
    latents, cells
        What is kept, float32 (n, d), and where it is from, (n,): by location, in random order within one.
    """

    def __init__(self, most: int, dimension: int, rng: np.random.Generator) -> None:
        self.most, self._rng = most, rng
        self.latents = np.empty((0, dimension), np.float32)
        self.cells = np.empty(0, np.intp)
        self._keys = np.empty(0)

    def add(self, latents: np.ndarray, cells: np.ndarray) -> None:
        """Take in latents (m, d) from locations (m,)."""
        cells = np.concatenate([self.cells, cells])
        keys = np.concatenate([self._keys, self._rng.random(len(latents))])
        order = np.lexsort((keys, cells))
        ordered = cells[order]
        place = np.arange(len(order)) - np.searchsorted(ordered, ordered)
        kept = order[place < self.most]
        old = kept < len(self.latents)
        found = np.empty((len(kept), self.latents.shape[1]), np.float32)
        found[old] = self.latents[kept[old]]
        found[~old] = latents[kept[~old] - len(self.latents)]
        self.latents, self.cells, self._keys = found, cells[kept], keys[kept]
