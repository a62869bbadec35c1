"""The one interface of whatever is learnt across sites.

A learner goes through `phases`, in order. In an **averaged** phase its network is trained at the sites in rounds, and
its arrays are averaged by the strategy. In a **summed** phase every site sends sums over its people (sufficient
statistics), which the server adds: once, or again and again until `absorb` says that nothing changes any more, as in
expectation maximisation. What is made from sums is the same, federated or pooled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import torch

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import PluginError, WireError
from normfed_common.learning.batch import Batch
from normfed_common.learning.bounded import Bounded
from normfed_common.learning.cohort import Cohort, Person
from normfed_common.learning.normalisation import NORMALISATION
from normfed_common.learning.phase import Phase
from normfed_common.learning.setting import Places, Setting
from normfed_common.study.base import Frozen

NETWORK = "network."
SUMS = "sums."
NORMALISATION_GROUP = "normalisation"
METHODS = {"averaged": ("batches", "most_batches", "loss", "samples_per_person"), "summed": ("statistics",)}


class Learner:
    """Anything learnt across sites. Its phases decide which methods a subclass must implement. See the module.

    Attributes
    ----------
    network
        What averaged phases train; None where there are none.
    parts
        The network's parts by name, from the image inwards and out again; every array belongs to exactly one. A
        strategy says by these names what it shares and what it keeps at a site (`groups`).
    personal
        Names of the parts that never leave a site, whatever the strategy.
    keeps_to_site
        Whether `personalise` learns anything, so that every site works with something of its own. Where it does not,
        `personalise` is not called.
    trains_without_sums
        Whether a batch can be tried before the sums of earlier phases are there, so that a canary can be sent.
    age_and_sex
        Whether sums per place depend on people's ages and sexes; where they do not, a hospital shows none for them.
    """

    Config: ClassVar[type[Frozen]]
    network: torch.nn.Module | None = None
    parts: Mapping[str, torch.nn.Module]
    personal: tuple[str, ...] = ()
    keeps_to_site: bool = False
    trains_without_sums: bool = False
    age_and_sex: bool = False

    def __init__(self, config: Any, setting: Setting) -> None:
        self.config = config
        self.setting = setting
        self.parts = {}
        self._sums: dict[str, Arrays] = {}

    @classmethod
    def samples_per_person(cls, config: Any) -> int:
        """Upper bound on the samples that an epoch of an averaged phase draws from each visit of a person."""
        return 0

    def people_per_sample(self, phase: str) -> int:
        """Of how many people a sample of an averaged phase is made at most, and how many `batches` needs to draw from
        as it should: 1 by default."""
        return 1

    @classmethod
    def draws(cls, config: Any) -> bool:
        """Whether anything is drawn, from a seed or an ``rng``, while it learns or is used: True by default.

        Where nothing is, every training on the same people ends in this same model, and it is trained once, however
        many trainings a study asks for.
        """
        return True

    @classmethod
    def needs(cls, config: Any, modalities: tuple[str, ...]) -> tuple[str, ...]:
        """Which of the study's modalities no scan may lack: all by default. A study whose scans may lack one of them is
        refused when it is read."""
        return modalities

    def phases(self) -> tuple[Phase, ...]:
        """What is learnt, in order; nothing by default."""
        return ()

    def whose(self, phase: str) -> Learner:
        """The learner that an error in a phase is about: this one, unless it is made of others."""
        return self

    def batches(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        """One epoch of training batches of an averaged phase.

        Yields
        ------
        Tensors on the CPU, float32 unless the loss wants another type. Each batch holds at least one sample and
        tensors of its own: none is changed after it was yielded, nor shares memory with a scan.
        """
        raise TypeError(f"{type(self).__name__} trains no network in a phase {phase!r}")

    def most_samples(self, phase: str, scans: int) -> int:
        """At most so many samples are an epoch of an averaged phase, over so many scans."""
        return scans * self.samples_per_person(self.config)

    def most_batches(self, phase: str, scans: int) -> int:
        """Upper bound on the batches in one epoch over ``scans`` scans."""
        raise TypeError(f"{type(self).__name__} trains no network in a phase {phase!r}")

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        """The loss of every sample of an averaged phase, of shape (n,); a step minimises their mean.

        Parameters
        ----------
        rng
            What a step may draw from: on the CPU, seeded by the study, the site, the round and the step alone, so that
            training resumed after a crash ends in the same weights.
        """
        raise TypeError(f"{type(self).__name__} trains no network in a phase {phase!r}")

    def notes(self, people: int) -> tuple[str, ...]:
        """What everybody should know about training on ``people`` people: fixed sentences, which leave the site."""
        return ()

    def may_note(self) -> tuple[str, ...]:
        """Every sentence that `notes` may ever say: a hospital lets no other leave. Those of one person and of several
        by default."""
        return tuple(dict.fromkeys((*self.notes(1), *self.notes(2))))

    def places(self, phase: str) -> Places | None:
        """The places in the brain that a phase keeps separate sums for; None where its sums are over whole brains."""
        return None

    def told_apart(self, phase: str, scans: Sequence[Person]) -> Sequence[Sequence[int]]:
        """Of a cohort's scans groups, by number, of which a phase tells something by themselves, such as sums of one
        scanner beside those of all; none where it tells of all alike. A hospital puts these on record as well.

        Parameters
        ----------
        scans
            Whose they are, and of which scanner.
        """
        return ()

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """The sums over the cohort that a summed phase needs.

        Additive: the sums of disjoint cohorts add up to those of all their people. Hence counts, totals and weighted
        totals, never means. Where something is drawn from ``rng``, sums of other draws must add up as well.

        Returns
        -------
        float64 arrays by name. Names and shapes are the same at every site and in every round, whoever is in the
        cohort.
        """
        raise TypeError(f"{type(self).__name__} has no sums {phase!r}")

    def counted(self, phase: str) -> Mapping[str, float]:
        """The arrays of a summed phase that are never negative, each with the most that one scan adds to any entry.

        The names are among those that `statistics` returns; infinity where a scan may add any amount.
        """
        return {}

    def check(self, phase: str, sums: Arrays) -> None:
        """Whether people, or parts of people, can have these sums, which are finite.

        Raises
        ------
        WireError
            If the sums cover no people, contradict each other, or are not what people can have.
        """

    def bounded(self, phase: str) -> Bounded | None:
        """The sums of a phase where `Setting.private`, in the place of `statistics`; None where nothing is bounded.

        A study that asks for privacy is refused with a model that has a summed phase without.
        """
        return None

    def absorb(self, phase: str, total: Arrays) -> bool:
        """Take the sums over all sites; True if another round of the phase would change nothing that matters.

        A learner that keeps only part of them in `sums`, for that is what `share` sends, takes that part as well.

        Raises
        ------
        WireError
            If the sums cover no people (`check`), or nothing can be made of them.
        """
        self.check(phase, total)
        self._sums[phase] = total
        return False

    def reference_loss(self, phase: str) -> float | None:
        """The mean loss in an averaged phase of the best linear model of the same size (principal components), from the
        sums absorbed before; None where it is not known, or not above 0.

        A loss that stays far above it says that training did not converge.
        """
        return None

    def sums(self, phase: str) -> Arrays:
        """What was kept of the sums over all sites of one phase, as they were last absorbed."""
        return self._sums[phase]

    def personalise(self, cohort: Cohort, rng: np.random.Generator) -> None:
        """Learn what never leaves the site, from the site's own training cohort.

        What an earlier call learnt is replaced. A site that only tests never calls it.
        """

    def prepare(self, phase: str, cohort: Cohort) -> None:
        """Get ready for a phase at the site with this training cohort.

        Needed only before `batches` or `statistics` are shown less than that cohort; else they see to it themselves.
        """

    def groups(self) -> dict[str, tuple[str, ...]]:
        """Names of the network's arrays by part, and those of the normalisation layers of all parts."""
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
        """What has been learnt: weights as ``network.*``, sums as ``sums.<phase>.*``, all as copies."""
        shared: Arrays = {name: tensor.detach().cpu().numpy().copy() for name, tensor in self._arrays().items()}
        for phase, arrays in self._sums.items():
            shared |= named_sums(phase, arrays)
        return shared

    def load(self, shared: Arrays) -> None:
        """Take what `share` returned, here or at another site; arrays that are neither weights nor sums are ignored.

        Raises
        ------
        WireError
            If the weights are not those of the network, or the sums cover no people.
        """
        weights = {name: array for name, array in shared.items() if name.startswith(NETWORK)}
        if self.network is not None and weights:
            ours = self._arrays()
            unknown = sorted(weights.keys() - ours.keys())
            if unknown:
                raise WireError(f"the network has no {unknown[0]}")
            check_shapes(weights, {name: tuple(tensor.shape) for name, tensor in ours.items()})
            tensors = {name.removeprefix(NETWORK): torch.from_numpy(array.copy()) for name, array in weights.items()}
            self.network.load_state_dict(tensors, strict=False)  # counters are not among them
        for phase in self.phases():
            prefix = f"{SUMS}{phase.name}."
            arrays = {name.removeprefix(prefix): array for name, array in shared.items() if name.startswith(prefix)}
            if arrays:
                self.absorb(phase.name, arrays)

    def validate(self) -> None:
        """Refuse what the author of a subclass got wrong, before anything is learnt.

        Raises
        ------
        PluginError
            If a phase lacks a method, a part or the network that it needs, two things have one name, or the parts do
            not hold every array of the network exactly once.
        """
        if "_sums" not in vars(self):
            raise PluginError(
                f"{type(self).__name__} cannot be used: its __init__ does not call super().__init__(config, setting)."
            )
        phases = self.phases()
        faults = [
            f"two phases are called {phase.name}" for one, phase in combinations(phases, 2) if one.name == phase.name
        ]
        if NORMALISATION_GROUP in self.parts:
            faults.append(f"a part is called {NORMALISATION_GROUP}, as all normalisation layers together are")
        for phase in phases:
            lacking = [method for method in METHODS[phase.kind] if self._lacks(method)]
            faults += [f"it does not implement {method}, which the phase {phase.name} needs" for method in lacking]
            faults += [
                f"the phase {phase.name} trains {part}, which is no part" for part in {*phase.parts} - {*self.parts}
            ]
            if phase.kind == "averaged" and self.network is None:
                faults.append(f"it has no network, which the phase {phase.name} trains")
            elif phase.kind == "averaged" and not self.parts:
                faults.append(f"it names no parts of the network, which the phase {phase.name} trains")
        faults += [f"{part} is personal, but no part" for part in self.personal if part not in self.parts]
        faults += self._misplaced() if self.parts else []
        if faults:
            raise PluginError(f"{type(self).__name__} cannot be used: {faults[0]}.")

    def _lacks(self, method: str) -> bool:
        """Whether no subclass implements it."""
        return next(kind for kind in type(self).__mro__ if method in vars(kind)) is Learner

    def _misplaced(self) -> list[str]:
        """What is wrong with the arrays that are not in exactly one part."""
        held = {part: {*map(id, module.state_dict(keep_vars=True).values())} for part, module in self.parts.items()}
        owners = {
            name: [part for part, tensors in held.items() if id(tensor) in tensors]
            for name, tensor in self._arrays().items()
        }
        return [
            f"{name} has to be in exactly one of its parts, and is in {' and '.join(found) or 'none'}"
            for name, found in owners.items()
            if len(found) != 1
        ]

    def _arrays(self) -> dict[str, torch.Tensor]:
        """The network's arrays that can be averaged, under the names that they are shared by."""
        found = {} if self.network is None else self.network.state_dict(keep_vars=True)
        # Counters such as BatchNorm's have no mean.
        return {NETWORK + name: tensor for name, tensor in found.items() if tensor.is_floating_point()}


def named_sums(phase: str, sums: Arrays) -> Arrays:
    """A phase's sums under the names by which a learner shares them."""
    return {f"{SUMS}{phase}.{name}": array for name, array in sums.items()}


def _names(module: torch.nn.Module, names: Mapping[int, str]) -> tuple[str, ...]:
    return tuple(names[id(t)] for t in module.state_dict(keep_vars=True).values() if id(t) in names)
