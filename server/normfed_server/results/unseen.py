"""At hospitals that a model never saw: the federation's beside every other hospital's own, on the same people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from normfed_common.metrics.groups import EVERYBODY
from normfed_common.metrics.summary import Summary, add, difference_interval
from normfed_server.results.figures import Beside, Difference, Unseen
from normfed_server.results.models import BORROWED, UNSEEN, Summaries, others


def unseen(per_model: Mapping[str, Summaries], local: Mapping[str, Summaries], metrics: Sequence[str]) -> Unseen | None:
    """What a hospital has of the federation before it takes part; None where nothing of it was tested.

    Parameters
    ----------
    per_model
        With UNSEEN and BORROWED.
    local
        Training site to the figures of its own model, by the site that tested it.
    metrics
        By which models are compared.
    """
    ours, theirs = per_model.get(UNSEEN, {}), per_model.get(BORROWED, {})
    common = [site for site in ours if site in theirs]
    if not common:
        return None
    here, borrowed = ({site: found[site] for site in common} for found in (ours, theirs))
    best = {metric: {site: _best(others(site, local), metric) for site in common} for metric in metrics}
    everybody = add(list(here.values()))

    def together(group: str) -> dict[str, Beside]:
        bests = {metric: add([best[metric][site][1] for site in common]) for metric in metrics}
        mean = add(list(borrowed.values()))
        return {m: _beside(everybody, mean, bests[m], None, m, group) for m in metrics if everybody.n(m, group)}

    return Unseen(
        all=together(EVERYBODY),
        kinds={kind: together(kind) for kind in everybody.groups if kind != EVERYBODY},
        sites={
            site: {
                m: _beside(here[site], borrowed[site], best[m][site][1], best[m][site][0], m, EVERYBODY)
                for m in metrics
                if here[site].n(m)
            }
            for site in common
        },
    )


def _best(models: Summaries, metric: str) -> tuple[str, Summary]:
    """The one of the highest mean, or the lowest where that is better, and who trained it."""
    sign = 1 if next(iter(models.values())).metric(metric).higher_is_better else -1
    defined = [name for name in models if models[name].n(metric)]
    found = max(defined or models, key=lambda name: sign * models[name].mean(metric))
    return found, models[found]


def _beside(ours: Summary, mean: Summary, best: Summary, trainer: str | None, metric: str, group: str) -> Beside:
    return Beside(
        n=ours.n(metric, group),
        unseen=ours.mean(metric, group),
        borrowed=mean.mean(metric, group),
        best=best.mean(metric, group),
        best_site=trainer,
        over_borrowed=_difference(ours, mean, metric, group),
        over_best=_difference(ours, best, metric, group),
    )


def _difference(ours: Summary, theirs: Summary, metric: str, group: str) -> Difference:
    return Difference(
        mean=ours.mean(metric, group) - theirs.mean(metric, group),
        n=min(ours.n(metric, group), theirs.n(metric, group)),
        ci95=difference_interval(ours, theirs, metric, group),
    )
