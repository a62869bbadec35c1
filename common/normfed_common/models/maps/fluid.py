"""Where a person's brain is cerebrospinal fluid, by intensity alone: the extreme class of three Gaussians.

p(x) = sum_k w_k N(x; m_k, v_k) over fluid, grey and white matter, by expectation maximisation (Dempster 1977).
"""

from __future__ import annotations

import numpy as np

from normfed_common.learning.cohort import Scan
from normfed_common.study.postprocessing import shows_fluid

CLASSES, SAMPLE, ITERATIONS, TOLERANCE = 3, 4000, 500, 1e-7


def patients_fluid(scan: Scan, modalities: tuple[str, ...]) -> np.ndarray:
    """Bool of shape (X, Y, Z); nowhere if the scan has no modality that shows fluid."""
    there = tuple(name for name, present in zip(modalities, scan.present, strict=True) if present)
    name = shows_fluid(there)
    found = np.zeros(scan.mask.shape, bool)
    if name is None:
        return found
    values = scan.images[modalities.index(name)][scan.mask].astype(np.float64)
    found[scan.mask] = darkest_class(-values if name == "T2w" else values)  # on T2 fluid is bright
    return found


def darkest_class(values: np.ndarray) -> np.ndarray:
    """Which values, float64 of shape (n,), the Gaussian of the lowest mean explains best; those below it all.

    The mixture is fitted to evenly spaced order statistics, so that nothing is drawn.
    """
    nowhere = np.zeros(len(values), bool)
    if not len(values):
        return nowhere
    sample = np.quantile(values, (np.arange(SAMPLE) + 0.5) / SAMPLE)
    if sample[0] == sample[-1]:
        return nowhere
    weights, means, variances = mixture(sample)
    order = np.argsort(means)
    likeliest = order[0] == _joint(values, weights, means, variances).argmax(0)
    lowest, second = means[order[:2]]
    return (likeliest & (values < second)) | (values <= lowest)


def mixture(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, means and variances of the three Gaussians, (3,) each."""
    spread = x.var()
    weights = np.full(CLASSES, 1 / CLASSES)
    means = np.quantile(x, (np.arange(CLASSES) + 0.5) / CLASSES)
    variances = np.full(CLASSES, spread / CLASSES**2)
    before = -np.inf
    for _ in range(ITERATIONS):
        joint = _joint(x, weights, means, variances)
        log_p = np.logaddexp.reduce(joint, 0)
        share = np.exp(joint - log_p)
        n = share.sum(1) + 1e-12
        weights, means = n / n.sum(), share @ x / n
        variances = np.maximum((share * (x - means[:, None]) ** 2).sum(1) / n, 1e-6 * spread)
        likelihood = float(log_p.mean())
        if likelihood - before < TOLERANCE:
            break
        before = likelihood
    return weights, means, variances


def _joint(x: np.ndarray, weights: np.ndarray, means: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """log w_k N(x; m_k, v_k), (k, n)."""
    squared = (x - means[:, None]) ** 2 / variances[:, None]
    joint: np.ndarray = np.log(weights)[:, None] - 0.5 * (squared + np.log(2 * np.pi * variances)[:, None])
    return joint
