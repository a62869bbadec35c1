"""What a model loses at a scanner that it never saw, and the share of it that a harmonization closes.

Everything is over the same people, whose resamplings are the same for all models and all harmonizations of a study:
intervals of differences are paired, and stratified by site (Efron & Tibshirani 1993).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from normfed_common.metrics.summary import Summary, add, averaged, difference_interval, percentile_interval, t_interval
from normfed_server.results.enough import FEWEST_PATIENTS
from normfed_server.results.figures import Difference, Trainings
from normfed_server.results.league import beyond
from normfed_simulation.domain_shift.layout import Compared, Gap, Share, Verdict

Trained = Sequence[Summary]  # one training after another, over the same people


def joined(sites: Mapping[str, Trained]) -> list[Summary]:
    """All sites' people, training by training."""
    return [add(list(training)) for training in zip(*sites.values(), strict=True)]


def spread(means: Sequence[float]) -> Trainings | None:
    """Of several trainings; None for a single one."""
    if len(means) < 2:
        return None
    mean, error = float(np.mean(means)), float(np.std(means, ddof=1) / len(means) ** 0.5)
    return Trainings(means=tuple(means), mean=mean, ci95=t_interval(mean, error, len(means) - 1))


def difference(ours: Trained, theirs: Trained, metric: str) -> Difference:
    """Ours less theirs, a person counting with the mean over the trainings."""
    a, b = averaged(ours), averaged(theirs)
    n = min(a.n(metric), b.n(metric))
    return Difference(mean=a.mean(metric) - b.mean(metric), n=n, ci95=difference_interval(a, b, metric))


def compared(ours: Trained, theirs: Trained, metric: str) -> Compared:
    """`difference`, and whether ours is better."""
    found, of = difference(ours, theirs, metric), ours[0]
    patients = min(of.n(metric), theirs[0].n(metric))
    said = verdict(found, patients, of.metric(metric).higher_is_better)
    if not _all_alike(_training_by_training(ours, theirs, metric)):
        said = "tied"
    return Compared(mean=found.mean, ci95=found.ci95, verdict=said)


def _training_by_training(ours: Trained, theirs: Trained, metric: str) -> list[float]:
    """Differences of means; what was trained once stands beside every training of the other."""
    often = max(len(ours), len(theirs))
    means = [[training.mean(metric) for training in trained] for trained in (ours, theirs)]
    return [a - b for a, b in zip(*(of if len(of) == often else of * often for of in means), strict=True)]


def _all_alike(differences: Sequence[float]) -> bool:
    """Whether all point the same way."""
    return min(differences) > 0 or max(differences) < 0


def verdict(found: Difference, patients: int, higher_is_better: bool = True) -> Verdict:
    """What may be said of a difference."""
    if patients < FEWEST_PATIENTS:
        return "tied"
    for sign, word in ((1, "better" if higher_is_better else "worse"), (-1, "worse" if higher_is_better else "better")):
        if beyond(found, sign):
            return word  # type: ignore[return-value]
    return "tied"


def gap(seen: Trained, unseen: Trained, metric: str, without: tuple[Trained, Trained] | None = None) -> Gap:
    """Seen less unseen; a metric of which less is better the other way round, so that a loss is positive.

    Parameters
    ----------
    seen, unseen
        The same people under a model that learnt from their site, and under one that did not.
    without
        Both without harmonization; None where that is what these are.
    """
    sign = 1 if seen[0].metric(metric).higher_is_better else -1
    better, other = (seen, unseen) if sign > 0 else (unseen, seen)
    found = difference(better, other, metric)
    n = min(seen[0].n(metric), unseen[0].n(metric))
    each = _training_by_training(better, other, metric)
    closed = won_back = None
    if without is not None:
        reference = gap(*without, metric)
        draws = [_resampled(trained, metric) for trained in (seen, unseen, *without)]
        means = [averaged(trained).mean(metric) for trained in (seen, unseen, *without)]
        closed = _share(_closed, means, draws, reference)
        won_back = _share(_won_back, means, draws, reference)
    return Gap(
        n=n,
        seen=averaged(seen).mean(metric),
        unseen=averaged(unseen).mean(metric),
        gap=found,
        trainings=spread(each),
        closed=closed,
        won_back=won_back,
    )


def is_gap(found: Gap) -> bool:
    """Whether something is lost beyond doubt: over people, and in every training."""
    return verdict(found.gap, found.n) == "better" and not trainings_differ(found)


def trainings_differ(found: Gap) -> bool:
    """Whether one training lost and another did not."""
    return found.trainings is not None and not _all_alike([mean or 0.0 for mean in found.trainings.means])


def _resampled(trained: Trained, metric: str) -> np.ndarray:
    return averaged(trained).resampled_means(metric)


def _closed(seen: np.ndarray, unseen: np.ndarray, seen_without: np.ndarray, unseen_without: np.ndarray) -> np.ndarray:
    return 1 - (seen - unseen) / (seen_without - unseen_without)


def _won_back(seen: np.ndarray, unseen: np.ndarray, seen_without: np.ndarray, unseen_without: np.ndarray) -> np.ndarray:
    return (unseen - unseen_without) / (seen_without - unseen_without)


def _share(
    of: Callable[..., np.ndarray],
    means: Sequence[float],
    draws: Sequence[np.ndarray],
    reference: Gap,
) -> Share:
    """A share of the gap without harmonization, and percentiles of its resamplings; none where there is no gap."""
    if reference.n < FEWEST_PATIENTS:
        return Share(why=f"fewer than {FEWEST_PATIENTS} patients")
    if not is_gap(reference):
        return Share(why="without harmonization there is no gap that can be told from 0")
    with np.errstate(divide="ignore", invalid="ignore"):
        return Share(value=float(of(*map(np.float64, means))), ci95=percentile_interval(of(*draws)))
