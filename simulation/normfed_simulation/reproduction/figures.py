"""Our figures of a finished run, under the names that recipes use: those of metrics.json, and a few of whole people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from normfed_common.metrics.summary import t_interval
from normfed_server.results import layout
from normfed_server.results.figures import Figure
from normfed_server.results.layout import RunResults
from normfed_server.runs.folder import Run
from normfed_simulation import people
from normfed_simulation.reproduction.recipe import FEDERATED, PEOPLE, Row

G_MEAN, DETECTED, MEAN_RANK = "g_mean", "detected", "mean_rank"


def beside(run: Run, row: Row) -> dict[str, Figure]:
    """Our figures for a published row, by metric.

    ``people`` counts everybody of the row's site, or all; ``g_mean``, ``detected`` and ``mean_rank`` are of a model's
    single people, whom only a simulation may look at.
    """
    results = layout.read(run.folder)
    found = {PEOPLE: Figure(mean=float(_people(results, row.site)), sd=None, n=_people(results, row.site))}
    model = results.evaluation[row.model or FEDERATED]
    found |= model.all if row.site is None else model.sites.get(row.site, {})
    table = [p for p in people.rows(run, row.model or FEDERATED) if row.site in (None, p["site"])]
    held_out = sum(cohort.held_out or 0 for cohort in results.sites)
    found |= detections(table)
    if (value := best_g_mean([p.get("conformal_p") for p in table], held_out)) is not None:
        found[G_MEAN] = Figure(mean=value, sd=None, n=len(table))
    return found


def detections(table: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """How many patients have a lesion among the most suspicious clusters, and the mean rank of the first that hits."""
    ranks = [rank for row in table if (rank := row.get("cluster_rank")) is not None]
    found = {DETECTED: Figure(mean=float(len(ranks)), sd=None, n=len(table))}
    if ranks:
        found[MEAN_RANK] = Figure(mean=float(np.mean(ranks)), sd=_sd(ranks), n=len(ranks))
    return found


def best_g_mean(p_values: Sequence[float | None], controls: int) -> float | None:
    """The highest geometric mean of sensitivity and specificity that any threshold on people's scores gives.

    Parameters
    ----------
    p_values
        Conformal p of each patient: (1 + controls at or above the patient) / (1 + controls).
    controls
        Held-out healthy people.

    Returns
    -------
    None without patients or controls. The threshold is chosen by the very people who are tested: an upper bound.
    """
    known = np.array([p for p in p_values if p is not None and math.isfinite(p)])
    if not len(known) or not controls:
        return None
    above = np.arange(controls + 1)  # controls that a threshold calls ill
    sensitivity = (known[:, None] <= (1 + above) / (1 + controls) + 1e-9).mean(0)
    return float(np.sqrt(sensitivity * (1 - above / controls)).max())


def of_values(values: Sequence[float]) -> Figure:
    """Mean, spread and Student's 95 % interval over people."""
    n, sd = len(values), _sd(values)
    mean = float(np.mean(values))
    interval = t_interval(mean, sd / n**0.5, n - 1) if sd is not None else None
    return Figure(mean=mean, sd=sd, n=n, ci95=interval)


def _sd(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _people(results: RunResults, site: str | None) -> int:
    return sum(
        number or 0
        for cohort in results.sites
        if site in (None, cohort.name)
        for number in (cohort.train, cohort.held_out, cohort.test)
    )
