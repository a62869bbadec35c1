"""Several models as one: what is rare for any of them is suspicious, whatever the scales of their scores.

    score = sum_i w_i (-log p_i) / sum_i w_i        over the members that can score the scan

with p_i the tail probability of member i's score among normal voxels (see `calibration`). It is Fisher's combination of
independent tests (1932, Statistical methods for research workers, 21.1) with weights (Good 1955, JRSS B 17:264), as a
mean: 1 on average in normal people, with any number of members. Unlike a sum of normal scores (Stouffer 1949) it stays
high where one member alone is certain, as of a lesion that one modality shows; a member that sees nothing costs the
others much, and deserves a small weight. Weights are the study's, never fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from normfed_common.foundation import seeds
from normfed_common.foundation.errors import PluginError, ScanError, StudyError
from normfed_common.learning.cohort import Cohort, Scan
from normfed_common.learning.entries import config_of, draws, postprocessing_of, samples_per_person
from normfed_common.learning.phase import Phase
from normfed_common.learning.score import Score
from normfed_common.learning.setting import Setting
from normfed_common.models.catalogue import MODELS
from normfed_common.models.combined.calibration import TailCalibration
from normfed_common.models.combined.composite import Composite
from normfed_common.models.combined.members import Member
from normfed_common.models.combined.pipeline import assemble
from normfed_common.study.base import Frozen, NamedEntry
from normfed_common.study.postprocessing import KEY, OFF
from normfed_common.study.validation import SENTENCE

NAME = "ensemble"
MOST_MEMBERS = 8
LONGEST_TITLE = 100  # names of models have a bound on the wire, and more behind them


def _resolved(entry: dict[str, Any]) -> dict[str, Any]:
    """A member's entry with the defaults of its model filled in."""
    if entry.get("name") == NAME:
        raise PydanticCustomError(SENTENCE, "an ensemble cannot be a member. List its members instead.")
    try:
        found = {"name": entry.get("name"), **config_of(MODELS, entry).model_dump(mode="json")}
    except StudyError as error:
        raise PydanticCustomError(SENTENCE, str(error).removeprefix(f"{MODELS.kind}: ")) from error
    if KEY in entry:
        found[KEY] = postprocessing_of(entry, OFF).model_dump(mode="json")
    return found


MemberEntry = Annotated[NamedEntry, AfterValidator(_resolved)]


