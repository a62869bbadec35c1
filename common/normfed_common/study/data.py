"""Where the scans come from, who belongs to which site, who trains and who tests."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from normfed_common.study.base import Frozen, NamedEntry
from normfed_common.study.modalities import Modality

LONGEST_SITE_NAME = 63  # characters
SITE_NAME = rf"^[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST_SITE_NAME - 1}}}$"
SiteName = Annotated[str, StringConstraints(pattern=SITE_NAME)]
MEANT_OTHERWISE = {"all": "all sites together", "pooled": "the site that a simulation makes up of all scans"}
SubjectName = Annotated[str, StringConstraints(pattern=r"^sub-[A-Za-z0-9]+$")]

Vendor = Literal["siemens", "ge", "philips"]


def not_meant_otherwise(name: str) -> str:
    """The name of a new site, unless results would confuse it with what they call so, in whatever case.

    Raises
    ------
    ValueError
        If it is one of `MEANT_OTHERWISE`.
    """
    means = MEANT_OTHERWISE.get(name.lower())
    if means is not None:
        raise ValueError(f"no site can be called {name}, for results call {means} so")
    return name


def site_name(text: str) -> str:
    """A name that a site can have, made of what a dataset calls it: ``St. Mary's`` becomes ``St.-Mary-s``.

    Empty where nothing of ``text`` can be part of a name.
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:LONGEST_SITE_NAME]


def site_names(texts: Iterable[str]) -> dict[str, str]:
    """`site_name` of each text.

    Raises
    ------
    ValueError
        If two texts would be one site.
    """
    found: dict[str, str] = {}
    for text in sorted(set(texts)):
        name = site_name(text)
        twin = next((other for other in found if found[other] == name), None)
        if twin is not None:
            raise ValueError(f"{twin!r} and {text!r} would both be the site {name}")
        found[text] = name
    return found


def _known_field(tesla: float) -> float:
    if tesla not in (1.5, 3.0):
        raise ValueError("field_tesla must be 1.5 or 3.0")
    return tesla


FieldTesla = Annotated[float, AfterValidator(_known_field)]
Contrast = Literal["T1w", "FLAIR"]  # of the synthetic scanners
LesionKind = Literal["WMH", "MS", "tumour", "FCD"]
AdaptUnseen = Literal["nobody", "held-out", "everybody"]
Share = Annotated[float, Field(ge=0, le=1)]


def _at_most_one(without: dict[Contrast, float]) -> dict[Contrast, float]:
    if sum(without.values()) > 1:
        raise ValueError("the shares add up to more than 1: nobody is without two")
    return without


class PhantomSite(Frozen):
    """One synthetic hospital."""

    name: Annotated[SiteName, AfterValidator(not_meant_otherwise)] = Field(description="letters, digits, dots, hyphens")
    vendor: Vendor = Field(description="of its scanner: each has its own contrast, noise and bias field")
    field_tesla: FieldTesla = Field(description="of its scanner: 1.5 or 3.0")
    controls: int = Field(ge=0, le=100_000, description="healthy people, including those held out from training")
    patients: dict[LesionKind, Annotated[int, Field(ge=0, le=100_000)]] = Field(
        default_factory=dict, description="people per kind of lesion"
    )
    native: bool = Field(False, description="written in a tilted native space, so that registration has work to do")
    without: Annotated[dict[Contrast, Share], AfterValidator(_at_most_one)] = Field(
        default_factory=dict,
        exclude_if=operator.not_,  # datasets that were made without the key keep their digests
        description="modality to the share of the people who have no such scan",
    )


class PhantomConfig(Frozen):
    """Synthetic hospitals made from the MNI152 template and its tissue maps."""

    sites: tuple[PhantomSite, ...] = Field(
        min_length=1,
        description="the hospitals, each with its scanner and people",
        examples=["[{name: a, vendor: siemens, field_tesla: 3.0, controls: 12, patients: {WMH: 3}}]"],
    )
    voxel_size_mm: int = Field(2, ge=1, le=4, description="of the scans that are written")


def _by(entry: Any) -> Any:
    """``scanner`` is short for ``{by: scanner}``."""
    return {"by": entry} if isinstance(entry, str) else entry


