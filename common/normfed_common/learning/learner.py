"""The one interface of whatever is learnt across sites.

A learner goes through `phases`, in order. In an **averaged** phase its network is trained at the sites in rounds, and
its arrays are averaged by the strategy. In a **summed** phase every site sends sums over its people (sufficient
statistics), which the server adds: once, or again and again until `absorb` says that nothing changes any more, as
expectation maximisation does. What is made of sums is the same, federated or pooled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Cohort
from normfed_common.learning.normalisation import NORMALISATION
from normfed_common.learning.phase import Phase
from normfed_common.learning.setting import Places, Setting
from normfed_common.study.base import Frozen

NETWORK = "network."
SUMS = "sums."
NORMALISATION_GROUP = "normalisation"


class Learner:
    """Learns in phases, which say what of the methods below it must have. See the module.

    Attributes
    ----------
    network
        What averaged phases train; None where there are none.
    parts
        The network's parts by name, from the image inwards and out again; every array belongs to exactly one. What a
        strategy shares and what it keeps at a site is said in their names (`groups`).
    personal
        Parts that never leave a site, whatever the strategy.
    keeps_to_site
        Whether `personalise` learns anything, so that every site works with something of its own.
    """

    Config: ClassVar[type[Frozen]]
    network: torch.nn.Module | None = None
    parts: Mapping[str, torch.nn.Module]
    personal: tuple[str, ...] = ()
    keeps_to_site: bool = False

    def __init__(self, config: Any, setting: Setting) -> None:
        self.config = config
        self.setting = setting
        self.parts = {}
        self._sums: dict[str, Arrays] = {}

    @classmethod
    def samples_per_person(cls, config: Any) -> int:
        """How many samples an epoch draws at most of one person with one visit (averaged phases); of several visits
        as many for each."""
        return 0

    @classmethod
    def needs(cls, config: Any, modalities: tuple[str, ...]) -> tuple[str, ...]:
        """Which of the study's modalities no scan may lack: all by default. A study whose scans may lack one of them is
        refused when it is read."""
        return modalities

    def phases(self) -> tuple[Phase, ...]:
        """What is learnt, in order; nothing by default."""
        return ()

    def batches(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        """One epoch of training batches of an averaged phase, on the CPU."""
        raise TypeError(f"{type(self).__name__} trains no network in a phase {phase!r}")

    def most_batches(self, phase: str, scans: int) -> int:
        """At most so many batches are an epoch of an averaged phase, over so many scans."""
        raise TypeError(f"{type(self).__name__} trains no network in a phase {phase!r}")

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        """The loss of every sample of an averaged phase, of shape (n,); a step minimises their mean.

        Parameters
        ----------
        rng
            What a step may draw from: on the CPU, seeded by the site, the round and the step alone, so that a training
            that goes on after a crash is the one that was interrupted.
        """
        raise TypeError(f"{type(self).__name__} trains no network in a phase {phase!r}")

    def notes(self, people: int) -> tuple[str, ...]:
        """What everybody should know of training with so many people: fixed sentences, which leave the site."""
        return ()

    def places(self, phase: str) -> Places | None:
        """The places in the brain that a phase's sums are kept apart by; None where they are over whole brains."""
        return None

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """The sums over the cohort that a summed phase needs, float64."""
        raise TypeError(f"{type(self).__name__} has no sums {phase!r}")

    def counted(self, phase: str) -> Mapping[str, float]:
        """Arrays of a summed phase that are never negative, each with the most that a scan adds to any entry."""
        return {}

    def check(self, phase: str, sums: Arrays) -> None:
        """Whether there can be people, or parts of people, whose sums these are; finite.

        Raises
        ------
        WireError
            If the sums contradict each other, or what a person can have.
        """

    def absorb(self, phase: str, total: Arrays) -> bool:
        """Take the sums over all sites; True if another round of the phase would change nothing that matters.

        Raises
        ------
        WireError
            If they are nobody's (`check`), or nothing can be made of them.
        """
        self.check(phase, total)
        self._sums[phase] = total
        return False

    def sums(self, phase: str) -> Arrays:
        """The sums over all sites of one phase, as they were absorbed last."""
        return self._sums[phase]

    def personalise(self, cohort: Cohort, rng: np.random.Generator) -> None:
        """Learn what never leaves the site, from the site's own training cohort, before scoring."""

    def groups(self) -> dict[str, tuple[str, ...]]:
        """Names of shared network arrays by part, and across all parts those of the normalisation layers."""
        if self.network is None:
            return {}
        names = {id(tensor): name for name, tensor in self._arrays().items()}
        normalisation = [layer for layer in self.network.modules() if isinstance(layer, NORMALISATION)]
        return {
            **{part: _names(module, names) for part, module in self.parts.items()},
            NORMALISATION_GROUP: tuple(name for layer in normalisation for name in _names(layer, names)),
        }

    def arrays_of(self, phase: Phase) -> frozenset[str]:
        """Names of the network's arrays that an averaged phase trains and shares."""
        if phase.parts:
            groups = self.groups()
            return frozenset(name for part in phase.parts for name in groups[part])
        return frozenset(self._arrays())

    def share(self) -> Arrays:
        """All arrays that may leave a site: weights as ``network.*``, sums as ``sums.<phase>.*``."""
        shared: Arrays = {name: tensor.detach().cpu().numpy().copy() for name, tensor in self._arrays().items()}
        for phase, arrays in self._sums.items():
            shared |= named_sums(phase, arrays)
        return shared

    def load(self, shared: Arrays) -> None:
        """Take what ``share`` gave, here or at another site; arrays that are neither weights nor sums are passed over.

        Raises
        ------
        WireError
            If the weights are not those of the network, or the sums nobody's.
        """
        weights = {name: array for name, array in shared.items() if name.startswith(NETWORK)}
        if self.network is not None and weights:
            ours = self._arrays()
            unknown = sorted(weights.keys() - ours.keys())
            if unknown:
                raise WireError(f"the network has no {unknown[0]}")
            check_shapes(weights, {name: tuple(tensor.shape) for name, tensor in ours.items()})
            tensors = {name.removeprefix(NETWORK): torch.from_numpy(array.copy()) for name, array in weights.items()}
            self.network.load_state_dict(tensors, strict=False)  # all but the counters
        for phase in self.phases():
            prefix = f"{SUMS}{phase.name}."
            arrays = {name.removeprefix(prefix): array for name, array in shared.items() if name.startswith(prefix)}
            if arrays:
                self.absorb(phase.name, arrays)

    def _arrays(self) -> dict[str, torch.Tensor]:
        """The network's arrays that can be averaged, under the names that they are shared by."""
        found = {} if self.network is None else self.network.state_dict(keep_vars=True)
        # Counters such as BatchNorm's have no mean.
        return {NETWORK + name: tensor for name, tensor in found.items() if tensor.is_floating_point()}


def named_sums(phase: str, sums: Arrays) -> Arrays:
    """A phase's sums under the names that a learner shares them by."""
    return {f"{SUMS}{phase}.{name}": array for name, array in sums.items()}


def _names(module: torch.nn.Module, names: Mapping[int, str]) -> tuple[str, ...]:
    return tuple(names[id(t)] for t in module.state_dict(keep_vars=True).values() if id(t) in names)
