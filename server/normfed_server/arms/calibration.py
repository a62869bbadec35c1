"""Thresholds from all sites' held-out normal people, and how often they call other normal people's voxels abnormal.

A threshold promises that 1 - specificity of normal voxels lie at or above it. Whether it does is measured at each site
with the threshold that all *other* sites' people give, from the histograms that the sites sent for the threshold
anyway: nothing more is asked of anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from pydantic import Field

from normfed_common.metrics import calibration
from normfed_common.metrics.tissue import CLASSES
from normfed_common.privacy import disclosure
from normfed_common.study.base import Frozen
from normfed_common.study.evaluation import ThresholdBy

HELD_OUT = "held-out normal people"  # who sets the threshold
OWN_TISSUE = "the patients' own lesion-free tissue"  # the very patients', where nobody is held out
WHOLE = "brain"  # the one class of a study with one threshold
Counts = Mapping[str, np.ndarray]  # site to coarse counts of held-out people's voxels, (classes, bins)


class SiteCalibration(Frozen):
    """A site's held-out people beside all others'; thresholds are in the order of the calibration's classes.

    Parameters
    ----------
    people, voxels
        Held out at the site.
    own
        Thresholds that these people alone would give.
    above
        How many of their voxels are at or above the common thresholds, which these people helped to set: the least and
        the most that the site's merged bins leave open.
    others
        Thresholds that all other sites' people give; None where there are no others.
    above_others
        How many of the site's voxels are at or above those.
    """

    people: int
    voxels: float
    own: tuple[float, ...]
    above: tuple[float, float]
    others: tuple[float, ...] | None = None
    above_others: tuple[float, float] | None = None


class Calibration(Frozen):
    """What held-out normal people say of a model's thresholds.

    Parameters
    ----------
    promised
        The share of normal voxels at or above the thresholds.
    classes
        Of place, each with a threshold of its own.
    thresholds
        Of each class, as every site uses them.
    lacking
        Classes in which no site had people enough: they have the whole brain's threshold.
    sites
        Those with people enough held out.
    scans
        How many scans of held-out people conformal p-values compare with: every visit counts.
    """

    promised: float
    classes: tuple[str, ...]
    thresholds: tuple[float, ...]
    lacking: tuple[str, ...]
    sites: dict[str, SiteCalibration]
    scans: int | None = Field(None, description="None in runs of versions that did not count them")

    def by_class(self) -> np.ndarray:
        """Thresholds (len(CLASSES),), float64, of every class of place."""
        return np.broadcast_to(np.array(self.thresholds, float), len(CLASSES)).copy()


def calibrate(
    held_out: Counts,
    people: Mapping[str, int],
    low: float,
    high: float,
    specificity: float,
    by: ThresholdBy,
    shared: Callable[[Counts], np.ndarray],
    instead: float,
    scans: int,
) -> Calibration:
    """Thresholds, and what they do at each site.

    Parameters
    ----------
    people
        Site to how many are held out there.
    low, high
        The range of the counts.
    shared
        Adds sites' counts (bins,) up, none of them more than its largest share.
    instead
        The threshold where nobody is held out anywhere.
    scans
        See `Calibration`.
    """
    counts = {site: found if by == "tissue" else found.sum(0)[None] for site, found in held_out.items() if found.any()}
    classes = CLASSES if by == "tissue" else (WHOLE,)

    def levels(chosen: Counts) -> tuple[np.ndarray, np.ndarray]:
        apart = [shared({site: found[number] for site, found in chosen.items()}) for number in range(len(classes))]
        whole = shared({site: found.sum(0) for site, found in chosen.items()})
        return calibration.thresholds(np.stack(apart), whole, low, high, specificity)

    def above(site: str, thresholds: np.ndarray) -> tuple[float, float]:
        told = counts[site], np.stack([disclosure.reach(row) for row in counts[site]])
        least, most = (calibration.at_or_above(found, low, high, thresholds) for found in told)
        return least, most

    if not counts:
        return Calibration(
            promised=round(1 - specificity, 12),
            classes=classes,
            thresholds=(instead,) * len(classes),
            lacking=classes if by == "tissue" else (),
            sites={},
            scans=scans,
        )
    common, lacking = levels(counts)
    sites = {}
    for site, found in counts.items():
        others = {other: told for other, told in counts.items() if other != site}
        theirs = levels(others)[0] if others else None
        sites[site] = SiteCalibration(
            people=people[site],
            voxels=float(found.sum()),
            own=tuple(levels({site: found})[0].tolist()),
            above=above(site, common),
            others=None if theirs is None else tuple(theirs.tolist()),
            above_others=None if theirs is None else above(site, theirs),
        )
    return Calibration(
        promised=round(1 - specificity, 12),
        classes=classes,
        thresholds=tuple(common.tolist()),
        lacking=tuple(name for name, lacks in zip(classes, lacking, strict=True) if lacks),
        sites=sites,
        scans=scans,
    )
