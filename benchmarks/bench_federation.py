"""What a federation is worth: the same models learnt by all sites, by all but one, by one alone, and in one place.

    python benchmarks/bench_federation.py --data BIDS [--study NAME ...] [--models LABEL ...] [--arms ARM ...]
        [--repeats N] [--list FILE] [--out DIR]

Every site's patients are scored by models of

    others-together   all training sites but this one: what a hospital that never trained gets
    another-alone     each of these by itself; everybody's mean over them
    own-alone         the site's own people, the scored one's half apart where patients' normal tissue is learnt from
    together          own-alone's people and all other sites
    tuned             the same, then trained on at the site, as `fine-tuning` does (networks only)
    pooled            the same people as `together`, as if they were one site's

Differences are paired by person, with an interval over people; with --repeats the spread over trainings of what draws.
People without a site of their own to learn from (`real-t1-controls`) have the first two arms only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from bench_models import STUDIES, arguments, chosen, entries, file_of, markdown, studies_of, told, usable
from common import machine
from folds import Cases, Fold, cases_of, halves, prepared
from model_figures import MAIN, averaged, by_site, difference, mean
from transfer import Entry, Federation, FirstSums, scores

from normfed_client.hospital.machine import computing
from normfed_client.hospital.site import Case
from normfed_common.algorithms.parameters import FineTuningParameters
from normfed_common.foundation import seeds
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import write_json
from normfed_common.metrics.base import ScoredScan
from normfed_common.metrics.catalogue import METRICS
from normfed_common.models.base import NormativeModel
from normfed_common.study.config import StudyConfig

LABELS = ("matched-filter edge grey", "atlas units by-site edge grey", "location")
ARMS = ("others-together", "another-alone", "own-alone", "together", "tuned", "pooled")
COMPARED = (
    ("others-together", "another-alone"),
    ("together", "own-alone"),
    ("tuned", "own-alone"),
    ("together", "pooled"),
)
FIGURES = (MAIN, "auroc")
Row = dict[str, Any]
Split = tuple[Sequence[Case], Sequence[Case]]  # of a site: to learn from, to score


@dataclass(frozen=True)
class Trained:
    """One training of an arm, and whom it scores."""

    arm: str
    fold: Fold
    tuned: bool = False


def learners(study: StudyConfig, cases: Mapping[str, Cases]) -> dict[str, list[Case]]:
    """Of every training site whom it has to learn from: healthy people where there are some, else everybody."""
    roles = ("train", "held_out") if study.data.normal == "controls" else ("train", "held_out", "test")
    found = {site: [case for role in roles for case in cases[role][site]] for site in cases["test"]}
    return {site: people for site, people in found.items() if people and study.data.trains(site)}


def splits(study: StudyConfig, cases: Mapping[str, Cases]) -> dict[str, list[Split]]:
    """Of every site with patients, its own people to learn from, none where it trains nothing, and those to score."""
    learn = learners(study, cases)
    if study.data.normal == "controls":
        return {site: [(learn.get(site, []), patients)] for site, patients in cases["test"].items() if patients}
    found: dict[str, list[Split]] = {}
    for site in cases["test"]:
        everybody = [case for role in cases.values() for case in role[site]]
        if site in learn and len({case.visit.participant.subject for case in everybody}) > 1:
            one, two = (half[site] for half in halves(study, {site: everybody}))
            found[site] = [(one, two), (two, one)]
        elif everybody:
            found[site] = [([], everybody)]
    return found


def trainings(study: StudyConfig, cases: Mapping[str, Cases]) -> Iterator[Trained]:
    """All that is to be learnt."""
    learn, own = learners(study, cases), splits(study, cases)
    whole: Cases = {site: [case for _, scored in of for case in scored] for site, of in own.items()}
    for site, people in whole.items():
        yield Trained("others-together", _fold({other: learn[other] for other in learn if other != site}, site, people))
    for site, people in learn.items():
        others = {other: scored for other, scored in whole.items() if other != site}
        yield Trained("another-alone", Fold(f"{site} alone", {site: people}, others, {}))
    for site, of in own.items():
        for mine, people in of:
            if not mine:
                continue
            yield Trained("own-alone", _fold({site: mine}, site, people))
            everybody = {**{other: learn[other] for other in learn if other != site}, site: mine}
            together = _fold(everybody, site, people)
            yield Trained("together", together)
            yield Trained("tuned", together, tuned=True)
            one_place = [case for there in everybody.values() for case in there]
            yield Trained("pooled", _fold({"pooled": one_place}, site, people))


def _fold(learn: Cases, site: str, people: Sequence[Case]) -> Fold:
    return Fold(f"{', '.join(learn)} for {site}", learn, {site: people}, {})


def computed(study: StudyConfig, entry: Entry, plan: Sequence[Trained], repeats: int) -> dict[str, Any]:
    """Of every arm everybody's figures, averaged over trainings, and the means of each training."""
    with computing(study, torch.device("cpu")):
        trained = [_training(study, entry, plan, repeat) for repeat in range(repeats if entry.draws else 1)]
    arms = {arm: [training[arm] for training in trained] for arm in trained[0]}
    return {
        "label": entry.label,
        "trainings": {arm: [{key: mean(one, key) for key in FIGURES} for one in of] for arm, of in arms.items()},
        "people": {arm: averaged(of) for arm, of in arms.items()},
    }


