"""What a finished run holds of a study of domain shift: every approach's figures at every site, as sums over people."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from normfed_common.foundation.errors import RunError
from normfed_common.metrics.summary import Summary
from normfed_server.arms import evaluation
from normfed_server.arms.plan import WITHOUT, trainings
from normfed_server.results import layout
from normfed_server.results.models import BORROWED, UNSEEN, local_models, models, of_repeat
from normfed_server.runs.folder import Run
from normfed_server.sites.description import POOLED
from normfed_server.sites.letterhead import FEDERATED

ARMS = "arms"
OWN = "local"
TITLES = {
    OWN: "every site's own model, at home",
    BORROWED: "other sites' own models (mean)",
    UNSEEN: "federation without the site",
    FEDERATED: "federated",
    POOLED: "all scans in one place",
}


@dataclass(frozen=True)
class Figures:
    """Of one run, at the sites that train and test.

    Parameters
    ----------
    sites
        Those.
    approaches
        Approach to site to its figures, one of each training of the model.
    matrix
        Training site to test site to figures of its own model there.
    titles
        Approach to what people read.
    """

    sites: tuple[str, ...]
    approaches: dict[str, dict[str, list[Summary]]]
    matrix: dict[str, dict[str, list[Summary]]]
    titles: dict[str, str] = field(default_factory=dict)

    def at(self, sites: Collection[str]) -> Figures:
        """Of some of the sites."""
        kept = tuple(site for site in self.sites if site in sites)
        return replace(
            self,
            sites=kept,
            approaches={name: _at(served, kept) for name, served in self.approaches.items()},
            matrix={train: _at(row, kept) for train, row in self.matrix.items() if train in kept},
        )


def figures(run: Run) -> Figures:
    """Read them.

    Raises
    ------
    RunError
        If the run has no site with figures of the federation with it and without it.
    """
    results = layout.read(run.folder)
    found = {}
    for path in sorted((run.folder / ARMS).glob("*/evaluation.safetensors")):
        result = evaluation.load(path)
        if result is not None:
            found[path.parent.name] = result
    repeats = range(trainings(run.study))
    per_training = [models(found, repeat, results.trained) for repeat in repeats]
    local = [local_models(of_repeat(found, repeat)) for repeat in repeats]
    sites = tuple(
        site
        for site in results.trained
        if f"{WITHOUT}{site}" in found and site in local[0].get(site, {}) and site in per_training[0][FEDERATED]
    )
    if not sites:
        raise RunError(f"{run.folder}: no site trains and has patients to test on, so that nothing says what is lost.")
    approaches = {}
    for name in _ordered(per_training[0]):
        trained = [of[name] for of in per_training if name in of]  # baselines are trained once
        served = {site: [of[site] for of in trained] for site in sites if all(site in of for of in trained)}
        if len(served) == len(sites):
            approaches[name] = served
    matrix = {
        train: {test: [of[train][test] for of in local if test in of.get(train, {})] for test in sites}
        for train in sites
    }
    return Figures(sites, approaches, matrix, {name: results.titles.get(name, name) for name in approaches} | TITLES)


def _at(served: dict[str, list[Summary]], sites: tuple[str, ...]) -> dict[str, list[Summary]]:
    return {site: served[site] for site in sites}


def _ordered(names: Collection[str]) -> list[str]:
    """The approaches in the order of the table, then whatever else the run has."""
    first = [name for name in TITLES if name in names]
    return [*first, *(name for name in names if name not in first)]
