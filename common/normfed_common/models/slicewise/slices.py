"""What models of whole axial slices share: slices to learn from, and the residual of a scan as its anomaly.

    score = mean over the modalities that count of |r|, max(r, 0) or max(-r, 0),   r = x - what is normal for x

A residual has a sign: lesions are bright on FLAIR and T2w, and what is darker than normal there, such as wide sulci, is
none. Where a modality counts only in its own direction, false alarms of the other direction do not enter.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from normfed_common.foundation.errors import StudyError
from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Cohort, Scan
from normfed_common.learning.phase import Phase
from normfed_common.learning.score import Score
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.slicewise.slice_networks import SliceNetworkConfig
from normfed_common.models.voxelwise.intensities import brightest
from normfed_common.study.modalities import Modality

SLICES_AT_ONCE = 8
MOST_SLICES = 512  # of a brain at 1 mm there are fewer than 200

Sign = Literal["absolute", "positive", "negative"]


class SliceConfig(SliceNetworkConfig):
    """Parameters of a model of slices."""

    modalities: tuple[Modality, ...] | None = Field(
        None, min_length=1, description="that the network sees and reconstructs; all of the study's when absent"
    )
    residual: Sign | dict[Modality, Sign] | None = Field(
        None,
        description="which modalities count in the score, and in which direction: `{FLAIR: positive, T1w: negative}`, "
        "or one sign for all. When absent FLAIR alone, positive (brighter than its reconstruction); without FLAIR T2w, "
        "positive; without either all, absolute",
    )
    slices_per_subject: int | None = Field(
        None, ge=1, le=1_000_000, description="drawn anew for every epoch; all when absent"
    )
    batch_size: int = Field(8, ge=1, description="slices")


class SliceModel(NormativeModel):
    """Learns from axial slices in rounds; the anomaly is the residual of each, see the module.

    Raises
    ------
    StudyError
        If a modality is named that the study does not have, or a residual of one that the network does not see.
    """

    def __init__(self, config: SliceConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        seen = _seen(config, setting.modalities)
        signs = signs_of(config.residual, seen)
        for key, named, known in (("modalities", seen, setting.modalities), ("residual", tuple(signs), seen)):
            unknown = [modality for modality in named if modality not in known]
            if unknown:
                whose = "the study has" if key == "modalities" else "the network sees"
                raise StudyError(f"{key}: {whose} no {unknown[0]}, only {', '.join(known)}. Change `{key}`.")
        self.channels = [setting.modalities.index(modality) for modality in seen]
        self.signs = [(seen.index(modality), sign) for modality, sign in signs.items()]

    @classmethod
    def needs(cls, config: SliceConfig, modalities: tuple[str, ...]) -> tuple[str, ...]:
        """What the network sees: it cannot encode a slice that lacks a part."""
        return _seen(config, modalities)

    def phases(self) -> tuple[Phase, ...]:
        """The network alone."""
        return (Phase("training", "averaged"),)

    @classmethod
    def samples_per_person(cls, config: SliceConfig) -> int:
        """Slices; where the study gives no number, no fewer than any brain has."""
        return config.slices_per_subject or MOST_SLICES

    def batches(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        """Axial slices, float32 of shape (n, C, size, size), and which of their pixels count (n, 1, size, size).

        Slices of all scans are mixed, as many of each where the study gives a number.
        """
        chosen: list[tuple[int, int]] = []
        for index in range(len(cohort)):
            depths = np.flatnonzero(self._usable(cohort.scan(index)).mask.any((0, 1)))
            wanted = self.config.slices_per_subject
            if wanted is not None:
                depths = rng.choice(depths, wanted, replace=wanted > len(depths))
            chosen += [(index, int(depth)) for depth in depths]
        order = rng.permutation(len(chosen))
        for start in range(0, len(order), self.config.batch_size):
            rows = [chosen[i] for i in order[start : start + self.config.batch_size]]
            scans = [cohort.scan(index) for index, _ in rows]
            slices = np.stack([self._slice(scan, depth) for scan, (_, depth) in zip(scans, rows, strict=True)])
            counts = np.stack([_counts(scan, depth) for scan, (_, depth) in zip(scans, rows, strict=True)])
            yield Batch(
                {"slices": self._fit(torch.from_numpy(slices)), "counts": self._fit(torch.from_numpy(counts))},
                torch.tensor([[scan.person.index] for scan in scans]),
            )

    def most_batches(self, phase: str, scans: int) -> int:
        """Enough for all slices."""
        return -(-scans * self.samples_per_person(self.config) // self.config.batch_size)

    @abstractmethod
    def residuals(self, slices: Tensor, counts: Tensor, rng: np.random.Generator) -> Tensor:
        """The residuals of (n, C, size, size) in every one of a number of draws, (draws, n, C, size, size).

        Padding does not count: ``counts``, of shape (n, 1, size, size), is 0 there and 1 elsewhere.
        """

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """The signed residual of every voxel, mean over the modalities that count and over draws.

        Of two draws or more, the uncertainty is the standard error of their mean.
        """
        scan = self._usable(visits[-1])
        anomaly, uncertainty = (np.zeros(scan.mask.shape, np.float32) for _ in range(2))
        depths, draws = np.flatnonzero(scan.mask.any((0, 1))), 0
        for start in range(0, len(depths), SLICES_AT_ONCE):
            here = depths[start : start + SLICES_AT_ONCE]
            slices = torch.from_numpy(np.stack([self._slice(scan, depth) for depth in here])).to(self.setting.device)
            counts = self._fit(torch.ones_like(slices[:, :1]))
            shown = self._signed(self.residuals(self._fit(slices), counts, rng).float())
            draws, shape = len(shown), slices.shape[-2:]
            anomaly[..., here] = self._unfit(shown.mean(0), shape)
            if draws > 1:
                uncertainty[..., here] = self._unfit(shown.std(0) / draws**0.5, shape)
        return Score(anomaly * scan.mask, uncertainty * scan.mask if draws > 1 else None)

    def _signed(self, residuals: Tensor) -> Tensor:
        """(draws, n, C, size, size) to (draws, n, 1, size, size)."""
        signed = [_SIGNED[sign](residuals[:, :, channel]) for channel, sign in self.signs]
        return torch.stack(signed).mean(0).unsqueeze(2)

    def _usable(self, scan: Scan) -> Scan:
        """The same scan, with whatever the network sees."""
        unseen = np.ones(len(scan.present), bool)
        unseen[self.channels] = False
        self.with_every_modality(replace(scan, present=scan.present | unseen))
        return scan

    def _slice(self, scan: Scan, depth: int) -> np.ndarray:
        """What the network sees of an axial slice, a copy of shape (C, X, Y)."""
        found: np.ndarray = scan.images[..., depth][self.channels]
        return found

    def _fit(self, slices: Tensor) -> Tensor:
        """Centre on the square, after shrinking what is larger; padding is background."""
        scale = self.config.size / max(*slices.shape[-2:], self.config.size)
        if scale < 1:
            size = [round(n * scale) for n in slices.shape[-2:]]
            slices = functional.interpolate(slices, size, mode="bilinear", antialias=True)
        return functional.pad(slices, _margins(slices.shape[-2:], self.config.size))

    def _unfit(self, square: Tensor, shape: torch.Size) -> np.ndarray:
        """Undo `_fit` of (n, 1, size, size); (X, Y, n)."""
        scale = self.config.size / max(*shape, self.config.size)
        size = torch.Size([round(n * scale) for n in shape])
        left, _, top, _ = _margins(size, self.config.size)
        cut = square[..., top : top + size[0], left : left + size[1]]
        grown = functional.interpolate(cut, shape, mode="bilinear") if scale < 1 else cut
        found: np.ndarray = grown[:, 0].permute(1, 2, 0).cpu().numpy()
        return found


_SIGNED: dict[Sign, Callable[[Tensor], Tensor]] = {
    "absolute": torch.abs,
    "positive": functional.relu,
    "negative": lambda residual: functional.relu(-residual),
}


def signs_of(residual: Sign | Mapping[str, Sign] | None, modalities: tuple[str, ...]) -> dict[str, Sign]:
    """The modalities whose residuals count, and in which direction."""
    if isinstance(residual, Mapping):
        return dict(residual)
    if residual is not None:
        return dict.fromkeys(modalities, residual)
    bright = brightest(modalities)
    return {bright: "positive"} if bright else dict.fromkeys(modalities, "absolute")


def _seen(config: SliceConfig, modalities: tuple[str, ...]) -> tuple[str, ...]:
    return modalities if config.modalities is None else config.modalities


def _counts(scan: Scan, depth: int) -> np.ndarray:
    """float32 of shape (1, X, Y): 1 where an axial slice's tissue is normal, and in the background."""
    counts = ~scan.mask[..., depth]
    brain = np.flatnonzero(~counts)
    counts.flat[brain] = scan.is_normal(brain * scan.mask.shape[2] + depth)
    return counts[None].astype(np.float32)


def _margins(shape: torch.Size, size: int) -> list[int]:
    """Left, right, top and bottom padding from ``shape`` to a square of ``size``."""
    height, width = size - shape[0], size - shape[1]
    return [width // 2, width - width // 2, height // 2, height - height // 2]
