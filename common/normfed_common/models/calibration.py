"""How rare a member's score is among normal voxels: one scale for models whose scores have none in common.

Every voxel score s of the normal voxels of the people trained on is counted in equal bins of u = s / (s + scale), where
scale is the mean score; between edges the count is interpolated. With n voxels of whom N(s) score at least s,

    p(s) = (N(s) + 1 - u(s)) / (n + 1)

is the usual tail probability (1 + N) / (n + 1) of a permutation test (Davison and Hinkley 1997, 4.2), but that the one
added voxel is spread over all scores: so p falls strictly, beyond the highest normal score too, and ranks stay whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial

import numpy as np

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.cohort import Cohort, Scan, Visits
from normfed_common.learning.learner import Learner
from normfed_common.learning.phase import Phase
from normfed_common.learning.setting import SUMS_ROUNDING, Setting
from normfed_common.models.members import Member, unnumbered
from normfed_common.study.base import Frozen
from normfed_common.study.preprocessing import GRID_MM3

BINS = 4096
TISSUES = 3


class Tail:
    """The tail probability of one member's scores, in one tissue.

    Parameters
    ----------
    counts
        Of normal voxels by bin of u, (BINS,).
    scale
        Above 0.
    """

    def __init__(self, counts: np.ndarray, scale: float) -> None:
        self.scale = scale
        self._edges = np.linspace(0, 1, len(counts) + 1)
        self._below = np.concatenate([[0.0], np.cumsum(counts)])
        self._above = np.concatenate([np.cumsum(counts[::-1])[::-1], [0.0]])

    def evidence(self, scores: np.ndarray) -> np.ndarray:
        """-log p of scores of shape (n,): 0 at a score of 0, then rising, of mean 1 in normal voxels."""
        scores = scores.astype(np.float64)
        u, rest = scores / (scores + self.scale), self.scale / (scores + self.scale)
        p = (np.interp(u, self._edges, self._above) + rest) / (self._above[0] + 1)
        common = (np.interp(u, self._edges, self._below) + u) / (self._above[0] + 1)  # 1 - p, exact where it is small
        return np.where(common < 0.5, -np.log1p(-np.minimum(common, 0.5)), -np.log(p))


class Calibration(Learner):
    """Histograms of the members' scores, over whole brains: first their scales, then counts.

    People are scored by what was learnt from them: a member that knows them by heart has tails that are too short.

    Attributes
    ----------
    members
        Who is counted: as a site will score with them.

    Parameters
    ----------
    by_tissue
        Whether grey matter, white matter and fluid of the template have histograms of their own.
    """

    def __init__(self, setting: Setting, members: Sequence[Member], by_tissue: bool) -> None:
        super().__init__(Frozen(), setting)
        self.members, self._by_tissue = members, by_tissue
        self._shape = (len(members), TISSUES if by_tissue else 1, BINS)
        self._scales = np.ones(len(members))
        self.tails: list[list[Tail]] = []
        self.known = np.zeros(len(members), bool)

    def phases(self) -> tuple[Phase, ...]:
        """The mean scores, which the bins depend on, then the counts."""
        return Phase("scale", "summed"), Phase("ranks", "summed")

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """Number and sum of every member's scores of normal voxels, (M,); or their counts, (M, tissues, BINS)."""
        members = len(self.members)
        sums: Arrays = (
            {"count": np.zeros(members), "sum": np.zeros(members)}
            if phase == "scale"
            else {"counts": np.zeros(self._shape)}
        )
        for visits in cohort.people():
            for last in range(len(visits)):
                opening = [partial(unnumbered, cohort, index) for index in visits[: last + 1]]
                self._add(sums, Visits(opening), rng)
        return sums

    def counted(self, phase: str) -> Mapping[str, float]:
        """Voxels of a scan, of which there are no more than the grid has."""
        voxels = GRID_MM3 / self.setting.voxel_size_mm**3
        return {"count": voxels, "sum": np.inf} if phase == "scale" else {"counts": voxels}

    def check(self, phase: str, sums: Arrays) -> None:
        """Every member scores the same voxels, but where scans may lack what it needs."""
        if phase == "scale":
            check_shapes(sums, {"count": self._shape[:1], "sum": self._shape[:1]})
            counts = sums["count"]
            if (sums["sum"] < 0).any() or (sums["sum"][counts == 0] > 0).any():
                raise WireError("scores add up to what no voxels can have")
        else:
            check_shapes(sums, {"counts": self._shape})
            counts = sums["counts"].sum((1, 2))
        if (counts < 0).any() or not counts.any():
            raise WireError("the sums cover no people")
        if not self.setting.may_lack and np.ptp(counts) > SUMS_ROUNDING * counts.max():
            raise WireError("members scored different numbers of voxels")

    def absorb(self, phase: str, total: Arrays) -> bool:
        """Scales from the means, tails from the counts; a member that nobody could be scored by is not known."""
        super().absorb(phase, total)
        if phase == "scale":
            mean = total["sum"] / np.maximum(total["count"], 1)
            self._scales = np.where(mean > 0, mean, 1.0)
        else:
            counts = total["counts"]
            self.known = counts.sum((1, 2)) > 0
            pairs = zip(counts, self._scales, strict=True)
            self.tails = [[Tail(one, float(scale)) for one in each] for each, scale in pairs]
        return False

    def evidence(self, number: int, scores: np.ndarray, index: np.ndarray) -> np.ndarray:
        """-log p of a member's scores of shape (n,), at flat indices of the grid."""
        if not self._by_tissue:
            return self.tails[number][0].evidence(scores)
        tissue, found = self._tissue[index], np.empty(len(scores))
        for which, tail in enumerate(self.tails[number]):
            found[tissue == which] = tail.evidence(scores[tissue == which])
        return found

    def _add(self, sums: Arrays, visits: Sequence[Scan], rng: np.random.Generator) -> None:
        """Add the last visit's scores to the sums."""
        scan = visits[-1]
        index = np.asarray(scan.normal_index)
        for number, member in enumerate(self.members):
            if not member.can_score(scan):
                continue
            scores = member.anomaly(visits, rng).ravel()[index].astype(np.float64)
            if "sum" in sums:
                sums["count"][number] += len(scores)
                sums["sum"][number] += scores.sum()
            else:
                place = np.minimum((BINS * (scores / (scores + self._scales[number]))).astype(int), BINS - 1)
                if self._by_tissue:
                    place += BINS * self._tissue[index]
                counts = np.bincount(place, minlength=self._shape[1] * BINS)
                sums["counts"][number] += counts.reshape(self._shape[1:])

    @cached_property
    def _tissue(self) -> np.ndarray:
        """The likeliest tissue of the template at every flat index, 0 to 2; where it has no brain, grey matter."""
        anatomy = self.setting.anatomy
        return np.stack([anatomy.grey, anatomy.white, anatomy.fluid]).argmax(0).ravel()
