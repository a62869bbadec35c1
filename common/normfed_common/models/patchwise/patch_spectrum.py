"""What patches look like, in few enough numbers to leave with noise: a mean and a spectrum per modality.

Moments of patches x of D = C p p numbers have D (D + 1) / 2 products, most of them far below the noise. Patches of
images have nearly the covariance of a stationary process, which the discrete cosine transform B diagonalises (Ahmed,
Natarajan & Rao 1974, IEEE Trans. Comput. C-23:90). So of a person only these leave:

    mean_c = mean of x over the patches of modality c,   spectrum_ck = mean (b_k' (x_c - mean_c))^2,  k = 1 ... p p

and the covariance is B diag(spectrum) B', without what modalities have in common. A spectrum falls with the square of
the frequency; by that it is divided, so that all frequencies count alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
from scipy.fft import dct
from scipy.linalg import block_diag

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.bounded import PEOPLE, Bounded
from normfed_common.learning.cohort import Cohort
from normfed_common.learning.parcels import shrunk

RIM = 0.05  # of the range of values
LEAST = 1e-4  # of a spectrum, as a share of what is usual
Moments = tuple[float, np.ndarray, np.ndarray]  # n, sum x (D,), sum x x' (D, D)


class PatchSpectrum(Bounded):
    """See the module.

    Parameters
    ----------
    channels, patch_size
        C, p.
    value_range
        Of voxels.
    moments
        Of a person's patches, with draws.
    patches
        Of one person, that are said to be there when sums are made.
    named
        Sums under the names by which a model takes them, of moments.
    """

    def __init__(
        self,
        channels: int,
        patch_size: int,
        value_range: tuple[float, float],
        moments: Callable[[Cohort, np.random.Generator], Moments],
        patches: float,
        named: Callable[[Moments], Arrays],
    ) -> None:
        self._channels, self._size, self._moments, self._patches = channels, patch_size, moments, patches
        self._named, self._range = named, value_range

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """``mean`` (C,), ``spectrum`` (C, p p)."""
        return {"mean": (self._channels,), "spectrum": (self._channels, self._size**2)}

    def contribution(self, person: Cohort, rng: np.random.Generator) -> Arrays:
        """See the module."""
        n, first, second = self._moments(person, rng)
        n = max(n, 1.0)
        mean = first.reshape(self._channels, -1).mean(1) / n
        around = np.repeat(mean, self._size**2)
        centred = second / n - np.outer(first / n, around) - np.outer(around, first / n) + np.outer(around, around)
        basis = block_diag(*[self._basis] * self._channels)
        spectrum = np.einsum("ki,ij,kj->k", basis, centred, basis).reshape(self._channels, -1)
        return {
            "mean": mean / self._reach / np.sqrt(self._channels),
            "spectrum": spectrum / self._usual / np.sqrt(self._channels * self._size**2),
        }

    def beside(self, people: int) -> Arrays:
        """``people`` ()."""
        return {PEOPLE: np.asarray(float(people))}

    def repaired(self, total: Arrays, noise: float) -> Arrays:
        """Sums of so many patches with this mean and this covariance."""
        check_shapes(total, {PEOPLE: ()})
        people = float(total[PEOPLE])
        if not people > 0:
            raise WireError("the sums cover no people")
        low, high = self._range
        rim = RIM * (high - low)  # a mean at either end leaves no room for a covariance
        mean = np.clip(total["mean"] * self._reach * np.sqrt(self._channels) / people, low + rim, high - rim)
        units = np.sqrt(self._channels * self._size**2)
        ratio = (total["spectrum"] * units / people).T
        share = np.full(len(ratio), 1 / len(ratio))
        ratio = np.maximum(shrunk(ratio, share, np.full(ratio.shape, (noise * units / people) ** 2)), LEAST).T
        each = np.repeat(mean, self._size**2)
        covariance = block_diag(*[(self._basis.T * row) @ self._basis for row in ratio * self._usual])
        room = self._reach**2 - each**2
        covariance *= min(1.0, float((room / np.diagonal(covariance)).min()))
        n = people * self._patches
        return self._named((n, n * each, n * (covariance + np.outer(each, each))))

    @property
    def _reach(self) -> float:
        return max(map(abs, self._range))

    @cached_property
    def _basis(self) -> np.ndarray:
        """B, a row per frequency, (p p, p p)."""
        one = dct(np.eye(self._size), axis=0, norm="ortho")
        return np.kron(one, one)

    @cached_property
    def _usual(self) -> np.ndarray:
        """What a spectrum is divided by, (p p,): a tenth of the range squared, as much as a uniform distribution has,
        over all frequencies."""
        along = np.arange(self._size)
        falling = 1 / (1 + along[:, None] ** 2 + along**2).ravel().astype(np.float64)
        low, high = self._range
        found: np.ndarray = 0.1 * ((high - low) / 2) ** 2 * self._size**2 * falling / falling.sum()
        return found