def _training(study: StudyConfig, entry: Entry, plan: Sequence[Trained], repeat: int) -> dict[str, list[Row]]:
    """Of every arm one row a person, after one training of each."""
    seed, first = seeds.of_repeat(study.seed, repeat), FirstSums()
    rows: dict[str, list[Row]] = {}
    fold: Fold | None = None
    for number, one in enumerate(plan, 1):
        if one.fold is not fold:  # else `tuned`, which goes on from `together`
            fold, federation = one.fold, Federation(study, entry, one.fold, seed, first)
            learnt = federation.learn()
        if one.tuned and not federation.trains:
            continue
        for site, people in one.fold.scored.items():
            model = federation.served(learnt.arrays, site, FineTuningParameters().epochs if one.tuned else 0)
            rows.setdefault(one.arm, []).extend(_rows(model, site, people, study.preprocessing.voxel_size_mm))
        where = f"{study.name}, {entry.label}, training {repeat + 1}"
        told(f"{where}, {one.arm} {number}/{len(plan)}: learnt in {learnt.seconds:.1f} s")
    return {arm: _of_people(all_of) for arm, all_of in rows.items()}


def _rows(model: NormativeModel, site: str, people: Sequence[Case], size: float) -> Iterator[Row]:
    for case, anomaly, _ in scores(model, people):
        mask = case.entry.mask()
        lesion = case.entry.lesion() & mask
        if lesion.any():
            scan = ScoredScan(anomaly, lesion, mask, size, float("nan"))
            yield {"site": site, "name": case.visit.name, **{key: METRICS[key](scan) for key in FIGURES}}


def _of_people(rows: Sequence[Row]) -> list[Row]:
    """One row a person: the mean over the models that scored it."""
    same: dict[str, list[Row]] = {}
    for row in rows:
        same.setdefault(row["name"], []).append(row)
    return [averaged([[row] for row in of])[0] for of in same.values()]


def table(study: StudyConfig, found: Sequence[dict[str, Any]]) -> str:
    """Arms, then their differences, in Markdown."""
    arms = [
        [
            result["label"],
            arm,
            str(len(people)),
            *(_spread(result["trainings"][arm], people, key) for key in FIGURES),
            "{} {:.3f}".format(*min(by_site(people).items(), key=lambda site: site[1])),
        ]
        for result in found
        for arm, people in result["people"].items()
    ]
    gains = [
        [
            result["label"],
            f"{ours} less {theirs}",
            *(_difference(result["people"], ours, theirs, key) for key in FIGURES),
        ]
        for result in found
        for ours, theirs in COMPARED
        if {ours, theirs} <= result["people"].keys()
    ]
    head = ["model", "learnt by", "people", "AP", "AUROC", "worst site, AP"]
    differences = ["model", "difference", "AP, 95 %", "AUROC, 95 %"]
    return "\n".join([f"### {study.name}", "", *markdown(head, arms), "", *markdown(differences, gains)])


def _spread(trainings: Sequence[dict[str, float]], people: Sequence[Row], key: str) -> str:
    """The mean over people, and the standard deviation over trainings of what draws."""
    value = f"{mean(people, key):.3f}"
    return value + (f" (sd {np.std([one[key] for one in trainings], ddof=1):.3f})" if len(trainings) > 1 else "")


def _difference(people: Mapping[str, Sequence[Row]], ours: str, theirs: str, key: str) -> str:
    """Of those who are in both arms."""
    both = {row["name"] for row in people[ours]} & {row["name"] for row in people[theirs]}
    one, other = ([row for row in people[arm] if row["name"] in both] for arm in (ours, theirs))
    return "{:+.3f} ({:+.3f} to {:+.3f})".format(*difference(one, other, key))


def main() -> None:
    parser = arguments(str(__doc__), STUDIES, LABELS)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    given = parser.parse_args()
    if given.repeats < 1:
        parser.error("--repeats: at least 1")
    try:
        models = chosen(entries(given.list), given.models, slow=True)
        print(machine())
        for study in studies_of(given):
            cases = cases_of(study, prepared(study, given.data, given.workers), given.workers)
            plan = [one for one in trainings(study, cases) if one.arm in given.arms]
            found = []
            for entry in models:
                if not entry.baseline and usable(entry, study):
                    found.append(computed(study, entry, plan, given.repeats))
                    path = file_of(given.out, study, entry)
                    if path is not None:
                        path.parent.mkdir(parents=True, exist_ok=True)
                        write_json(path, found[-1])
            print(f"\n{table(study, found)}", flush=True)
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
