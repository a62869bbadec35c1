"""What metrics.json holds, key by key; figures that are not defined are null. See the README for what they mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from normfed_common.foundation.files import write_text
from normfed_common.metrics.base import SHARE, Metric, Place
from normfed_common.metrics.catalogue import BUILT_IN
from normfed_common.metrics.subjects import UNTESTED, PairedTest
from normfed_common.study.base import Frozen
from normfed_server.events.rounds import RoundFigures, is_none
from normfed_server.results.calibration import Calibrated
from normfed_server.results.enough import BothOfEnough, OfEnough
from normfed_server.results.guarantees import PrivacyFigures
from normfed_server.results.models import TITLES
from normfed_server.results.reading import read_as
from normfed_server.results.volumes import Volumes

FILE = "metrics.json"
WITHOUT_LESION = "none"  # as sites call the kind of lesion of people who have none
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


class Cohort(Frozen):
    """People of a site by role; null where it would not say: fewer than its minimum."""

    name: str
    train: int | None
    held_out: int | None
    test: int | None
    kinds: tuple[str, ...]


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


class WaitingRule(Frozen):
    """What another quorum and patience would change: hours in all, and the share of people's updates that is lost."""

    quorum: float
    patience_s: float
    hours: float
    lost: float
    lost_by_site: dict[str, float]


class HospitalTime(Frozen):
    """How long the study would take in hospitals, and who is last."""

    rounds_h: float
    evaluation_h: float
    last: dict[str, int]
    median_s: dict[str, Number]
    rules: tuple[WaitingRule, ...]
    patience_s: float


class Described(Frozen):
    """A metric in words, so that its figures can be read without the plug-in that made them."""

    title: str
    higher_is_better: bool = True
    lowest: float = 0.0
    highest: float = 1.0
    unit: str = SHARE
    chance: float | None = None
    shown: tuple[Place, ...] = ()


def described(metrics: tuple[Metric, ...]) -> dict[str, Described]:
    """Metrics of scans, and the one of people, in the order of tables."""
    found = {
        metric.name: Described(
            title=metric.title,
            higher_is_better=metric.higher_is_better,
            lowest=metric.lowest,
            highest=metric.highest,
            unit=metric.unit,
            chance=metric.chance,
            shown=tuple(sorted(metric.shown)),
        )
        for metric in metrics
    }
    return found | {IMAGE_AUROC: Described(title="image AUROC", chance=0.5, shown=("table",))}


class RunResults(Frozen):
    """metrics.json: every figure of a run."""

    study: str
    digest: str = Field(description="of the study as resolved")
    seed: int
    sites: tuple[Cohort, ...]
    left_out: dict[str, str] = Field(description="site to why it takes no part")
    failed: dict[str, str] = Field(description="model to why it could not be trained to the end")
    not_served: dict[str, dict[str, str]] = Field(description="model to sites that it serves nothing, and why")
    strategies: dict[str, dict[str, JsonValue]]
    titles: dict[str, str] = Field({}, description="model to what people read, where that is not its name")
    trained: tuple[str, ...] = Field((), description="the sites that train the federated model; none of older runs")
    rounds: tuple[RoundFigures, ...] = Field(description="of the federated model")
    rounds_of: dict[str, tuple[RoundFigures, ...]] = Field(description="of every other model")
    convergence: dict[str, Convergence] = Field({}, description="of every model with a known least loss")
    missing: dict[str, dict[str, tuple[int, ...]]] = Field(description="model to site to the rounds it was not in")
    missed: dict[str, dict[str, str]] = Field({}, description="model to site to why its sums or figures are not in it")
    notes: dict[str, dict[str, tuple[str, ...]]] = Field({}, description="model to site to what it said of the method")
    hospital_time: HospitalTime | None
    evaluation: dict[str, ModelFigures] = Field(description="by model")
    lesion_share: LesionShare | None = Field(
        None, exclude_if=is_none, description="chance of average precision; absent where no lesion is told of"
    )
    intervals: Literal["bootstrap", "moments"] = Field("bootstrap", description="what 95 % intervals are made of")
    matrix: dict[str, dict[str, dict[str, Number]]] = Field(description="metric to training site to test site: mean")
    differences: dict[str, Differences] = Field(description="the federated model less each other one")
    unseen: Unseen | None = Field(
        None, exclude_if=is_none, description="at hospitals that a model never saw, where that was tested"
    )
    privacy: PrivacyFigures | None = Field(
        None, exclude_if=is_none, description="what is claimed; absent where the study asked for none"
    )
    nothing_drawn: tuple[str, ...] = Field((), description="models of which every training is the same")
    league: tuple[LeagueRow, ...]
    software: dict[str, str] = Field({}, exclude_if=is_nothing, description="versions that made these figures")
    lowest_score: float | None = Field(None, exclude_if=is_none, description="of anomaly maps; without it: unbounded")
    metrics: dict[str, Described] = Field(
        default_factory=lambda: described(BUILT_IN), description="what the names of metrics stand for"
    )
    _tests: Mapping[str, Mapping[str, PairedTest]] = PrivateAttr(default_factory=dict)  # by metric, then model
    _volumes: Volumes = PrivateAttr(default_factory=Volumes)

    def tested(self, tests: Mapping[str, Mapping[str, PairedTest]]) -> RunResults:
        """The same with paired tests of the federated model against every other one, by metric: they are of single
        patients, whom metrics.json does not hold."""
        found = self.model_copy()
        found._tests = tests
        return found

    def with_volumes(self, volumes: Volumes) -> RunResults:
        """The same with how much of patients' brains is called abnormal, of which metrics.json holds nothing either."""
        found = self.model_copy()
        found._volumes = volumes
        return found

    @property
    def volumes(self) -> Volumes:
        """Without any where single patients are not known."""
        return self._volumes

    def paired_test(self, model: str, metric: str) -> PairedTest | None:
        """Of the federated model against another one, corrected for their number; None where there was none."""
        return self._tests.get(metric, {}).get(model)

    @property
    def has_paired_tests(self) -> bool:
        """Whether the federated model was tested against any other one, patient by patient."""
        return any(test != UNTESTED for by_model in self._tests.values() for test in by_model.values())

    @property
    def nobody_ill(self) -> bool:
        """Whether nobody who was tested has a lesion, by what the sites say of its kinds."""
        kinds = {kind for site in self.sites if site.test != 0 for kind in site.kinds}
        return kinds == {WITHOUT_LESION}

    def title(self, model: str) -> str:
        """What people read of a model."""
        return self.titles.get(model, TITLES.get(model, model))


def write(folder: Path, results: RunResults) -> None:
    """Write a run folder's metrics.json, atomically."""
    write_text(folder / FILE, results.model_dump_json(indent=1) + "\n")


def read(folder: Path) -> RunResults:
    """Read a run folder's metrics.json.

    Raises
    ------
    DamagedError
        If it is not one, or there is none.
    """
    return read_as(RunResults, folder / FILE, "Remove it, and resume the run to make it again.")