class EnsembleConfig(Frozen):
    """Which models, and how much each counts."""

    members: tuple[MemberEntry, ...] = Field(
        ({"name": "atlas"}, {"name": "intensity"}),
        description="names and parameters of models, each with a `postprocessing` of its own or none",
        examples=["[{name: atlas}, {name: intensity}]"],
    )
    weights: tuple[Annotated[float, Field(ge=0, le=1e6)], ...] | None = Field(
        None, description="one per member; all alike when absent"
    )
    by: Literal["ranks"] = Field("ranks", description="what is fused: tail probabilities among normal voxels")
    by_tissue: bool = Field(False, description="ranks among voxels of the template's same tissue: grey, white or fluid")

    @field_validator("members")
    @classmethod
    def _some(cls, members: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        if not 1 <= len(members) <= MOST_MEMBERS:
            raise ValueError(f"members must be 1 to {MOST_MEMBERS} models")
        return members

    @field_validator("weights")
    @classmethod
    def _one_each(cls, weights: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
        members = info.data.get("members", weights or ())
        if weights is not None and (len(weights) != len(members) or not sum(weights)):
            raise ValueError(f"weights must be {len(members)} numbers, one per member, not all 0")
        return weights

    @property
    def weighed(self) -> tuple[float, ...]:
        """The weight of every member."""
        return self.weights or (1.0,) * len(self.members)


class Ensemble(Composite):
    """See the module.

    Members are learnt one after the other, each as if it were alone, then calibrated together. What is theirs begins
    with their number, ``member-1-moments``. The first draws from the study's seed, the others from seeds of their own,
    so that the same network twice is two networks. The map is the ensemble's alone: neither uncertainties of its
    members nor their further maps are on its scale. What they remark on a scan is passed on.

    Raises
    ------
    PluginError
        If a member has a part that never leaves a site: counts of scores need one model everywhere.
    """

    Config: ClassVar[type[Frozen]] = EnsembleConfig
    cited: ClassVar[tuple[str, ...]] = ("fisher1932", "good1955")

    def __init__(self, config: EnsembleConfig, setting: Setting) -> None:
        self.members = [_member(number, config, setting) for number in range(len(config.members))]
        for member in self.members:
            if member.model.personal:
                raise PluginError(
                    f"its {member.name} ({type(member.model).__name__}) keeps {', '.join(member.model.personal)} at "
                    "the sites, and scores that are counted together need one model everywhere."
                )
        self.calibration = TailCalibration(setting, self.members, config.weighed, config.by_tissue)
        super().__init__(config, setting, {member.name: member.model for member in self.members}, self.calibration)
        self._is_here = False  # whether those who are counted are this site's, and up to date

    @classmethod
    def title(cls, config: EnsembleConfig, modalities: tuple[str, ...]) -> str:
        """Such as ensemble-of-atlas+flair-intensity."""
        names = [
            MODELS[entry["name"]].title(config_of(MODELS, entry), modalities) or entry["name"]
            for entry in config.members
        ]
        title = f"{NAME}-of-{'+'.join(names)}"
        return title if len(title) <= LONGEST_TITLE else NAME

    @classmethod
    def samples_per_person(cls, config: EnsembleConfig) -> int:
        """The most that a member draws: they are trained in phases of their own."""
        return max(samples_per_person(MODELS, entry) for entry in config.members)

    @classmethod
    def draws(cls, config: EnsembleConfig) -> bool:
        """What a member draws: its scores are counted over all people."""
        return any(draws(MODELS, entry) for entry in config.members)

    @classmethod
    def needs(cls, config: EnsembleConfig, modalities: tuple[str, ...]) -> tuple[str, ...]:
        """What every member needs that counts: of a scan without something else, the others say what they see."""
        weighed = zip(config.members, config.weighed, strict=True)
        each = [_needs(entry, modalities) for entry, weight in weighed if weight]
        return tuple(name for name in modalities if all(name in needed for needed in each))

    def phases(self) -> tuple[Phase, ...]:
        """Of members with networks first: sums that are there already would travel with every round."""
        return tuple(sorted(super().phases(), key=lambda phase: self.whose(phase.name).network is None))

    def personalise(self, cohort: Cohort, rng: np.random.Generator) -> None:
        """Every member that keeps something to its site."""
        for member in self.members:
            if member.model.keeps_to_site:
                member.model.personalise(member.learns_from(cohort), rng)

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """The evidence of the members that can score the visit, together.

        Raises
        ------
        ScanError
            If none can, or the visit lacks a modality in a study whose scans have all.
        """
        scan = visits[-1]
        if not self.setting.may_lack:
            self.with_every_modality(scan)
        index = np.flatnonzero(scan.mask)
        scores = self.calibration.scores(self.members, visits, rng)
        if not scores:
            self._refuse(scan)
        found = np.zeros(scan.mask.size, np.float32)
        found[index] = self.calibration.combined(self.calibration.said(scores, index))
        remarks = dict.fromkeys(remark for one in scores.values() for remark in one.remarks)
        return Score(found.reshape(scan.mask.shape), remarks=tuple(remarks))

    def _refuse(self, scan: Scan) -> None:
        self.with_every_modality(scan)
        raise ScanError("no member of the ensemble has learnt from anybody. Train it on people who have what it needs.")

    def _seen_by(self, number: int, cohort: Cohort) -> Cohort:
        """A member learns from the scans that have what it needs; they are counted as the site will score with them."""
        if number < len(self.members):
            self._changes(number)  # by training
            return self.members[number].learns_from(cohort)
        if not self._is_here:
            self.calibration.members = [self._here(number, cohort) for number in range(len(self.members))]
            self._is_here = True
        return cohort

    def _here(self, number: int, cohort: Cohort) -> Member:
        """A member as the site scores with it; what it keeps to the site is learnt by another that is like it."""
        member = self.members[number]
        if not member.model.keeps_to_site:
            if member.model.network is not None:
                member.model.network.eval()
            return member
        with torch.random.fork_rng(devices=[]):  # networks draw weights before they get those of the seed
            other = _member(number, self.config, self.setting)
        other.model.load(member.model.share())
        rng = seeds.generator(self.setting.seed, "personalise", member.name)
        other.model.personalise(other.learns_from(cohort), rng)
        return other

    def _changes(self, number: int) -> None:
        if number < len(self.members):
            self._is_here = False


def _member(number: int, config: EnsembleConfig, setting: Setting) -> Member:
    """A member by its place, from 0; only the first draws as the study does."""
    entry = config.members[number]
    own = replace(setting, postprocessing=OFF, seed=seeds.of_repeat(setting.seed, number))
    shared = Ensemble.needs(config, setting.modalities)
    needs = tuple(name for name in _needs(entry, setting.modalities) if name not in shared)
    return Member(f"member-{number + 1}", assemble((), entry, own), needs)


def _needs(entry: dict[str, Any], modalities: tuple[str, ...]) -> tuple[str, ...]:
    return MODELS[entry["name"]].needs(config_of(MODELS, entry), modalities)
