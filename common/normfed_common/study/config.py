"""The whole study."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from normfed_common.foundation import digests
from normfed_common.study.base import Frozen, NamedEntry
from normfed_common.study.data import DataConfig
from normfed_common.study.domain_shift import NOTHING, DomainShiftConfig
from normfed_common.study.evaluation import EvaluationConfig
from normfed_common.study.federation import PLAIN, ComparisonConfig, FederationConfig
from normfed_common.study.postprocessing import OFF, PostprocessingConfig
from normfed_common.study.preprocessing import PreprocessingConfig
from normfed_common.study.privacy import NONE, PrivacyConfig

StudyName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]


class StudyConfig(Frozen):
    """One experiment, all of it. What a site keeps to itself (paths, devices) is not in it."""

    name: StudyName = Field(description="of the study and its run folders: letters, digits, dots, hyphens")
    description: str = Field("", description="what it asks, in a sentence; stands in the report")
    seed: int = Field(0, ge=0, lt=2**53, description="of all that is drawn: two runs give the same bits")
    data: DataConfig = Field(description="where the scans come from, whose they are, who trains and who tests")
    preprocessing: PreprocessingConfig = Field(
        PreprocessingConfig(), description="from a scan as the scanner wrote it to a volume on the common grid"
    )
    transforms: tuple[NamedEntry, ...] = Field(
        (),
        max_length=8,
        description="done to every scan before a model sees it, in order; names and parameters",
        examples=["[nyul]", "[{name: z-score, robust: true}]"],
    )
    model: NamedEntry = Field(
        default_factory=lambda: {"name": "siamese"}, description="name and parameters", examples=["{name: siamese}"]
    )
    postprocessing: PostprocessingConfig = Field(
        OFF,
        exclude_if=lambda chosen: chosen == OFF,  # studies without the key keep their digests
        description="of every model's anomaly maps; a model's entry may have a `postprocessing` of its own instead",
        examples=["{smoothing_mm: 1.4, edge_mm: 5}"],
    )
    initial_model: str | None = Field(
        None, description="a model.safetensors to start from, relative to the study file; its digest once a run begins"
    )
    strategy: NamedEntry = Field(
        default_factory=lambda: dict(PLAIN),
        description="name and parameters",
        examples=["{name: ditto, lambda: 0.5}"],
    )
    federation: FederationConfig = Field(FederationConfig(), description="rounds of training, and when a round is over")
    privacy: PrivacyConfig = Field(
        NONE,
        exclude_if=lambda chosen: chosen == NONE,  # studies without the key keep their digests
        description="differential privacy of patients or of sites, and secure aggregation",
        examples=["{epsilon: 4}", "{secure_aggregation: true}"],
    )
    comparisons: ComparisonConfig = Field(
        ComparisonConfig(), description="what stands beside the federated model in every table"
    )
    evaluation: EvaluationConfig = Field(EvaluationConfig(), description="which figures are computed, and how finely")
    domain_shift: DomainShiftConfig = Field(
        NOTHING,
        exclude_if=lambda chosen: chosen == NOTHING,  # studies without the key keep their digests
        description="what `normfed study domain-shift` compares",
        examples=["{harmonizations: [nyul, combat]}"],
    )

    @property
    def digest(self) -> str:
        """Identifies the study: every request carries it."""
        return digests.of_json(self.model_dump(mode="json"))
