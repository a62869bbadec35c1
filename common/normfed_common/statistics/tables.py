"""The tables that cohorts are shown in. Their bins stand here, so that no server can cut a person out with its own.

In every table a person is in one bin, or, where `Table.shares` says so, in several with shares that add up to 1.
Neighbouring bins are alike, since a hospital adds up neighbours until enough people are in them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from normfed_common.study.config import StudyConfig
from normfed_common.study.roles import ROLES

UNKNOWN = "not known"
ABSENT = "no such scan"
HEALTHY, PATIENTS = "healthy", "patients"
NO_MASK, NONE_FOUND = "no lesion mask", "no lesion"
VENDORS = ("Siemens", "GE", "Philips", "Canon", "Hitachi", "United Imaging", "other")
FIELDS = ("below 1 T", "1 T", "1.5 T", "3 T", "7 T", "other")
SEXES = ("F", "M", "unknown")  # the last: not known, or not told where few are of one
INTENSITY_BINS = 32
RENARD = (1, 1.25, 1.6, 2, 2.5, 3.15, 4, 5, 6.3, 8)  # ISO 3, series R10: each about a quarter more than the last
RAW_DECADES = range(-1, 6)  # powers of ten: files hold shares of 1, whole numbers of 8 to 16 bits, or counts of PET
DECADES = tuple(range(0, 100, 10))
OVERLAPS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
LIKENESSES = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8)
BRAIN_ML = (0, *range(800, 2000, 100))
TISSUE_ML = tuple(range(0, 1000, 100))
LESION_ML = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0)
EDGES_MM = (0.0, 0.85, 1.05, 1.25, 1.6, 2.1, 3.1, 4.1, 5.1)
VISITS = 5
TISSUES = ("fluid", "grey", "white")


@dataclass(frozen=True)
class Table:
    """One table.

    Parameters
    ----------
    name
        Under which its counts travel.
    title
        In words.
    bins
        What people in each bin have in common.
    family
        Of tables that are about the same thing: a hospital looks at all that it ever told of a family together.
    edges
        Where bins are ranges of numbers: the lower end of each of the first bins, ascending; the last is open.
    unit
        Of the edges.
    shares
        Whether a person is in several bins.
    open_below
        Whether whatever is below the second edge is in the first bin, negative numbers too.
    whole
        Whether a person has the same shares whatever study asks, so that it matters only who is in a sum.
    noisy
        Where there is noise: the first bins of the runs that are told instead of bins, as each has noise of its own.
        All bins by themselves where there is none said.
    """

    name: str
    title: str
    bins: tuple[str, ...]
    family: str
    edges: tuple[float, ...] = ()
    unit: str = ""
    shares: bool = False
    open_below: bool = False
    whole: bool = False
    noisy: tuple[int, ...] = ()

    def noisy_runs(self) -> list[tuple[int, int]]:
        """First and last bin of each run that is told where there is noise."""
        starts = self.noisy or tuple(range(len(self.bins)))
        return [(first, end - 1) for first, end in pairwise((*starts, len(self.bins)))]

    def bin_of(self, value: float) -> int:
        """The bin of a number; numbers below the first edge are in the first."""
        return max(int(np.searchsorted(self.edges, value, side="right")) - 1, 0)

    def words(self, first: int, last: int) -> str:
        """What people in a run of bins have in common, such as ``40 to 69 years``."""
        if first == last:
            return self.bins[first]
        ranged = len(self.edges)
        if last >= ranged:
            return " or ".join(self.bins[first : last + 1]) if first >= ranged else self._also(first, last)
        unit = f" {self.unit}" if self.unit else ""
        if first == 0 and self.open_below:
            return f"below {self.edges[last + 1]:g}{unit}" if last < ranged - 1 else "any number"
        if last == ranged - 1:
            return f"{self.edges[first]:g} or more{unit}"
        return f"{self.edges[first]:g} to {self.edges[last + 1]:g}{unit}"

    def _also(self, first: int, last: int) -> str:
        ranged = len(self.edges)
        return " or ".join([self.words(first, ranged - 1), *self.bins[ranged : last + 1]])


def tables(study: StudyConfig) -> tuple[Table, ...]:
    """The tables of a study, in the order in which they are shown."""
    return _tables(study.data.modalities, study.preprocessing.value_range)


@lru_cache(maxsize=64)
def _tables(modalities: tuple[str, ...], value_range: tuple[float, float]) -> tuple[Table, ...]:
    low, high = value_range
    levels = tuple(float(level) for level in np.linspace(low, high, INTENSITY_BINS + 1)[:-1])
    found = [
        Table("role", "what they do in the study", ROLES, "role"),
        Table("group", "group", (HEALTHY, PATIENTS), "group"),
        Table("visits", "visits", (*map(str, range(1, VISITS)), f"{VISITS} or more"), "visits"),
        *(_scale(f"age-{sex}", f"age, {_SEX[sex]}", DECADES, "years", "age", (UNKNOWN,)) for sex in SEXES),
        _registration(),
        _scale("brain", "volume of the brain", BRAIN_ML, "mL", "brain", (UNKNOWN,)),
        Table(
            "lesions",
            "volume of lesions",
            (NO_MASK, NONE_FOUND, *_ranges(LESION_ML, "mL")),
            "lesions",
        ),
        Table("vendor", "maker of the scanner", (*VENDORS, UNKNOWN), "vendor"),
        Table("field", "field of the scanner", (*FIELDS, UNKNOWN), "field"),
    ]
    if "T1w" in modalities:
        found += [
            _scale(tissue, f"volume of {_TISSUE[tissue]}", TISSUE_ML, "mL", "tissue", (UNKNOWN,)) for tissue in TISSUES
        ]
    for modality in modalities:
        title = f"largest voxel edge, {modality}"
        found.append(_scale(f"voxel-{modality}", title, EDGES_MM, "mm", f"scan-{modality}", (ABSENT,)))
        bins, title = _ranges(levels, ""), f"normalised intensity in the brain, {modality}"
        noisy = tuple(range(0, INTENSITY_BINS, 4))
        found.append(Table(f"intensity-{modality}", title, bins, f"scan-{modality}", levels, shares=True, noisy=noisy))
        found.append(_raw(modality))
    return tuple(found)


def by_name(study: StudyConfig) -> dict[str, Table]:
    """The same by their names."""
    return {table.name: table for table in tables(study)}


def vendor_of(text: str) -> str:
    """The maker that a text names, of a closed list: what a hospital writes in free text never leaves."""
    found = next((vendor for pattern, vendor in _MAKERS.items() if re.search(pattern, text, re.IGNORECASE)), None)
    return found or ("other" if text.strip() else UNKNOWN)


def field_of(tesla: float | None) -> str:
    """The class of a field strength."""
    if tesla is None or not tesla > 0:
        return UNKNOWN
    if tesla < 0.9:
        return "below 1 T"
    nearest = {1.0: "1 T", 1.5: "1.5 T", 3.0: "3 T", 7.0: "7 T"}
    return next((name for value, name in nearest.items() if abs(tesla - value) <= 0.15), "other")


_SEX = {"F": "women", "M": "men", "unknown": "sex not known, or of women and men together"}
_TISSUE = {
    "fluid": "the darkest class of T1w (mostly fluid)",
    "grey": "the middle class of T1w (mostly grey matter)",
    "white": "the brightest class of T1w (mostly white matter)",
}
_MAKERS = {
    "siemens": "Siemens",
    "philips": "Philips",
    "canon|toshiba": "Canon",
    "hitachi|fujifilm": "Hitachi",
    r"united imaging|\buih\b": "United Imaging",
    r"general electric|(?<![a-z])ge(?![a-z])": "GE",
}


def _scale(name: str, title: str, edges: Sequence[float], unit: str, family: str, beside: tuple[str, ...]) -> Table:
    ends = tuple(float(edge) for edge in edges)
    return Table(name, title, (*_ranges(ends, unit), *beside), family, ends, unit)


def _raw(modality: str) -> Table:
    """What the files hold, on a grid that no study moves: whoever chose its edges could cut a person out.

    A family apart, as scanners' own numbers differ between people in ways that would cost other tables their bins.
    """
    edges = (0.0, *(float(f"{step * 10.0**power:g}") for power in RAW_DECADES for step in RENARD))
    bins = (f"below {edges[1]:g}", *_ranges(edges[1:], ""))
    title = f"intensity in the brain as the files have it, {modality}"
    name, noisy = f"raw-{modality}", (0, *range(1, len(bins), 5))
    return Table(name, title, bins, name, edges, shares=True, open_below=True, whole=True, noisy=noisy)


def _registration() -> Table:
    masked = tuple(f"overlap {text}" for text in _ranges(OVERLAPS, ""))
    likened = tuple(f"no brain mask, likeness {text}" for text in _ranges(LIKENESSES, ""))
    return Table("registration", "registration to the template", (*masked, *likened), "registration")


def _ranges(edges: Sequence[float], unit: str) -> tuple[str, ...]:
    after = f" {unit}" if unit else ""
    within = [f"{low:g} to {high:g}{after}" for low, high in pairwise(edges)]
    return (*within, f"{edges[-1]:g} or more{after}")
