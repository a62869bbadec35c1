"""How well a classifier tells the scanner, and a regression the age, of people whom they did not learn from.

What a classifier finds is the honest measure of what is left of the scanner, and what a regression finds of age is what
is left of biology: a harmonization that makes all scans equal leaves neither (Fortin 2018).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import BaseCrossValidator, KFold, LeaveOneGroupOut, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from normfed_common.foundation import seeds
from normfed_common.metrics.summary import percentile_interval
from normfed_simulation.domain_shift.features import TISSUES
from normfed_simulation.domain_shift.layout import AgeFit, Slope, Told

FOLDS, FEWEST_OF_A_SCANNER = 5, 3
PERMUTATIONS, RESAMPLINGS = 99, 1000
COMPONENTS = 20
ROUNDING = 1e-9  # of the largest component: a smaller one is no difference between people
FEWEST_AGES = 20
ALPHAS = tuple(float(alpha) for alpha in np.logspace(-1, 5, 13))


def usable(scanners: Sequence[str]) -> tuple[np.ndarray, str]:
    """Whose scanner can be told: bool (n,); and in words which scanners have too few people for the folds."""
    counts = Counter(scanners)
    few = {name: count for name, count in counts.items() if count < FEWEST_OF_A_SCANNER}
    kept = np.array([name not in few for name in scanners], bool)
    if len(counts) - len(few) < 2:
        why = f"fewer than two scanners have {FEWEST_OF_A_SCANNER} healthy people, which the folds need"
        return np.zeros(len(kept), bool), f"{why}: {_counted(counts)}"
    return kept, f"left out with fewer than {FEWEST_OF_A_SCANNER} healthy people: {_counted(few)}" if few else ""


def told_by_features(features: np.ndarray, scanners: Sequence[str], seed: int) -> Told:
    """By the standardised features (n, f)."""
    return _told("features", features, scanners, make_pipeline(StandardScaler(), _logistic()), seed)


def told_by_images(images: np.ndarray, scanners: Sequence[str], seed: int) -> Told:
    """By principal components of smoothed images (n, v), which are found inside the folds and not scaled apart: small
    ones are noise. Only all of them together are, to a mean variance of 1.

    Images are turned into their n coordinates first: all distances and components stay (X = U S V', X V = U S).
    """
    centred = images.astype(np.float64) - images.mean(0, dtype=np.float64)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    there = sizes > ROUNDING * sizes[0]
    if not there.any():
        return Told(what="images", why="all images are the same")
    components = min(COMPONENTS, len(images) // 2, int(there.sum()))
    coordinates = (left * sizes)[:, there] * (len(images) * components / (sizes**2).sum()) ** 0.5
    classifier = make_pipeline(PCA(components, svd_solver="full"), _logistic())
    return _told("images", coordinates, scanners, classifier, seed)


def age_fits(
    features: np.ndarray, ages: Sequence[float | None], scanners: Sequence[str], seed: int
) -> tuple[AgeFit, AgeFit]:
    """By ridge regression on the standardised features: of people of the same scanners, and of other scanners."""
    known = np.array([age is not None for age in ages], bool)
    y, x = np.array([age for age in ages if age is not None], float), features[known]
    groups = np.array(scanners)[known]
    if len(y) < FEWEST_AGES or np.ptp(y) == 0:
        why = f"{len(y)} healthy people have an age, and {FEWEST_AGES} are needed" if len(y) < FEWEST_AGES else ""
        why = why or "all healthy people have the same age"
        return AgeFit(across=False, people=len(y), why=why), AgeFit(across=True, people=len(y), why=why)
    mixed = _age_fit(x, y, KFold(FOLDS, shuffle=True, random_state=_state(seed, "age")), None, False, seed)
    if len(set(groups)) < 2:
        return mixed, AgeFit(across=True, people=len(y), why="all healthy people with an age are of one scanner")
    return mixed, _age_fit(x, y, LeaveOneGroupOut(), groups, True, seed)


def age_slopes(
    volumes_ml: np.ndarray, ages: Sequence[float | None], scanners: Sequence[str]
) -> tuple[tuple[Slope, ...], str]:
    """Ordinary least squares of each tissue's volume (n, 3) on age, each scanner with a mean of its own; or in words
    why there is none."""
    known = np.array([age is not None for age in ages], bool)
    decades = np.array([age for age in ages if age is not None], float) / 10
    groups, names = np.array(scanners)[known], sorted({s for s, k in zip(scanners, known, strict=True) if k})
    own = (groups[:, None] == np.array(names)).astype(float)
    freedom = len(decades) - len(names) - 1
    left = decades - own @ (own.T @ decades / np.maximum(own.sum(0), 1)) if len(decades) else decades
    if len(decades) < FEWEST_AGES or not (left**2).sum() > 1e-12:
        return (), f"volumes' age slopes need {FEWEST_AGES} healthy people with ages that differ within scanners"
    volumes = volumes_ml[known]
    within = volumes - own @ (own.T @ volumes / own.sum(0)[:, None])
    slopes = left @ within / (left**2).sum()
    errors = np.sqrt(((within - np.outer(left, slopes)) ** 2).sum(0) / freedom / (left**2).sum())
    return tuple(
        Slope(tissue=tissue, ml_per_decade=float(slope), se=float(error), people=len(decades))
        for tissue, slope, error in zip(TISSUES, slopes, errors, strict=True)
    ), ""


def _logistic() -> LogisticRegression:
    return LogisticRegression(class_weight="balanced", max_iter=1000)


def _told(what: str, x: np.ndarray, scanners: Sequence[str], classifier: Pipeline, seed: int) -> Told:
    names, y = np.unique(np.array(scanners), return_inverse=True)
    folds = StratifiedKFold(min(FOLDS, np.bincount(y).min()), shuffle=True, random_state=_state(seed, "folds"))
    right = _right(x, y, folds, classifier)
    rng = seeds.generator(seed, "permuted scanners", what)
    accuracy = _balanced(right, y)
    as_good = sum(_balanced(_right(x, p, folds, classifier), p) >= accuracy for p in _permuted(y, rng))
    return Told.model_validate(
        {
            "what": what,
            "accuracy": accuracy,
            "ci95": _interval(right, y, seeds.generator(seed, "resampled people", what)),
            "chance": 1 / len(names),
            "p_value": (1 + as_good) / (1 + PERMUTATIONS),
            "people": len(y),
            "scanners": len(names),
        }
    )


def _permuted(y: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.permutation(y) for _ in range(PERMUTATIONS)]


def _right(x: np.ndarray, y: np.ndarray, folds: StratifiedKFold, classifier: Pipeline) -> np.ndarray:
    """Whose scanner is told, bool (n,), each by a classifier that did not learn from the person."""
    right = np.zeros(len(y), bool)
    for train, test in folds.split(x, y):
        right[test] = classifier.fit(x[train], y[train]).predict(x[test]) == y[test]
    return right


def _balanced(right: np.ndarray, y: np.ndarray) -> float:
    """The mean over scanners of the share of people who are told."""
    return float((np.bincount(y, right) / np.bincount(y)).mean())


def _interval(right: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Of resampled people, within scanners."""
    counts = np.bincount(y)
    shares = [rng.binomial(n, hits / n, RESAMPLINGS) / n for hits, n in zip(np.bincount(y, right), counts, strict=True)]
    return percentile_interval(np.mean(shares, axis=0))


def _age_fit(
    x: np.ndarray, y: np.ndarray, folds: BaseCrossValidator, groups: np.ndarray | None, across: bool, seed: int
) -> AgeFit:
    found = np.zeros(len(y))
    for train, test in folds.split(x, y, groups):
        found[test] = make_pipeline(StandardScaler(), RidgeCV(ALPHAS)).fit(x[train], y[train]).predict(x[test])
    draws = seeds.generator(seed, "resampled ages").integers(len(y), size=(RESAMPLINGS, len(y)))
    interval = percentile_interval(_r2(y[draws], found[draws]))
    return AgeFit(across=across, r2=float(_r2(y, found)), ci95=interval, people=len(y))


def _r2(y: np.ndarray, found: np.ndarray) -> np.ndarray:
    """1 - what is left over what there is, over the last axis."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - ((y - found) ** 2).sum(-1) / ((y - y.mean(-1, keepdims=True)) ** 2).sum(-1)


def _state(seed: int, purpose: str) -> int:
    return seeds.derive(seed, purpose) % 2**32


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
