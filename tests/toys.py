"""Small learners of every kind, each with a closed form or a library beside it, added without an edit elsewhere.

Transforms that centre scans by federated sums, by a mean that stays at the site, pass them through a network, or fill
absent modalities in; a mixture by expectation maximisation until it converges, and a network in two averaged phases
with a part that never leaves a site.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Cohort, Scan
from normfed_common.learning.phase import Phase
from normfed_common.learning.score import Score
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.models.dropout import Dropout
from normfed_common.models.initialisation import initialise
from normfed_common.study.base import Frozen
from normfed_common.transforms.base import ScanTransform
from normfed_common.transforms.catalogue import TRANSFORMS


@contextmanager
def registered() -> Iterator[None]:
    """Within: studies of this process know the toys by name."""
    added = (
        (TRANSFORMS, "centring", Centring),
        (TRANSFORMS, "site-centring", SiteCentring),
        (TRANSFORMS, "retouching", Retouching),
        (TRANSFORMS, "filling", Filling),
        (MODELS, "toy-mixture", Mixture),
        (MODELS, "two-phases", TwoPhases),
    )
    for registry, name, kind in added:
        registry.add(name, kind)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for registry, name, _ in added:
            del registry._entries[name]


def normal_values(scan: Scan) -> np.ndarray:
    """Of normal voxels, float64 of shape (C, n)."""
    return scan.images.reshape(len(scan.images), -1)[:, np.asarray(scan.normal_index)].astype(np.float64)


def widest_difference(setting: Setting) -> tuple[float, float]:
    """Between what a value lies less a mean of values."""
    low, high = setting.value_range
    return low - high, high - low


def less(scan: Scan, mean: np.ndarray) -> Scan:
    """The scan with a mean per modality taken off, where it has brain and the modality."""
    there = scan.present[:, None, None, None] & scan.mask
    return replace(scan, images=(scan.images - mean[:, None, None, None]) * there)


class Centring(ScanTransform):
    """x - mean over all sites' normal voxels, per modality, of those who have it."""

    Config: ClassVar[type[Frozen]] = Frozen

    @classmethod
    def needs(cls, config: Frozen, modalities: tuple[str, ...]) -> tuple[str, ...]:
        return ()

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("means", "summed"),)

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        scans = [cohort.scan(index) for index in range(len(cohort))]
        return {
            "count": np.sum([len(scan.normal_index) * scan.present.astype(float) for scan in scans], axis=0),
            "sum": np.sum([normal_values(scan).sum(1) for scan in scans], axis=0),
        }

    def check(self, phase: str, sums: Arrays) -> None:
        channels = (len(self.setting.modalities),)
        check_shapes(sums, {"count": channels, "sum": channels})
        if (sums["count"] <= 0).any():
            raise WireError("the sums cover no people")

    def absorb(self, phase: str, total: Arrays) -> bool:
        super().absorb(phase, total)
        self.mean = (total["sum"] / total["count"]).astype(np.float32)
        return False

    @property
    def value_range(self) -> tuple[float, float]:
        return widest_difference(self.setting)

    def transform(self, scan: Scan) -> Scan:
        return less(scan, self.mean)


def voxel_batches(
    cohort: Cohort, rng: np.random.Generator, usable: Callable[[Scan], Scan] = lambda scan: scan
) -> Iterator[Batch]:
    """64 normal voxels of every scan."""
    for index in rng.permutation(len(cohort)):
        scan = usable(cohort.scan(int(index)))
        values = normal_values(scan)
        chosen = values[:, rng.integers(values.shape[1], size=64)].T.astype(np.float32)
        yield Batch({"voxels": torch.from_numpy(chosen)}, torch.full((64, 1), scan.person.index))


