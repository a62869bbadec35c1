"""What a recipe says: the study, the data that it takes, the published table, and what differs from its protocol.

A recipe is a file of `studies/recipes/`, and ships with normfed.
"""

from __future__ import annotations

from functools import cached_property, reduce
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from normfed_common.foundation import plain_yaml
from normfed_common.foundation.errors import StudyError, UserError
from normfed_common.shipped import shipped_folder
from normfed_common.studies import resolve
from normfed_common.study.base import Frozen
from normfed_common.study.config import StudyConfig
from normfed_common.study.validation import validate
from normfed_common.wording.spelling import meant
from normfed_simulation.segmentation.config import SegmentationConfig
from normfed_simulation.segmentation.published import PUBLISHED

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]
Line = Annotated[str, StringConstraints(min_length=1), AfterValidator(lambda text: " ".join(text.split()))]
SEGMENTATION_SOURCE = "Zakazov et al. 2021, arXiv 2107.04914, mean surface Dice at 1 mm"
FOLDER = "recipes"  # below the shipped studies
FEDERATED = "federated"
PEOPLE = "people"  # not a metric of a model: how many people there are


class Role(Frozen):
    """Data that a recipe takes, such as the controls."""

    what: Line = Field(description="whom it holds and which scans")
    datasets: tuple[str, ...] = Field(min_length=1, description="names of datasets that serve; `bids`: any")
    published: Line = Field(description="which data the published figures come from")
    access: Line = Field(description="licence, and where to get it")
    look_alike: str = Field(description="the generated tree that stands in where somebody only tries the recipe")


class PublishedFigure(Frozen):
    """One published number, or the range in which several lie."""

    value: float | None = None
    sd: float | None = Field(None, ge=0, description="over people, as published")
    n: int | None = Field(None, ge=1, description="people")
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _a_number_or_a_range(self) -> PublishedFigure:
        if (self.value is None) == (self.low is None or self.high is None):
            raise ValueError("a figure has a value, or low and high")
        return self


class Row(Frozen):
    """One published row, and which of our figures stands beside it."""

    name: Line
    arm: Name | None = Field(None, description="of ours; nothing of ours stands beside a row without one")
    model: str | None = Field(None, description="in metrics.json: federated, or the name of a baseline")
    site: str | None = Field(None, description="figures of this site alone")
    figures: dict[str, PublishedFigure] = Field(min_length=1, description="by our name of the metric")
    source: Line | None = Field(None, description="table, page or file; the recipe's when absent")
    compared_with: Line | None = Field(
        None,
        description="the text in which these figures were seen by whoever wrote the recipe; the recipe's if absent",
    )
    not_comparable: Line | None = Field(None, description="why not, even with the published data")


class Arm(Frozen):
    """One study of the recipe."""

    needs: tuple[Name, ...] = Field(min_length=1, description="roles; the arm is run when all of them are given")
    study: dict[str, Any] = Field(
        default_factory=dict, description="as in a study file, over what the recipe's `study` says"
    )
    look_alike: dict[str, Any] = Field(
        default_factory=dict, description="over all that where the data are made up, so that a run takes seconds"
    )


