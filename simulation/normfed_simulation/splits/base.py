"""What a split is given, and what it says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from normfed_client.imaging.bids import Visit
from normfed_client.imaging.lesion_load import lesion_ml
from normfed_client.imaging.participants import Participant
from normfed_common.foundation.errors import StudyError
from normfed_common.study.base import Frozen


@dataclass(frozen=True)
class DividedPerson:
    """A person as a split has them, with all visits: people are divided, never visits."""

    participant: Participant
    visits: tuple[Visit, ...]

    def lesion_ml(self) -> float:
        """Volume of the lesions at the first visit, in ml; 0 without a lesion mask. Opens the masks."""
        return lesion_ml(self.visits[0])


class SplitConfig(Frozen):
    """What every split takes."""

    seed: int | None = Field(None, ge=0, description="of the split alone; the study's seed when absent")


class Sites(SplitConfig):
    """What a split takes that makes a number of sites."""

    sites: int = Field(ge=2, le=1000, description="how many sites are made: site-1, site-2, ...")


class Split(ABC):
    """A rule by which people are divided among sites.

    Parameters
    ----------
    config
        What the study says of it, a ``Config``.
    """

    Config: ClassVar[type[SplitConfig]]
    cited: ClassVar[tuple[str, ...]] = ()  # by whoever uses it, see `NormativeModel`

    def __init__(self, config: Any) -> None:
        self.config = config

    def opens_masks(self) -> bool:
        """Whether `divide` opens lesion masks, so that it cannot be tried before the scans are there."""
        return False

    @abstractmethod
    def divide(self, people: Sequence[DividedPerson], rng: np.random.Generator) -> list[str]:
        """The site of each of these people, in their order; every site has at least one of them.

        Raises
        ------
        StudyError
            If people like these cannot be divided so.
        """


def numbered(count: int) -> list[str]:
    """Names of so many sites, which sort by number: site-1, site-2, ..., or site-01, ... of ten or more."""
    width = len(str(count))
    return [f"site-{number:0{width}d}" for number in range(1, count + 1)]


def check_enough(people: Sequence[DividedPerson], sites: int, minimum: int = 1) -> None:
    """Refuse to make sites that would not have so many people each.

    Raises
    ------
    StudyError
        If there are too few people.
    """
    if len(people) < sites * minimum:
        each = "at least one person" if minimum == 1 else f"at least {minimum} people"
        most = len(people) // minimum
        cure = f"Ask for at most {most} sites." if most > 1 else "They are too few to divide."
        there = f"{len(people)} {'person' if len(people) == 1 else 'people'}"
        raise StudyError(f"{sites} sites of {each} each cannot be made of {there}. {cure}")


def even_sizes(people: int, sites: int) -> np.ndarray:
    """People per site, (sites,): equal, or where that cannot be one more at the first ones."""
    return np.full(sites, people // sites) + (np.arange(sites) < people % sites)


def dealt(sizes: Sequence[int], rng: np.random.Generator) -> list[str]:
    """Sites of so many people, who are drawn at random, each site having its size of them."""
    names = np.repeat(numbered(len(sizes)), sizes)
    return [str(name) for name in rng.permutation(names)]
