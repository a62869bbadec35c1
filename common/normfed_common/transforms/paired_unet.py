"""Harmonization by a network that was shown people on two scanners: DeepHarmony.

Dewey, Zhao, Reinhold, Carass, Fitzgerald, Sotirchos, Saidha, Oh, Pham, Calabresi, van Zijl, Prince 2019 (Magnetic
Resonance Imaging 64:160). One U-Net per view turns slices of the source scanner into slices of the target scanner,

    L = mean |network(source) - target|        harmonized = median over the views of network(source)

trained on patches around random voxels of the brain, by Adam, without dropout or weight decay. Scans of the target
scanner, and of scanners that are neither, stay as they are. Only sites with people who were scanned on both take part
in the training, and only if these are at least as many as the site tells anything of together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from normfed_common.foundation import seeds
from normfed_common.foundation.errors import ScanError, SiteCode, SiteError, StudyError
from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Cohort, Person, Scan
from normfed_common.learning.phase import Phase
from normfed_common.learning.setting import Setting
from normfed_common.study.base import Frozen
from normfed_common.study.modalities import Modality
from normfed_common.transforms.base import ScanTransform
from normfed_common.transforms.paired.network import MULTIPLE, VIEWS, ViewNetworks
from normfed_common.transforms.paired.pairs import drawn, patches, scanned_on, travelled

SLICES_AT_ONCE = 16
LONGEST_NAME = 200  # of a scanner and its site


class PairedUNetConfig(Frozen):
    """Parameters of DeepHarmony; defaults as published, for images of about 1 mm."""

    source: str = Field(
        min_length=1,
        max_length=LONGEST_NAME,
        description="the scanner whose scans are changed, as `participants.tsv` or `sessions.tsv` calls it; "
        "`site/scanner` of one site alone, and a site's name where it has one scanner",
    )
    target: str = Field(min_length=1, max_length=LONGEST_NAME, description="the scanner that they shall look like")
    mapping: Literal["many-to-many", "many-to-one", "one-to-one"] = Field(
        "many-to-many",
        description="modalities that a network sees and makes: all and all, all and one (a network for each), or one "
        "and the same one",
    )
    modalities: tuple[Modality, ...] | None = Field(
        None, min_length=1, description="that are changed; all of the study's when absent"
    )
    patch_size: int = Field(
        128, ge=2 * MULTIPLE, le=512, multiple_of=MULTIPLE, description="pixels; 64 is enough at 2 mm"
    )
    patches_per_scan: int = Field(250, ge=1, le=100_000, description="drawn anew for every epoch")
    batch_size: int = Field(8, ge=1, le=1024, description="places, each with a patch per view")
    filters: int = Field(16, ge=2, le=128, description="of the first level; doubled by each of four")

    @model_validator(mode="after")
    def _two_scanners(self) -> PairedUNetConfig:
        if self.source == self.target:
            raise ValueError(f"source and target are both {self.source}: name two scanners")
        return self


class PairedUNet(ScanTransform):
    """See the module.

    Raises
    ------
    StudyError
        If a modality is named that the study does not have.
    """

    Config: ClassVar[type[Frozen]] = PairedUNetConfig
    cited: ClassVar[tuple[str, ...]] = ("dewey2019",)
    network: ViewNetworks

    def __init__(self, config: PairedUNetConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        changed = _changed(config, setting.modalities)
        unknown = [modality for modality in changed if modality not in setting.modalities]
        if unknown:
            known = ", ".join(setting.modalities)
            raise StudyError(f"modalities: the study has no {unknown[0]}, only {known}. Change `modalities`.")
        self.channels = [setting.modalities.index(modality) for modality in changed]
        network = ViewNetworks(_groups(config, self.channels, range(len(setting.modalities))), config.filters)
        network.initialise(seeds.torch_generator(setting.seed, "initial weights", "paired-unet"))
        self.network = network.to(setting.device)
        self.parts = self.network.parts()

    @classmethod
    def samples_per_person(cls, config: PairedUNetConfig) -> int:
        """Places."""
        return config.patches_per_scan

    @classmethod
    def needs(cls, config: PairedUNetConfig, modalities: tuple[str, ...]) -> tuple[str, ...]:
        """What a network sees and cannot do without; one that sees what it makes alone is left out where that is not
        there."""
        return () if config.mapping == "one-to-one" else modalities

    def phases(self) -> tuple[Phase, ...]:
        """All networks in the same rounds: each has its own part of the loss, so none knows of the others."""
        return (Phase("training", "averaged"),)

    def batches(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        """Patches of all views around the same places, see `patches`; ``present``, of shape (n, C), says what both
        scans have.

        Raises
        ------
        SiteError
            If there are fewer people with both scanners than the site tells anything of together.
        """
        config = self.config
        people = travelled(cohort, config.source, config.target)
        if len(people) < max(1, self.setting.told_together) and not self.setting.private:
            raise SiteError(SiteCode.NOTHING_PAIRED, self._without(cohort, len(people)))
        rest = drawn(cohort, people, config.patches_per_scan, rng)
        while places := list(islice(rest, config.batch_size)):
            pairs = [(cohort.scan(place.source), cohort.scan(place.target)) for place in places]
            samples = [
                patches(*pair, place.centre, config.patch_size) for pair, place in zip(pairs, places, strict=True)
            ]
            data = {name: torch.from_numpy(np.stack([s[name] for s in samples])) for name in samples[0]}
            present = np.stack([source.present & target.present for source, target in pairs])
            data["present"] = torch.from_numpy(present[:, self.channels].astype(np.float32))
            yield Batch(data, torch.tensor([[source.person.index] for source, _ in pairs]))

    def told_apart(self, phase: str, scans: Sequence[Person]) -> Sequence[Sequence[int]]:
        """Those of the people who were scanned on both."""
        names = (self.config.source, self.config.target)
        on = [{person.index for person in scans if scanned_on(person, name)} for name in names]
        both = on[0] & on[1]
        return [
            [n for n, who in enumerate(scans) if who.index in both and any(scanned_on(who, name) for name in names)]
        ]

    def most_batches(self, phase: str, scans: int) -> int:
        """If all were of the source scanner."""
        return math.ceil(scans * self.config.patches_per_scan / self.config.batch_size)

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> Tensor:
        """The mean absolute error where both scans' tissue is normal and in the background, over views and modalities;
        what lies beyond the grid does not count."""
        data, present = batch.data, batch.data["present"][:, :, None, None]
        errors: list[Tensor] = []
        for view in VIEWS:
            weights = data[f"{view}_counts"] * present
            error = (
                self.network(view, data[f"{view}_source"]).float() - data[f"{view}_target"][:, self.channels]
            ).abs()
            errors.append((error * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3)).clamp(min=1))
        return torch.stack(errors).mean(0)

    def transform(self, scan: Scan) -> Scan:
        """The median of the views' images, within the range of values, where the scan is of the source scanner."""
        lacking = [
            modality
            for modality, there in zip(self.setting.modalities, scan.present, strict=True)
            if not there and modality in self.needs(self.config, self.setting.modalities)
        ]
        if lacking:
            raise ScanError(
                f"the scan has no {' and no '.join(lacking)}, which paired-unet needs. Leave the person out, or write "
                "`mapping: one-to-one`."
            )
        if not scanned_on(scan.person, self.config.source):
            return scan
        if self.network.normalised_elsewhere:
            raise ScanError(
                f"paired-unet cannot change scans of {self.config.source} here: the study's strategy keeps batch "
                "normalisation at the sites, and this site never trained its own, for nobody was scanned on "
                f"{self.config.target} as well. Take a strategy that shares it, such as fedavg."
            )
        found = torch.stack([self._seen_in(view, scan.images) for view in VIEWS]).median(0).values.numpy()
        images = np.array(scan.images)
        low, high = self.setting.value_range
        for made, channel in zip(found, self.channels, strict=True):
            if scan.present[channel]:
                images[channel] = np.where(scan.mask, made.clip(low, high), 0)
        return replace(scan, images=images)

    def _seen_in(self, view: str, images: np.ndarray) -> Tensor:
        """All slices of a view, (C, X, Y, Z), on the CPU."""
        axis = 1 + VIEWS.index(view)
        slices = torch.from_numpy(np.moveaxis(images, axis, 0).copy())  # scans cannot be written to
        height, width = slices.shape[2:]
        padding = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        made = []
        for part in slices.split(SLICES_AT_ONCE):
            with self.setting.autocast():
                found = self.network(view, torch.nn.functional.pad(part, padding).to(self.setting.device))
            made.append(found[:, :, :height, :width].float().cpu())
        return torch.cat(made).movedim(0, axis)

    def _without(self, cohort: Cohort, paired: int) -> str:
        """For the site's own log."""
        config = self.config
        scanners = {cohort.scan(index).person.scanner for index in range(len(cohort))}
        unknown = [
            name
            for name in (config.source, config.target)
            if not any(scanned_on(cohort.scan(index).person, name) for index in range(len(cohort)))
        ]
        if unknown:
            known = ", ".join(sorted(filter(None, scanners))) or "none, for no scanner is told"
            return f"paired-unet: no scan is of {' or '.join(unknown)}; the scanners here are {known}"
        needed = max(1, self.setting.told_together)
        return (
            f"paired-unet: {paired} of {len(cohort.people())} people were scanned on {config.source} and "
            f"{config.target}; {needed} are needed"
        )


def _changed(config: PairedUNetConfig, modalities: tuple[str, ...]) -> tuple[str, ...]:
    return modalities if config.modalities is None else config.modalities


def _groups(
    config: PairedUNetConfig, changed: Sequence[int], everything: Sequence[int]
) -> list[tuple[Sequence[int], Sequence[int]]]:
    """Channels that each network sees, and those that it makes."""
    if config.mapping == "many-to-many":
        return [(everything, changed)]
    alone = config.mapping == "one-to-one"
    return [([channel] if alone else everything, [channel]) for channel in changed]
