"""The membership game: of people of whom some are in and some are not, an attacker scores each; how well is it told?

The area under the curve says how well on average; the true-positive rate at a low false-positive rate says of whom it
can be told with confidence (Carlini 2022, arXiv 2112.03570).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import beta, rankdata

LEVEL = 0.95
RESAMPLES = 1000


@dataclass(frozen=True)
class Game:
    """What was scored, and the truth.

    Parameters
    ----------
    scores
        float (trials, people), a trial being one trained federation: higher for whoever is taken to be in; NaN of
        whoever was not asked about.
    members
        bool (trials, people): who was in.
    groups
        int (people,): the site of each. Scores are compared within a site, for people of another scanner are told
        apart by their scanner, which says nothing of who trained.
    """

    scores: np.ndarray
    members: np.ndarray
    groups: np.ndarray

    @cached_property
    def centred(self) -> np.ndarray:
        """Scores less the mean of those asked about at the same site in the same trial, whoever of them is in: where
        nothing is told, members and others of a site stay exchangeable."""
        found = np.full(self.scores.shape, np.nan)
        for trial, scores in enumerate(self.scores):
            for group in np.unique(self.groups):
                asked = (self.groups == group) & np.isfinite(scores)
                if asked.any():
                    found[trial, asked] = scores[asked] - scores[asked].mean()
        return found

    def pooled(self, people: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Centred scores and truth of all trials, flat; of these people, who may come twice, or all."""
        scores = self.centred
        chosen = np.arange(scores.shape[1]) if people is None else people
        asked = np.isfinite(scores[:, chosen])
        return scores[:, chosen][asked], self.members[:, chosen][asked]

    def auc(self) -> float:
        """Chance that a member scores higher than somebody else; NaN where there are no two to compare."""
        return auc(*self.pooled())

    def interval(self, seed: int = 0) -> tuple[float, float]:
        """95 % interval of the area, by resampling people, all trials of one together.

        With a single trial members and others are resampled apart. Of a perfect separation, which every resample
        repeats, the far end is that of as many coins as the smaller side has people (Clopper & Pearson 1934).
        """
        scores, members = self.pooled()
        found = auc(scores, members)
        if np.isnan(found):
            return 0.0, 1.0
        if found in (0.0, 1.0):
            few = int(min(members.sum(), (~members).sum(), np.isfinite(self.scores).any(0).sum()))
            return clopper_pearson(int(found) * few, few)
        rng, drawn = np.random.default_rng(seed), []
        strata = [np.arange(len(self.groups))]
        if len(self.scores) == 1:
            asked = np.isfinite(self.scores[0])
            strata = [np.flatnonzero(asked & (self.members[0] == which)) for which in (True, False)]
        for _ in range(RESAMPLES):
            drawn.append(auc(*self.pooled(np.concatenate([rng.choice(part, len(part)) for part in strata]))))
        low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)

    def rate_at(self, false_positives: float) -> float | None:
        """True-positive rate at a false-positive rate; None where fewer others were asked about than one of whom makes
        such a rate."""
        scores, members = self.pooled()
        if (~members).sum() * false_positives < 1 or not members.any():
            return None
        return rate_at(scores, members, false_positives)

    def counts(self) -> tuple[int, int]:
        """Decisions about members, and about others."""
        _, members = self.pooled()
        return int(members.sum()), int((~members).sum())


def auc(scores: np.ndarray, members: np.ndarray) -> float:
    """Area under the curve, ties counted half (Mann & Whitney 1947); NaN where a side is empty."""
    inside, outside = int(members.sum()), int((~members).sum())
    if not inside or not outside:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[members].sum() - inside * (inside + 1) / 2) / (inside * outside))


def curve(scores: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False- and true-positive rates at every threshold, from none to all taken to be in; each (thresholds + 1,)."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    true, false = np.cumsum(members[order])[last], np.cumsum(~members[order])[last]
    return np.append(0, false) / max((~members).sum(), 1), np.append(0, true) / max(members.sum(), 1)


def rate_at(scores: np.ndarray, members: np.ndarray, false_positives: float) -> float:
    """The highest true-positive rate of a threshold with at most this false-positive rate."""
    false, true = curve(scores, members)
    return float(true[false <= false_positives + 1e-12].max())


def clopper_pearson(successes: int, trials: int, level: float = LEVEL) -> tuple[float, float]:
    """Interval of a probability (Clopper & Pearson 1934, Biometrika 26:404)."""
    if not trials:
        return 0.0, 1.0
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, successes, trials - successes + 1)) if successes else 0.0
    high = float(beta.ppf(1 - tail, successes + 1, trials - successes)) if successes < trials else 1.0
    return low, high
