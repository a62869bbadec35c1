"""What a consortium should know of its cohorts before it trains, in plain words, read from figures and descriptions.

Where figures have noise, no more is read from a bin than stands out of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from normfed_common.statistics.tables import ABSENT, HEALTHY, PATIENTS, SEXES, UNKNOWN
from normfed_common.study.config import StudyConfig
from normfed_common.transforms.combat.usable import LEAST_PEOPLE
from normfed_common.wire.bounds import BELOW_MINIMUM
from normfed_server.results.cohorts import Cell, CohortFigures, Statistics, TableWords
from normfed_server.sites.description import SiteDescription

FEWEST_TO_COMPARE = 5  # people at a site, whose intensities are compared
APART = 0.35  # quartile ranges that two sites' intensities lie apart
POOR, MANY_POOR = 0.85, 0.2  # an overlap after registration, and the share of people below it
NEARLY_NOTHING = 0.15  # of the brain's voxels, at next to 0 or less in the file
MOST_PAIRS = 3  # of ranges of ages that do not overlap, which are said
OLDEST = 100  # years: bins beyond have no end


def warnings(
    found: Statistics, study: StudyConfig, described: Mapping[str, SiteDescription] | None = None
) -> tuple[str, ...]:
    """Sentences; who is not counted shows in what sites say of themselves (`described`), not in the figures."""
    look = _Look(found, study)
    return (*_not_counted(found, described or {}), *look.between(), *look.within())


def _not_counted(found: Statistics, described: Mapping[str, SiteDescription]) -> Iterator[str]:
    """Roles of too few people at a site, which are in none of its figures."""
    roles = {
        f"{words} at {site}": count
        for site, of in described.items()
        if site in found.sites
        for words, count in (("to train on", of.train), ("held out", of.held_out), ("to test on", of.test))
    }
    if few := [words for words, count in roles.items() if count == BELOW_MINIMUM]:
        yield (
            f"In no figure, as they are fewer than {found.minimum} (federation.minimum_cohort, or the site's own "
            f"minimum): people {', '.join(few)}."
        )


@dataclass(frozen=True)
class _Look:
    found: Statistics
    study: StudyConfig

    def between(self) -> Iterator[str]:
        """What shows between sites."""
        if self.found.missed:
            told = "; ".join(f"{site}: {why}" for site, why in self.found.missed.items())
            yield f"Not in the figures: {told}."
        if self.found.secure:
            yield "All sums are secure, so that nobody sees a single site: nothing can be said of how sites differ."
        yield from self._ages_apart()
        yield from self._groups_go_with_sites()
        yield from self._intensities_apart()

    def within(self) -> Iterator[str]:
        """What shows at sites by themselves, one sentence for all sites that it is true of."""
        controls = self.study.data.normal == "controls"
        if controls and (ill := self._those(lambda of: self._only(of, "group", PATIENTS))):
            yield f"No healthy people: {ill}. Such a site can test, but nothing normal is learnt there."
        if few := self._counted(lambda of: self._normal(of, controls), below=LEAST_PEOPLE):
            yield (
                f"Too few {'healthy people' if controls else 'people'} for ComBat, which needs about "
                f"{LEAST_PEOPLE} of a scanner: {few}."
            )
        for modality in self.study.data.modalities:
            if without := self._those(lambda of, m=modality: self._only(of, f"voxel-{m}", ABSENT)):  # type: ignore[misc]
                yield f"No {modality} at all: {without}."
            if odd := self._those(lambda of, m=modality: self._nearly_nothing(of, m)):  # type: ignore[misc]
                yield (
                    f"Files of {modality} whose brain is at next to 0 or less in many voxels: {odd}. Were they "
                    "normalised or cut before?"
                )
            if some := self._counted(lambda of, m=modality: self._some_lack(of, m)):  # type: ignore[misc]
                yield f"People without {modality}: {some}."
        if silent := self._those(self._age_unknown):
            yield f"Most people's ages are not known: {silent}. No covariate can be made of age there."
        if poor := self._counted(self._poor):
            yield (
                f"Brains that overlap with the template's by less than {POOR:g} after registration: {poor} people. "
                "Look at a few."
            )
        for table, what in (("vendor", "makers"), ("field", "fields")):
            if mixed := self._those(lambda of, t=table: self._several(of, t)):  # type: ignore[misc]
                yield f"Scanners of several {what}: {mixed}. Name the scanner of each person in participants.tsv."

    def _those(self, true_of: Callable[[CohortFigures], bool]) -> str:
        return ", ".join(site for site, of in self.found.sites.items() if true_of(of))

    def _counted(self, count: Callable[[CohortFigures], float], below: float = math.inf) -> str:
        counts = {site: count(of) for site, of in self.found.sites.items()}
        return ", ".join(f"{site} ({people:.0f})" for site, people in counts.items() if 0 < people < below)

    def _normal(self, figures: CohortFigures, controls: bool) -> float:
        """People who may be learnt from."""
        return self._told(figures, "group", HEALTHY) if controls else figures.people

    def _some_lack(self, figures: CohortFigures, modality: str) -> float:
        table = f"voxel-{modality}"
        return 0 if self._only(figures, table, ABSENT) else self._told(figures, table, ABSENT)

    def _nearly_nothing(self, figures: CohortFigures, modality: str) -> bool:
        """Whether the first bin of what the files hold is told by itself and has that much."""
        cells = self.found.beyond_noise(figures, f"raw-{modality}")
        lowest = sum(cell.people for cell in cells if cell.last == 0)
        return lowest > NEARLY_NOTHING * sum(cell.people for cell in figures.tables[f"raw-{modality}"])

    def _age_unknown(self, figures: CohortFigures) -> bool:
        return sum(self._told(figures, f"age-{sex}", UNKNOWN) for sex in SEXES) > 0.5 * figures.people

    def _poor(self, figures: CohortFigures) -> float:
        """People whose registration is poor, where they are many."""
        words = self.found.tables["registration"]
        poor = sum(
            cell.people for cell in self.found.beyond_noise(figures, "registration") if _upper(words, cell) <= POOR
        )
        return poor if poor > MANY_POOR * figures.people else 0

    def _several(self, figures: CohortFigures, table: str) -> bool:
        return sum(cell.what != UNKNOWN for cell in self.found.beyond_noise(figures, table)) > 1

    def _ages_apart(self) -> Iterator[str]:
        alike: dict[tuple[float, float], list[str]] = {}
        for site, of in self.found.sites.items():
            if (span := self.ages(of)) is not None:
                alike.setdefault(span, []).append(site)
        apart_from = [(one, other) for one in alike for other in alike if one[1] <= other[0]]
        for (low, high), (start, end) in apart_from[:MOST_PAIRS]:
            younger, older = alike[low, high], alike[start, end]
            yield (
                f"Ages do not overlap: {', '.join(younger)} {'has' if len(younger) == 1 else 'have'} people of "
                f"{low:.0f} to {high:.0f} years, {', '.join(older)} of {start:.0f} "
                f"{f'to {end:.0f}' if end <= OLDEST else 'and over'}. Between them nobody can tell age from scanner."
            )
        if len(apart_from) > MOST_PAIRS:
            more = len(apart_from) - MOST_PAIRS
            yield f"Nor do ages overlap in {more} further pairs of ranges: see the plots of ages."

    def ages(self, figures: CohortFigures) -> tuple[float, float] | None:
        """The ends of the bins that somebody is in whose age is known; None where none is told."""
        ends: list[tuple[float, float]] = []
        for sex in SEXES:
            words = self.found.tables[f"age-{sex}"]
            for cell in self.found.beyond_noise(figures, f"age-{sex}"):
                if cell.last < len(words.edges):
                    high = words.edges[cell.last + 1] if cell.last + 1 < len(words.edges) else math.inf
                    ends.append((words.edges[cell.first], high))
        return (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None

    def _groups_go_with_sites(self) -> Iterator[str]:
        only = {
            name: [site for site, of in self.found.sites.items() if self._only(of, "group", name)]
            for name in (HEALTHY, PATIENTS)
        }
        if only[HEALTHY] and only[PATIENTS] and len(only[HEALTHY] + only[PATIENTS]) == len(self.found.sites):
            yield (
                f"Group goes with site: {', '.join(only[HEALTHY])} have healthy people only, "
                f"{', '.join(only[PATIENTS])} patients only. What tells the two apart may be the "
                "scanner, and ComBat would take the disease away with it."
            )

    def _intensities_apart(self) -> Iterator[str]:
        for modality in self.study.data.modalities:
            table = f"intensity-{modality}"
            curves = {
                site: curve
                for site, of in self.found.sites.items()
                if of.people >= FEWEST_TO_COMPARE
                and not self.found.drowned(of)
                and (curve := density(self.found.tables[table], of.tables[table])).sum() > 0
            }
            for site, curve in curves.items():
                others = [other / other.sum() for name, other in curves.items() if name != site]
                if not others:
                    continue
                distance = apart(curve, np.mean(others, axis=0))
                if distance > APART:
                    yield (
                        f"{modality} of {site} lies apart from the others' after normalisation: by {distance:.1f} "
                        "quartile ranges on average. A model of intensities will take the scanner for disease there; "
                        "harmonize."
                    )

    def _told(self, figures: CohortFigures, table: str, name: str) -> float:
        place = self.found.tables[table].bins.index(name)
        return sum(cell.people for cell in self.found.beyond_noise(figures, table) if cell.first == cell.last == place)

    def _only(self, figures: CohortFigures, table: str, name: str) -> bool:
        """Whether everybody of whom something is told is in one bin."""
        place, cells = self.found.tables[table].bins.index(name), self.found.beyond_noise(figures, table)
        return bool(cells) and all(cell.first == cell.last == place for cell in cells)


def density(words: TableWords, cells: tuple[Cell, ...]) -> np.ndarray:
    """People per bin (bins,), those of a run of bins spread evenly over it."""
    found = np.zeros(len(words.bins))
    for cell in cells:
        found[cell.first : cell.last + 1] += cell.people / (cell.last + 1 - cell.first)
    return found


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """How far two histograms lie apart: the Wasserstein distance of order 1, in quartile ranges of the second."""
    a, b = (np.cumsum(curve / curve.sum()) for curve in (one, other))
    low, high = (float(np.interp(share, b, np.arange(len(b)))) for share in (0.25, 0.75))
    return float(np.abs(a - b).sum()) / max(high - low, 1.0)


def _upper(words: TableWords, cell: Cell) -> float:
    """The upper end of a run of overlaps; 1 where there is another measure in it."""
    said = words.bins[cell.last].removeprefix("overlap ").split()
    return float(said[2]) if said[1:2] == ["to"] else 1.0
