"""Metrics over people: image-level AUROC, conformal p-values, comparison of methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

SUBJECT_QUANTILE = 0.98  # of the brain's anomaly scores: one person's score (Pinon 2023: 2 % of the voxels)


def subject_score(anomaly_map: np.ndarray, mask: np.ndarray) -> float:
    """One number for one person: a high quantile of the map inside the brain."""
    return float(np.quantile(anomaly_map[mask], SUBJECT_QUANTILE))


def image_auroc(normal: np.ndarray, abnormal: np.ndarray) -> float:
    """Probability that an abnormal person scores above a normal one, ties half (Hanley & McNeil 1982)."""
    if len(normal) == 0 or len(abnormal) == 0:
        return float("nan")
    from scipy.stats import rankdata  # half a second of imports, which most processes never need

    ranks = rankdata(np.concatenate([normal, abnormal]))[len(normal) :]
    return float((ranks.sum() - len(abnormal) * (len(abnormal) + 1) / 2) / (len(normal) * len(abnormal)))


def image_auroc_from_counts(normal: np.ndarray, abnormal: np.ndarray) -> float:
    """The same from counts (b,) in ascending bins; people of one bin tie."""
    if normal.sum() == 0 or abnormal.sum() == 0:
        return float("nan")
    below = np.cumsum(normal) - normal
    return float((abnormal * (below + normal / 2)).sum() / (normal.sum() * abnormal.sum()))


def conformal_p(score: float, edges: np.ndarray, calibration: np.ndarray) -> float:
    """(1 + number of normal people at or above ``score``) / (n + 1), from calibration counts (len(edges) + 1,).

    People in the same bin count as above: valid, a little cautious (Vovk 2005).
    """
    place = int(np.searchsorted(edges, score, side="right"))
    return float((1 + calibration[place:].sum()) / (1 + calibration.sum()))


def exceedance_error(calibration_by_site: Mapping[str, np.ndarray]) -> float:
    """How far p-values of a site's normal people, against all other sites' normal people, are from uniform.

    Mean over sites and over alpha = 0.05, 0.10, ..., 0.95 of |share of the site's people with p <= alpha, less alpha|;
    NaN with fewer than two sites. A new hospital's healthy people should not look ill because of its scanner; with few
    people a site the value is far from 0 by chance alone.
    """
    sites = {name: counts for name, counts in calibration_by_site.items() if counts.sum() > 0}
    if len(sites) < 2:
        return float("nan")
    total = np.sum(list(sites.values()), axis=0)
    levels = np.arange(1, 20) / 20
    errors = []
    for counts in sites.values():
        others = total - counts
        p = (1 + np.cumsum(others[::-1])[::-1]) / (1 + others.sum())
        share = [counts[p <= level].sum() / counts.sum() for level in levels]
        errors.append(np.abs(share - levels).mean())
    return float(np.mean(errors))


@dataclass(frozen=True)
class PairedTest:
    """What a signed-rank test says of two methods on the same people.

    Parameters
    ----------
    p
        Two-sided, corrected for the number of methods.
    direction
        Of the reference less the other by ranks, whatever the mean says: 1 above, -1 below, 0 neither.
    least
        The p if all people were on one side, by every method, corrected in the same way: where it is not significant,
        so few people tell nothing apart, whatever they show. 1 of a method with too few pairs to be tested.
    """

    p: float
    direction: int
    least: float = 0.0


UNTESTED = PairedTest(1.0, 0, least=1.0)


def wilcoxon_holm(reference: np.ndarray, others: Mapping[str, np.ndarray]) -> dict[str, PairedTest]:
    """Paired Wilcoxon signed-rank test of the reference against each method, Holm-corrected over the methods.

    Pairs with NaN are left out. Methods with fewer than six pairs are not tested, `UNTESTED`: no two-sided p below 0.05
    is possible. A method that never differs has a p of 1. Neither counts in the correction, for it can never be told
    apart.

    The direction is the sign of the rank sum, which p is of: a two-sided test at 0.05 is two one-sided ones at 0.025.

    Source: Wilcoxon 1945 (the least p of n pairs is 2 / 2^n); Holm 1979; Kaiser 1960 (direction); Tarone 1990 (what
    need not be corrected for).
    """
    differences = {name: (reference - values)[np.isfinite(reference - values)] for name, values in others.items()}
    found = {name: _signed_ranks(of) if len(of) >= 6 else UNTESTED for name, of in differences.items()}
    tested = [name for name, of in differences.items() if len(of) >= 6 and of.any()]
    p = _holm({name: found[name].p for name in tested})
    least = _holm({name: 2 / 2 ** len(differences[name]) for name in tested})
    return found | {name: replace(found[name], p=p[name], least=least[name]) for name in tested}


def _holm(raw: Mapping[str, float]) -> dict[str, float]:
    """P-values corrected step by step, the smallest first, by how many have not come before."""
    highest, found = 0.0, {}
    for position, name in enumerate(sorted(raw, key=lambda name: raw[name])):
        highest = found[name] = max(highest, min(1.0, raw[name] * (len(raw) - position)))
    return found


def _signed_ranks(difference: np.ndarray) -> PairedTest:
    """Of differences (n,), zeros left out; not corrected."""
    from scipy.stats import rankdata, wilcoxon  # as above

    moved = difference[difference != 0]
    if not len(moved):
        return PairedTest(1.0, 0)
    return PairedTest(float(wilcoxon(moved).pvalue), int(np.sign(np.sign(moved) @ rankdata(np.abs(moved)))))
