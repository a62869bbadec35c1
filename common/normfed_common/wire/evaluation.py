"""Evaluation figures as named arrays; the names of groups travel in the answer's labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import WireError
from normfed_common.metrics.base import Metric
from normfed_common.metrics.catalogue import BUILT_IN
from normfed_common.metrics.summary import Summary
from normfed_common.metrics.tissue import CLASSES

COMMON = ("edges", "held_out_people", "held_out", "thresholds")
COUNTS = ("normal", "lesion", "regions", "normal_people", "patients")


@dataclass(frozen=True)
class ScoreRange:
    """The range in which a site's scores lie.

    Raises
    ------
    WireError
        If ``low`` is above ``high``.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise WireError(f"its scores lie between {self.low:.3g} and {self.high:.3g}")

    def arrays(self) -> Arrays:
        """As they cross."""
        return {"range": np.array([self.low, self.high])}

    @classmethod
    def decode(cls, arrays: Mapping[str, np.ndarray]) -> ScoreRange:
        """Undo `arrays`.

        Raises
        ------
        WireError
            If they are not two numbers, the lower first.
        """
        check_layout(arrays, {"range": ((2,), np.float64)})
        return cls(*(float(value) for value in arrays["range"]))


@dataclass(frozen=True)
class CommonEdges:
    """What every site measures with: edges between which it counts, what normal people have there, and thresholds.

    Parameters
    ----------
    edges
        (b,), float64, ascending.
    held_out_people
        (b + 1,), int64: below the first edge, between two, from the last: what conformal p-values compare with.
    held_out
        (classes, b + 1), int64: voxels of held-out normal people of all sites, by class (`CLASSES`).
    thresholds
        (classes,), float64: a voxel at or above its class's is called abnormal.

    Raises
    ------
    WireError
        If they are anything else.
    """

    edges: np.ndarray
    held_out_people: np.ndarray
    held_out: np.ndarray
    thresholds: np.ndarray

    def __post_init__(self) -> None:
        edges, classes = self.edges, len(CLASSES)
        if edges.ndim != 1 or not len(edges) or edges.dtype != np.float64 or not (np.diff(edges) > 0).all():
            raise WireError(f"edges of shape {edges.shape} and type {edges.dtype} do not ascend")
        bins = len(edges) + 1
        for counts, shape in ((self.held_out_people, (bins,)), (self.held_out, (classes, bins))):
            if counts.shape != shape or counts.dtype != np.int64 or (counts < 0).any():
                raise WireError(f"{counts.dtype} of shape {counts.shape} are not counts between {len(edges)} edges")
        levels = self.thresholds
        if levels.shape != (classes,) or levels.dtype != np.float64 or not np.isfinite(levels).all():
            raise WireError(f"{levels.dtype} of shape {levels.shape} are not {classes} thresholds")

    def arrays(self) -> Arrays:
        """As they cross."""
        return {name: getattr(self, name) for name in COMMON}

    @classmethod
    def decode(cls, arrays: Mapping[str, np.ndarray]) -> CommonEdges:
        """Undo `arrays`.

        Raises
        ------
        WireError
            If they are not edges, counts and thresholds.
        """
        check_names(arrays, COMMON)
        return cls(*(arrays[name] for name in COMMON))


class Measured(Protocol):
    """What a site measured; see `normfed_client.evaluating.evaluation.Measured`."""

    @property
    def summary(self) -> Summary:
        """Sums over the site's people."""
        ...

    @property
    def image_auroc(self) -> float:
        """Of the site's own people; NaN where undefined."""
        ...


def summary_arrays(summary: Summary) -> Arrays:
    """A summary's arrays."""
    return {"moments": summary.moments, "bootstrap": summary.bootstrap}


def measured_arrays(measured: Measured) -> Arrays:
    """Everything of one site's measurement; an undefined image AUROC is left out."""
    arrays = summary_arrays(measured.summary)
    for name in COUNTS:
        value = getattr(measured, name)
        arrays[name] = value.astype(np.float64 if name == "regions" else np.int64)
    if np.isfinite(measured.image_auroc):
        arrays["image_auroc"] = np.array(measured.image_auroc)
    return arrays


def to_summary(
    groups: Sequence[str], arrays: Arrays, resamplings: int, metrics: tuple[Metric, ...] = BUILT_IN
) -> Summary:
    """Read a summary of the study's ``metrics``.

    Raises
    ------
    WireError
        If the shapes are not those of this study.
    """
    expected = (len(groups), len(metrics))
    if not {"moments", "bootstrap"} <= set(arrays):
        raise WireError("a summary lacks moments or bootstrap")
    # A hospital sends no resamplings: from them its patients' figures can be worked out.
    shapes = [(*expected, 2, sent) for sent in (resamplings, 0)]
    if arrays["moments"].shape != (*expected, 3) or arrays["bootstrap"].shape not in shapes:
        raise WireError(f"a summary has shapes {arrays['moments'].shape} and {arrays['bootstrap'].shape}")
    return Summary(tuple(groups), arrays["moments"], arrays["bootstrap"], metrics)


def check_names(arrays: Mapping[str, np.ndarray], expected: Collection[str]) -> None:
    """Whether exactly these arrays are there.

    Raises
    ------
    WireError
        If not.
    """
    if set(arrays) != set(expected):
        strange = sorted(set(arrays) ^ set(expected))
        raise WireError(f"it has other arrays than it was asked for: {', '.join(strange[:5])[:200]}")


def check_layout(arrays: Mapping[str, np.ndarray], expected: Mapping[str, tuple[tuple[int, ...], type]]) -> None:
    """Whether exactly these arrays are there, each of its shape and type.

    Raises
    ------
    WireError
        If not.
    """
    check_names(arrays, expected)
    for name, (shape, kind) in expected.items():
        if arrays[name].shape != shape or arrays[name].dtype != kind:
            raise WireError(f"{name} is {arrays[name].dtype} of shape {arrays[name].shape}, not of {shape}")
