"""Differential privacy of sites at a server that they trust: whoever sees the models cannot tell what one site's update
did to them (McMahan 2018, arXiv 1710.06963), with a norm that is fixed or follows the median (Andrew 2021, arXiv
1905.03871).

With d_i = w_i - w a site's update, all trained arrays together, and m sites expected in a round:

    w' = w + ( sum_i d_i min(1, C / ||d_i||) + N(0, (z_d C)^2 I) ) / m

Every site counts alike, whatever its people: a weight would be its own to claim, and would multiply what it can move.
m is known beforehand, so that a site that is away is one whose update is zero (Kairouz 2021, arXiv 2103.00039); who
takes part is public. The study's seed, which everybody has, draws the sites of a round: that hides nobody, so q = 1
is claimed whatever ``federation.sample`` says, and all rounds are counted.

The step around which this is gets the noised mean as if it were the only update. It must be linear: then that is all
that it needs, and whatever it makes of it costs no more privacy.

With ``adaptive``, b_i says whether ||d_i|| <= C, and after a round

    C *= exp(-0.2 (b - 1/2)),    b = 1/2 + ( sum_i (b_i - 1/2) + N(0, s^2) ) / m

A site moves that sum by 1/2. Both noises together are one of z where z^-2 = z_d^-2 + (2 s)^-2. The paper's s = m / 20
is for thousands of sites; with few it alone would cost more than there is, and s is z instead.

Flower's strategies of server-side clipping are the oracle of the fixed norm; that of the adaptive one is not: it counts
the updates that are above C, and moves away from the median.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from normfed_common.foundation import arrays as named
from normfed_common.foundation import digests
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import StudyError
from normfed_common.foundation.keys import derived_key
from normfed_common.learning.phase import Phase
from normfed_common.privacy import accounting
from normfed_common.privacy.mechanisms import SampledGaussian
from normfed_common.privacy.noise import SecretNoise
from normfed_common.study.privacy import CentralConfig
from normfed_server.steps.base import Step, Update
from normfed_server.steps.progress import Progress

QUANTILE, RATE = 0.5, 0.2  # of Andrew 2021, section 3
SHARE_OF_COUNT = 20  # the noise of the count is a 20th of the sites expected, there
CLIP_NORM = "central/clip norm"  # in what is remembered
EVERYBODY = "everybody"  # whose update the noised mean is


@dataclass(frozen=True)
class CentralNoise:
    """How much there is.

    Parameters
    ----------
    multiplier
        z, of a round's model and count together; 0 for none.
    adaptive
        Whether there is a count.
    """

    multiplier: float
    adaptive: bool

    def of_count(self, sites: float) -> float:
        """s, where so many are expected."""
        return max(sites / SHARE_OF_COUNT, self.multiplier)

    def of_sum(self, sites: float) -> float:
        """z_d, in norms."""
        if not self.adaptive or not self.multiplier:
            return self.multiplier
        return float((self.multiplier**-2 - (2 * self.of_count(sites)) ** -2) ** -0.5)


def releases(noise: CentralNoise, rounds: int) -> tuple[SampledGaussian, ...]:
    """What so many rounds let out of one site."""
    return (SampledGaussian(noise.multiplier, times=rounds),)


@lru_cache(maxsize=64)
def central_noise(config: CentralConfig, rounds: int) -> CentralNoise:
    """As little as keeps so many rounds within the study's epsilon."""
    z = accounting.noise_multiplier(
        config.epsilon, config.delta, lambda z: releases(CentralNoise(z, config.adaptive), rounds)
    )
    return CentralNoise(z, config.adaptive)


