"""Evaluation figures as named arrays; the names of groups travel in the answer's labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import WireError
from normfed_common.metrics.base import Metric
from normfed_common.metrics.catalogue import BUILT_IN
from normfed_common.metrics.summary import Summary

COUNTS = ("normal", "lesion", "regions", "normal_people", "patients")


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
