"""What a one-class score of latents is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field

from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.phase import Phase
from normfed_common.learning.setting import Places, Setting
from normfed_common.study.base import Frozen


@dataclass(frozen=True)
class LatentField:
    """Latents of one scan's voxels.

    Parameters
    ----------
    latents
        float32 of shape (n, d), on the CPU.
    index
        (n,) sorted flat indices into ``shape``.
    shape
        Of the common grid.
    person
        Whose scan it is: their index in the cohort.
    scanner
        Of which scanner it is; see `Person`.
    """

    latents: torch.Tensor
    index: np.ndarray
    shape: tuple[int, ...]
    person: int
    scanner: str = ""


class Fields(Iterable[LatentField]):
    """Those of a cohort, made anew whenever they are gone through.

    Parameters
    ----------
    making
        Begins to make them.
    """

    def __init__(self, making: Callable[[], Iterator[LatentField]]) -> None:
        self._making = making

    def __iter__(self) -> Iterator[LatentField]:
        return self._making()


class OneClassConfig(Frozen):
    """One-class SVM in latent space (Alaverdyan 2020; Pinon 2023)."""

    nu: float = Field(0.03, gt=0, le=1, description="upper bound on the share of outliers in the training latents")


class OneClassScore(ABC):
    """Turns latents into anomaly scores; may first need sums over the sites, or the site's own people.

    A score without sums, or that keeps nothing to a site, leaves what is for them as it is.

    Attributes
    ----------
    Config
        What a study may say of it.
    keeps_to_site
        Whether `personalise` learns anything.
    cited
        What a paper cites for it, see `NormativeModel`.
    """

    Config: ClassVar[type[Frozen]]
    keeps_to_site: bool = False
    cited: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def __init__(self, config: Any, dimension: int, setting: Setting) -> None:
        """For latents of ``dimension``."""

    def phases(self) -> tuple[Phase, ...]:
        """Sums that are needed, in order: all phases are summed."""
        return ()

    def statistics(self, phase: str, fields: Iterable[LatentField], rng: np.random.Generator) -> Arrays:
        """Sums over a site's normal people that ``phase`` needs, float64.

        Parameters
        ----------
        fields
            Of every scan, on its normal tissue; costly to make, so best gone through once.
        """
        raise ValueError(f"{type(self).__name__} has no sums {phase!r}")

    def places(self, phase: str) -> Places | None:
        """See `Learner.places`."""
        return None

    def counted(self, phase: str) -> Mapping[str, float]:
        """See `Learner.counted`."""
        return {}

    def check(self, phase: str, sums: Arrays) -> None:  # noqa: B027  (there may be nothing to check)
        """See `Learner.check`."""

    def absorb(self, phase: str, total: Arrays) -> bool:
        """Take the sums over all sites, which `check` let pass; see `Learner.absorb`."""
        raise ValueError(f"{type(self).__name__} has no sums {phase!r}")

    def personalise(  # noqa: B027  (there may be nothing to learn)
        self, fields: Iterable[LatentField], subjects: int, rng: np.random.Generator
    ) -> None:
        """Learn what stays at the site from its ``subjects`` normal people."""

    @abstractmethod
    def score(self, field: LatentField, rng: np.random.Generator) -> np.ndarray:
        """float32 of shape (n,), never negative, higher = more abnormal."""
