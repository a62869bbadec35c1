"""Models that the noise of privacy drowned: it is long beside what people added, and the figures say so too.

The first by what is public. Of so many people each adds a vector no longer than 1 to a sum, or to a step that they are
in with chance q; the noise on it has the length z sqrt(d) where it consists of d numbers, and sqrt(s) as much where
each of s sites adds its own. The steps of a training add up, and their noise less than they do:

    noise over all that people can have added = z sqrt(d s) / (q n sqrt(t)),    t: steps, 1 for sums

It is the least that it can be, for people never add the same vector. Above 1 it decides nothing: most of what is
learnt may be needless. So the second is asked of the figures: a model is drowned if, beyond its 95 % interval, it does
not rank lesions above chance, or ranks them worse, so that it is noticed, than a model that learns nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from normfed_common.algorithms.arms import LOCAL, OWN, POOLED
from normfed_server.report.lesions import CHANCE, beside_chance
from normfed_server.report.promises import rounded
from normfed_server.report.verdicts import COMPARED, OURS, TITLES, verdict
from normfed_server.report.words import listed
from normfed_server.results.enough import FEWEST_PATIENTS
from normfed_server.results.figures import AUROC, Figures
from normfed_server.results.guarantees import Guarantee, Mechanism, Spent
from normfed_server.results.layout import RunResults
from normfed_server.results.models import BORROWED, UNSEEN

NOTICED = 0.02  # of AUROC or average precision: without any noise, models that learn lose a few thousandths to others


def drowned(results: RunResults) -> list[str]:
    """A sentence for all models that the noise drowned alike, those first that most is thought of."""
    if results.privacy is None:
        return []
    groups: dict[tuple[str, str], list[str]] = {}
    for guarantee in filter(None, (results.privacy.people, results.privacy.sites)):
        for name, spent in guarantee.models.items():
            times, why = noise_length(guarantee, spent, results), _fails(name, results)
            if times is not None and times > 1 and why:
                whom = "hospitals" if guarantee.unit == "site" else "people"
                groups.setdefault((why, whom), []).append(f"{results.title(name)} ({rounded(times)} times)")
    return [
        f"Noise drowns {listed(names)}: it is at least so many times as long as all that {whom} can have added, and "
        f"{why}. More {whom}, a larger epsilon or a model of fewer numbers would help."
        for (why, whom), names in groups.items()
    ]


def noise_length(guarantee: Guarantee, spent: Spent, results: RunResults) -> float | None:
    """Of a model's noise, over all that can have been added: of its sums or its training, whichever is more; None where
    it is not known how many people or numbers there are."""
    members = len(spent.sites) if guarantee.unit == "site" else _people(spent.sites, results)
    parts = 1 if guarantee.unit == "site" else len(spent.sites)
    found = [_length(mechanism, members, parts) for mechanism in spent.mechanisms if mechanism.numbers and members]
    return max(found, default=None)


def _length(mechanism: Mechanism, members: int, parts: int) -> float:
    steps = 1 if mechanism.of == "sums" else mechanism.releases
    times = parts * steps / mechanism.sites  # that noise of the whole multiplier is added
    noise = mechanism.noise_multiplier * math.sqrt(mechanism.numbers * times)
    return noise / (mechanism.sampling_rate * members * steps)


def _people(sites: Sequence[str], results: RunResults) -> int:
    """How many train at these sites; 0 where one does not say."""
    train = {site.name: site.train for site in results.sites}
    counts = [train.get(site) for site in (results.trained if POOLED in sites else sites)]
    return sum(count or 0 for count in counts) if all(counts) else 0


def _fails(name: str, results: RunResults) -> str:
    """What its figures say against a model; empty for nothing, or where too little is known."""
    figures = _figures(name, results)
    auroc = figures.get(AUROC)
    if auroc is None or auroc.mean is None:
        return ""
    enough = auroc.n >= FEWEST_PATIENTS
    if auroc.mean <= CHANCE or (enough and beside_chance(auroc) != "above chance"):
        return "lesions are ranked no better than by chance"
    if name != OURS:  # differences are of the study's own model
        return ""
    worse = [results.title(other) for other in _untaught(results) if _worse(results, other)]
    return f"lesions are ranked worse than by {listed(worse, 'or')}, where nothing is learnt" if worse else ""


def _figures(name: str, results: RunResults) -> Figures:
    """Over all patients; of a model that a site trained alone, over that site's."""
    if name.startswith(LOCAL):
        local = results.evaluation.get(OWN)
        return local.sites.get(name.removeprefix(LOCAL), {}) if local is not None else {}
    return results.evaluation[name].all if name in results.evaluation else {}


def _untaught(results: RunResults) -> list[str]:
    """Models beside the federated one that learn from nobody."""
    privacy = results.privacy
    assert privacy is not None  # or no model would have noise
    taught = {name for found in (privacy.people, privacy.sites) if found is not None for name in found.models}
    taught |= {*privacy.outside, *COMPARED, UNSEEN, BORROWED}
    return [name for name in results.differences if name not in taught]


def _worse(results: RunResults, other: str) -> bool:
    """Surely by `NOTICED` or more in one metric at least, and better in none."""
    found = {metric: verdict(results, other, metric) for metric in TITLES}
    lost = [_most(results, other, metric) for metric, word in found.items() if word == "worse"]
    return "better" not in found.values() and min(lost, default=0.0) < -NOTICED


def _most(results: RunResults, other: str, metric: str) -> float:
    """The upper end of a difference's interval."""
    high = results.differences[other].all[metric].ci95[1]
    return 0.0 if high is None else high