class DataConfig(Frozen):
    """The cohort of a study."""

    phantom: PhantomConfig | None = Field(None, description="make synthetic hospitals instead of reading a dataset")
    dataset: NamedEntry | None = Field(
        None,
        description="the dataset of that name, made on this machine or read as it came (--data), and its parameters",
    )
    split: Annotated[dict[str, Any], BeforeValidator(_by)] | None = Field(
        None,
        exclude_if=operator.not_,  # studies without the key keep their digests
        description="in a simulation, divide the people among other sites than their own: by what, and its parameters",
        examples=["{by: dirichlet, over: age, alpha: 0.5, sites: 6}"],
    )
    modalities: tuple[Modality, ...] = Field(
        min_length=1,
        max_length=4,
        description="BIDS suffixes, or FA and MD for maps of the diffusion tensor, channel order",
        examples=["[T1w, FLAIR]"],
    )
    may_lack: tuple[Modality, ...] = Field(
        (),
        exclude_if=operator.not_,  # studies without the key keep their digests
        description="modalities without which a scan is used all the same; whoever lacks another is left out",
    )
    sites: tuple[SiteName, ...] | None = Field(None, description="the sites that take part; all when absent")
    train_sites: tuple[SiteName, ...] | None = Field(
        None, description="the sites that train; when absent, all that have somebody normal"
    )
    out_of_sample: tuple[SiteName, ...] = Field(
        (), description="sites that never train, so that every model is new to them; their healthy people are held out"
    )
    adapt_unseen: AdaptUnseen = Field(
        "nobody",
        exclude_if=lambda whom: whom == "nobody",  # studies without the key keep their digests
        description="at a site that has nobody to train on, from whom the study's transforms learn what is the site's "
        "own (ComBat its scanners' effects): nobody, its healthy people (held-out), or all its people, whose lesions "
        "nobody tells them (everybody)",
    )
    exclude: dict[SubjectName | SiteName, str] = Field(
        default_factory=dict, description="people (sub-X) or sites left out, each with its reason"
    )
    people_per_site: int | None = Field(
        None,
        ge=2,
        exclude_if=lambda people: people is None,  # studies without the key keep their digests
        description="in a simulation, at most so many people of each site, for a first try: drawn by the study's seed, "
        "healthy people and patients in their proportions; everybody when absent",
    )
    normal: Literal["controls", "lesion-free-tissue", "lesion-free-slices"] = Field(
        "controls",
        description="what counts as normal: healthy people, patients' tissue far from any lesion, or patients' axial "
        "slices without any (in simulations)",
    )
    control_groups: tuple[str, ...] = Field(("control",), description="values of `group` that mean healthy")
    ill_groups: tuple[str, ...] = Field(
        (),
        exclude_if=operator.not_,  # studies without the key keep their digests
        description="values of `group` that mean ill though nobody drew a lesion, such as PD: these people test, and "
        "only figures of whole people are theirs",
    )
    test_on: Literal["patients", "held-out"] = Field(
        "patients",
        exclude_if=lambda whom: whom == "patients",  # studies without the key keep their digests
        description="who is scored once the model is trained: patients; or, where there are none, the held-out healthy "
        "people, who set the thresholds: nothing is said of lesions then, and the model is for `normfed score`",
    )
    lesion_labels: tuple[str, ...] | None = Field(
        None, description="labels of the lesion masks that count; all but brain and tissue when absent"
    )
    held_out_share: float = Field(
        0.2, ge=0, lt=1, description="share of the normal people kept from training: thresholds, image-level AUROC"
    )
    held_out_people: int | None = Field(None, ge=0, description="a number for each site instead of the share")
    test_share: float = Field(
        0.5, gt=0, lt=1, description="where patients train: share of each training site's people who only test"
    )

    @property
    def made(self) -> dict[str, Any] | None:
        """The dataset that a simulation makes, or reads as it came, by name and parameters; None for any other."""
        return self.dataset if self.phantom is None else {"name": "phantom", **self.phantom.model_dump(mode="json")}

    @property
    def required(self) -> tuple[Modality, ...]:
        """The modalities that every scan has."""
        return tuple(modality for modality in self.modalities if modality not in self.may_lack)

    @property
    def tests_without_lesions(self) -> bool:
        """Whether nobody at a site who tests may have a lesion mask."""
        return bool(self.ill_groups) or self.test_on == "held-out"

    def trains(self, site: str) -> bool:
        """Whether a site may train at all."""
        return site not in self.out_of_sample and (self.train_sites is None or site in self.train_sites)

    @model_validator(mode="after")
    def _training_sites_take_part(self) -> DataConfig:
        if self.sites is not None and self.train_sites is not None:
            strangers = sorted(set(self.train_sites) - set(self.sites))
            if strangers:
                raise ValueError(f"train_sites names {', '.join(strangers)}, which sites does not list")
        if self.ill_groups and self.normal != "controls":
            raise ValueError(
                f"ill_groups takes normal: controls; of {', '.join(self.ill_groups)} no tissue is known normal"
            )
        if self.test_on == "held-out" and self.normal != "controls":
            raise ValueError("test_on: held-out takes normal: controls; lesion-free tissue is of patients, who test")
        if self.test_on == "held-out" and self.ill_groups:
            raise ValueError("test_on: held-out and ill_groups exclude each other")
        if shared := sorted(set(self.ill_groups) & set(self.control_groups)):
            raise ValueError(f"{', '.join(shared)} is in control_groups and in ill_groups")
        if self.phantom is not None and self.dataset is not None:
            raise ValueError("phantom and dataset exclude each other")
        both = sorted(set(self.train_sites or ()) & set(self.out_of_sample))
        if both:
            raise ValueError(f"{', '.join(both)} is in train_sites and in out_of_sample")
        if len(set(self.modalities)) != len(self.modalities):
            raise ValueError("modalities lists one of them twice")
        unknown = [modality for modality in self.may_lack if modality not in self.modalities]
        if unknown:
            raise ValueError(f"may_lack names {', '.join(unknown)}, which modalities does not list")
        if not self.required:
            raise ValueError("may_lack lists every modality: of a scan without any there is nothing to see")
        return self
