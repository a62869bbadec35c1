"""What a hospital allows of any study, whatever the study says of itself. It stands in its own site.yaml."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator

from normfed_common.algorithms.table import configure
from normfed_common.deployment.node_identity import spelt
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.privacy.spending import steps_of
from normfed_common.study.base import Frozen
from normfed_common.study.config import StudyConfig
from normfed_common.study.data import SiteName, SubjectName
from normfed_common.study.evaluation import MetricName

# Decide whether an answer leaves, and change nothing in it: with others the answer is the same, and has the same noise.
ONLY_REFUSE = frozenset(
    {
        "most_rounds",
        "most_epochs",
        "most_samples_per_person",
        "most_recipes",
        "most_runs",
        "most_models",
        "most_requests_per_model",
        "largest_cache_gb",
        "largest_message_mb",
        "longest_task_hours",
        "most_threads",
        "peers",
        "minimum_sites_in_sum",
        "noise_from_sites",
        "require_secure_aggregation",
        "statistics",
    }
)
LOWEST_PERCENTILE, HIGHEST_PERCENTILE, LARGEST_CLIP = 10.0, 90.0, 20.0
LARGEST_TRANSFORMED = 200.0  # in standard deviations of a tissue, which are small
NARROWEST_STRIPE = 0.02  # of white stripe, to either side of the peak, in quantiles


def _fingerprint(text: str) -> str:
    if not re.fullmatch(r" *([0-9A-Fa-f]{4} *){8}", text):
        raise ValueError(
            "a fingerprint is eight groups of four digits 0-9 and A-F, as normfed site check prints its own"
        )
    return text


Fingerprint = Annotated[str, AfterValidator(_fingerprint)]


class Rules(Frozen):
    """Floors and limits; a study that asks for less, or for more, is refused before any scan is opened."""

    minimum_people: int = Field(
        10, ge=2, le=10_000, description="no sum, figure or training leaves that is about fewer people than this"
    )
    minimum_people_per_voxel: int = Field(
        20, ge=2, le=10_000, description="sums per voxel over fewer people than this leave as means of cubes only"
    )
    cube_mm: float = Field(6.0, gt=0, le=100, description="edge of those cubes")
    held_out_share: float = Field(
        0.2, ge=0, lt=1, description="chance of a normal person to be held out from training, drawn once and for all"
    )
    test_share: float = Field(
        0.5, gt=0, lt=1, description="the same, to test only, where patients' lesion-free tissue is trained on"
    )
    exclude: tuple[SubjectName, ...] = Field((), description="people who take part in no study, such as sub-014")
    most_rounds: int = Field(2000, ge=1, le=100_000, description="most rounds of training that one study may ask for")
    most_epochs: int = Field(100, ge=1, le=1000, description="most passes over the people in one round")
    most_samples_per_person: int = Field(1_000_000, ge=1, description="most samples of a person's visit in one pass")
    lesion_margin_mm: float = Field(
        6.0, ge=0, le=100, description="how far from a lesion tissue is normal; a study must have the same"
    )
    most_threads: int = Field(64, ge=1, le=64, description="most CPU threads that a study may ask for")
    most_recipes: int = Field(
        20, ge=1, le=10_000, description="ways of preparing scans (preprocessing of a study) that are ever served"
    )
    most_runs: int = Field(1000, ge=1, le=1_000_000, description="most runs that anything is kept of in `state`")
    most_models: int = Field(300, ge=1, le=10_000, description="most models of one study, comparisons included")
    most_requests_per_model: int = Field(100, ge=1, le=10_000, description="most other requests about one model")
    largest_cache_gb: float = Field(
        500.0, gt=0, description="of preprocessed scans, in GB, above which no new run is served"
    )
    largest_message_mb: float = Field(2000.0, gt=0, le=2047, description="largest message, in MB, accepted or sent")
    longest_task_hours: float = Field(48.0, gt=0, le=1000, description="work that takes longer is broken off")
    peers: dict[SiteName, Fingerprint] = Field(
        default_factory=dict,
        max_length=1000,
        description="other sites and the fingerprints of their keys, compared by telephone; a secure sum is over these "
        "only",
    )
    minimum_sites_in_sum: int = Field(
        4, ge=3, le=1000, description="of a secure sum; a study that takes fewer is refused"
    )
    noise_from_sites: int | None = Field(
        None,
        ge=2,
        le=1000,
        description="how many sites, this one among them, are trusted to add their shares of a secure sum's noise: a "
        "study with distributed noise that counts on more is refused; without this, every such study is",
    )
    statistics: bool = Field(
        True,
        description="whether statistics of the people in a study may leave before anything is trained: tables of ages, "
        "sexes, scanners, volumes and intensities over minimum_people at least, with noise where the study has epsilon",
    )
    metrics: tuple[MetricName, ...] | None = Field(
        None,
        max_length=200,
        description="figures of evaluation that may leave, such as [dice, auroc, image_auroc]; of others the sums "
        "stay, and so do the counts that auroc and its like over all sites are made of, unless all of these are "
        "listed; counts of normal voxels by score, for thresholds, leave with any, and those of held-out people "
        "with image_auroc or conformal_p; null: all may; []: nothing is evaluated",
    )
    minimum_people_per_metric: int | None = Field(
        None,
        ge=2,
        le=10_000,
        description="sums of a figure over fewer people than this do not leave, where that is more than minimum_people",
    )
    require_secure_aggregation: bool = Field(False, description="whether a study without secure aggregation is refused")

    @field_validator("peers")
    @classmethod
    def _each_with_its_own_key(cls, peers: dict[str, str]) -> dict[str, str]:
        """One hospital under two names would be two of the sites that a sum, or its noise, is at least of."""
        site_of: dict[str, str] = {}
        for site, fingerprint in peers.items():
            other = site_of.setdefault(spelt(fingerprint), site)
            if other != site:
                raise ValueError(
                    f"{other} and {site} have the same fingerprint: they are one hospital, or one of the two was typed "
                    "wrongly. Compare them by telephone again"
                )
        return peers

    def __hash__(self) -> int:
        """Of the content: sites are kept open by it, and `peers` by itself has none."""
        return hash(self.model_dump_json())

    def check(self, study: StudyConfig) -> None:
        """Refuse a study that asks for less protection than these floors, or for more work than these limits.

        Raises
        ------
        SiteError
            With the code that says which; what exactly stays in the hospital's own log.
        """
        if study.federation.minimum_cohort < self.minimum_people:
            raise SiteError(
                SiteCode.MINIMUM_TOO_LOW,
                f"the study's federation.minimum_cohort is {study.federation.minimum_cohort}, minimum_people of "
                f"site.yaml {self.minimum_people}",
            )
        named = [name for name in study.data.exclude if name.startswith("sub-")]
        if named:
            # Refused whether or not there is such a person, so that nobody can find out.
            raise SiteError(SiteCode.NAMES_PEOPLE, f"data.exclude names {', '.join(named)}")
        self._check_secure_sums(study)
        wrong = _recipe_faults(study, self.lesion_margin_mm)
        if wrong:
            raise SiteError(SiteCode.RECIPE_REFUSED, "; ".join(wrong))
        for what, asked, most in self._asked(study):
            if asked > most:
                detail = f"{what}: the study asks for {asked:,}, site.yaml allows {most:,}"
                raise SiteError(SiteCode.TOO_MUCH_ASKED, detail)

    def _check_secure_sums(self, study: StudyConfig) -> None:
        secure = study.privacy.secure_aggregation
        if secure is None:
            if self.require_secure_aggregation:
                raise SiteError(SiteCode.SECURE_SUMS_ONLY, "require_secure_aggregation: the study has none")
            return
        if secure.minimum_sites < self.minimum_sites_in_sum:
            detail = (
                f"privacy.secure_aggregation.minimum_sites of the study is {secure.minimum_sites}, "
                f"minimum_sites_in_sum of site.yaml {self.minimum_sites_in_sum}: ask for a study with so many"
            )
            raise SiteError(SiteCode.PEERS_UNKNOWN, detail)
        if len(self.peers) < secure.minimum_sites - 1:
            detail = (
                f"peers of site.yaml lists {len(self.peers)} other sites; a secure sum of the study is over "
                f"{secure.minimum_sites - 1} others at least: compare their fingerprints by telephone and add them"
            )
            raise SiteError(SiteCode.PEERS_UNKNOWN, detail)
        sharing = study.privacy.noise_sites
        if sharing > (self.noise_from_sites or 1):
            vouched = "not set" if self.noise_from_sites is None else self.noise_from_sites
            detail = (
                f"noise_from_sites of site.yaml is {vouched}, and the study counts on the noise of {sharing} sites "
                "(minimum_sites less colluding_sites): ask for a study with noise: each-site, or write "
                f"noise_from_sites: {sharing} if so many are trusted, this one among them"
            )
            raise SiteError(SiteCode.OWN_NOISE_ONLY, detail)

    def _asked(self, study: StudyConfig) -> list[tuple[str, int, int]]:
        federation, privacy = study.federation, study.privacy
        epochs = [federation.local_epochs]
        if privacy.epsilon is not None:
            epochs.append(math.ceil(steps_of(privacy, federation.local_epochs) * privacy.sampling_rate - 1e-9))
        for entry in (study.strategy, *study.comparisons.strategies):
            row, parameters = configure(entry)
            epochs.append(row.epochs(parameters))
        return [
            ("most_rounds", federation.rounds, self.most_rounds),
            ("most_epochs", max(epochs), self.most_epochs),
            ("most_threads", federation.threads_per_site, self.most_threads),
            ("most_samples_per_person", _samples(study), self.most_samples_per_person),
        ]


class CustodyConfig(Frozen):
    """Where a hospital keeps what it decides by."""

    rules: Rules
    people_secret: Path = Field(description="decides roles, and stands for people's names in the record")
    record: Path = Field(description="of releases, SQLite")
    run: str = Field(description="the run that is served")
    node_key: Path | None = Field(None, description="of the site's node: it signs the keys of secure sums")


def _recipe_faults(study: StudyConfig, margin_mm: float) -> list[str]:
    """What in a study's preprocessing could make one person, or one voxel, stand out of a sum."""
    recipe = study.preprocessing
    faults = [*_percentile_faults(*recipe.percentiles), *_clip_faults(recipe.clip, LARGEST_CLIP)]
    faults += [f"transforms: {entry['name']}: {why}" for entry in study.transforms for why in _transform_faults(entry)]
    if recipe.lesion_margin_mm != margin_mm:
        # Two margins differ by rings of tissue that may be one person's.
        faults.append(f"lesion_margin_mm: must be {margin_mm:g}, as in site.yaml")
    if study.data.normal == "lesion-free-slices":
        # Beside lesion-free-tissue it differs by tissue that may be one person's.
        faults.append("normal: lesion-free-slices is for simulations; hospitals take lesion-free-tissue")
    if study.data.normal != "controls" and study.data.lesion_labels is not None:
        faults.append("lesion_labels: where patients' tissue is learnt from, every mask counts as a lesion")
    return faults


