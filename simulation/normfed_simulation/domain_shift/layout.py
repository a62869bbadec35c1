"""What domain-shift.json holds, key by key; figures that are not defined are null."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from normfed_common.foundation.files import write_text
from normfed_common.study.base import Frozen
from normfed_server.results.enough import BothOfEnough
from normfed_server.results.figures import AtSite, Difference, Interval, Number, Trainings
from normfed_server.results.reading import read_as

FILE, SCHEMA = "domain-shift.json", "domain-shift.schema.json"
Verdict = Literal["better", "worse", "tied"]


class Compared(Frozen):
    """A difference of two means over the same people, and what may be said of it: nothing but a tie with fewer than six
    patients, where the interval holds 0 in three decimals, or where trainings do not all point the same way."""

    mean: Number
    ci95: Interval
    verdict: Verdict


class ApproachFigures(Frozen):
    """Of one metric over the patients of the sites that train: everybody, every site, the worst site."""

    n: int = Field(description="patients")
    mean: Number
    ci95: Annotated[Interval, BothOfEnough] = Field(description="bootstrap over patients, within sites")
    sites: dict[str, Number]
    worst_site: AtSite | None
    trainings: Trainings | None = Field(None, description="where the model was trained several times")
    over_none: Compared | None = Field(None, description="less the same approach without harmonization")
    over_federated: Compared | None = Field(None, description="less the federated model of the same harmonization")


class Share(Frozen):
    """A share of the gap without harmonization, or in words why there is none."""

    value: Number = None
    ci95: Interval | None = None
    why: str = ""


class Gap(Frozen):
    """What a model loses at a scanner that it never saw: seen less unseen, on the same people."""

    n: int
    seen: Number
    unseen: Number
    gap: Difference
    trainings: Trainings | None = Field(None, description="of the gap, where models were trained several times")
    closed: Share | None = Field(None, description="1 - gap / gap without harmonization")
    won_back: Share | None = Field(
        None, description="(unseen - unseen without harmonization) / gap without harmonization"
    )


class Gaps(Frozen):
    """Of all people, and of every site's."""

    all: Gap
    sites: dict[str, Gap]


class MetricFigures(Frozen):
    """Of one metric."""

    approaches: dict[str, ApproachFigures] = Field(description="by approach; see `titles`")
    gaps: dict[str, Gaps] = Field(
        description="federated: with the site and without it; local: a site's own model at home, and others' there; "
        "none where no site both trains and tests"
    )
    matrix: dict[str, dict[str, Number]] = Field(description="training site to test site: mean of its own model there")


class Told(Frozen):
    """How well a classifier tells the scanner of people whom it did not learn from."""

    what: Literal["features", "images"]
    accuracy: Number = Field(None, description="balanced over scanners")
    ci95: Interval | None = None
    chance: Number = Field(None, description="one over the number of scanners")
    p_value: Number = Field(None, description="of permuted scanners: how often they are told as well")
    people: int = 0
    scanners: int = 0
    why: str = Field("", description="why there is no figure")


class AgeFit(Frozen):
    """How well age is read from the same features; 0 is what the mean age explains."""

    across: bool = Field(description="whether of scanners that the regression never saw")
    r2: Number = None
    ci95: Interval | None = None
    people: int = 0
    why: str = ""


class Slope(Frozen):
    """How a tissue's volume goes with age, each scanner with a mean of its own."""

    tissue: str
    ml_per_decade: Number
    se: Number
    people: int


class Scanners(Frozen):
    """Healthy people's scans as the model sees them: what is left of the scanner, and of the people."""

    told: tuple[Told, ...]
    ages: tuple[AgeFit, ...]
    slopes: tuple[Slope, ...]
    remarks: tuple[str, ...] = Field((), description="who is left out of what, and why")


class HarmonizationResults(Frozen):
    """One run."""

    transforms: tuple[dict[str, Any], ...] = Field(description="of the harmonization and then of the study")
    run: str = Field(description="its folder, relative to the study's")
    failed: str = Field("", description="why it has no figures")
    figures: dict[str, MetricFigures] = Field({}, description="by metric")
    scanners: Scanners | None = None


class DomainShift(Frozen):
    """domain-shift.json."""

    study: str
    digest: str = Field(description="of the study as resolved")
    seed: int
    trainings: int = Field(description="of every model; one where nothing is drawn")
    drawn: bool = Field(description="whether another training gives another model")
    metrics: dict[str, str] = Field(description="metric to its title")
    titles: dict[str, str] = Field(description="approach to what people read")
    sites: tuple[str, ...] = Field(
        description="over whose patients figures are: those that train and test, or else all that test"
    )
    trained: tuple[str, ...] = Field(description="the rows of matrices")
    tested: tuple[str, ...] = Field(description="the columns of matrices")
    remarks: tuple[str, ...] = Field(description="what was left out, and why")
    words: dict[str, tuple[str, ...]] = Field(
        description="the answer in plain words, made of the figures: what it is about to sentences"
    )
    harmonizations: dict[str, HarmonizationResults]


def write(folder: Path, results: DomainShift) -> None:
    """Write a folder's domain-shift.json, atomically."""
    write_text(folder / FILE, results.model_dump_json(indent=1) + "\n")


def read(folder: Path) -> DomainShift:
    """Read a folder's domain-shift.json.

    Raises
    ------
    DamagedError
        If there is none, or it cannot be read.
    """
    return read_as(DomainShift, folder / FILE, f"normfed study domain-shift --resume {folder} makes it again.")
