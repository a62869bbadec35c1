"""Curves from merged counts against scikit-learn's from the very scores, which lie in the band."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve
from summaries import patients, summary

from normfed_common.metrics import histograms
from normfed_common.metrics.curves import area
from normfed_common.privacy import disclosure
from normfed_server.arms.evaluation import ArmResult
from normfed_server.results.curves import Curves, of_counts, thinned

EDGES = np.linspace(-3, 5, 30)


def scores(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Of lesion-free and of lesion voxels (people, voxels)."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((7, 400)), 1.2 + rng.standard_normal((7, 40))


def counted(values: np.ndarray, minimum: int = 1) -> np.ndarray:
    """Counts of all people, as a hospital with that minimum tells them."""
    rows = np.stack([histograms.count(row, EDGES) for row in values])
    return disclosure.merged_bins(rows.sum(0), rows > 0, minimum)


def result(minimum: int = 1) -> tuple[ArmResult, np.ndarray, np.ndarray]:
    found, normal, lesion = ArmResult(), [], []
    for seed, site in enumerate("ab"):
        healthy, ill = scores(seed)
        counts = {"normal": counted(healthy, minimum), "lesion": counted(ill, minimum)}
        found.counts[site] = {**counts, "regions": counts["lesion"].astype(float)}
        found.summaries[site] = summary(patients(3, seed), resamplings=10 if minimum == 1 else 0)
        normal.append(healthy.ravel())
        lesion.append(ill.ravel())
    return found, np.concatenate(normal), np.concatenate(lesion)


def above(curve: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Height of a curve of ascending steps at places across; of several there the highest."""
    order = np.argsort(curve[:, 0], kind="stable")
    return np.interp(at, curve[order, 0], curve[order, 1])


@pytest.mark.parametrize("minimum", [1, 3])
def test_the_exact_roc_lies_in_the_band(minimum: int) -> None:
    found, normal, lesion = result(minimum)
    curves = of_counts(found)
    assert curves is not None
    truth = np.concatenate([np.zeros(len(normal)), np.ones(len(lesion))])
    values = np.concatenate([normal, lesion])
    false, true, _ = roc_curve(truth, values, drop_intermediate=False)
    inner = (false > 0.01) & (false < 0.99)
    step = 1e-6  # beside the corners of steps
    assert (true[inner] <= above(curves.roc.highest, false[inner] + step) + 1e-9).all()
    assert (true[inner] >= above(curves.roc.lowest, false[inner] - step) - 1e-9).all()
    exact = roc_auc_score(truth, values)
    low, high = (area(*band.T) for band in (curves.roc.lowest, curves.roc.highest))
    assert low <= exact <= high
    merged = found.merged()["auroc"]
    assert (low, high) == (pytest.approx(merged.low), pytest.approx(merged.high))


@pytest.mark.parametrize("minimum", [1, 3])
def test_the_exact_precision_lies_in_the_band_at_every_recall(minimum: int) -> None:
    found, normal, lesion = result(minimum)
    curves = of_counts(found)
    assert curves is not None
    truth = np.concatenate([np.zeros(len(normal)), np.ones(len(lesion))])
    precision, recall, _ = precision_recall_curve(truth, np.concatenate([normal, lesion]))
    for at in (0.25, 0.5, 0.75, 0.95):
        reached = precision[recall >= at].max()
        highest, lowest = curves.precision.highest, curves.precision.lowest
        assert reached <= highest[highest[:, 0] >= at - 0.02, 1].max() + 1e-9
        assert reached >= lowest[lowest[:, 0] >= at + 0.02, 1].min() - 1e-9
    assert curves.lesion_share == pytest.approx(len(lesion) / len(truth))


def test_hospitals_that_merge_bins_have_the_wider_band() -> None:
    def width(curves: Curves | None) -> float:
        assert curves is not None
        return float(area(*curves.roc.highest.T) - area(*curves.roc.lowest.T))

    assert width(of_counts(result(3)[0])) > width(of_counts(result(1)[0])) > 0


def test_without_a_lesion_nothing_is_drawn() -> None:
    found, _, _ = result()
    for counts in found.counts.values():
        counts["lesion"] = np.zeros_like(counts["lesion"])
    assert of_counts(found) is None


def test_a_thinned_curve_is_the_same_to_the_eye() -> None:
    x = np.linspace(0, 1, 20_001)
    curve = np.stack([x, x**0.3], -1)
    found = thinned(curve)
    assert len(found) < 1200
    assert (found[[0, -1]] == curve[[0, -1]]).all()
    assert np.abs(np.interp(x, *found.T) - curve[:, 1]).max() < 0.005
