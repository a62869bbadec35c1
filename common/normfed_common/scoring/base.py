"""What a one-class score of latents is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from pydantic import Field

from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.setting import Places, Setting
from normfed_common.study.base import Frozen


@dataclass(frozen=True)
class LatentField:
    """Latents of one person's voxels.

    Parameters
    ----------
    latents
        float32 of shape (n, d), on the CPU.
    index
        (n,) sorted flat indices into ``shape``.
    shape
        Of the common grid.
    """

    latents: torch.Tensor
    index: np.ndarray
    shape: tuple[int, ...]


class OneClassConfig(Frozen):
    """One-class SVM in latent space (Alaverdyan 2020; Pinon 2023)."""

    nu: float = Field(0.03, gt=0, le=1, description="upper bound on the share of outliers in the training latents")


class OneClassHead(Protocol):
    """Turns latents into anomaly scores; may first need sums over the sites (``stages``) or the site's own people.

    ``Config`` is what a study may say of it, ``keeps_to_site`` whether `personalise` learns anything.
    """

    Config: ClassVar[type[Frozen]]
    stages: tuple[str, ...]
    keeps_to_site: bool

    def __init__(self, config: Any, dimension: int, setting: Setting) -> None:
        """For latents of ``dimension``."""
        ...

    def statistics(self, stage: str, fields: Iterator[LatentField], rng: np.random.Generator) -> Arrays:
        """Sums over a site's normal people that ``stage`` needs, float64."""
        ...

    def places(self, stage: str) -> Places | None:
        """See `NormativeModel.places`."""
        ...

    def counted(self, stage: str) -> Mapping[str, float]:
        """See `NormativeModel.counted`."""
        ...

    def check(self, stage: str, sums: Arrays) -> None:
        """See `NormativeModel.check`."""
        ...

    def absorb(self, stage: str, total: Arrays) -> None:
        """Take the sums over all sites, which `check` let pass; raises `WireError` where no score is made of them."""
        ...

    def personalise(self, fields: Iterator[LatentField], subjects: int, rng: np.random.Generator) -> None:
        """Learn what stays at the site from its ``subjects`` normal people."""
        ...

    def score(self, field: LatentField, rng: np.random.Generator) -> np.ndarray:
        """float32 of shape (n,), never negative, higher = more abnormal."""
        ...


class NoStages:
    """The parts that a head without federated or personal parts leaves empty."""

    stages: tuple[str, ...] = ()
    keeps_to_site: bool = False

    def places(self, stage: str) -> Places | None:
        """Sums are over whole brains."""
        return None

    def statistics(self, stage: str, fields: Iterator[LatentField], rng: np.random.Generator) -> Arrays:
        """There are no stages."""
        raise ValueError(f"{type(self).__name__} has no stage {stage!r}")

    def counted(self, stage: str) -> Mapping[str, float]:
        """There are no stages."""
        return {}

    def check(self, stage: str, sums: Arrays) -> None:
        """There are no stages."""

    def absorb(self, stage: str, total: Arrays) -> None:
        """There are no stages."""
        raise ValueError(f"{type(self).__name__} has no stage {stage!r}")

    def personalise(self, fields: Iterator[LatentField], subjects: int, rng: np.random.Generator) -> None:
        """Nothing stays at the site."""
