"""What privacy costs models of sums on real scans: figures by epsilon, with the noise of sites of so many people.

    python benchmarks/bench_private_sums.py --data BIDS [--study NAME ...] [--models LABEL ...] [--people N ...]
        [--epsilon E ...] [--noise-from SHARE ...] [--repeats N] [--out FILE]

Who learns and who is scored is as in `bench_models`; contributions, noise and repairs are the product's own, without
messages between sites. A site of n people stands for one of N by the noise that N people have, z n / N, on the total of
the n that there are: noise shrinks with the number of people, what people's differences leave of the mean does not.
"0 people" are as many as there are. Beside each model stands the same without privacy, and intensity with the same
post-processing. An epsilon of 0 is none: bounded contributions without noise.

With `--noise-from` sums are by people, and where it is not 0 the noise is distributed: so large a share of the sites
must be in a sum, and all but one of these add it together.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from bench_models import arguments, markdown, studies_of, told
from common import machine
from folds import Fold, cases_of, folds, prepared
from model_figures import mean, rows
from private_federation import Kept, PrivateFederation
from transfer import Entry, Federation, Scored, scores

from normfed_common.foundation import seeds
from normfed_common.study.config import StudyConfig
from normfed_common.study.privacy import PrivacyConfig

FIGURES = ("auprc", "auroc", "best_dice", "dice")
PRIOR, T1 = {"edge_mm": 5, "grey_factor": 0.4}, {"smoothing_mm": 3, "edge_mm": 5, "grey_factor": 0.3}


def entry(label: str, sums: Any = "by-people", **model: Any) -> Entry:
    """A model to compare."""
    return Entry(label=label, model=model, sums=sums)


FILTER = {"name": "matched-filter", "postprocessing": PRIOR}
ENTRIES: Mapping[str, Sequence[Entry]] = {
    "real-flair": (
        entry("intensity", name="intensity", scale="units", postprocessing=PRIOR),
        entry("matched-filter", **FILTER),
        entry("atlas", "by-site", name="atlas", units="robust", postprocessing=T1),
        entry("mixture", name="mixture"),
        entry("location", name="location"),
    ),
    "real-brains": (
        entry("intensity", name="intensity", scale="units", postprocessing=PRIOR),
        entry("matched-filter", **FILTER, beside=0.5),
        entry("atlas", "by-site", name="atlas", units="robust", postprocessing=T1),
        entry("mixture", name="mixture"),
        entry("location", name="location"),
    ),
    "real-t1-controls": (
        entry("intensity", name="intensity", scale="units", suspicious="dark", postprocessing=T1),
        entry("atlas", "by-site", name="atlas", units="robust", postprocessing=T1),
        entry("location", name="location"),
    ),
}


def scored(federation: Federation, fold: Fold) -> Iterator[Scored]:
    """Everybody's map of a fold."""
    arrays = federation.learnt.arrays
    for site, people in fold.scored.items():
        for case, anomaly, seconds in scores(federation.served(arrays, site), people):
            yield Scored(case, site, fold.group[site], anomaly, seconds)


def figures(study: StudyConfig, plan: Sequence[Fold], federations: Sequence[Federation]) -> dict[str, float]:
    """Means over people with lesions."""
    people = [person for pair in zip(federations, plan, strict=True) for person in scored(*pair)]
    table = rows(people, study.preprocessing.voxel_size_mm, study.evaluation.specificity)
    return {name: mean(table, name) for name in FIGURES}


def plans(study: StudyConfig, plan: Sequence[Fold]) -> dict[str, Sequence[Fold]]:
    """Who learns: everybody; and where a site has 50 people, these alone, and 10 of them."""
    found = {"all sites": plan}
    for site, cases in plan[0].learn.items():
        if len(cases) >= 50:
            names = sorted({case.visit.participant.subject for case in cases})
            few = set(seeds.generator(study.seed, "few").permutation(names)[:10])
            some = [case for case in cases if case.visit.participant.subject in few]
            found[f"{site}, {len(names)} people"] = [replace(plan[0], learn={site: cases})]
            found[f"{site}, 10 people"] = [replace(plan[0], learn={site: some})]
    return found


