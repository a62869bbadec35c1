"""Sums of features as arrays over a grid of places, all modalities together; and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Of one modality's sums, each in one of three kinds.

    Parameters
    ----------
    beside
        Name to shape of those that are not over features.
    over
        Name to what comes before the axis of the features p.
    pairs
        Names of those of shape (p, p).
    """

    beside: Mapping[str, Shape]
    over: Mapping[str, Shape]
    pairs: Sequence[str] = ()

    def shapes(self, modalities: int, features: Shape) -> dict[str, Shape]:
        """Of the arrays of all modalities, where the axis of the features is ``features``, such as (tissues, X, Y, Z);
        but for those without entries."""
        found = {name: (modalities, *shape) for name, shape in self.beside.items()}
        found |= {name: (modalities, *shape, *features) for name, shape in self.over.items()}
        found |= dict.fromkeys(self.pairs, (modalities, *features, *features))
        return found

    def together(self, each: Sequence[Arrays], features: Shape) -> Arrays:
        """The arrays of all modalities, but for those without entries."""
        shapes = self.shapes(len(each), features)
        return {
            name: np.stack([one[name] for one in each]).reshape(shape)
            for name, shape in shapes.items()
            if 0 not in shape
        }

    def apart(self, sums: Arrays, modalities: int, tissues: int) -> list[Arrays]:
        """Each modality's own, with those without entries.

        Raises
        ------
        WireError
            If they are not of this layout over one grid.
        """
        ends = [sums[name].shape[-3:] for name in self.over if name in sums and sums[name].ndim >= 5]
        if not ends or 0 in ends[0]:
            raise WireError(f"none of {', '.join(self.over)} is over places")
        features = (tissues, *ends[0])
        check_shapes(sums, {n: shape for n, shape in self.shapes(modalities, features).items() if 0 not in shape})
        flat = self.shapes(modalities, (int(np.prod(features)),))
        whole = {name: sums.get(name, np.zeros(shape)).reshape(shape) for name, shape in flat.items()}
        return [{name: array[number] for name, array in whole.items()} for number in range(modalities)]
