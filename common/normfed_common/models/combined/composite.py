"""Several learners that are learnt as one model, each under names of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.batch import Batch
from normfed_common.learning.bounded import Bounded, Wrapped
from normfed_common.learning.cohort import Cohort, Person
from normfed_common.learning.learner import Learner
from normfed_common.learning.phase import Phase
from normfed_common.learning.setting import Places, Setting
from normfed_common.models.base import NormativeModel


class Composite(NormativeModel):
    """Learners that are learnt in order.

    Whatever a learner calls its phases, parts and arrays, here its name stands before it: ``transform-1-moments``,
    ``network.transform-1.weight``. The last learner, without a name, keeps what it calls them.

    Parameters
    ----------
    named
        Those with names, in order; no name is the beginning of another's, nor of what the last one calls anything.
    last
        Its phases come last.
    """

    def __init__(self, config: Any, setting: Setting, named: Mapping[str, Learner], last: Learner) -> None:
        super().__init__(config, setting)
        self._prefixes = (*(f"{name}-" for name in named), "")
        self._learners: tuple[Learner, ...] = (*named.values(), last)
        networks = {name: one.network for name, one in named.items() if one.network is not None}
        self.network = Networks(last.network, networks) if networks else last.network
        self.parts = {prefix + part: module for prefix, one in self._each() for part, module in one.parts.items()}
        self.personal = tuple(prefix + part for prefix, one in self._each() for part in one.personal)
        self.keeps_to_site = any(learner.keeps_to_site for learner in self._learners)
        self.age_and_sex = any(learner.age_and_sex for learner in self._learners)

    def phases(self) -> tuple[Phase, ...]:
        """Those of all learners."""
        return tuple(
            replace(phase, name=prefix + phase.name, parts=tuple(prefix + part for part in _parts(phase, one)))
            for prefix, one in self._each()
            for phase in one.phases()
        )

    def whose(self, phase: str) -> Learner:
        """The phase's learner."""
        number, own = self._of(phase)
        return self._learners[number].whose(own)

    def batches(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        """Those of the phase's learner, of scans as it sees them."""
        number, own = self._of(phase)
        return self._learners[number].batches(own, self._seen_by(number, cohort), rng)

    def most_samples(self, phase: str, scans: int) -> int:
        """That of the phase's learner."""
        number, own = self._of(phase)
        return self._learners[number].most_samples(own, scans)

    def people_per_sample(self, phase: str) -> int:
        """That of the phase's learner."""
        number, own = self._of(phase)
        return self._learners[number].people_per_sample(own)

    def most_batches(self, phase: str, scans: int) -> int:
        """That of the phase's learner."""
        number, own = self._of(phase)
        return self._learners[number].most_batches(own, scans)

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        """That of the phase's learner."""
        number, own = self._of(phase)
        return self._learners[number].loss(own, batch, rng)

    def notes(self, people: int) -> tuple[str, ...]:
        """Those of all learners."""
        return tuple(dict.fromkeys(note for learner in self._learners for note in learner.notes(people)))

    def may_note(self) -> tuple[str, ...]:
        """Those of all learners."""
        return tuple(dict.fromkeys(note for learner in self._learners for note in learner.may_note()))

    def places(self, phase: str) -> Places | None:
        """Those of the phase's learner."""
        number, own = self._of(phase)
        return self._learners[number].places(own)

    def told_apart(self, phase: str, scans: Sequence[Person]) -> Sequence[Sequence[int]]:
        """Those of the phase's learner."""
        number, own = self._of(phase)
        return self._learners[number].told_apart(own, scans)

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """Those of the phase's learner, over scans as it sees them."""
        number, own = self._of(phase)
        return self._learners[number].statistics(own, self._seen_by(number, cohort), rng)

    def counted(self, phase: str) -> Mapping[str, float]:
        """Those of the phase's learner."""
        number, own = self._of(phase)
        return self._learners[number].counted(own)

    def check(self, phase: str, sums: Arrays) -> None:
        """By the phase's learner."""
        number, own = self._of(phase)
        self._learners[number].check(own, sums)

    def bounded(self, phase: str) -> Bounded | None:
        """That of the phase's learner, on scans as it sees them; None where a learner before it learns something from
        the whole cohort for the site alone, so that a person's scans depend on others."""
        number, own = self._of(phase)
        if any(learner.keeps_to_site for learner in self._learners[:number]):
            return None
        found = self._learners[number].bounded(own)
        return None if found is None else _Seen(found, partial(self._seen_by, number))

    def absorb(self, phase: str, total: Arrays) -> bool:
        """By the phase's learner, which checks it."""
        number, own = self._of(phase)
        self._changes(number)
        settled = self._learners[number].absorb(own, total)
        self._sums[phase] = self._learners[number].sums(own)
        return settled

    def reference_loss(self, phase: str) -> float | None:
        """That of the phase's learner."""
        number, own = self._of(phase)
        return self._learners[number].reference_loss(own)

    def load(self, shared: Arrays) -> None:
        """See `Learner.load`; what is kept at the site is learnt anew."""
        super().load(shared)
        self._changes(0)

    def prepare(self, phase: str, cohort: Cohort) -> None:
        """Get whatever the phase's learner stands on, and itself, ready for the site.

        `batches` and `statistics` do so by themselves, on the first cohort that they are given after `load`; further
        cohorts must be of the same site. All draw alike, so that a scan is scored as it was trained on.
        """
        number, own = self._of(phase)
        self._learners[number].prepare(own, self._seen_by(number, cohort))

    def _seen_by(self, number: int, cohort: Cohort) -> Cohort:
        """A cohort as the learner at a place sees it, with what stands before it ready for the site."""
        return cohort

    def _changes(self, number: int) -> None:
        """What a learner has learnt changes: what comes after it has to be learnt anew."""

    def _each(self) -> Iterator[tuple[str, Learner]]:
        return zip(self._prefixes, self._learners, strict=True)

    def _of(self, phase: str) -> tuple[int, str]:
        """The place of a phase's learner, and what it calls the phase itself."""
        number = next(number for number, prefix in enumerate(self._prefixes) if phase.startswith(prefix))
        return number, phase.removeprefix(self._prefixes[number])


class _Seen(Wrapped):
    """Contributions of scans that were changed first."""

    def __init__(self, inner: Bounded, seen: Callable[[Cohort], Cohort]) -> None:
        super().__init__(inner)
        self._seen = seen

    def contribution(self, person: Cohort, rng: np.random.Generator) -> Arrays:
        """Of the person's scans as the learner sees them."""
        return self.inner.contribution(self._seen(person), rng)


class Networks(torch.nn.Module):
    """Networks as one: the arrays of the last keep their names, those of the others begin with theirs."""

    LAST = "last"  # inside; no name that is seen from outside begins with it

    def __init__(self, last: torch.nn.Module | None, named: Mapping[str, torch.nn.Module]) -> None:
        super().__init__()
        self._named = frozenset(named)
        for name, network in (*named.items(), (self.LAST, last)):
            self.add_module(name, network)

    def named_modules(
        self, memo: set[torch.nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, torch.nn.Module]]:
        """As torch's; the names of parameters and buffers follow from these."""
        for name, module in super().named_modules(memo, "", remove_duplicate):
            yield ".".join(filter(None, (prefix, self._outside(name)))), module

    def state_dict(self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """As torch's."""
        found = super().state_dict(keep_vars=keep_vars)
        named = {prefix + self._outside(name): tensor for name, tensor in found.items()}
        return named if destination is None else destination.update(named) or destination

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As torch's."""
        inside = {
            name if name.partition(".")[0] in self._named else f"{self.LAST}.{name}": array
            for name, array in state_dict.items()
        }
        return super().load_state_dict(inside, strict, assign)

    def _outside(self, name: str) -> str:
        return name.removeprefix(self.LAST).removeprefix(".")


def _parts(phase: Phase, learner: Learner) -> tuple[str, ...]:
    """Those that a phase trains: where it says none all of its learner's own, never those of the others."""
    return phase.parts or tuple(learner.parts)