def compared(study: StudyConfig, entries: Sequence[Entry], given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row per model, cohort, epsilon and number of people."""
    cases = cases_of(study, prepared(study, given.data, given.workers), given.workers)
    for cohort, plan in plans(study, folds(study, cases)).items():
        for one in entries:
            if any(given.noise_from):
                one = one.model_copy(update={"sums": "by-people"})
            of = {"study": study.name, "cohort": cohort, "model": one.label}
            plain = [Federation(study, one, fold, study.seed, {}) for fold in plan]
            yield {**of, "epsilon": None, "people": 0, "draws": [figures(study, plan, plain)]}
            if not any(phase.kind == "summed" for phase in plain[0].new().phases()):
                continue
            kept: Kept = {}
            everywhere = cohort == "all sites"
            settings = itertools.product(
                given.people if everywhere else (0,), given.epsilon, given.noise_from if everywhere else (0.0,)
            )
            for people, epsilon, noise_from in settings:
                if not epsilon and (people, noise_from) != (given.people[0], given.noise_from[0]):
                    continue
                draws, sites = [], set()
                privacy = PrivacyConfig(epsilon=epsilon or None)
                for _ in range(given.repeats if epsilon else 1):
                    private = [
                        PrivateFederation(study, one, fold, study.seed, privacy, kept, people, noise_from)
                        for fold in plan
                    ]
                    sites = {federation.noise_sites for federation in private}
                    draws.append(figures(study, plan, private))
                yield {**of, "epsilon": epsilon, "people": people, "noise_sites": min(sites), "draws": draws}


def line(row: dict[str, Any]) -> list[str]:
    """A row of the table: the mean over draws, and their range where there are several."""
    cells = []
    for name in FIGURES:
        values = [draw[name] for draw in row["draws"]]
        spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
        cells.append(f"{np.mean(values):.3f}{spread if name == 'auprc' else ''}")
    epsilon = "not private" if row["epsilon"] is None else f"{row['epsilon']:g}" if row["epsilon"] else "no noise"
    noise = str(row.get("noise_sites", 1)) if row["epsilon"] else "–"
    return [row["model"], row["cohort"], str(row["people"] or "as they are"), epsilon, noise, *cells]


def written(row: dict[str, Any], cells: Sequence[str], out: Path | None) -> None:
    """A row on the screen, and as JSON in a file where one is named."""
    print(f"| {' | '.join(cells)} |", flush=True)
    if out is not None:
        with out.open("a") as file:
            file.write(json.dumps(row) + "\n")


def main() -> None:
    parser = arguments(str(__doc__), tuple(ENTRIES), ())
    parser.add_argument("--people", type=int, nargs="+", default=(0, 10, 50), help="that every site stands for")
    parser.add_argument("--epsilon", type=float, nargs="+", default=(0, 16, 8, 4, 2, 1))
    parser.add_argument(
        "--noise-from", type=float, nargs="+", default=(0.0,), help="share of the sites that must be in a sum"
    )
    parser.set_defaults(repeats=3)
    given = parser.parse_args()
    print(machine())
    for study in studies_of(given):
        entries = [one for one in ENTRIES[study.name] if not given.models or one.label in given.models]
        head = ["model", "learnt from", "people a site", "epsilon", "sites add it", "AP", "AUROC", "best Dice", "Dice"]
        print("\n".join(["", f"### {study.name}", "", *markdown(head, [])]), flush=True)
        for row in compared(study, entries, given):
            told(f"{study.name}: {row['model']}, epsilon {row['epsilon']}, {row['people']} people")
            written(row, line(row), given.out)


if __name__ == "__main__":
    main()
