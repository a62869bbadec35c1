"""Federations of quadratics, whose optima are known: the real objectives and server steps, without messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from synthetic import setting

from normfed_client.hospital.personal import PersonalStore
from normfed_client.training.loop import Settings, mean_loss
from normfed_client.training.objectives import OBJECTIVES, Outcome, Round
from normfed_common.algorithms.sharing import personal_arrays
from normfed_common.algorithms.table import configure
from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Cohort, Scan
from normfed_common.learning.phase import Phase
from normfed_common.learning.score import Score
from normfed_common.models.base import NormativeModel
from normfed_common.studies import validate_strategy
from normfed_common.study.base import Frozen
from normfed_common.study.federation import FederationConfig
from normfed_common.wire.offers import Offer
from normfed_server.steps.base import Update
from normfed_server.steps.catalogue import make_step
from normfed_server.steps.progress import Progress

TRAINING = Phase("training", "averaged")
STEM, DECODER = "network.stem.weight", "network.decoder.weight"


@dataclass
class Bowl:
    """A site: loss a/2 ||w - b||^2, ``size`` people, ``steps`` batches an epoch."""

    size: int
    b: np.ndarray
    a: float = 1.0
    steps: int = 3

    def __len__(self) -> int:
        return self.size

    def people(self) -> list[list[int]]:
        return [[person] for person in range(self.size)]

    def scan(self, index: int) -> Scan:
        raise NotImplementedError


class Vector(torch.nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(size))


class Network(torch.nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.stem, self.decoder = Vector(size), Vector(size)
        self.norm = torch.nn.LayerNorm(size)


class Quadratic(NormativeModel):
    """Both parts, and the scale of a norm layer, are pulled to the site's b."""

    Config = Frozen

    def __init__(self, size: int = 2) -> None:
        super().__init__(Frozen(), setting())
        self.network = self.net = Network(size).to(self.setting.device)
        self.parts = {
            "stem": self.net.stem,
            "middle": self.net.norm,
            "decoder": self.net.decoder,
        }

    def phases(self) -> tuple[Phase, ...]:
        return (TRAINING,)

    @classmethod
    def samples_per_person(cls, config: Frozen) -> int:
        return 100

    def batches(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        assert isinstance(cohort, Bowl)
        target = torch.from_numpy(np.append(cohort.b, cohort.a).astype(np.float32))
        for _ in range(cohort.steps):
            yield Batch({"target": target[None]}, torch.zeros(1, 1, dtype=torch.int64))

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        target, a = batch.data["target"][0, :-1], batch.data["target"][0, -1]
        trained = (self.net.stem.weight, self.net.decoder.weight, self.net.norm.weight)
        return sum((a / 2 * (w - target).square().sum() for w in trained), torch.zeros(1, device=target.device))

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        raise NotImplementedError


class Federation:
    """A federation in memory."""

    def __init__(self, strategy: str | dict[str, Any], sites: dict[str, Bowl], folder: Path, **federation: Any) -> None:
        entry = {"name": strategy} if isinstance(strategy, str) else strategy
        self.entry = validate_strategy(entry, "test")
        self.row, self.parameters = configure(self.entry)
        self.federation = FederationConfig.model_validate(
            {"rounds": 10, "optimiser": "sgd", "learning_rate": 0.1, **federation}
        )
        self.sites, self.folder = sites, folder
        self.size = len(next(iter(sites.values())).b)
        self.step = make_step(self.entry, self.federation)
        self.progress = Progress([Quadratic(self.size).share()])
        self.step.prepare(self.progress, self._another)
        self.sent: list[Arrays] = []
        self.tamper = lambda site, arrays, received: arrays

    def _another(self, number: int) -> Arrays:
        rng = np.random.default_rng(number)
        return {n: rng.standard_normal(a.shape).astype(np.float32) for n, a in Quadratic(self.size).share().items()}

    def store(self, site: str) -> PersonalStore:
        return PersonalStore(self.folder / site)

    def run(self, rounds: int = 1, only: list[str] | None = None) -> Progress:
        for _ in range(rounds):
            everybody = {site: bowl.size for site, bowl in self.sites.items()}
            self.step.begin(self.progress, everybody)
            models = [dict(model) for model in self.progress.models]
            beside = self.step.beside(self.progress)
            number = self.progress.round + 1
            for site in sorted(only or self.sites):
                chosen = self.progress.clusters.get(site, 0)
                offered = models if self.row.offers_every_cluster else [models[chosen]]
                outcome, loss = self.train(site, Offer(tuple(offered), beside), number)
                cluster = outcome.cluster if self.row.offers_every_cluster else chosen
                self.sent.append(outcome.arrays)
                arrays = self.tamper(site, outcome.arrays, models[cluster])
                full = {**models[cluster], **arrays}
                people = self.sites[site].size
                self.step.add(Update(site, people, full, loss, outcome.progress.steps, cluster))
                self.progress.used[site] = number
            self.step.end(self.progress)
            self.progress.round = number
        return self.progress

    def train(self, site: str, offer: Offer[np.ndarray], number: int) -> tuple[Outcome, float | None]:
        model, bowl = Quadratic(self.size), self.sites[site]
        rate, epochs = self.federation.learning_rate, self.federation.local_epochs
        job = Round(
            model=model,
            cohort=bowl,
            settings=Settings(TRAINING, 0, site, number, epochs, rate, self.federation.optimiser),
            offer=offer,
            personal=personal_arrays(model, self.entry),
            parameters=self.parameters,
            store=self.store(site),
            since=self.progress.used.get(site, 0),
        )
        loss = None
        if self.row.needs_received_loss:
            job.start(job.received)
            loss = mean_loss(model, bowl, job.settings)
        return OBJECTIVES[self.row.objective](job), loss


def bowls(*centres: tuple[float, float], people: tuple[int, ...] = (), **fields: Any) -> dict[str, Bowl]:
    """Sites a, b, c, ... at these centres."""
    counts = people or (1,) * len(centres)
    return {
        chr(ord("a") + i): Bowl(count, np.array(centre, np.float32), **fields)
        for i, (centre, count) in enumerate(zip(centres, counts, strict=True))
    }