class Recipe(Frozen):
    """How a published table is made again."""

    title: Line
    citation: Line
    roles: dict[Name, Role] = Field(min_length=1)
    study: dict[str, Any] = Field(default_factory=dict, description="what all arms' studies have in common")
    arms: dict[Name, Arm] = Field(default_factory=dict)
    segmentation: SegmentationConfig | None = Field(None, description="instead of arms: brain segmentation by scanner")
    rows: tuple[Row, ...] = ()
    source: Line | None = Field(None, description="of every row that names no other")
    compared_with: Line | None = Field(None, description="the same, of every row that names no other; none: nothing")
    patients: Literal["no", "detections"] = Field("no", description="whether single patients are listed as well")
    published_patients: dict[str, dict[str, int | None]] = Field(
        default_factory=dict, description="ranks of the published patients, by method; null: not detected"
    )
    differs: tuple[Line, ...] = Field(min_length=1, description="from the published protocol")
    left_out: tuple[Line, ...] = Field((), description="published figures that are not here, and why")
    look_alike: dict[str, Any] = Field(
        default_factory=dict, description="the same for every arm, or for the segmentation"
    )

    @model_validator(mode="after")
    def _names_are_known(self) -> Recipe:
        if bool(self.arms) == (self.segmentation is not None):
            raise ValueError("a recipe has arms or a segmentation, one of the two")
        strangers = {role for arm in self.arms.values() for role in arm.needs} - set(self.roles)
        strangers |= {row.arm for row in self.rows if row.arm is not None} - set(self.arms)
        if strangers:
            raise ValueError(f"{', '.join(sorted(strangers))} is no role or arm of the recipe")
        if self.source is None and (unsourced := [row.name for row in self.rows if row.source is None]):
            raise ValueError(f"nothing says where {unsourced[0]} was published: give it, or the recipe, a source")
        return self

    @cached_property
    def table(self) -> tuple[Row, ...]:
        """The published rows; those of a segmentation are the scanners trained on, and its metrics those tested on."""
        if self.segmentation is None:
            return tuple(row.model_copy(update={"source": self._source(row)}) for row in self.rows)
        trained = dict.fromkeys(row for row, _ in PUBLISHED)
        return tuple(
            Row(
                name=row,
                figures={at: PublishedFigure(value=value) for (of, at), value in PUBLISHED.items() if of == row},
                source=f"{SEGMENTATION_SOURCE}. {_seen(self.compared_with)}",
            )
            for row in trained
        )

    @property
    def compared(self) -> int:
        """How many of the published figures somebody has seen where they were published."""
        if self.segmentation is not None:
            return len(PUBLISHED) if self.compared_with else 0
        return sum(len(row.figures) for row in self.rows if row.compared_with or self.compared_with)

    def _source(self, row: Row) -> str:
        return f"{row.source or self.source}. {_seen(row.compared_with or self.compared_with)}"

    def study_of(self, name: str, arm: str, look_alike: bool) -> StudyConfig:
        """The study of an arm, resolved.

        Raises
        ------
        StudyError
            If it is none.
        """
        layers = [{"name": f"{name}-{arm}"}, self.study, self.arms[arm].study]
        layers += [self.look_alike, self.arms[arm].look_alike] if look_alike else []
        return resolve(reduce(merged, layers), f"recipe {name}, arm {arm}")

    def segmentation_of(self, look_alike: bool) -> SegmentationConfig:
        """The parameters of the segmentation."""
        assert self.segmentation is not None
        said = self.segmentation.model_dump(mode="json")
        return SegmentationConfig.model_validate({**said, **self.look_alike} if look_alike else said)


def _seen(where: str | None) -> str:
    if where is None:
        return "Not compared with the paper, whose text could not be had: check before you quote."
    return f"Compared with {where}."


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """``below`` with what ``above`` says, section by section; what has a `name` of its own is replaced whole."""
    found = dict(below)
    for key, value in above.items():
        before = found.get(key)
        both = isinstance(value, dict) and isinstance(before, dict) and "name" not in value
        found[key] = merged(before, value) if both else value  # type: ignore[arg-type]
    return found


def names() -> list[str]:
    """All recipes that ship."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def load(name: str) -> Recipe:
    """A recipe by name.

    Raises
    ------
    StudyError
        If there is none, or its file says what no recipe says.
    """
    known = names()
    if name not in known:
        said = meant(name, known) or f"Known: {', '.join(known)}."
        raise StudyError(f"No recipe is called {name!r}. {said}")
    return read(_folder() / f"{name}.yaml")


def read(path: Path) -> Recipe:
    """A recipe's file.

    Raises
    ------
    StudyError
        If it is not one.
    """
    try:
        raw = plain_yaml.read(path, "a recipe")
    except UserError as error:
        raise StudyError(str(error)) from error
    return validate(Recipe, raw, str(path), "a key of a recipe")


def _folder() -> Path:
    return shipped_folder() / FOLDER
