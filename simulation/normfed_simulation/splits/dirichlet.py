"""Sites with people of other ages, lesions, sexes or groups: the more so, the smaller alpha."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from normfed_common.foundation.errors import StudyError
from normfed_simulation.splits.base import DividedPerson, Sites, Split, check_enough, even_sizes, numbered

Trait = Literal["age", "lesion-load", "sex", "group"]
UNKNOWN = "unknown"


class DirichletConfig(Sites):
    """Over what, and how far the sites differ."""

    over: Trait = Field(description="what sites have other shares of")
    alpha: float = Field(
        gt=0, le=1e9, description="concentration: towards 0 a site has people of one kind, large is by chance alone"
    )
    bins: int = Field(4, ge=2, le=100, description="kinds that ages or lesion loads are cut into, by their quantiles")


class Dirichlet(Split):
    """Sites of equal size, each with its own shares of the kinds of people, drawn from a Dirichlet distribution about
    the shares of all.

    A site's people are drawn one at a time by its shares, the sites taking turns; a kind of which nobody is left is
    drawn no more (Acar et al. 2021 do the same, site after site, which leaves the last one the rest). Ages and lesion
    loads are cut into kinds at their quantiles; people without lesions, or of unknown age or sex, are a kind.
    """

    Config = DirichletConfig
    cited = ("hsu2019",)

    def opens_masks(self) -> bool:
        """See `Split`."""
        return self.config.over == "lesion-load"

    def divide(self, people: Sequence[DividedPerson], rng: np.random.Generator) -> list[str]:
        """See `Split`."""
        sites = self.config.sites
        check_enough(people, sites)
        kinds = KINDS[self.config.over](people, self.config.bins)
        names, kind_of = np.unique(kinds, return_inverse=True)
        if len(names) < 2:
            raise StudyError(
                f"everybody is of one kind by {self.config.over} ({names[0]}), so no site can differ. Split over "
                "something else, or by: iid."
            )
        counts = np.bincount(kind_of)
        wanted = rng.dirichlet(self.config.alpha * counts / counts.sum(), size=sites)
        drawn = draw(wanted, counts, even_sizes(len(people), sites), rng)
        found = [""] * len(people)
        for kind in range(len(names)):
            takers = np.repeat(numbered(sites), drawn[:, kind])
            for index, site in zip(np.flatnonzero(kind_of == kind), rng.permutation(takers), strict=True):
                found[index] = str(site)
        return found


def draw(wanted: np.ndarray, counts: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How many people of each kind each site gets, (sites, kinds): without replacement, the sites taking turns.

    Parameters
    ----------
    wanted
        (sites, kinds): each site's shares.
    counts, sizes
        (kinds,) people there are of each, and (sites,) people that each site gets; both add up to everybody.
    """
    left, drawn = counts.copy(), np.zeros(wanted.shape, int)
    while left.any():
        for site in rng.permutation(len(sizes)):
            if drawn[site].sum() == sizes[site]:
                continue
            chances = np.where(left > 0, wanted[site], 0.0)
            if not chances.any():  # of what it wants nobody is left
                chances = left.astype(float)
            kind = rng.choice(len(left), p=chances / chances.sum())
            left[kind] -= 1
            drawn[site, kind] += 1
    return drawn


def _ages(people: Sequence[DividedPerson], bins: int) -> list[str]:
    ages = [person.participant.age for person in people]
    known = np.array([age for age in ages if age is not None])
    if not len(known):
        raise StudyError("nobody's age is known: participants.tsv has no column age, or it is empty. Split otherwise.")
    edges = _edges(known, bins)
    return [UNKNOWN if age is None else _bin(age, edges) for age in ages]


def _loads(people: Sequence[DividedPerson], bins: int) -> list[str]:
    loads = np.array([person.lesion_ml() for person in people])
    if not loads.any():
        raise StudyError("nobody has a lesion: there is no lesion mask, or all are empty. Split over something else.")
    edges = _edges(loads[loads > 0], bins)
    return ["none" if load == 0 else _bin(load, edges) for load in loads]


def _sexes(people: Sequence[DividedPerson], _bins: int) -> list[str]:
    return [person.participant.sex or UNKNOWN for person in people]


def _groups(people: Sequence[DividedPerson], _bins: int) -> list[str]:
    return [person.participant.group or UNKNOWN for person in people]


def _edges(values: np.ndarray, bins: int) -> np.ndarray:
    """Where quantiles cut (at most bins - 1,); equal ones are one."""
    return np.unique(np.quantile(values, np.arange(1, bins) / bins))


def _bin(value: float, edges: np.ndarray) -> str:
    return f"bin {np.searchsorted(edges, value) + 1}"


KINDS: dict[Trait, Callable[[Sequence[DividedPerson], int], list[str]]] = {
    "age": _ages,
    "lesion-load": _loads,
    "sex": _sexes,
    "group": _groups,
}
