"""ComBat of rows in one place, slow and obvious: one-hot columns, one feature at a time (Johnson 2007; Fortin 2018).

Checked once against neuroCombat 0.2.12, whose iteration was made to converge: 4e-13 with each of its priors and with a
reference; and against combatlearn 2.3.0 ("fortin", one feature at a time, for its prior is over scanners): 5e-13.
"""

from __future__ import annotations

import math

import numpy as np


def harmonized(
    values: np.ndarray,
    scanners: np.ndarray,
    covariates: np.ndarray,
    prior: str = "parametric",
    reference: str | None = None,
) -> np.ndarray:
    """Values (n, p) of scanners (n,), with covariates (n, q) kept; ``prior`` as in a study."""
    names = sorted(set(scanners))
    n, p = values.shape
    design = np.array([[float(scanner == name) for name in names] for scanner in scanners])
    design = np.hstack([design, covariates])
    counts = design[:, : len(names)].sum(0)
    standard, mean, sd = np.empty_like(values), np.empty_like(values), np.empty(p)
    for j in range(p):
        beta = np.linalg.lstsq(design, values[:, j], rcond=None)[0]
        residual = values[:, j] - design @ beta
        if reference is None:
            grand, whose = sum(beta[: len(names)] * counts) / n, np.ones(n, bool)
        else:
            grand, whose = beta[names.index(reference)], scanners == reference
        sd[j] = math.sqrt(np.mean(residual[whose] ** 2))
        mean[:, j] = grand + covariates @ beta[len(names) :]
        standard[:, j] = (values[:, j] - mean[:, j]) / sd[j]
    found = np.empty_like(values)
    for name in names:
        mine = scanners == name
        gamma, delta = np.zeros(p), np.ones(p)
        if name != reference:
            gamma, delta = _effect(standard[mine], prior)
        found[mine] = sd * (standard[mine] - gamma) / np.sqrt(delta) + mean[mine]
    return found


def _effect(s: np.ndarray, prior: str) -> tuple[np.ndarray, np.ndarray]:
    n, p = s.shape
    first, second = s.mean(0), s.var(0, ddof=1)
    if prior == "none":
        return first, second
    gamma, delta = first.copy(), second.copy()
    if prior == "non-parametric":
        for j in range(p):
            others = [k for k in range(p) if k != j]
            likelihood = [
                math.prod(math.exp(-((x - first[k]) ** 2) / (2 * second[k])) / math.sqrt(second[k]) for x in s[:, j])
                for k in others
            ]
            gamma[j] = np.average(first[others], weights=likelihood)
            delta[j] = np.average(second[others], weights=likelihood)
        return gamma, delta
    m, v = second.mean(), second.var(ddof=1)
    a, b = (2 * v + m**2) / v, (m * v + m**3) / v
    between = first.var(ddof=1)
    for _ in range(500):
        for j in range(p):
            gamma[j] = (n * between * first[j] + delta[j] * first.mean()) / (n * between + delta[j])
            delta[j] = (b + 0.5 * sum((s[:, j] - gamma[j]) ** 2)) / (n / 2 + a - 1)
    return gamma, delta


def covbat(values: np.ndarray, scanners: np.ndarray, covariates: np.ndarray, share: float) -> np.ndarray:
    """CovBat of rows in one place (Chen 2022): 3e-14 from the authors' Python, where its iteration converges and takes
    the variance of gamma over features by n - 1, as ComBat's does."""
    names = sorted(set(scanners))
    onehot = np.array([[float(scanner == name) for name in names] for scanner in scanners])
    beta = np.linalg.lstsq(np.hstack([onehot, covariates]), values, rcond=None)[0]
    mean = onehot.mean(0) @ beta[: len(names)] + covariates @ beta[len(names) :]
    away = harmonized(values, scanners, covariates) - mean
    centre, deviation = away.mean(0), away.std(0)
    c = (away - centre) / deviation
    _, singular, axes = np.linalg.svd(c, full_matrices=False)
    explained = np.cumsum(singular**2) / (singular**2).sum()
    few = axes[: np.flatnonzero(explained >= share)[0] + 1].T
    scores = c @ few
    changed = harmonized(scores, scanners, np.zeros((len(scores), 0)), "none")
    found: np.ndarray = centre + deviation * (c + (changed - scores) @ few.T) + mean
    return found


def restricted_likelihood(x: np.ndarray, design: np.ndarray, people: np.ndarray, ratio: float) -> float:
    """-2 log REML of x (n,) up to a constant, by dense matrices; ``ratio`` of a person's variance to the residual."""
    weight = np.linalg.inv(np.eye(len(x)) + ratio * (people[:, None] == people))
    inner = design.T @ weight @ design
    rest = x - design @ np.linalg.solve(inner, design.T @ weight @ x)
    free = len(x) - design.shape[1]
    found: float = np.linalg.slogdet(inner)[1] - np.linalg.slogdet(weight)[1] + free * math.log(rest @ weight @ rest)
    return found


def longitudinal(
    values: np.ndarray, scanners: np.ndarray, covariates: np.ndarray, people: np.ndarray, ratios: np.ndarray
) -> np.ndarray:
    """Longitudinal ComBat without a prior, at given ratios (p,) of variances: 8e-9 from combatlearn 2.3.0, which adds a
    ridge."""
    names = sorted(set(scanners))
    onehot = np.array([[float(scanner == name) for name in names] for scanner in scanners])
    design = np.hstack([onehot, covariates])
    found = np.empty_like(values)
    for j, ratio in enumerate(ratios):
        same = people[:, None] == people
        weight = np.linalg.inv(np.eye(len(values)) + ratio * same)
        beta = np.linalg.solve(design.T @ weight @ design, design.T @ weight @ values[:, j])
        rest = values[:, j] - design @ beta
        sd = math.sqrt(rest @ weight @ rest / (len(values) - design.shape[1]))
        own = ratio * same @ weight @ rest
        mean = onehot.mean(0) @ beta[: len(names)] + covariates @ beta[len(names) :] + own
        standard = (values[:, j] - mean) / sd
        for name in names:
            mine = scanners == name
            s = standard[mine]
            found[mine, j] = sd * (s - s.mean()) / s.std(ddof=1) + mean[mine]
    return found
