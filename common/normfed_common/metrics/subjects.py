"""Metrics over people: image-level AUROC, conformal p-values, comparison of methods."""

from __future__ import annotations

from collections.abc import Mapping

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


def wilcoxon_holm(reference: np.ndarray, others: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Paired Wilcoxon signed-rank p-values of each method against the reference, Holm-corrected over the methods.

    Pairs with NaN are left out; NaN where fewer than six pairs remain (no two-sided p below 0.05 is possible).
    """
    from scipy.stats import wilcoxon  # as above

    raw: dict[str, float] = {}
    for name, values in others.items():
        usable = np.isfinite(reference) & np.isfinite(values)
        difference = (values - reference)[usable]
        enough = len(difference) >= 6
        raw[name] = (float(wilcoxon(difference).pvalue) if difference.any() else 1.0) if enough else float("nan")
    tested = sorted((name for name in raw if np.isfinite(raw[name])), key=lambda name: raw[name])
    corrected, highest = dict(raw), 0.0
    for position, name in enumerate(tested):
        highest = max(highest, min(1.0, raw[name] * (len(tested) - position)))
        corrected[name] = highest
    return corrected
