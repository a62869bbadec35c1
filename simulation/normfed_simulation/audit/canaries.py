"""Is the claimed epsilon true? Made-up people, each in by a coin of its own, and one run to tell who was (Steinke, Nasr
& Jagielski 2023, arXiv 2305.08846).

A canary's contribution is as long as the mechanism lets anybody's be, and orthogonal to all others' (the Dirac canaries
of that paper), which is the worst case for its privacy: the attacker adds up, over all releases, how much of each
canary is in them. A lower bound above the claim refutes it; one below says no more than that this attack did not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from normfed_client.training.gradients import GradientRule
from normfed_client.training.loop import Settings, train
from normfed_client.training.per_patient import PerPatient
from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.keys import derived_key
from normfed_common.learning.batch import Batch
from normfed_common.learning.bounded import Bounded
from normfed_common.learning.cohort import Cohort, Person, Scan
from normfed_common.learning.learner import Learner
from normfed_common.learning.phase import Phase
from normfed_common.learning.setting import Setting
from normfed_common.privacy import accounting
from normfed_common.privacy.audit import Figure, Finding
from normfed_common.privacy.mechanisms import SampledGaussian
from normfed_common.privacy.noise import SecretNoise
from normfed_common.privacy.releases import released
from normfed_common.privacy.spending import Spending
from normfed_common.study.base import Frozen
from normfed_common.study.privacy import PrivacyConfig
from normfed_simulation.audit.epsilons import SIGNIFICANCE, one_run_bound
from normfed_simulation.audit.games import Game
from normfed_simulation.audit.target import Target

NAME = "canaries"
GUESSED = (0.9, 0.5, 0.2)  # shares of the canaries, chosen beforehand; each is tried at its part of the significance

Mechanism = Callable[[np.ndarray], np.ndarray]
"""From who is in, bool (canaries,), to how much of each canary is in all that was released, float (canaries,)."""


@dataclass(frozen=True)
class OneRun:
    """What one run told.

    Parameters
    ----------
    epsilon
        Lower bound at 95 % confidence.
    auc
        Of the attacker's scores.
    guesses, correct
        Of the share of the canaries that gave the bound.
    """

    epsilon: float
    auc: float
    interval: tuple[float, float]
    guesses: int
    correct: int


def one_run(mechanism: Mechanism, canaries: int, delta: float, seed: int) -> OneRun:
    """Toss the coins, run the mechanism once, and guess: those with most in it are taken to be in, those with least to
    be out."""
    inside = seeds.generator(seed, "canaries").random(canaries) < 0.5
    scores = mechanism(inside)
    order = np.argsort(scores, kind="stable")
    best = OneRun(-1.0, 0.0, (0.0, 1.0), 0, 0)
    game = Game(scores[None], inside[None], np.full(canaries, "canary"))
    for share in GUESSED:
        each = max(1, round(share * canaries / 2))
        correct = int(inside[order[-each:]].sum() + (~inside[order[:each]]).sum())
        bound = one_run_bound(canaries, 2 * each, correct, delta, SIGNIFICANCE / len(GUESSED))
        if bound > best.epsilon:
            best = OneRun(bound, game.auc(), game.interval(), 2 * each, correct)
    return best


def gaussians(releases: Sequence[SampledGaussian], seed: int) -> Mechanism:
    """The mechanism as the accountant has it: all releases of orthogonal vectors of length 1."""

    def mechanism(inside: np.ndarray) -> np.ndarray:
        rng, total = seeds.generator(seed, "mechanism"), np.zeros(len(inside))
        for release in releases:
            z, q = release.noise_multiplier, release.sampling_rate
            weight = 1.0 / max(z, 1e-3) ** 2  # the likelihood's: what has less noise tells more
            for _ in range(release.times):
                drawn = inside & (rng.random(len(inside)) < q)
                total += weight * (drawn + z * rng.standard_normal(len(inside)))
        return total

    return mechanism


class CanaryConfig(Frozen):
    """Nothing to choose."""


class Canaries(Learner):
    """As many weights as canaries; person i's gradient is -length e_i, or nothing for whoever is out."""

    Config: ClassVar[type[Frozen]] = CanaryConfig

    def __init__(self, inside: np.ndarray, length: float) -> None:
        super().__init__(CanaryConfig(), Setting(("T1w",), 1, (1, 1, 1)))
        self._lengths = torch.from_numpy(np.where(inside, length, 0.0).astype(np.float32))
        self._weights = torch.nn.ParameterDict({"w": torch.nn.Parameter(torch.zeros(len(inside)))})
        self.network, self.parts = self._weights, {"all": self._weights}

    def phases(self) -> tuple[Phase, ...]:
        """One."""
        return (Phase("canaries", "averaged"),)

    @classmethod
    def samples_per_person(cls, config: CanaryConfig) -> int:
        """One."""
        return 1

    def most_batches(self, phase: str, scans: int) -> int:
        """One per person."""
        return scans

    def batches(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        """A person a batch."""
        for index in range(len(cohort)):
            number = cohort.scan(index).normal_index[0]
            yield Batch({"canary": torch.tensor([int(number)])}, torch.tensor([[cohort.scan(index).person.index]]))

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        """- length_i w_i"""
        number = batch.data["canary"]
        return -self._lengths[number] * self._weights["w"][number]


class _Slots:
    """A cohort of canaries: each has a scan that says no more than its number."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def people(self) -> Sequence[Sequence[int]]:
        return [(index,) for index in range(self._count)]

    def scan(self, index: int) -> Scan:
        one = np.zeros((1, 1, 1, 1), np.float32)
        number = np.array([index], np.int32)
        return Scan(one, np.ones((1, 1, 1), bool), number, np.ones(1, bool), Person(index))


def through_training(rules: Sequence[GradientRule], length: float) -> Mechanism:
    """The mechanism as the training loop has it: a round for every rule, by gradient descent at a rate of 1.

    Parameters
    ----------
    length
        Of every canary's gradient; no shorter than what a rule clips at.
    """

    def mechanism(inside: np.ndarray) -> np.ndarray:
        learner, cohort = Canaries(inside, length), _Slots(len(inside))
        (phase,) = learner.phases()
        for number, rule in enumerate(rules, 1):
            train(learner, cohort, Settings(phase, 0, "canaries", number, 1, 1.0, "sgd", rule=rule))
        return learner.share()["network.w"].astype(np.float64)

    return mechanism


def as_a_site_does(privacy: PrivacyConfig, spent: Spending, seed: int) -> Mechanism:
    """The mechanism by the code that a site runs: sums released with noise, and rounds of private training."""

    def mechanism(inside: np.ndarray) -> np.ndarray:
        total, key = np.zeros(len(inside)), derived_key(b"audit", str(seed))
        if spent.sums is not None:
            z, canaries = spent.sums.noise_multiplier, _Unit(inside)
            for number in range(spent.requests):
                noise = SecretNoise(derived_key(key, f"sums {number}"))
                found = released(canaries, _Slots(len(inside)), lambda person: np.random.default_rng(person), noise, z)
                total += found["canaries"] / z**2
        if spent.round is not None:
            keys = [derived_key(key, f"round {number}") for number in range(spent.rounds)]
            rules = [PerPatient(one, spent.round, privacy.clip_norm, 1) for one in keys]
            trained = through_training(rules, privacy.clip_norm)(inside)
            expected = spent.round.sampling_rate * len(inside)
            total += trained * expected / privacy.clip_norm / spent.round.noise_multiplier**2
        return total

    return mechanism


class _Unit(Bounded):
    """Sums to which person i adds e_i, or nothing for whoever is out."""

    def __init__(self, inside: np.ndarray) -> None:
        self._inside = inside

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"canaries": self._inside.shape}

    def contribution(self, person: Cohort, rng: np.random.Generator) -> Arrays:
        found = np.zeros(len(self._inside))
        number = int(person.scan(0).normal_index[0])
        found[number] = self._inside[number]
        return {"canaries": found}

    def beside(self, people: int) -> Arrays:
        return {}

    def repaired(self, total: Arrays, noise: float) -> Arrays:
        return total


def attack(target: Target) -> tuple[Finding, ...]:
    """The mechanism that the study's privacy configures, at the study's delta, held against what it claims."""
    study, spent = target.run.study, target.spent
    releases = _plain(target) if spent is None else spent.releases()
    if not releases:
        return (Finding(**_SHARED, notes=("Nothing of this model leaves a site, so there is nothing to audit.",)),)
    count = target.options.canaries
    seed = target.options.seed
    mechanism = gaussians(releases, seed) if spent is None else as_a_site_does(study.privacy, spent, seed)
    found = one_run(mechanism, count, study.privacy.delta, seed)
    claim = accounting.epsilon(releases, study.privacy.delta)
    notes = [f"{found.correct} of {found.guesses} guesses were right.", _verdict(found.epsilon, claim)]
    finding = Finding(
        **_SHARED,
        figure=Figure(value=found.auc, low=found.interval[0], high=found.interval[1]),
        people=count,
        decisions=found.guesses,
        trials=1,
        epsilon_at_least=found.epsilon,
        epsilon_of="all that leaves a site of one model",
        notes=tuple(notes),
    )
    return (finding,)


_SHARED: dict[str, Any] = {
    "attack": NAME,
    "title": "Canaries in one run of the mechanism",
    "knows": "all that leaves a site, and what each canary would add to it",
    "measure": "AUC",
    "chance": 0.5,
}


def _plain(target: Target) -> tuple[SampledGaussian, ...]:
    """What leaves where nothing is noised."""
    phases = target.new().phases()
    times = sum(phase.turns(target.run.study.federation.rounds) for phase in phases)
    return (SampledGaussian(0.0, times=times),) if times else ()


def _verdict(least: float, claim: float) -> str:
    if not np.isfinite(claim):
        return "No epsilon is claimed: whoever is in is told apart."
    if least > claim:
        return f"The claimed epsilon of {claim:.2f} is refuted."
    return f"The claimed epsilon of {claim:.2f} stands: the bound is below it."


def claimed(privacy: PrivacyConfig, spent: Spending | None) -> float | None:
    """Upper bound on epsilon of one model by the accountant; None where nothing is noised."""
    return None if spent is None else accounting.epsilon(spent.releases(), privacy.delta)
