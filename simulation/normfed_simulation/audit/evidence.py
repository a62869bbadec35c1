"""What speaks for a person having been trained on: one number per person, higher for members.

    loss        - mean loss of the network on the person's own batches (Yeom 2018, arXiv 1709.01604)
    anomaly     - mean anomaly of the person's normal tissue
    sums        c of the person in the least-squares solution of S = sum_i c_i s_i, where S are the sums that the model
                tells and s_i those of person i alone, which whoever has the scan can work out

The last is what the tracing attacks on released means (Homer 2008, doi 10.1371/journal.pgen.1000167; Dwork 2015, arXiv
1511.02631) become for an attacker who holds the scans of all candidates: with more entries than people and no noise it
is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from normfed_client.evaluating import maps
from normfed_client.imaging.cohort import PreparedCohort
from normfed_client.training.loop import Settings, mean_loss
from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.learner import NETWORK, SUMS
from normfed_common.learning.phase import Phase
from normfed_common.models.base import NormativeModel
from normfed_common.privacy.releases import shortened
from normfed_simulation.audit.target import Candidate

DRAWS = 3  # epochs of a person's batches, so that what is drawn in them does not decide
ENTRIES = 200_000  # of a model's sums that are looked at, at random; more add nothing but time
RIDGE = 1e-3  # of the mean eigenvalue

LOSS, ANOMALY, TRACED = "loss", "anomaly", "sums"
TITLES = {
    LOSS: "the network's loss on the person",
    ANOMALY: "how normal the model finds the person",
    TRACED: "least squares on the model's sums",
}
KNOWS = {
    LOSS: "the model and the person's scan",
    ANOMALY: "the model and the person's scan",
    TRACED: "the model and the scans of all candidates",
}


def cohort_of(person: Candidate) -> PreparedCohort:
    """A cohort of this one person."""
    return PreparedCohort([(case.visit, case.entry) for case in person.visits])


def losses(model: NormativeModel, people: Sequence[Candidate]) -> np.ndarray | None:
    """`LOSS` of everybody, float (people,), in the last averaged phase, with the same draws for all; None of a model
    that trains no network."""
    phases = [phase for phase in model.phases() if phase.kind == "averaged"]
    if not phases:
        return None
    found = []
    for person in people:
        cohort = cohort_of(person)
        settings = [Settings(phases[-1], model.setting.seed, "audit", n, 1, 1e-3) for n in range(1, DRAWS + 1)]
        found.append(-np.mean([mean_loss(model, cohort, one) for one in settings]))
    return np.array(found)


def anomalies(model: NormativeModel, people: Sequence[Candidate]) -> np.ndarray:
    """`ANOMALY` of everybody's last visit, float (people,)."""
    found = []
    for person in people:
        last = person.visits[-1]
        scan = last.scan()
        score = maps.score(model, maps.until(last, person.visits), last.visit.name)
        found.append(-float(score.anomaly.ravel()[scan.normal_index].mean()))
    return np.array(found)


def added_by(model: NormativeModel, phase: str, person: Candidate, private: bool) -> Arrays:
    """What a person adds to what a site sends of a phase, float64, at a model that has learnt what comes before; not
    what is sent besides whoever the people are.

    Parameters
    ----------
    private
        Whether that is the model's bounded contribution of a person, as where the sums leave with noise.
    """
    cohort, rng = cohort_of(person), seeds.generator(model.setting.seed, "sums", person.site, phase)
    bounded = model.bounded(phase) if private else None
    found = model.statistics(phase, cohort, rng) if bounded is None else shortened(bounded.contribution(cohort, rng))
    return {name: np.asarray(array, np.float64) for name, array in found.items()}


def sums_of(model: NormativeModel, phase: str, person: Candidate, private: bool) -> Arrays:
    """The same in the layout of the model's sums, which the server makes of what sites send; see `added_by`."""
    found = added_by(model, phase, person, private)
    bounded = model.bounded(phase) if private else None
    if bounded is None:
        return found
    repaired = bounded.repaired({**found, **bounded.beside(1)}, 0.0)
    return {name: np.asarray(array, np.float64) for name, array in repaired.items()}


@dataclass
class Tracing:
    """Candidates' own sums, to hold against those of models.

    Parameters
    ----------
    new
        Makes the study's model, as it begins.
    shared
        Of a model that was trained: which of its sums can be worked out of one person.
    private
        Whether sums leave with noise, see `sums_of`.
    """

    new: Callable[[], NormativeModel]
    shared: Arrays
    people: Sequence[Candidate]
    private: bool = False
    phase: Phase | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._names: list[str] = []
        self._chosen: dict[str, np.ndarray] = {}
        for phase in self.new().phases():
            if phase.kind == "summed" and self.people and self._comparable(phase):
                self.phase = phase
                break
        if self.phase is not None:
            self._sums = np.stack([self._of(person, self.phase) for person in self.people])
            self._scale = self._sums.std(0)

    def _comparable(self, phase: Phase) -> bool:
        own = self._statistics(self.people[0], phase)
        prefix = f"{SUMS}{phase.name}."
        names = sorted(n for n, a in own.items() if self.shared.get(prefix + n, np.empty(0)).shape == a.shape)
        size = sum(own[name].size for name in names)
        if size < 2:
            return False
        rng = np.random.default_rng(0)
        self._names = names
        for name in names:
            count = own[name].size
            most = max(1, round(ENTRIES * count / size)) if size > ENTRIES else count
            self._chosen[name] = np.sort(rng.choice(count, min(count, most), replace=False))
        return True

    def _statistics(self, person: Candidate, phase: Phase) -> Arrays:
        """A person's sums, worked out with what the model knew before the phase."""
        model = self.new()
        before = [one.name for one in model.phases()]
        before = before[: before.index(phase.name)]
        known = tuple(f"{SUMS}{name}." for name in before)
        model.load({n: a for n, a in self.shared.items() if n.startswith(known) or (before and n.startswith(NETWORK))})
        return sums_of(model, phase.name, person, self.private)

    def _of(self, person: Candidate, phase: Phase) -> np.ndarray:
        return self._flat(self._statistics(person, phase))

    def _flat(self, sums: Arrays) -> np.ndarray:
        return np.concatenate([sums[name].ravel()[self._chosen[name]] for name in self._names])

    def coefficients(self, shared: Arrays) -> np.ndarray | None:
        """`TRACED` of every candidate in a model, float (people,); None where no sums can be compared."""
        if self.phase is None:
            return None
        prefix = f"{SUMS}{self.phase.name}."
        told = self._flat({name: np.asarray(shared[prefix + name], np.float64) for name in self._names})
        vary = self._scale > 0
        return least_squares(self._sums[:, vary] / self._scale[vary], told[vary] / self._scale[vary])


def least_squares(of_people: np.ndarray, total: np.ndarray) -> np.ndarray:
    """c (people,) so that sum_i c_i s_i is next to the total (entries,), of s (people, entries); slightly shrunk."""
    gram = of_people @ of_people.T
    # The mean of all is in everybody's sums; what tells people apart is what is left of them.
    centred = of_people - of_people.mean(0)
    ridge = RIDGE * float((centred**2).sum()) / max(len(of_people) - 1, 1)
    found: np.ndarray = np.linalg.solve(gram + ridge * np.eye(len(gram)), of_people @ total)
    return found
