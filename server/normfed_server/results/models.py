"""The models that tables have rows for, made of the arms that were trained."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from normfed_common.algorithms.arms import FEDERATED, LOCAL, OWN, POOLED, REPEAT, WITHOUT
from normfed_common.metrics.summary import Summary, averaged
from normfed_server.arms.evaluation import ArmResult

UNSEEN = "leave-one-site-out"
BORROWED = "borrowed"
TITLES = {  # what people read, of every run
    OWN: "each site alone",
    UNSEEN: "federation without the site",
    BORROWED: "other sites' own models",
    POOLED: "all scans in one place",
}

Summaries = dict[str, Summary]  # by site


def models(results: Mapping[str, ArmResult], repeat: int = 0, train: Collection[str] = ()) -> dict[str, Summaries]:
    """Model to site to summary, of one of the trainings.

    `local` is each site's own model. A site that does not train has none: there `local` is the mean over the other
    sites' local models, what it could expect of borrowing one.

    UNSEEN is at each site the federation's model that never saw it: the one trained without it, or the federated one
    where it does not train. BORROWED is at each site the mean over all other sites' local models. Both are there where
    federations without a site were trained.

    Parameters
    ----------
    train
        The sites that train the federated model.
    """
    arms = of_repeat(results, repeat)
    local = local_models(arms)
    apart = (LOCAL, WITHOUT)
    shared = {name: dict(result.summaries) for name, result in arms.items() if not name.startswith(apart)}
    without = {
        name.removeprefix(WITHOUT): result.summaries[name.removeprefix(WITHOUT)]
        for name, result in arms.items()
        if name.startswith(WITHOUT) and name.removeprefix(WITHOUT) in result.summaries
    }
    ordered = {name: shared[name] for name in (FEDERATED,) if name in shared}
    tested = sorted({site for of_site in local.values() for site in of_site})
    if local:
        ordered[OWN] = {site: _own_or_borrowed(site, local) for site in tested}
    if without:
        never_trained = {site: _ranked(found) for site, found in shared.get(FEDERATED, {}).items() if site not in train}
        ordered[UNSEEN] = never_trained | without
        borrowed = {site: averaged(list(found.values())) for site in tested if (found := others(site, local))}
        if borrowed:
            ordered[BORROWED] = borrowed
    return ordered | {
        name: shared[name] for name in sorted(shared, key=lambda n: (n != POOLED, n)) if name != FEDERATED
    }


def of_repeat(results: Mapping[str, ArmResult], repeat: int) -> dict[str, ArmResult]:
    """The arms of one of the trainings, under the names of the first."""
    if not repeat:
        return {name: result for name, result in results.items() if REPEAT not in name}
    end = f"{REPEAT}{repeat + 1}"
    return {name.removesuffix(end): result for name, result in results.items() if name.endswith(end)}


def local_models(arms: Mapping[str, ArmResult]) -> dict[str, Summaries]:
    """Training site to the figures of its own model, by the site that tested it."""
    return {name.removeprefix(LOCAL): result.summaries for name, result in arms.items() if name.startswith(LOCAL)}


def others(site: str, local: Mapping[str, Summaries]) -> Summaries:
    """Every other site's own model at this one, by the site that trained it."""
    return {trainer: found[site] for trainer, found in local.items() if trainer != site and site in found}


def _ranked(summary: Summary) -> Summary:
    """Of the metrics alone that need no threshold, as all that is only ranked has them."""
    keep = np.array([metric.needs == "scores" for metric in summary.metrics])
    return replace(summary, moments=summary.moments * keep[:, None], bootstrap=summary.bootstrap * keep[:, None, None])


def _own_or_borrowed(site: str, local: Mapping[str, Summaries]) -> Summary:
    if site in local and site in local[site]:
        return local[site][site]
    return averaged(list(others(site, local).values()))