class SiteCentring(ScanTransform):
    """x - mean over some of the site's own normal voxels, per modality, which never leaves it."""

    Config: ClassVar[type[Frozen]] = Frozen
    keeps_to_site = True

    @classmethod
    def needs(cls, config: Frozen, modalities: tuple[str, ...]) -> tuple[str, ...]:
        return ()

    def __init__(self, config: Frozen, setting: Setting) -> None:
        super().__init__(config, setting)
        self.mean = np.zeros(len(setting.modalities), np.float32)

    def personalise(self, cohort: Cohort, rng: np.random.Generator) -> None:
        values = [normal_values(cohort.scan(index)) for index in range(len(cohort))]
        some = [one[:, rng.integers(one.shape[1], size=50)] for one in values]
        self.mean = np.concatenate(some, axis=1).mean(1).astype(np.float32)

    @property
    def value_range(self) -> tuple[float, float]:
        return widest_difference(self.setting)

    def transform(self, scan: Scan) -> Scan:
        return less(scan, self.mean)


class Retouching(ScanTransform):
    """x + tanh of a linear map of the voxel's values, of which some are dropped in training alone."""

    Config: ClassVar[type[Frozen]] = Frozen

    @classmethod
    def needs(cls, config: Frozen, modalities: tuple[str, ...]) -> tuple[str, ...]:
        return ()

    def __init__(self, config: Frozen, setting: Setting) -> None:
        super().__init__(config, setting)
        channels = len(setting.modalities)
        self.dropout, self.linear = Dropout(0.5), torch.nn.Linear(channels, channels)
        network = torch.nn.Sequential(self.dropout, self.linear)
        initialise(network, seeds.torch_generator(setting.seed, "initial weights", "retouching"))
        self.network = network.to(setting.device)
        self.parts = {"linear": self.linear}

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("retouching", "averaged", rounds=1),)

    @classmethod
    def samples_per_person(cls, config: Frozen) -> int:
        return 64

    def batches(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        return voxel_batches(cohort, rng)

    def most_batches(self, phase: str, scans: int) -> int:
        return scans

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        self.dropout.generator = rng
        return self._correction(batch.data["voxels"]).square().sum(1)

    @property
    def value_range(self) -> tuple[float, float]:
        low, high = self.setting.value_range
        return low - 1, high + 1

    def transform(self, scan: Scan) -> Scan:
        x = torch.from_numpy(scan.images[:, scan.mask].T.copy()).to(self.setting.device)
        images = scan.images.copy()
        images[:, scan.mask] += self._correction(x).T.cpu().numpy() * scan.present[:, None]
        return replace(scan, images=images)

    def _correction(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.linear(self.dropout(x)))


class Filling(ScanTransform):
    """An absent modality is the mean of those that are there."""

    Config: ClassVar[type[Frozen]] = Frozen

    @classmethod
    def needs(cls, config: Frozen, modalities: tuple[str, ...]) -> tuple[str, ...]:
        return ()

    @classmethod
    def fills(cls, config: Frozen, modalities: tuple[str, ...]) -> tuple[str, ...]:
        return modalities

    def transform(self, scan: Scan) -> Scan:
        images = np.array(scan.images)
        images[~scan.present] = images[scan.present].mean(0)
        return replace(scan, images=images, present=np.ones_like(scan.present))


class MixtureConfig(Frozen):
    components: int = Field(2, ge=1, le=8)
    rounds: int = Field(40, ge=1, le=1000)


class Mixture(NormativeModel):
    """A Gaussian mixture of the first modality, by expectation maximisation over sums (Dempster 1977)."""

    Config: ClassVar[type[Frozen]] = MixtureConfig

    def __init__(self, config: MixtureConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        k = config.components
        self.weights = np.full(k, 1 / k)
        self.means = np.linspace(0.2, 0.8, k)
        self.variances = np.full(k, 0.05)
        self.likelihood = -np.inf

    @classmethod
    def needs(cls, config: MixtureConfig, modalities: tuple[str, ...]) -> tuple[str, ...]:
        return modalities[:1]

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("em", "summed", rounds=self.config.rounds),)

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        totals = {"responsibility": 0.0, "sum": 0.0, "squares": 0.0, "likelihood": 0.0}
        for index in range(len(cohort)):
            x = normal_values(self._with_the_first(cohort.scan(index)))[0]
            joint = self._joint(x)
            log_p = np.logaddexp.reduce(joint, 0)
            r = np.exp(joint - log_p)
            for name, value in (
                ("responsibility", r.sum(1)),
                ("sum", r @ x),
                ("squares", r @ x**2),
                ("likelihood", log_p.sum()),
            ):
                totals[name] = totals[name] + value
        return {name: np.asarray(value, np.float64) for name, value in totals.items()}

    def check(self, phase: str, sums: Arrays) -> None:
        k = (self.config.components,)
        check_shapes(sums, {"responsibility": k, "sum": k, "squares": k, "likelihood": ()})
        if (sums["responsibility"] < 0).any() or sums["responsibility"].sum() <= 0:
            raise WireError("the sums cover no people")

    def absorb(self, phase: str, total: Arrays) -> bool:
        super().absorb(phase, total)
        n = np.maximum(total["responsibility"], 1e-12)
        self.weights = n / n.sum()
        self.means = total["sum"] / n
        self.variances = np.maximum(total["squares"] / n - self.means**2, 1e-6)
        likelihood = float(total["likelihood"] / n.sum())
        converged = likelihood - self.likelihood < 1e-3
        self.likelihood = likelihood
        return converged

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        scan = self._with_the_first(visits[-1])
        log_p = np.logaddexp.reduce(self._joint(scan.images[0][scan.mask].astype(np.float64)), 0)
        most = np.logaddexp.reduce(np.log(self.weights) - 0.5 * np.log(2 * np.pi * self.variances))
        found, doubt = np.zeros(scan.mask.shape, np.float32), np.zeros(scan.mask.shape, np.float32)
        found[scan.mask] = most - log_p
        doubt[scan.mask] = 1 / np.sqrt(self.sums("em")["responsibility"].sum())
        return Score(found, uncertainty=doubt, extras={"first": scan.images[0] * scan.mask})

    def _with_the_first(self, scan: Scan) -> Scan:
        return scan if scan.present[0] else self.with_every_modality(scan)

    def _joint(self, x: np.ndarray) -> np.ndarray:
        """log w_k N(x; mu_k, s_k), (k, n)."""
        squared = (x[None] - self.means[:, None]) ** 2 / self.variances[:, None]
        joint: np.ndarray = -0.5 * (squared + np.log(2 * np.pi * self.variances)[:, None])
        joint += np.log(self.weights)[:, None]
        return joint


class TwoPhases(NormativeModel):
    """Encoder and adapter first, then a mean of codes by sums, then the decoder; the adapter never leaves a site."""

    Config: ClassVar[type[Frozen]] = Frozen
    personal = ("adapter",)

    def __init__(self, config: Frozen, setting: Setting) -> None:
        super().__init__(config, setting)
        channels = len(setting.modalities)
        network = torch.nn.ModuleDict(
            {
                "encoder": torch.nn.Linear(channels, 3),
                "adapter": torch.nn.Linear(3, 3),
                "decoder": torch.nn.Linear(3, channels),
            }
        )
        initialise(network, seeds.torch_generator(setting.seed, "initial weights", "two phases"))
        self.network = self.parts = network.to(setting.device)  # type: ignore[assignment]

    def phases(self) -> tuple[Phase, ...]:
        return (
            Phase("encoding", "averaged", parts=("encoder", "adapter"), rounds=2),
            Phase("decoding", "averaged", parts=("decoder",), rounds=3),
        )

    @classmethod
    def samples_per_person(cls, config: Frozen) -> int:
        return 64

    def batches(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        return voxel_batches(cohort, rng, self.with_every_modality)

    def most_batches(self, phase: str, scans: int) -> int:
        return scans

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        x = batch.data["voxels"]
        return (x - self._decode(x)).square().sum(1)

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        scan = self.with_every_modality(visits[-1])
        with torch.inference_mode():
            x = torch.from_numpy(scan.images[:, scan.mask].T.copy()).to(self.setting.device)
            error = (x - self._decode(x)).square().sum(1).cpu().numpy()
        found = np.zeros(scan.mask.shape, np.float32)
        found[scan.mask] = error
        return Score(found)

    def _decode(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.parts
        decoded: torch.Tensor = parts["decoder"](torch.tanh(parts["adapter"](torch.tanh(parts["encoder"](x)))))
        return decoded
