"""The one interface of normative models.

A model learns from normal people in two ways, and may use either, both, or none:

- **averaged**: ``network`` is trained at the sites in rounds, its arrays are averaged by the strategy;
- **summed**: in each of ``stages``, in order, every site sends sums over its subjects (sufficient statistics), which
  the server adds. What is made of sums is the same, federated or pooled.

Then ``score`` gives every voxel of a scan a number: 0 outside the brain, never negative inside, higher = more abnormal,
so that the background never outranks tissue in a viewer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.cohort import Cohort, Volume
from normfed_common.learning.setting import Places, Setting
from normfed_common.models.normalisation import NORMALISATION
from normfed_common.study.base import Frozen

NETWORK = "network."
SUMS = "sums."
NORMALISATION_GROUP = "normalisation"


class NormativeModel(ABC):
    """A model of the normal brain. See the module's text for the two ways of learning.

    Attributes
    ----------
    network
        What is trained in rounds; None for models that learn from sums alone.
    parts
        The network's parts by name, from the image inwards and out again; every array belongs to exactly one. What a
        strategy shares and what it keeps at a site is said in their names (`groups`).
    stages
        Names of the sums, in order.
    generators
        What the network draws from while it trains, such as dropout's masks: the training loop seeds them before every
        step, so that a step depends on nothing that was drawn before it.
    keeps_to_site
        Whether `personalise` learns anything, so that every site scores with a part of its own.
    """

    Config: ClassVar[type[Frozen]]
    network: torch.nn.Module | None = None
    parts: Mapping[str, torch.nn.Module]
    stages: tuple[str, ...] = ()
    generators: tuple[torch.Generator, ...] = ()
    keeps_to_site: bool = False

    def __init__(self, config: Any, setting: Setting) -> None:
        self.config = config
        self.setting = setting
        self.parts = {}
        self._sums: dict[str, Arrays] = {}

    @classmethod
    def samples_per_person(cls, config: Any) -> int:
        """How many samples of one person an epoch draws at most (models with a network)."""
        return 0

    def places(self, stage: str) -> Places | None:
        """The places in the brain that the sums of a stage are kept apart by; None where they are over whole brains."""
        return None

    @abstractmethod
    def score(self, volume: Volume, rng: np.random.Generator) -> np.ndarray:
        """The anomaly map: float32 of shape (X, Y, Z), higher = more abnormal.

        Finite and never negative inside the mask, exactly 0 outside. Between people of one study maps differ by what
        the model sees, never by a constant of the person's, so that thresholds mean the same for everybody.
        """

    def batches(self, cohort: Cohort, rng: np.random.Generator) -> Iterator[torch.Tensor]:
        """One epoch of training batches (models with a network)."""
        raise TypeError(f"{type(self).__name__} has no network to train")

    def most_batches(self, scans: int) -> int:
        """At most so many batches are an epoch over so many scans (models with a network)."""
        raise TypeError(f"{type(self).__name__} has no network to train")

    def loss(self, batch: torch.Tensor) -> torch.Tensor:
        """Mean loss over a batch, a scalar (models with a network)."""
        raise TypeError(f"{type(self).__name__} has no network to train")

    def notes(self, people: int) -> tuple[str, ...]:
        """What everybody should know of training with so many people: fixed sentences, which leave the site."""
        return ()

    def statistics(self, stage: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """The sums over the cohort that ``stage`` needs, float64 (models with stages)."""
        raise TypeError(f"{type(self).__name__} has no stage {stage!r}")

    def counted(self, stage: str) -> Mapping[str, float]:
        """Arrays of ``stage`` that are never negative, each with the most that a scan adds to any of its entries."""
        return {}

    def check(self, stage: str, sums: Arrays) -> None:  # noqa: B027  (most models have no sums)
        """Whether there can be people, or parts of people, whose sums these are; finite.

        Raises
        ------
        WireError
            If the sums contradict each other, or what a person can have.
        """

    def personalise(self, cohort: Cohort, rng: np.random.Generator) -> None:  # noqa: B027  (most models keep nothing)
        """Learn what never leaves the site, from the site's own training cohort, before scoring."""

    def absorb(self, stage: str, total: Arrays) -> None:
        """Take the sums over all sites of one stage.

        Raises
        ------
        WireError
            If they are nobody's (`check`), or no model can be made of them.
        """
        self.check(stage, total)
        self._sums[stage] = total

    def sums(self, stage: str) -> Arrays:
        """The sums over all sites of one stage."""
        return self._sums[stage]

    def groups(self) -> dict[str, tuple[str, ...]]:
        """Names of shared network arrays by part, and across all parts those of the normalisation layers."""
        if self.network is None:
            return {}
        names = {id(t): NETWORK + n for n, t in self.network.state_dict(keep_vars=True).items() if _averaged(t)}
        normalisation = [layer for layer in self.network.modules() if isinstance(layer, NORMALISATION)]
        return {
            **{part: _names(module, names) for part, module in self.parts.items()},
            NORMALISATION_GROUP: tuple(name for layer in normalisation for name in _names(layer, names)),
        }

    def share(self) -> Arrays:
        """All arrays of the model that may leave a site: weights as ``network.*``, sums as ``sums.<stage>.*``."""
        shared: Arrays = {}
        if self.network is not None:
            for name, tensor in self.network.state_dict().items():
                if _averaged(tensor):
                    shared[NETWORK + name] = tensor.detach().cpu().numpy().copy()
        for stage, arrays in self._sums.items():
            for name, array in arrays.items():
                shared[f"{SUMS}{stage}.{name}"] = array
        return shared

    def load(self, shared: Arrays) -> None:
        """Take what ``share`` gave, here or at another site."""
        weights = {
            n.removeprefix(NETWORK): torch.from_numpy(a.copy()) for n, a in shared.items() if n.startswith(NETWORK)
        }
        if self.network is not None and weights:
            missing = self.network.load_state_dict(weights, strict=False)
            absent = [name for name in missing.missing_keys if not name.endswith("num_batches_tracked")]
            if absent or missing.unexpected_keys:
                raise ValueError(f"arrays do not fit the network: missing {absent}, unknown {missing.unexpected_keys}")
        for stage in self.stages:
            prefix = f"{SUMS}{stage}."
            arrays = {name.removeprefix(prefix): array for name, array in shared.items() if name.startswith(prefix)}
            if arrays:
                self.absorb(stage, arrays)


def _averaged(tensor: torch.Tensor) -> bool:
    """Counters such as BatchNorm's have no mean."""
    return tensor.is_floating_point()


def _names(module: torch.nn.Module, names: Mapping[int, str]) -> tuple[str, ...]:
    return tuple(names[id(t)] for t in module.state_dict(keep_vars=True).values() if id(t) in names)
