"""How rare a member's score is among normal voxels: one scale for models whose scores have none in common.

Every voxel score s of the normal voxels of the people trained on is counted in equal bins of u = s / (s + scale), where
scale is the mean score; between edges the count is interpolated. With n voxels of whom N(s) score at least s,

    p(s) = (N(s) + 1 - u(s)) / (n + 1)

is the usual tail probability (1 + N) / (n + 1) of a permutation test (Davison and Hinkley 1997, 4.2), but that the one
added voxel is spread over all scores: so p falls strictly, beyond the highest normal score too, and ranks stay whole.

Members are combined by the weighted mean of -log p. Its mean in normal voxels is 1 for any of them, but the more there
are the closer it stays to it, depending on how alike they are. Where scans may lack what some need, the mean of every
set of members that can meet is therefore counted, too, over the people who have all that the set needs, and what
counts is its own -log p. One member alone is calibrated as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from itertools import chain, combinations

import numpy as np

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.cohort import Cohort, Scan, Visits
from normfed_common.learning.learner import Learner
from normfed_common.learning.phase import Phase
from normfed_common.learning.score import Score
from normfed_common.learning.setting import SUMS_ROUNDING, Setting
from normfed_common.models.combined.members import Member, unnumbered
from normfed_common.models.combined.of_people import OfPeople
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


class TailCalibration(Learner):
    """Histograms of the members' scores, over whole brains: their scales, counts, then counts of what sets of them say.

    People are scored by what was learnt from them: a member that knows them by heart has tails that are too short.

    Attributes
    ----------
    members
        Who is counted: as a site will score with them.

    Parameters
    ----------
    weights
        Of the members; one without is calibrated, and not combined.
    by_tissue
        Whether grey matter, white matter and fluid of the template have histograms of their own.
    """

    def __init__(
        self, setting: Setting, members: Sequence[Member], weights: Sequence[float], by_tissue: bool = False
    ) -> None:
        super().__init__(Frozen(), setting)
        self.members, self._weights, self._by_tissue = members, tuple(weights), by_tissue
        self._sets = self._meeting()
        self._shape = (len(members), TISSUES if by_tissue else 1, BINS)
        self._scales = np.ones(len(members))
        self._known = np.zeros(len(members), bool)  # whether anybody has been scored by the member
        self._tails: list[list[Tail]] = []
        self._tails_of_sets: dict[tuple[int, ...], Tail] = {}

    def phases(self) -> tuple[Phase, ...]:
        """The mean scores, which the bins depend on, then the counts, then those of sets where others may meet."""
        names = ("scale", "ranks", "sets") if self._sets else ("scale", "ranks")
        return tuple(Phase(name, "summed") for name in names)

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """Number and sum of every member's scores of normal voxels, (M,); or their counts, (M, tissues, BINS), or those
        of every set of members, (sets, BINS)."""
        everybody = OfPeople(self._shapes(phase), self.setting.told_together)
        add = self._add_sets if phase == "sets" else self._add
        for visits in cohort.people():
            sums, modalities = everybody.begin(), np.zeros(len(self.setting.modalities), bool)
            for last in range(len(visits)):
                opening = [partial(unnumbered, cohort, index) for index in visits[: last + 1]]
                modalities |= add(sums, Visits(opening), rng)
            everybody.take(sums, modalities)
        return everybody.told()

    def counted(self, phase: str) -> Mapping[str, float]:
        """Voxels of a scan, of which there are no more than the grid has."""
        voxels = GRID_MM3 / self.setting.voxel_size_mm**3
        return {"count": voxels, "sum": np.inf} if phase == "scale" else {"counts": voxels}

    def check(self, phase: str, sums: Arrays) -> None:
        """Every member scores the same voxels, but where scans may lack what it needs."""
        check_shapes(sums, self._shapes(phase))
        if phase == "scale":
            counts = sums["count"]
            if (sums["sum"] < 0).any() or (sums["sum"][counts == 0] > 0).any():
                raise WireError("scores add up to what no voxels can have")
        else:
            counts = sums["counts"].reshape(len(sums["counts"]), -1).sum(1)
        if (counts < 0).any() or not (counts.any() or phase == "sets"):  # a site may have nobody with all modalities
            raise WireError("the sums cover no people")
        if not self.setting.may_lack and np.ptp(counts) > SUMS_ROUNDING * counts.max():
            raise WireError("members scored different numbers of voxels")

    def absorb(self, phase: str, total: Arrays) -> bool:
        """Scales from the means, tails from the counts; a member that could score nobody is left out from then on."""
        super().absorb(phase, total)
        if phase == "scale":
            mean = total["sum"] / np.maximum(total["count"], 1)
            self._scales = np.where(mean > 0, mean, 1.0)
        elif phase == "ranks":
            self._known = total["counts"].sum((1, 2)) > 0
            pairs = zip(total["counts"], self._scales, strict=True)
            self._tails = [[Tail(one, float(scale)) for one in each] for each, scale in pairs]
        else:
            sets = zip(self._sets, total["counts"], strict=True)
            self._tails_of_sets = {members: Tail(counts, 1.0) for members, counts in sets if counts.any()}
        return False

    def evidence(self, number: int, scores: np.ndarray, index: np.ndarray) -> np.ndarray:
        """-log p of a member's scores of shape (n,), at flat indices of the grid."""
        if not self._by_tissue:
            return self._tails[number][0].evidence(scores)
        tissue, found = self._tissue[index], np.empty(len(scores))
        for which, tail in enumerate(self._tails[number]):
            found[tissue == which] = tail.evidence(scores[tissue == which])
        return found

    def scores(self, members: Sequence[Member], visits: Sequence[Scan], rng: np.random.Generator) -> dict[int, Score]:
        """Of those of the members that count and can score the last visit, by number."""
        return {
            number: member.score(visits, rng)
            for number, member in enumerate(members)
            if self._weights[number] and self._known[number] and member.can_score(visits[-1])
        }

    def said(self, scores: Mapping[int, Score], index: np.ndarray) -> dict[int, np.ndarray]:
        """The evidence of members' scores at flat indices, by number."""
        return {number: self.evidence(number, one.anomaly.ravel()[index], index) for number, one in scores.items()}

    def combined(self, said: Mapping[int, np.ndarray]) -> np.ndarray:
        """The evidence of several members as one, (n,); of mean 1 in normal voxels, whoever they are."""
        mean, tail = self._mean(said, tuple(said)), self._tails_of_sets.get(tuple(said))
        return mean if tail is None else tail.evidence(mean)

    def _mean(self, said: Mapping[int, np.ndarray], members: tuple[int, ...]) -> np.ndarray:
        weights = np.array([self._weights[number] for number in members])
        mean: np.ndarray = weights @ np.stack([said[number] for number in members]) / weights.sum()
        return mean

    def _meeting(self) -> list[tuple[int, ...]]:
        """The sets of several members that count and may be all that can score a scan, the largest first; none where it
        is always the same."""
        may_lack = self.setting.may_lack
        absences = chain.from_iterable(combinations(may_lack, size) for size in range(len(may_lack) + 1))
        sets = {
            tuple(
                number
                for number, member in enumerate(self.members)
                if self._weights[number] and not set(member.needs) & set(absent)
            )
            for absent in absences
        } - {()}
        return sorted((one for one in sets if len(sets) > 1 < len(one)), key=lambda one: (-len(one), one))

    def _shapes(self, phase: str) -> dict[str, tuple[int, ...]]:
        if phase == "scale":
            return {"count": self._shape[:1], "sum": self._shape[:1]}
        return {"counts": (len(self._sets), BINS) if phase == "sets" else self._shape}

    def _add(self, sums: Arrays, visits: Sequence[Scan], rng: np.random.Generator) -> np.ndarray:
        """Add the last visit's scores to the sums; returns which modalities it has."""
        scan = visits[-1]
        index = np.asarray(scan.normal_index)
        for number, member in enumerate(self.members):
            if not member.can_score(scan):
                continue
            scores = member.score(visits, rng).anomaly.ravel()[index].astype(np.float64)
            if "sum" in sums:
                sums["count"][number] += len(scores)
                sums["sum"][number] += scores.sum()
            else:
                place = _bins(scores, self._scales[number])
                if self._by_tissue:
                    place += BINS * self._tissue[index]
                counts = np.bincount(place, minlength=self._shape[1] * BINS)
                sums["counts"][number] += counts.reshape(self._shape[1:])
        return scan.present

    def _add_sets(self, sums: Arrays, visits: Sequence[Scan], rng: np.random.Generator) -> np.ndarray:
        """Add what every set of members says of the last visit, if that has all that the set needs; see `_add`."""
        said = self.said(self.scores(self.members, visits, rng), np.asarray(visits[-1].normal_index))
        for row, members in zip(sums["counts"], self._sets, strict=True):
            if set(members) <= set(said):
                row += np.bincount(_bins(self._mean(said, members), 1.0), minlength=BINS)
        return visits[-1].present

    @cached_property
    def _tissue(self) -> np.ndarray:
        """The likeliest tissue of the template at every flat index, 0 to 2; where it has no brain, grey matter."""
        found: np.ndarray = self.setting.anatomy.tissues().argmax(0).ravel()
        return found


def _bins(scores: np.ndarray, scale: float) -> np.ndarray:
    """The bin of u of every score."""
    return np.minimum((BINS * (scores / (scores + scale))).astype(int), BINS - 1)
