"""What differential privacy costs in detection, and what it leaves of a membership attack, by epsilon and cohort.

    python benchmarks/bench_privacy.py --data BIDS [--study NAME ...] [--models LABEL ...] [--people N ...]
        [--epsilon E ...] [--repeats N] [--start FILE] [--scored N] [--candidates N] [--out FILE]

The largest training site alone learns, from N of its healthy people drawn anew for each training; all patients of other
sites are scored. Its other healthy people are those whom a membership attack has to tell from who was learnt from: an
area of .5 is chance. Nobody's part is bounded, and no noise added, where epsilon is 0. With --start private networks
begin from a public model, as a study with `initial_model` does.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_models import arguments, markdown, studies_of, told
from bench_private_sums import FIGURES, figures, written
from common import machine
from folds import Fold, cases_of, folds, prepared
from private_federation import Kept, PrivateFederation
from transfer import Entry, Federation, Learnt

from normfed_client.hospital.machine import computing
from normfed_client.hospital.site import Case, people_of
from normfed_client.imaging.cohort import PreparedCohort
from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays, load
from normfed_common.learning.learner import NETWORK
from normfed_common.study.config import StudyConfig
from normfed_common.study.privacy import PrivacyConfig
from normfed_simulation.audit.evidence import TRACED, Tracing, least_squares
from normfed_simulation.audit.games import Game
from normfed_simulation.audit.membership import scored
from normfed_simulation.audit.target import Candidate

T1 = {"smoothing_mm": 3, "edge_mm": 5, "grey_factor": 0.3}
# With few people the noise of many steps outweighs what they gain. Chosen at epsilon 4 by the loss on healthy people of
# other hospitals: five steps along clipped gradients, nearly all of which are as long as the norm.
STEPS: Mapping[str, Any] = {
    "sampling_rate": 1.0,
    "steps_per_round": 5,
    "samples_per_patient": 300,
    "clip_norm": 0.1,
}
RATES: Mapping[str, float] = {"siamese": 0.02, "synthetic-anomalies": 0.2}
PLANTED: Mapping[str, Any] = {"name": "synthetic-anomalies", "slabs_per_subject": 2}
ENTRIES = (
    Entry(
        label="intensity dark",
        model={"name": "intensity", "scale": "units", "suspicious": "dark", "postprocessing": T1},
    ),
    Entry(label="atlas", model={"name": "atlas", "units": "robust", "postprocessing": T1}, draws=True),
    Entry(label="location", model={"name": "location"}, draws=True),
    Entry(label="siamese", model={"name": "siamese"}, rounds=4, learning_rate=0.003, draws=True, slow=True),
    Entry(label="synthetic-anomalies", model=dict(PLANTED), rounds=20, learning_rate=0.003, draws=True, slow=True),
    Entry(
        label="synthetic-anomalies edge grey",
        model={**PLANTED, "postprocessing": T1},
        rounds=20,
        learning_rate=0.003,
        draws=True,
        slow=True,
    ),
)


def drawn(study: StudyConfig, site: str, everybody: Sequence[Case], people: int, repeat: int) -> list[Case]:
    """So many people of a site, with all their visits."""
    names = sorted({case.visit.participant.subject for case in everybody})
    few = seeds.generator(study.seed, "cohort", site, people, repeat).permutation(names)[:people]
    return [case for case in everybody if case.visit.participant.subject in few]


def persons(site: str, everybody: Sequence[Case]) -> list[Candidate]:
    """Everybody of a site, as an attacker knows them."""
    visits: dict[str, list[Case]] = {}
    for case in everybody:
        visits.setdefault(case.visit.participant.subject, []).append(case)
    return [Candidate(name, site, tuple(cases)) for name, cases in sorted(visits.items())]


def asked_about(inside: np.ndarray, most: int | None) -> np.ndarray:
    """Numbers of those whom an attacker decides about: the first, at most so many, half of them inside."""
    if most is None:
        return np.arange(len(inside))
    members = np.flatnonzero(inside)[: most // 2]
    return np.concatenate([members, np.flatnonzero(~inside)[: most - len(members)]])


class Public(Federation):
    """A federation that takes a public model as it is.

    Parameters
    ----------
    start
        Weights of its network.
    """

    def __init__(self, study: StudyConfig, entry: Entry, fold: Fold, seed: int, start: Arrays) -> None:
        super().__init__(study, entry, fold, seed, {})
        self._start = start

    def learn(self) -> Learnt:
        """Nothing of anybody."""
        return Learnt(self._start, 0.0, 0.0)


def federation_of(
    study: StudyConfig,
    entry: Entry,
    fold: Fold,
    epsilon: float,
    seed: int,
    kept: Kept,
    start: Arrays,
    people: int = 0,
) -> Federation:
    """Sites that learn with privacy; without, and from their own draw, where epsilon is 0; nothing of nobody.

    Parameters
    ----------
    people
        That each site stands for; as many as there are when 0.
    """
    if not any(fold.learn.values()):
        return Public(study, entry, fold, seed, start)
    if not epsilon:
        return Federation(study, entry, fold, seed, {})
    private = entry.model_copy(update={"rounds": 1, "learning_rate": RATES.get(entry.model["name"])})
    privacy = PrivacyConfig(epsilon=epsilon, **STEPS)
    found = PrivateFederation(study, private, fold, seed, privacy, kept, people, start=start)
    found.federation = found.federation.model_copy(update={"optimiser": "sgd"})
    return found


def evidence(federation: Federation, site: str, candidates: Sequence[Candidate]) -> dict[str, np.ndarray]:
    """By kind, what an attacker makes of every candidate who has the model, what left the site and all scans."""
    arrays = federation.learnt.arrays
    model = federation.new()
    model.load(arrays)
    if not isinstance(federation, PrivateFederation):
        return scored(model, candidates, Tracing(federation.new, arrays, candidates), arrays)
    found = scored(model, candidates, None, arrays)
    cohort = PreparedCohort([(case.visit, case.entry) for person in candidates for case in person.visits])
    own = federation.contributions(site, cohort)
    if own:
        vectors = np.stack([np.concatenate([part[name].ravel() for name in sorted(part)]) for part in own])
        told = np.concatenate([federation.told[site][name].ravel() for name in sorted(own[0])])
        found[TRACED] = least_squares(vectors, told)
    return found


def network_of(path: Path | None) -> Arrays:
    """The weights of a public model; none without one."""
    return {} if path is None else {name: array for name, array in load(path).items() if name.startswith(NETWORK)}


def compared(study: StudyConfig, entries: Sequence[Entry], given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row per model, size of cohort and epsilon."""
    plan = folds(study, cases_of(study, prepared(study, given.data, given.workers), given.workers))[0]
    plan = replace(plan, scored={place: cases[: given.scored] for place, cases in plan.scored.items()})
    site, everybody = max(plan.learn.items(), key=lambda pair: len(people_of(pair[1])))
    start = network_of(given.start)
    candidates = persons(site, everybody)
    for entry in entries:
        learns = bool(Federation(study, entry, plan, study.seed, {}).new().phases())
        kept: Kept = {}
        for people in given.people if learns else given.people[:1]:
            for epsilon in given.epsilon if learns and people else (0,):
                draws, evidences, members = [], list[dict[str, np.ndarray]](), []
                for repeat in range(given.repeats if learns and people else 1):
                    cases = drawn(study, site, everybody, people, repeat)
                    fold, seed = replace(plan, learn={site: cases}), seeds.of_repeat(study.seed, repeat)
                    federation = federation_of(study, entry, fold, epsilon, seed, kept, start)
                    draws.append(figures(study, [fold], [federation]))
                    if learns and 0 < people < len(candidates) - 5:
                        inside = {case.visit.participant.subject for case in cases}
                        members.append(np.array([person.name in inside for person in candidates]))
                        asked = asked_about(members[-1], given.candidates)
                        told_of = evidence(federation, site, [candidates[number] for number in asked])
                        evidences.append({kind: spread(s, asked, len(candidates)) for kind, s in told_of.items()})
                row = {"study": study.name, "model": entry.label, "site": site, "people": people, "epsilon": epsilon}
                yield {**row, "draws": draws, "membership": areas(evidences, members, candidates)}


