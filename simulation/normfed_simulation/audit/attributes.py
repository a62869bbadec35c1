"""What sort of hospital sent this? A site's scanner and its people's ages and sexes, guessed from what it sends.

Every update, or sum, is a vector, shortened to `DIRECTIONS` random projections and to a length of 1. A site is guessed
from the other sites' vectors of the same round alone: by the nearer of the two classes' centroids, and a majority over
rounds (leave one site out). Chance is the share of the commoner class among the sites.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np

from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays
from normfed_server.results.audit import Figure, Finding
from normfed_simulation.audit.federations import Heard
from normfed_simulation.audit.games import clopper_pearson
from normfed_simulation.audit.target import Target

NAME = "attributes"
DIRECTIONS = 256
FEWEST = 6  # sites: of fewer, guessing all of them right proves nothing at 95 %
SHARED: dict[str, Any] = {
    "attack": NAME,
    "measure": "accuracy",
    "knows": "every site's updates, and the other sites' attributes",
}


def attack(target: Target) -> tuple[Finding, ...]:
    """Each attribute that the sites differ in."""
    if target.run.study.privacy.secure_aggregation is not None:
        note = "Secure aggregation: no site's own update is seen, so there is nothing to tell sites apart by."
        return (Finding(**SHARED, title="Attributes of a site", notes=(note,)),)
    everybody = {person.name for person in target.candidates}
    trained = {person.name for person, member in zip(target.candidates, target.members, strict=True) if member}
    federation = target.training.trained(everybody - trained)
    vectors = by_round(federation.heard, target.options.seed)
    sites = sorted({site for of in vectors for site in of})
    found = []
    for title, classes in _classes(target, sites).items():
        told = {site: classes[site] for site in sites if site in classes}
        found.append(_finding(title, vectors, told))
    return tuple(found) or (Finding(**SHARED, title="Attributes of a site", notes=("Nothing is known of the sites.",)),)


def _finding(title: str, vectors: Sequence[dict[str, np.ndarray]], told: dict[str, str]) -> Finding:
    kinds, counts = np.unique(list(told.values()), return_counts=True)
    shared: dict[str, Any] = {**SHARED, "title": f"{title} of a site", "people": 0}
    if len(kinds) < 2 or counts.min() < 2:
        why = f"Of {len(told)} sites too few are alike to guess one from another: {_listed(kinds, counts)}."
        return Finding(**shared, notes=(why,))
    right = sum(guessed(vectors, told, site) == kind for site, kind in told.items())
    low, high = clopper_pearson(right, len(told))
    notes: tuple[str, ...] = (f"{right} of {len(told)} sites: {_listed(kinds, counts)}.",)
    if len(told) < FEWEST:
        notes += (f"With fewer than {FEWEST} sites nothing can be concluded.",)
    return Finding(
        **shared,
        figure=Figure(value=right / len(told), low=low, high=high),
        chance=float(counts.max() / counts.sum()),
        decisions=len(told),
        trials=len(vectors),
        notes=notes,
    )


def guessed(vectors: Sequence[dict[str, np.ndarray]], told: dict[str, str], site: str) -> str:
    """The class of a site by those of all others."""
    votes = []
    for of in vectors:
        if site not in of:
            continue
        centroids = {}
        for kind in sorted(set(told.values())):
            others = [of[other] for other in of if other != site and told.get(other) == kind]
            if others:
                centroids[kind] = np.mean(others, 0)
        votes.append(min(centroids, key=lambda kind: float(np.linalg.norm(of[site] - centroids[kind]))))
    return max(sorted(set(votes)), key=votes.count)


def by_round(heard: Sequence[Heard], seed: int) -> list[dict[str, np.ndarray]]:
    """Of every round, or turn of a phase, each site's vector, float (`DIRECTIONS`,)."""
    found: dict[object, dict[str, np.ndarray]] = {}
    for one in heard:
        found.setdefault(one.what, {})[one.site] = _vector(one.arrays, seed)
    return [of for of in found.values() if len(of) > 1]


def _vector(arrays: Arrays, seed: int) -> np.ndarray:
    total = np.zeros(DIRECTIONS)
    for name, array in sorted(arrays.items()):
        flat = array.ravel().astype(np.float64)
        length = np.linalg.norm(flat)
        if length > 0:
            # A sketch: every entry is added to one direction, with a random sign (Charikar 2002, count sketch).
            rng = seeds.generator(seed, "sketch", name)
            where, signs = rng.integers(DIRECTIONS, size=flat.size), rng.choice([-1.0, 1.0], flat.size)
            total += np.bincount(where, signs * flat / length, DIRECTIONS)
    length = np.linalg.norm(total)
    return total / length if length else total


def _classes(target: Target, sites: Sequence[str]) -> dict[str, dict[str, str]]:
    """By attribute, the class of each site of which it is known."""
    found: dict[str, dict[str, str]] = {}
    phantom = target.run.study.data.phantom
    if phantom is not None:
        found["Field strength"] = {site.name: f"{site.field_tesla:g} T" for site in phantom.sites}
        found["Vendor"] = {site.name: site.vendor for site in phantom.sites}
    ages = {site: _over(target, site, lambda person: person[0]) for site in sites}
    women = {
        site: _over(target, site, lambda person: None if person[1] is None else person[1] == "F") for site in sites
    }
    for title, values in (("Mean age", ages), ("Share of women", women)):
        known = {site: value for site, value in values.items() if value is not None}
        if len(set(known.values())) > 1:
            middle = median(known.values())
            found[title] = {site: "above the median" if v > middle else "not above" for site, v in known.items()}
    return found


def _over(target: Target, site: str, value: Callable[[tuple[float | None, str | None]], float | None]) -> float | None:
    people = [p.visits[0].visit.participant for p in target.candidates if p.site == site]
    known = [found for found in (value((one.age, one.sex)) for one in people) if found is not None]
    return float(np.mean(known)) if known else None


def _listed(kinds: np.ndarray, counts: np.ndarray) -> str:
    return ", ".join(f"{count} x {kind}" for kind, count in zip(kinds, counts, strict=True))
