"""Chance in words."""

from __future__ import annotations

from normfed_server.report.words import small
from normfed_server.results.chance import chance
from normfed_server.results.figures import AUROC, PRECISION
from normfed_server.results.layout import RunResults

SHARE = "the lesions' share of the brain"


def beside(results: RunResults, metric: str) -> str:
    """`` (chance 0.5)``, after a figure over all patients; nothing where chance is not known."""
    found = chance(results, metric)
    if found is None:
        return f" (chance: {SHARE}, not known of this run)" if metric == PRECISION else ""
    return f" (chance {found:g})" if metric == AUROC else f" (chance {small(found)})"
