"""What metrics.json holds, key by key; figures that are not defined are null. See the README for what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import (
    Field,
    JsonValue,
    PrivateAttr,
)

from normfed_common.foundation.files import write_text
from normfed_common.metrics.base import SHARE, Metric, Place
from normfed_common.metrics.catalogue import BUILT_IN
from normfed_common.metrics.subjects import UNTESTED, PairedTest
from normfed_common.study.base import Frozen
from normfed_server.events.rounds import RoundFigures, is_none
from normfed_server.results.figures import (
    IMAGE_AUROC,
    Convergence,
    Differences,
    LeagueRow,
    LesionShare,
    ModelFigures,
    Number,
    Unseen,
    is_nothing,
)
from normfed_server.results.guarantees import PrivacyFigures
from normfed_server.results.models import TITLES
from normfed_server.results.reading import read_as
from normfed_server.results.volumes import Volumes

FILE = "metrics.json"
WITHOUT_LESION = "none"  # as sites call the kind of lesion of people who have none


class Cohort(Frozen):
    """People of a site by role; null where it would not say: fewer than its minimum."""

    name: str
    train: int | None
    held_out: int | None
    test: int | None
    kinds: tuple[str, ...]


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

    def paired_p(self, model: str, metric: str) -> float | None:
        """Its corrected p; None where nothing was tested, as with too few patients."""
        test = self.paired_test(model, metric)
        return None if test is None or test == UNTESTED else test.p

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
