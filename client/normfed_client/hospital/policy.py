"""Which studies a hospital lets run at all, which of them without a person, and when: keys of its own site.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from normfed_client.hospital.hours import Hours
from normfed_common.study.base import Frozen

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Names = Annotated[tuple[Name, ...], Field(max_length=200)]


class ApprovalRule(Frozen):
    """Studies that need no person, as they fit in all that the rule names; the empty rule fits any study."""

    models: Names | None = Field(
        None, description="every model of the study must be one of these: its own, baselines, members of ensembles"
    )
    strategies: Names | None = Field(
        None, description="every strategy must be; fedavg is in every study, as that of baselines and of single sites"
    )
    transforms: Names | None = Field(None, description="every transform must be; an empty list: it has none")
    largest_epsilon: float | None = Field(
        None, gt=0, le=1000, description="the study protects patients with this epsilon at most"
    )
    largest_delta: float = Field(1e-5, gt=0, lt=1, description="the same of its delta, where largest_epsilon is named")
    secure_aggregation: bool = Field(False, description="whether the study must have secure aggregation")
    most_rounds: int | None = Field(None, ge=1, le=100_000, description="of training")
    most_comparisons: int | None = Field(
        None,
        ge=0,
        le=1000,
        description="baselines, strategies and compressions that the study's model is compared with; a model per site "
        "(local), or without each site in turn (leave_one_site_out), counts as one more",
    )
    most_repeats: int | None = Field(None, ge=1, le=1000, description="trainings of the study's model")
    metrics: Names | None = Field(
        None, description="every plug-in metric of the study must be one of these; an empty list: it has none"
    )
    most_runs: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="runs that this rule lets in altogether, of whichever studies; a run beyond them waits for a "
        "person. A run that goes on after a fault is the same run",
    )
    statistics_only: bool = Field(
        False, description="whether only numbers of people and statistics of cohorts are let out, and nothing learnt"
    )
    manifest: bool = Field(
        True,
        description="whether what would leave is worked out before, as normfed site show does, and nothing else is",
    )


class Policy(Frozen):
    """Which studies may run, and when."""

    approve_by_rule: tuple[ApprovalRule, ...] = Field(
        (),
        max_length=50,
        description="rules by which a study runs without a person's approval, where one of them fits in all that it "
        "names, such as {models: [atlas, ensemble], largest_epsilon: 4, secure_aggregation: true, most_rounds: 50}; "
        "the empty rule {} lets in every study that the rest of this file allows; without a rule each study waits for "
        "normfed site approve",
    )
    models: Names | None = Field(
        None,
        description="models that are ever let in, whoever approves; null: all built-in ones, and those of `plugins`",
    )
    strategies: Names | None = Field(None, description="the same of strategies; fedavg is in every study")
    transforms: Names | None = Field(None, description="the same of transforms")
    hours: tuple[Hours, ...] = Field(
        (),
        max_length=50,
        description="when this machine works for studies, by its own clock, such as ['mon-fri 18:00-06:00', "
        "'sat-sun 00:00-24:00']; what began within them is finished; empty: always",
    )
