"""Training that is differentially private per patient: DP-SGD on groups of people.

Abadi 2016 (ACM CCS, arXiv 1607.00133), with people in the place of samples. For each step, with N people in the cohort
and k the people that a sample is made of:

    1. all N people are divided at random into G = floor(N / k) groups of k; of who is left over nothing is used
    2. every group is in the step with chance q, each by itself
    3. g_j = gradient, over all trained parameters as one vector, of the mean loss of at most m k samples that are drawn
       from the people of group j alone, as if nobody else were there; 0 if it is not finite or cannot be made
    4. gradient of the step = (sum of g_j min(1, C / |g_j|) over its groups + N(0, (z C)^2 I)) / (q G)

A step without a group is a step: it has the noise alone, and so says nothing of how many groups there were.

**Sensitivity.** Two cohorts are neighbours if they differ in one person, whose scans are nothing in one of them
("zero-out", Kairouz 2021, arXiv 2103.00039); N is public, so both have the same N slots. Divisions and lots are drawn
without a look at any scan, so they are the same for both. Let j be the person's group of a step: there is at most one,
as groups are disjoint. Every other g_i is a function of the slots of its own people, of the weights, and of numbers
drawn for (step, i) alone, so it is the same for both. A group that lacks one of its people counts as not there: g_j is
0 where the person is absent, and what is added of it at most C long where not. Hence the sum differs by at most C, and
only if j is in the step, which has chance q. Given the division, that is the Gaussian mechanism on a Poisson sample, of
noise multiplier z and rate q; a mixture over divisions that are the same for both cohorts is no worse (the Renyi
divergence is jointly quasi-convex: van Erven & Harremoes 2014, arXiv 1206.2459, theorem 13). So for any k the
accountant takes q, a group's chance, not k q. What samples of k people cost is that there are only 1 / k as many groups
to divide the noise by.

**Assumptions**, which `algorithms.private_training` checks: nothing else of a step passes from a group to another or
out of the site; so no running statistics leave, and no transform before the model is fitted to the site's own people.

**Distributed noise.** Where an answer goes into a secure sum and a round is one step of gradient descent, the site
sends the sum of step 4 before it is divided, with its share of the noise, on the grid of
`normfed_common.privacy.distributed`. The server divides the sum over all sites by q N / k, N all their people: that is
step 4 over everybody, with FedAvg's weights but for the few people whom a division leaves over. With more steps this
does not hold: the gradients of the second are taken where the first has led, under no more than a share of the noise.

With ``unit="sample"`` every sample's own gradient is clipped in the place of the group's mean, and divided by the
expected number of samples: what is protected is one sample of a step, one patch or slice, and never a person.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import numpy as np
import torch

from normfed_client.training.gradients import Draws, Scaled, Step
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.damage import say
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.foundation.keys import derived_key
from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Cohort, Subcohort, Untold
from normfed_common.privacy.distributed import NoiseShare
from normfed_common.privacy.mechanisms import SampledGaussian
from normfed_common.privacy.noise import SecretNoise
from normfed_common.privacy.releases import OF_PEOPLE, lasting


@dataclass(frozen=True)
class PerPatient:
    """See the module. Each is for one training, of which the accountant knows.

    Parameters
    ----------
    key
        Of the noise, the divisions and the lots of this release, see `noise`.
    release
        The training: z, q, and as ``times`` how many steps it takes.
    clip_norm
        C.
    samples
        m, of one person in one step.
    unit
        Whose gradient is clipped.
    share
        This site's of the noise of a secure sum over sites, of which then the one step is a part; where absent, the
        noise of every step is whole.
    parts
        Filled with the step's part: its sum in lengths of C, on the grid of the share, (parameters,).
    """

    key: bytes
    release: SampledGaussian
    clip_norm: float
    samples: int
    unit: Literal["patient", "sample"] = "patient"
    share: NoiseShare | None = None
    parts: list[np.ndarray] = field(default_factory=list, init=False, repr=False, compare=False)
    _used: list[str] = field(default_factory=list, init=False, repr=False, compare=False)
    tells_loss = False

    def passes(self, epochs: int) -> int:
        """Everybody is expected q times in every step, whatever the epochs."""
        return math.ceil(self.release.times * self.release.sampling_rate - 1e-9)

    def divided(self, epochs: Sequence[int]) -> Sequence[PerPatient]:
        """As many steps for each as its share of the epochs says, one at least if there are enough; all together take
        those of this one."""
        self._use()
        whole, counts = self.release.times, list[int]()
        for number, so_far in enumerate(itertools.accumulate(epochs), 1):
            least = sum(counts) + 1
            end = max(round(so_far / sum(epochs) * whole), least)
            counts.append(max(min(end, whole - len(epochs) + number), 0) - sum(counts))
        return [
            replace(self, key=derived_key(self.key, f"part {number}"), release=replace(self.release, times=count))
            for number, count in enumerate(counts)
        ]

    def steps(self, draws: Draws, cohort: Cohort, epochs: int) -> Iterator[Step]:
        """All steps; none needs another's draws, so those before a checkpoint cost nothing."""
        self._use()
        if self.share is not None:
            self.share.check(len(cohort.people()))
        # From the same weights the same noise, and never the same noise under other gradients.
        key = derived_key(self.key, draws.start)
        untold = Untold(cohort)
        return (partial(self._step, key, draws, untold, number) for number in range(self.release.times))

    def _use(self) -> None:
        if self._used:
            raise TypeError(
                "an objective trains again under a rule that accounts for one training of a round; it must ask for "
                "`divided` rules, or train plainly what never leaves the site"
            )
        self._used.append("used")

    def _step(
        self,
        key: bytes,
        draws: Draws,
        cohort: Cohort,
        number: int,
        parameters: Sequence[torch.nn.Parameter],
        scaled: Scaled,
    ) -> None:
        key = derived_key(key, f"step {number}")
        noise = SecretNoise(key)
        groups = self._groups(noise, len(cohort.people()), draws.people_per_sample)
        there = noise.uniform(len(groups)) < self.release.sampling_rate
        total = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in parameters]
        lost: list[Exception] = []
        for place in np.flatnonzero(there):
            rng = np.random.default_rng(int.from_bytes(derived_key(key, f"group {place}"), "big"))
            whose = Subcohort(cohort, groups[place].tolist())
            samples = self._samples(draws, whose, rng, len(groups[place]))
            try:
                self._add(total, list(samples), draws, (number, int(place)), parameters)
            except OF_PEOPLE as error:
                if lasting(error):
                    raise
                lost.append(error)
        if lost:
            say(f"step {number}: {len(lost)} of {there.sum()} groups of people were left out ({lost[0]})")
        together = torch.cat([one.reshape(-1) for one in total]).cpu().numpy()
        mean = self._noised(together, noise) / self._expected(draws, groups)
        parts = torch.from_numpy(mean).split([parameter.numel() for parameter in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter).to(parameter)

    def _noised(self, total: np.ndarray, noise: SecretNoise) -> np.ndarray:
        z, longest = self.release.noise_multiplier, self.clip_norm
        if self.share is None:
            return noise.noised(total, z * longest if z else 0.0)
        self.parts.append(self.share.noised(total, noise))
        return self.parts[-1] * longest

    def _groups(self, noise: SecretNoise, people: int, size: int) -> np.ndarray:
        """Numbers of people, (groups, people per group); where there are fewer than ``size``, one group of all."""
        size = max(1, min(size, people))
        order = noise.permutation(people)
        return order[: people // size * size].reshape(-1, size)

    def _expected(self, draws: Draws, groups: np.ndarray) -> float:
        """How many contributions a step has on average; at most, of samples, as some scans may have fewer."""
        expected = self.release.sampling_rate * max(len(groups), 1)
        if self.unit == "patient":
            return expected
        size = groups.shape[1]
        return expected * max(min(self.samples * size, draws.most_samples(size)), 1)

    def _samples(self, draws: Draws, whose: Cohort, rng: np.random.Generator, people: int) -> Iterator[Batch]:
        """At most ``samples`` of each person, all within one epoch over them; how they are batched does not matter."""
        left = self.samples * people
        for batch in draws.batches(whose, rng):
            yield batch if len(batch) <= left else batch.first(left)
            left -= len(batch)
            if left <= 0:
                return

    def _add(
        self,
        total: Sequence[torch.Tensor],
        samples: Sequence[Batch],
        draws: Draws,
        place: tuple[int, int],
        parameters: Sequence[torch.nn.Parameter],
    ) -> None:
        """What a group has to say, onto the sum over groups, float64 per parameter."""
        if self.unit == "patient":
            self._add_clipped(total, _gradient(samples, draws, place, parameters))
            return
        for number, alone in enumerate(one for batch in samples for one in batch.apart()):
            self._add_clipped(total, _gradient([alone], draws, (*place, number), parameters))

    def _add_clipped(self, total: Sequence[torch.Tensor], gradient: Sequence[torch.Tensor]) -> None:
        """A gradient, no longer than C over all parameters together; nothing of one that is not finite."""
        lengths = [torch.linalg.vector_norm(part, dtype=torch.float64) for part in gradient]
        length = float(torch.linalg.vector_norm(torch.stack(lengths)))
        if not math.isfinite(length):
            return
        factor = 1.0 if length <= self.clip_norm else self.clip_norm / length
        for one, part in zip(total, gradient, strict=True):
            if self.share is None:
                one.add_(part, alpha=factor)
            else:
                one.add_(torch.trunc(part.double() * (factor * self.share.per_length / self.clip_norm)))


def _gradient(
    samples: Sequence[Batch], draws: Draws, place: tuple[int, ...], parameters: Sequence[torch.nn.Parameter]
) -> list[torch.Tensor]:
    """Of the mean loss over all samples, by parameter; 0 without samples."""
    count = sum(map(len, samples))
    for parameter in parameters:
        parameter.grad = None
    for number, batch in enumerate(samples):
        torch.autograd.backward(draws.loss(batch, *place, number).sum() / count, inputs=list(parameters))
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]


def shared_gradients(rule: PerPatient, parameters: Mapping[str, torch.nn.Parameter]) -> Arrays:
    """What leaves of a step with distributed noise: its part of the sum by parameter, float64 in lengths of C.

    Raises
    ------
    SiteError
        If there was another number of steps than one, whose sum would not be all that is learnt from.
    """
    if len(rule.parts) != 1:
        raise SiteError(SiteCode.STUDY_REFUSED, f"distributed noise is of one step per round, not {len(rule.parts)}")
    ends = np.cumsum([parameter.numel() for parameter in parameters.values()])[:-1]
    found = zip(parameters.items(), np.split(rule.parts[0], ends), strict=True)
    return {name: part.reshape(tuple(parameter.shape)) for (name, parameter), part in found}
