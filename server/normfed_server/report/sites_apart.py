"""How far apart sites are: a mean over all patients hides a site where hardly anything is found."""

from __future__ import annotations

from normfed_server.report.verdicts import OURS, TITLES
from normfed_server.report.words import counted, small
from normfed_server.results.chance import chance
from normfed_server.results.enough import FEWEST_PATIENTS
from normfed_server.results.figures import AUROC, PRECISION
from normfed_server.results.layout import RunResults


def sites_apart(results: RunResults) -> list[str]:
    """The sites of the least and the most average precision, and that of the least AUROC; nothing if all are alike."""
    precisions, aurocs = _means(results, PRECISION), _means(results, AUROC)
    if len(set(precisions.values())) < 2:
        return []
    worst, best = (choose(precisions, key=lambda site: precisions[site]) for choose in (min, max))
    ends = [f"{small(precisions[site])} at {site}{_beside(results, site)}" for site in (worst, best)]
    text = f"From site to site {TITLES[PRECISION]} goes from {' to '.join(ends)}"
    lowest = min(aurocs, key=lambda site: aurocs[site], default="")
    if lowest:
        text += f"; AUROC is least at {lowest}{' too' if lowest == worst else ''} ({small(aurocs[lowest])})"
    return [f"{text}."]


def _means(results: RunResults, metric: str) -> dict[str, float]:
    figures = {site: found.get(metric) for site, found in results.evaluation[OURS].sites.items()}
    return {site: figure.mean for site, figure in figures.items() if figure is not None and figure.mean is not None}


def _beside(results: RunResults, site: str) -> str:
    """`` (1 patient; chance 0.001)``: what a site's figure must be read with."""
    patients, share = results.evaluation[OURS].sites[site][PRECISION].n, chance(results, PRECISION, site)
    parts = [counted(patients, "patient", "patients")] if patients < FEWEST_PATIENTS else []
    parts += [f"chance {small(share)}"] if share is not None else []
    return f" ({'; '.join(parts)})" if parts else ""
