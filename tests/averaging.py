"""A model whose gradients are known in closed form, cohorts of points, and the gradients that a rule makes of both."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from synthetic import setting

from normfed_client.training.gradients import GradientRule
from normfed_client.training.loop import Settings, train
from normfed_client.training.per_patient import PerPatient
from normfed_common.foundation.errors import ScanError
from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Cohort, Person, Scan
from normfed_common.learning.phase import Phase
from normfed_common.learning.score import Score
from normfed_common.models.base import NormativeModel
from normfed_common.privacy.mechanisms import SampledGaussian
from normfed_common.study.base import Frozen

KEY = bytes(range(32))
TRAINING = Phase("training", "averaged")
LEAST_P = 1e-4  # the draws are fixed by the key: a test that passed once passes always
WIDTH = 3


class Points:
    """A cohort of points, (samples, WIDTH) of each person; of one who is None nothing can be read."""

    def __init__(self, points: Sequence[np.ndarray | None]) -> None:
        self.points = points

    def __len__(self) -> int:
        return len(self.points)

    def people(self) -> list[list[int]]:
        return [[number] for number in range(len(self.points))]

    def scan(self, index: int) -> Scan:
        points = self.points[index]
        if points is None:
            raise ScanError("the scan is damaged")
        images = np.asarray(points, np.float32)[None, ..., None]
        return Scan(images, np.ones(images.shape[1:], bool), np.zeros(0, np.int32), np.ones(1, bool), Person(index, 50))


class Averaging(NormativeModel):
    """1/2 |w - x|^2, whose gradient is w - x; of samples of two people x is the difference of theirs.

    It notes whom it was shown. A gossip draws signs, and from every stream as much as the data say, so that whoever
    shares one with somebody else shows it.
    """

    Config: ClassVar[type[Frozen]] = Frozen

    def __init__(self, together: int = 1, batch_size: int = 100, gossip: bool = False) -> None:
        super().__init__(Frozen(), setting())
        self.weight = torch.nn.Linear(1, WIDTH, bias=False).to(self.setting.device)
        self.network = torch.nn.ModuleDict({"weight": self.weight})
        torch.nn.init.zeros_(self.weight.weight)
        self.parts = {"weight": self.weight}
        self.together, self.batch_size, self.gossip = together, batch_size, gossip
        self.shown: list[tuple[int, ...]] = []

    def phases(self) -> tuple[Phase, ...]:
        return (TRAINING,)

    @classmethod
    def samples_per_person(cls, config: Frozen) -> int:
        return 1000

    def people_per_sample(self, phase: str) -> int:
        return self.together

    def most_batches(self, phase: str, scans: int) -> int:
        return 1000 * scans

    def batches(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        scans = [cohort.scan(index) for index in range(len(cohort))]
        self.shown.append(tuple(scan.person.index for scan in scans))
        points = [scan.images[0, ..., 0] for scan in scans]
        if self.together == 2 and len(points) == 2:
            points = [points[0][: len(points[1])] - points[1][: len(points[0])]]
        everything = np.concatenate(points)
        if self.gossip:
            everything = everything * np.float32(rng.choice([-1, 1]))
            rng.random(len(everything))
        for start in range(0, len(everything), self.batch_size):
            some = everything[start : start + self.batch_size].copy()
            yield Batch({"x": torch.from_numpy(some)}, torch.zeros(len(some), 1, dtype=torch.int64))

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        factor = int(torch.randint(2, (1,), generator=rng)) * 2 - 1 if self.gossip else 1.0
        return factor * (self.weight.weight[:, 0] - batch.data["x"]).square().sum(1) / 2

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        raise NotImplementedError


def rule(z: float = 0.0, q: float = 1.0, times: int = 1, clip_norm: float = math.inf, **changes: Any) -> PerPatient:
    return replace(PerPatient(KEY, SampledGaussian(z, q, times), clip_norm, samples=1000), **changes)


def settings(rule: GradientRule, **changes: Any) -> Settings:
    given = {"phase": TRAINING, "seed": 1, "site": "a", "round": 1, "epochs": 1, "learning_rate": 0.1, "rule": rule}
    return Settings(**{**given, **changes})  # type: ignore[arg-type]


class Seen:
    """Keeps the gradients of every step, (steps, all parameters)."""

    def __init__(self) -> None:
        self.gradient: list[np.ndarray] = []

    def gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        found = torch.cat([p.grad.reshape(-1) for p in parameters if p.grad is not None])
        self.gradient.append(found.cpu().numpy().copy())

    def parameters(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        pass


def gradients(model: NormativeModel, cohort: Cohort, rule: PerPatient, **changes: Any) -> np.ndarray:
    """Of every step; none of them moves the weights."""
    seen = Seen()
    train(model, cohort, settings(rule, **{"learning_rate": 0.0, "optimiser": "sgd", **changes}), seen)
    return np.array(seen.gradient)


def points(people: int, samples: int = 4, seed: int = 0) -> list[np.ndarray | None]:
    rng = np.random.default_rng(seed)
    return [rng.integers(-8, 9, (samples, WIDTH)).astype(np.float32) for _ in range(people)]
