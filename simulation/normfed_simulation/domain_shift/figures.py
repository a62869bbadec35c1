"""What a finished run holds of a study of domain shift: every approach's figures at every site, as sums over people."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from normfed_common.algorithms.arms import FEDERATED, OWN, POOLED, WITHOUT, trainings
from normfed_common.foundation.errors import RunError
from normfed_common.metrics.summary import Summary
from normfed_server.arms import evaluation
from normfed_server.results import layout
from normfed_server.results.models import BORROWED, UNSEEN, Summaries, local_models, models, of_repeat
from normfed_server.runs.folder import Run

ARMS = "arms"
ONLY = "only "  # before a site: its own model, where no site that trains also tests
ORDER = (OWN, BORROWED, UNSEEN, FEDERATED, POOLED)  # of the table


@dataclass(frozen=True)
class Figures:
    """Of one run.

    Parameters
    ----------
    sites
        Over whose patients the approaches are: those of the sites that train and test; where there is none, of all
        sites that test, each of them unseen by all models.
    seen
        Whether these sites train, so that there is something to lose.
    approaches
        Approach to site to its figures, one of each training of the model.
    matrix
        Training site to test site to figures of its own model there; test sites that never train are there too.
    titles
        Approach to what people read.
    """

    sites: tuple[str, ...]
    seen: bool
    approaches: dict[str, dict[str, list[Summary]]]
    matrix: dict[str, dict[str, list[Summary]]]
    titles: dict[str, str] = field(default_factory=dict)

    def at(self, sites: Collection[str]) -> Figures:
        """Of some of the sites."""
        kept = tuple(site for site in self.sites if site in sites)
        approaches = {name: {site: served[site] for site in kept} for name, served in self.approaches.items()}
        return replace(self, sites=kept, approaches=approaches)


def figures(run: Run) -> Figures:
    """Read them.

    Raises
    ------
    RunError
        If nobody has figures of the federated model.
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
    tested = sorted({site for of in local for row in of.values() for site in row} | set(per_training[0][FEDERATED]))
    matrix = {
        train: {test: [of[train][test] for of in local if test in of.get(train, {})] for test in tested}
        for train in results.trained
    }
    seen = [site for site in results.trained if f"{WITHOUT}{site}" in found and matrix[site].get(site)]
    sites = tuple(site for site in seen or tested if site in per_training[0][FEDERATED])
    if not sites:
        raise RunError(f"{run.folder}: no site has figures of the federated model.")
    models_of = per_training if seen else [_unseen(of, row) for of, row in zip(per_training, local, strict=True)]
    approaches = {}
    for name in _ordered(models_of[0]):
        trained = [of[name] for of in models_of if name in of]  # baselines are trained once
        served = {site: [of[site] for of in trained] for site in sites if all(site in of for of in trained)}
        if len(served) == len(sites):
            approaches[name] = served
    titles = {name: name if name == FEDERATED else results.title(name) for name in approaches}
    return Figures(sites, bool(seen), approaches, matrix, titles)


def _unseen(of: Mapping[str, Summaries], local: Mapping[str, Summaries]) -> dict[str, Summaries]:
    """Models as they are to sites that never train: all of them others', each site's own beside their mean."""
    single = {f"{ONLY}{site}": found for site, found in local.items()}
    others = {BORROWED: of[OWN]} if OWN in of else {}
    return {UNSEEN: of[FEDERATED], **others, **{name: found for name, found in of.items() if name != OWN}, **single}


def _ordered(names: Collection[str]) -> list[str]:
    """The approaches in the order of the table, then whatever else the run has."""
    first = [name for name in ORDER if name in names]
    return [*first, *(name for name in names if name not in first)]