def spread(scores: np.ndarray, asked: np.ndarray, people: int) -> np.ndarray:
    """Scores of those asked about, in their places among everybody; NaN for all others."""
    found = np.full(people, np.nan)
    found[asked] = scores
    return found


def across_sites(study: StudyConfig, entries: Sequence[Entry], given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The same where every site learns from its patients' normal tissue: with the noise of sites of so many people."""
    plan = folds(study, cases_of(study, prepared(study, given.data, given.workers), given.workers))
    plan = [fold for fold in plan if not given.places or set(fold.scored) & set(given.places)]
    start = network_of(given.start)
    for entry in entries:
        for people in given.people:
            for epsilon in given.epsilon if people else (0,):
                draws = []
                for repeat in range(given.repeats if people else 1):
                    seed = seeds.of_repeat(study.seed, repeat)
                    learning = [fold if people else replace(fold, learn={}) for fold in plan]
                    sites = [federation_of(study, entry, fold, epsilon, seed, {}, start, people) for fold in learning]
                    draws.append(figures(study, plan, sites))
                row = {"study": study.name, "model": entry.label, "site": "all others", "people": people}
                yield {**row, "epsilon": epsilon, "draws": draws, "membership": {}}


def areas(
    evidences: Sequence[dict[str, np.ndarray]], members: Sequence[np.ndarray], candidates: Sequence[Candidate]
) -> dict[str, tuple[float, float, float]]:
    """By kind of evidence the area under the attacker's curve over all trainings, and its 95 % interval."""
    groups = np.array([person.site for person in candidates])
    found = {}
    for kind in evidences[0] if evidences else ():
        game = Game(np.stack([one[kind] for one in evidences]), np.array(members), groups)
        found[kind] = (game.auc(), *game.interval())
    return found


def line(row: dict[str, Any]) -> list[str]:
    """A row of the table: means over trainings, of the average precision their standard deviation, too."""
    cells = []
    for name in FIGURES:
        values = [draw[name] for draw in row["draws"]]
        spread = f" (sd {np.std(values, ddof=1):.3f})" if name == "auprc" and len(values) > 1 else ""
        cells.append(f"{np.mean(values):.3f}{spread}")
    attacks = [
        f"{kind} {value:.2f} ({low:.2f} to {high:.2f})" for kind, (value, low, high) in row["membership"].items()
    ]
    epsilon = f"{row['epsilon']:g}" if row["epsilon"] else "none"
    return [row["model"], str(row["people"]), epsilon, *cells, "; ".join(attacks) or "-"]


def main() -> None:
    parser = arguments(str(__doc__), ("real-t1-controls",), ())
    parser.add_argument("--people", type=int, nargs="+", default=(10, 25, 50), help="to learn from; 0: the start alone")
    parser.add_argument("--epsilon", type=float, nargs="+", default=(0, 16, 8, 4, 2, 1))
    parser.add_argument("--start", type=Path, help="a model.safetensors that private networks begin from")
    parser.add_argument("--scored", type=int, help="visits of each place that is scored, at most; all when absent")
    parser.add_argument("--places", nargs="+", help="that are scored where every site learns; all when absent")
    parser.add_argument("--candidates", type=int, help="that an attacker decides about; everybody when absent")
    parser.set_defaults(repeats=3)
    given = parser.parse_args()
    print(machine())
    for study in studies_of(given):
        entries = [one for one in ENTRIES if not given.models or one.label in given.models]
        head = ["model", "people", "epsilon", "AP", "AUROC", "best Dice", "Dice", "area of membership attacks"]
        print("\n".join(["", f"### {study.name}", "", *markdown(head, [])]), flush=True)
        with computing(study, torch.device("cpu")):
            of = across_sites if study.data.normal == "lesion-free-tissue" else compared
            for row in of(study, entries, given):
                told(f"{study.name}: {row['model']}, {row['people']} people, epsilon {row['epsilon']}")
                written(row, line(row), given.out)


if __name__ == "__main__":
    main()
