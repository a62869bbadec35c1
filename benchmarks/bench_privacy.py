"""What differential privacy costs in detection, and what it leaves of a membership attack, by epsilon and cohort.

    python benchmarks/bench_privacy.py --data BIDS [--study NAME ...] [--models LABEL ...] [--people N ...]
        [--epsilon E ...] [--repeats N] [--out FILE]

The largest training site alone learns, from N of its healthy people drawn anew for each training; all patients of other
sites are scored. Its other healthy people are those whom a membership attack has to tell from who was learnt from: an
area of .5 is chance. Nobody's part is bounded, and no noise added, where epsilon is 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from bench_models import arguments, markdown, studies_of, told
from bench_private_sums import FIGURES, figures, written
from common import machine
from folds import Fold, cases_of, folds, prepared
from private_federation import Kept, PrivateFederation
from transfer import Entry, Federation

from normfed_client.hospital.machine import computing
from normfed_client.hospital.site import Case, people_of
from normfed_client.imaging.cohort import PreparedCohort
from normfed_common.foundation import seeds
from normfed_common.study.config import StudyConfig
from normfed_common.study.privacy import PrivacyConfig
from normfed_simulation.audit.evidence import TRACED, Tracing, least_squares
from normfed_simulation.audit.games import Game
from normfed_simulation.audit.membership import scored
from normfed_simulation.audit.target import Person

T1 = {"smoothing_mm": 3, "edge_mm": 5, "grey_factor": 0.3}
# A network is trained in few steps over everybody: with few people the noise of many steps outweighs what they gain.
STEPS: Mapping[str, Any] = {"sampling_rate": 1.0, "steps_per_round": 5, "samples_per_patient": 300}
OPTIMISER: Mapping[str, Any] = {"optimiser": "sgd", "learning_rate": 0.2}
ENTRIES = (
    Entry(
        label="intensity dark",
        model={"name": "intensity", "scale": "units", "suspicious": "dark", "postprocessing": T1},
    ),
    Entry(label="atlas", model={"name": "atlas", "units": "robust", "postprocessing": T1}, draws=True),
    Entry(label="location", model={"name": "location"}, draws=True),
    Entry(
        label="siamese",
        model={"name": "siamese"},
        rounds=4,
        learning_rate=0.003,
        draws=True,
        slow=True,
    ),
    Entry(
        label="synthetic-anomalies",
        model={"name": "synthetic-anomalies"},
        rounds=10,
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


def persons(site: str, everybody: Sequence[Case]) -> list[Person]:
    """Everybody of a site, as an attacker knows them."""
    visits: dict[str, list[Case]] = {}
    for case in everybody:
        visits.setdefault(case.visit.participant.subject, []).append(case)
    return [Person(name, site, tuple(cases)) for name, cases in sorted(visits.items())]


def federation_of(study: StudyConfig, entry: Entry, fold: Fold, epsilon: float, seed: int, kept: Kept) -> Federation:
    """One site that learns with privacy; without where epsilon is 0."""
    if not epsilon:
        return Federation(study, entry, fold, seed, {})
    found = PrivateFederation(study, entry, fold, seed, PrivacyConfig(epsilon=epsilon, **STEPS), kept)
    found.federation = found.federation.model_copy(update=OPTIMISER)
    return found


def evidence(federation: Federation, site: str, candidates: Sequence[Person]) -> dict[str, np.ndarray]:
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


def compared(study: StudyConfig, entries: Sequence[Entry], given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row per model, size of cohort and epsilon."""
    plan = folds(study, cases_of(study, prepared(study, given.data, given.workers), given.workers))[0]
    site, everybody = max(plan.learn.items(), key=lambda pair: len(people_of(pair[1])))
    candidates = persons(site, everybody)
    for entry in entries:
        learns = bool(Federation(study, entry, plan, study.seed, {}).new().phases())
        kept: Kept = {}
        for people in given.people if learns else given.people[:1]:
            for epsilon in given.epsilon if learns else (0,):
                draws, evidences, members = [], list[dict[str, np.ndarray]](), []
                for repeat in range(given.repeats if learns else 1):
                    cases = drawn(study, site, everybody, people, repeat)
                    fold, seed = replace(plan, learn={site: cases}), seeds.of_repeat(study.seed, repeat)
                    federation = federation_of(study, entry, fold, epsilon, seed, kept)
                    draws.append(figures(study, [fold], [federation]))
                    if learns and people < len(candidates) - 5:
                        inside = {case.visit.participant.subject for case in cases}
                        members.append([person.name in inside for person in candidates])
                        evidences.append(evidence(federation, site, candidates))
                row = {"study": study.name, "model": entry.label, "site": site, "people": people, "epsilon": epsilon}
                yield {**row, "draws": draws, "membership": areas(evidences, members, candidates)}


def areas(
    evidences: Sequence[dict[str, np.ndarray]], members: Sequence[Sequence[bool]], candidates: Sequence[Person]
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
    parser.add_argument("--people", type=int, nargs="+", default=(10, 25, 50), help="to learn from")
    parser.add_argument("--epsilon", type=float, nargs="+", default=(0, 16, 8, 4, 2, 1))
    parser.set_defaults(repeats=3)
    given = parser.parse_args()
    print(machine())
    for study in studies_of(given):
        entries = [one for one in ENTRIES if not given.models or one.label in given.models]
        head = ["model", "people", "epsilon", "AP", "AUROC", "best Dice", "Dice", "area of membership attacks"]
        print("\n".join(["", f"### {study.name}", "", *markdown(head, [])]), flush=True)
        with computing(study, torch.device("cpu")):
            for row in compared(study, entries, given):
                told(f"{study.name}: {row['model']}, {row['people']} people, epsilon {row['epsilon']}")
                written(row, line(row), given.out)


if __name__ == "__main__":
    main()