def _percentile_faults(low: float, high: float) -> list[str]:
    """Divided by the distance of two neighbouring percentiles, whoever's is least outweighs everybody."""
    if low <= LOWEST_PERCENTILE and high >= HIGHEST_PERCENTILE:
        return []
    return [f"percentiles: at most {LOWEST_PERCENTILE:g} and at least {HIGHEST_PERCENTILE:g} are taken"]


def _clip_faults(clip: tuple[float, float], largest: float, holds: tuple[float, float] = (0.0, 1.0)) -> list[str]:
    """In a range far from most values a sum over all is what one person has within it."""
    faults = []
    if clip[0] < -largest or clip[1] > largest:
        faults.append(f"clip: at most {largest:g} either way")
    if clip[0] > holds[0] or clip[1] < holds[1]:
        faults.append(f"clip: must hold {holds[0]:g} to {holds[1]:g}, where most values lie")
    return faults


def _transform_faults(entry: dict[str, Any]) -> list[str]:
    """The same of what a transform does to scans."""
    from normfed_common.learning.entries import config_of
    from normfed_common.transforms.by_value import Clipped
    from normfed_common.transforms.catalogue import TRANSFORMS
    from normfed_common.transforms.nyul import NyulConfig
    from normfed_common.transforms.percentiles import PercentilesConfig
    from normfed_common.transforms.white_stripe import WhiteStripeConfig

    config, faults = config_of(TRANSFORMS, entry), list[str]()
    if isinstance(config, Clipped):
        holds = config.scale if isinstance(config, NyulConfig) else (0.0, 1.0)
        faults += _clip_faults(config.clip, LARGEST_TRANSFORMED, holds)
    if isinstance(config, NyulConfig | PercentilesConfig):
        faults += _percentile_faults(config.percentiles[0], config.percentiles[-1])
    if isinstance(config, WhiteStripeConfig) and config.width < NARROWEST_STRIPE:
        faults.append(f"width: at least {NARROWEST_STRIPE:g}")
    return faults


def _samples(study: StudyConfig) -> int:
    """Samples of a person's visit in one pass, the most that a model or transform of the study draws."""
    from normfed_common.learning.entries import samples_per_person
    from normfed_common.models.catalogue import MODELS
    from normfed_common.transforms.catalogue import TRANSFORMS

    models = [samples_per_person(MODELS, entry) for entry in (study.model, *study.comparisons.baselines)]
    return max(models + [samples_per_person(TRANSFORMS, entry) for entry in study.transforms])
