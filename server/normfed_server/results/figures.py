"""Figures of models as metrics.json holds them: means over patients, differences, league; not defined is null."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, SerializerFunctionWrapHandler, model_serializer

from normfed_common.study.base import Frozen
from normfed_server.events.rounds import is_none
from normfed_server.results.calibration import Calibrated
from normfed_server.results.enough import BothOfEnough, OfEnough

AUROC, PRECISION = "auroc", "auprc"  # what models are compared by
IMAGE_AUROC = "image_auroc"  # of people, not of scans: it is beside the metrics of one scan in every table


def _defined(value: Any) -> Any:
    """JSON has no word for not-a-number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def is_nothing(value: Any) -> bool:
    """Whether a table is empty."""
    return not value


Number = Annotated[float | None, BeforeValidator(_defined)]
Interval = tuple[Number, Number]


class Figure(Frozen):
    """Of a metric over people: mean, standard deviation, how many, 95 % interval of the mean where they are enough."""

    mean: Number
    sd: Number
    n: int
    ci95: Annotated[Interval | None, OfEnough] = Field(None, exclude_if=is_none)


class AtSite(Frozen):
    """A mean, and the site where it is."""

    mean: Number
    site: str


class Merged(Frozen):
    """Of all sites' voxels together: an estimate, and the interval that must hold the exact value."""

    value: Number
    low: Number
    high: Number


class Threshold(Frozen):
    """The voxel score from which on a voxel is abnormal, and whose voxels set it."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    value: Number
    source: str = Field(alias="from")


class Trainings(Frozen):
    """Of several trainings of one model: each one's mean over patients, and theirs with its 95 % interval (Student's t
    over trainings)."""

    means: tuple[Number, ...]
    mean: Number
    ci95: Interval


Figures = dict[str, Figure]


class ModelFigures(Frozen):
    """How well one model finds lesions; every table is from metric to figure.

    ``merged``, ``threshold``, ``calibration`` and ``exceedance_error`` are there where it was tested in full, not only
    ranked.
    """

    sites: dict[str, Figures]
    all: Figures
    kinds: dict[str, Figures] = Field(description="by kind of lesion")
    worst_site: dict[str, AtSite]
    trainings: dict[str, Trainings] = Field(
        {}, exclude_if=is_nothing, description="where the model was trained several times; other figures: the first's"
    )
    merged: dict[str, Merged] | None = None
    threshold: Threshold | None = None
    calibration: Calibrated | None = Field(None, exclude_if=is_none, description="false positives in normal people")
    exceedance_error: Number = Field(None, description="how far p-values of normal people are from uniform")

    @model_serializer(mode="wrap")
    def _only_what_was_tested(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = handler(self)
        if self.merged is None:
            for key in ("merged", "threshold", "exceedance_error"):
                found.pop(key, None)
        return found


class Difference(Frozen):
    """Of two means, over so many patients, and its 95 % interval: null where these are too few."""

    mean: Number
    n: int | None = Field(None, exclude_if=is_none, description="of whichever has fewer; absent in older runs")
    ci95: Annotated[Interval, BothOfEnough]


class Differences(Frozen):
    """The federated model less another one; every table is from metric to difference."""

    all: dict[str, Difference]
    kinds: dict[str, dict[str, Difference]]
    sites: dict[str, dict[str, Difference]]


class Beside(Frozen):
    """Means over so many patients of models that never saw their hospital: the federation's, and other hospitals' own.

    ``borrowed`` is the mean over all of these, ``best`` the one that is best on these very patients, which nobody knows
    beforehand; of all patients the best at each site.
    """

    n: int
    unseen: Number
    borrowed: Number
    best: Number
    best_site: str | None = Field(description="who trained the best")
    over_borrowed: Difference = Field(description="unseen less borrowed")
    over_best: Difference = Field(description="unseen less best")


class Unseen(Frozen):
    """At hospitals that the models never saw; every table is from metric to figures."""

    all: dict[str, Beside]
    kinds: dict[str, dict[str, Beside]]
    sites: dict[str, dict[str, Beside]]


class Gain(Difference):
    """A difference to training alone."""

    n: int = Field(description="patients")


class Gains(Gain):
    """The same at each site; who gains and who loses beyond the interval."""

    sites: dict[str, Gain]
    gain: tuple[str, ...]
    lose: tuple[str, ...]


class LeagueFigure(Frozen):
    """One metric of a strategy."""

    mean: Number
    n: int | None = Field(None, exclude_if=is_none, description="patients; absent in older runs")
    ci95: Annotated[Interval, BothOfEnough]
    worst_site: AtSite | None
    sd_over_sites: Number
    sites: dict[str, Number]
    trainings: tuple[Number, ...] = Field(description="mean of each training of the same model")


class LeagueRow(Frozen):
    """One strategy, or an anchor: its figures stand under the names of the league's metrics."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, LeagueFigure]

    name: str
    title: str
    strategy: dict[str, JsonValue] | None
    sites: tuple[str, ...]
    not_served: dict[str, str]
    gain_over_local: dict[str, Gains] | None
    megabytes_per_round: Number
    seconds_per_round: Number

    @property
    def figures(self) -> dict[str, LeagueFigure]:
        """Metric to figure."""
        return self.__pydantic_extra__


class LesionShare(Frozen):
    """Of a patient's voxels that are lesion, which is what average precision is by chance: mean over the patients whose
    average precision is known, all of them or a site's.

    A server knows a site's voxels together, and takes every patient there for one with their share.
    """

    all: float
    sites: dict[str, float]
    merged: float | None = Field(
        None, exclude_if=is_none, description="of all sites' voxels together; absent in older runs"
    )


class Convergence(Frozen):
    """The mean training loss of a model's last round, beside that of principal components of the same size.

    The loss is that of the sites' people while their weights still moved: a site's mean over its last epochs.
    """

    loss: float
    reference: float
    ratio: float