class Central(Step):
    """See the module.

    Parameters
    ----------
    inner
        The strategy's own step, linear.
    clip_norm
        C, that of the first round if ``adaptive``.
    secret
        Of the run. The noise of a round depends on it, on ``purpose``, and on all that goes into the model: the same
        round of a run that was resumed has the same noise, and no two models have noise in common.
    purpose
        Which model it is.

    Raises
    ------
    ValueError
        If there is no secret: everybody could draw the noise.
    """

    tells_losses = False

    def __init__(self, inner: Step, clip_norm: float, noise: CentralNoise, secret: bytes, purpose: str) -> None:
        if not secret:
            raise ValueError("central privacy needs the run's secret")
        super().__init__(inner.parameters, inner.federation)
        self.inner, self.noise, self.secret, self.purpose = inner, noise, secret, purpose
        self._first_norm = clip_norm
        self.minimum = inner.minimum

    def prepare(self, progress: Progress, another: Callable[[int], Arrays]) -> None:
        """See `Step`."""
        self.inner.prepare(progress, another)

    def beside(self, progress: Progress) -> Arrays:
        """See `Step`."""
        return self.inner.beside(progress)

    def begin(self, progress: Progress, asked: dict[str, int]) -> None:
        """See `Step`."""
        self.inner.begin(progress, asked)
        self.expected = math.ceil(self.federation.sample * len(asked))
        self.current = progress.models[0]
        self.clip_norm = float(progress.memory.get(CLIP_NORM, self._first_norm))
        self.total: Arrays = {}
        self.sites = self.below = 0

    def weight(self, update: Update) -> float:
        """All alike."""
        return 1.0

    def add(self, update: Update) -> None:
        """See `Step`."""
        trained = {name: array for name, array in sorted(update.arrays.items()) if array is not self.current[name]}
        changes = {name: array.astype(np.float64) - self.current[name] for name, array in trained.items()}
        length = named.norm(changes)
        share = min(1.0, self.clip_norm / length) if length else 1.0
        self.sites += 1
        self.below += length <= self.clip_norm
        for name, change in changes.items():
            self.total[name] = np.asarray(self.total.get(name, 0) + share * change)

    def end(self, progress: Progress) -> None:
        """See `Step`."""
        noise = SecretNoise(derived_key(self.secret, "central", self.purpose, self._digest(progress)))
        self.inner.add(Update(EVERYBODY, 1, self._noised_mean(noise)))
        self.inner.end(progress)
        if self.noise.adaptive:
            spread = self.noise.of_count(self.expected) if self.noise.multiplier else 0.0
            count = float(noise.noised(np.array(self.below - self.sites / 2), spread))
            share = 0.5 + count / self.expected
            progress.memory[CLIP_NORM] = np.array(self.clip_norm * math.exp(-RATE * (share - QUANTILE)))

    def _noised_mean(self, noise: SecretNoise) -> Arrays:
        """w' of the module; what no site trained stays."""
        scale = self.noise.of_sum(self.expected) * self.clip_norm if self.noise.multiplier else 0.0
        found = dict(self.current)
        for name, total in sorted(self.total.items()):
            now = self.current[name]
            found[name] = np.asarray(now + noise.noised(total, scale) / self.expected, now.dtype)
        return found

    def _digest(self, progress: Progress) -> str:
        """Of all that a round's model is made of."""
        text = f"{progress.round + 1} {self.clip_norm!r} {self.sites} {self.below} {self.expected}"
        before = {f"before/{name}": array for name, array in self.current.items()}
        return digests.of_arrays(text, before | self.total)


def around(step: Step, config: CentralConfig, rounds: int, secret: bytes, purpose: str) -> Step:
    """A step as it is under a study's central privacy; ``rounds``: of the whole training. See `Central`."""
    return Central(step, config.clip_norm, central_noise(config, rounds), secret, purpose)


def check(strategy: str, step: Step, model: str, phases: Sequence[Phase]) -> None:
    """Refuse what central privacy cannot cover: a strategy that must see single updates, and sums.

    Raises
    ------
    StudyError
        If the strategy's step is not linear, or the model's phases are not all averaged.
    """
    summed = [phase.name for phase in phases if phase.kind == "summed"]
    if summed or not phases:
        why = f"learns from sums over sites as well ({', '.join(summed)})" if summed else "trains no network"
        raise StudyError(
            f"privacy.central: the model {model} {why}, and central privacy covers updates of networks only. Take a "
            "model that is trained in rounds alone, such as autoencoder, or privacy.epsilon, which covers sums."
        )
    if not step.linear:
        raise StudyError(
            f"privacy.central: the strategy {strategy} needs every site's own update or loss, and central privacy "
            "leaves it a noised mean of all. Take one that averages, such as fedavg, or leave privacy.central out."
        )
