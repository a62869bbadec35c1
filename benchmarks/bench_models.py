"""Every model on real FLAIR, T1 and FLAIR, T1 after healthy people, and the phantom: what it finds, and what it costs.

    python benchmarks/bench_models.py --data BIDS [--study NAME ...] [--models LABEL ...] [--slow] [--repeats N]
        [--list FILE] [--out DIR]

A model is learnt at some sites and scored at others (`folds`, `transfer`); thresholds and strata: `model_figures`; the
models: models.yaml. Beside each stands its difference to the best baseline of plain intensity on the same people,
which is chosen by the same figures, in the baseline's favour; its interval resamples people, not sites. With --out all
figures of every person are kept as JSON, and what is there already is not computed again.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import machine
from folds import Fold, cases_of, folds, prepared
from model_figures import (
    LESIONS_ML,
    MAIN,
    PEOPLE_ML,
    Row,
    averaged,
    best,
    by_site,
    difference,
    false_alarms,
    found_of_size,
    mean,
    of_size,
    rows,
)
from transfer import Entry, transferred

from normfed_client.hospital.machine import computing
from normfed_common.foundation import plain_yaml, seeds
from normfed_common.foundation.errors import StudyError, UserError
from normfed_common.foundation.files import write_json
from normfed_common.models.catalogue import MODELS
from normfed_common.studies import load_study, resolve, validate_learner
from normfed_common.study.config import StudyConfig
from normfed_common.study.validation import validate

HERE = Path(__file__).parent
STUDIES = ("real-flair", "real-brains", "real-t1-controls", "demo")
MATTERS = {
    "seed",
    "data",
    "preprocessing",
    "transforms",
    "federation",
    "postprocessing",
    "evaluation",
}  # of a study, here
Result = dict[str, Any]


def entries(path: Path) -> list[Entry]:
    """The models to compare."""
    raw = plain_yaml.read(path, "a list of models")["entries"]
    return [validate(Entry, entry, f"{path}: {entry.get('label')}") for entry in raw]


def chosen(everything: Sequence[Entry], names: Sequence[str], slow: bool) -> list[Entry]:
    """Those of these labels or models, all but the slow ones of none; baselines always, since others stand beside them.

    Raises
    ------
    UserError
        If a name is of no entry.
    """
    known = {entry.label for entry in everything} | {entry.model["name"] for entry in everything}
    for name in names:
        if name not in known:
            raise UserError(f"{name}: no model is called that. There are {', '.join(sorted(known))}.")
    return [
        entry
        for entry in everything
        if entry.baseline or ({entry.label, entry.model["name"]} & {*names} if names else slow or not entry.slow)
    ]


def changed(study: StudyConfig, voxel_size_mm: int | None, sites: Sequence[str] | None) -> StudyConfig:
    """The study on another grid, or with some of its sites.

    Raises
    ------
    StudyError
        If there is no such grid or site.
    """
    raw = study.model_dump(mode="json")
    if voxel_size_mm is not None:
        raw["preprocessing"]["voxel_size_mm"] = voxel_size_mm
    if sites is not None:
        raw["data"]["sites"] = list(sites)
        raw["data"]["out_of_sample"] = [site for site in study.data.out_of_sample if site in sites]
    return resolve(raw, study.name)


def usable(entry: Entry, study: StudyConfig) -> bool:
    """Whether a study can have a model; says why not."""
    modalities = study.data.modalities
    if entry.without in modalities or (entry.having is not None and entry.having not in modalities):
        return False
    try:
        validate_learner(MODELS, entry.model, entry.label)
    except StudyError as error:
        told(f"left out: {error}")
        return False
    return True


def told(line: str) -> None:
    """How far it is, apart from the table."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def computed(study: StudyConfig, entry: Entry, plan: Sequence[Fold], repeats: int) -> Result:
    """A model's figures in a study."""
    trainings = []
    for repeat in range(repeats if entry.draws else 1):
        seed = seeds.of_repeat(study.seed, repeat)
        say = partial(_say, f"{study.name}, {entry.label}, training {repeat + 1}, ")
        people, learnt = transferred(study, entry, plan, seed, say)
        trainings.append(rows(people, study.preprocessing.voxel_size_mm, study.evaluation.specificity))
    return {
        **_asked(study, entry, repeats),
        "machine": machine(),
        "seconds_to_learn": float(np.median([one.seconds for one in learnt])),
        "megabytes_of_a_site": float(np.max([one.megabytes for one in learnt])),
        "trainings": [mean(training) for training in trainings],
        "people": averaged(trainings),
    }


def _say(before: str, line: str) -> None:
    told(before + line)


def _asked(study: StudyConfig, entry: Entry, repeats: int) -> dict[str, Any]:
    """What a result depends on besides the code and the scans."""
    model = {key: value for key, value in entry.model_dump(mode="json").items() if key != "slow"}
    said = study.model_dump(mode="json", include=MATTERS)
    return {"study": study.name, "said": said, "entry": model, "repeats": repeats if entry.draws else 1}


def kept(path: Path | None, asked: dict[str, Any]) -> Result | None:
    """An earlier result, if it answers the same question."""
    if path is None or not path.exists():
        return None
    found: Result = json.loads(path.read_text())
    if any(found.get(key) != value for key, value in asked.items()):
        return None
    for row in found["people"]:  # JSON has no word for not-a-number
        row.update({key: float("nan") for key, value in row.items() if value is None})
    return found


def results(study: StudyConfig, models: Sequence[Entry], given: argparse.Namespace) -> list[Result]:
    """Of every model that the study can have; scans are prepared when the first is missing."""
    found: list[Result] = []
    plan: list[Fold] = []
    for entry in models:
        if not usable(entry, study):
            continue
        path = file_of(given.out, study, entry)
        result = kept(path, _asked(study, entry, given.repeats))
        if result is None:
            if not plan:
                cases = cases_of(study, prepared(study, given.data, given.workers), given.workers)
                plan = folds(study, cases)
            with computing(study, torch.device("cpu")):
                result = computed(study, entry, plan, given.repeats)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, result)
        found.append(result)
    return found


def table(study: StudyConfig, found: Sequence[Result]) -> str:
    """Three tables in Markdown: figures; by size of lesions; average precision at each site."""
    baselines = {result["entry"]["label"]: result["people"] for result in found if result["entry"]["baseline"]}
    reference = best(baselines)
    patients = [row for row in found[0]["people"] if np.isfinite(row[MAIN])]
    healthy = sum(row["healthy"] for row in found[0]["people"])
    of = f"of {healthy} healthy people" if healthy else "of normal tissue"
    head = [
        *("model", "AP", f"less {reference}", "95 %", "mean of sites", "worst site", "AUROC", "AUPRO"),
        *("best Dice", "Dice", "false alarms, %", "s to learn", "s a scan", "MB a site"),
    ]
    lines = [_figures(result, None if reference is None else baselines[reference]) for result in found]
    return "\n".join(
        [
            f"### {study.name}: {len(patients)} people with lesions; false alarms {of}",
            "",
            *markdown(head, lines),
            "",
            *_sizes(found, patients),
            "",
            *_sites(found, patients),
        ]
    )


def _figures(result: Result, reference: Sequence[Row] | None) -> list[str]:
    people, sites = result["people"], by_site(result["people"])
    worst = min(sites, key=lambda site: sites[site], default="-")
    means = result["trainings"]
    gain, low, high = (float("nan"),) * 3 if reference is None else difference(people, reference)
    return [
        result["entry"]["label"],
        f"{mean(people):.3f}" + (f" ({min(means):.3f} to {max(means):.3f})" if len(means) > 1 else ""),
        f"{gain:+.3f}",
        f"{low:+.3f} to {high:+.3f}",
        f"{np.mean(list(sites.values())):.3f}",
        f"{worst} {sites.get(worst, float('nan')):.3f}",
        *(f"{mean(people, key):.3f}" for key in ("auroc", "aupro", "best_dice", "dice")),
        f"{100 * false_alarms(people):.2f}",
        f"{result['seconds_to_learn']:.1f}",
        f"{np.median([row['seconds'] for row in people]):.2f}",
        f"{result['megabytes_of_a_site']:.1f}",
    ]


def _sizes(found: Sequence[Result], patients: Sequence[Row]) -> list[str]:
    head = [
        "model",
        *(f"AP, person {size} ({of_size(patients, size)[1]})" for size in PEOPLE_ML),
        *(f"found, lesion {size} ({found_of_size(patients, size)[1]})" for size in LESIONS_ML),
    ]
    lines = [
        [
            result["entry"]["label"],
            *(f"{of_size(result['people'], size)[0]:.3f}" for size in PEOPLE_ML),
            *(f"{found_of_size(result['people'], size)[0]:.2f}" for size in LESIONS_ML),
        ]
        for result in found
    ]
    return markdown(head, lines)


def _sites(found: Sequence[Result], patients: Sequence[Row]) -> list[str]:
    counts = Counter(row["site"] for row in patients)
    lines = [
        [result["entry"]["label"], *(f"{by_site(result['people'])[site]:.3f}" for site in counts)] for result in found
    ]
    return markdown(["AP", *(f"{site} ({count})" for site, count in counts.items())], lines)


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """A table's lines."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines)]


def file_of(out: Path | None, study: StudyConfig, entry: Entry) -> Path | None:
    """Where a model's figures in a study are kept, if they are."""
    return None if out is None else out / study.name / f"{re.sub(r'[^A-Za-z0-9]+', '-', entry.label)}.json"


def arguments(doc: str, studies: Sequence[str], labels: Sequence[str]) -> argparse.ArgumentParser:
    """What the benchmarks of models share; studies and labels are what is compared when nothing is said."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a BIDS dataset, for the studies of real scans")
    parser.add_argument("--study", nargs="+", default=studies, help=f"of studies/; {', '.join(studies)} when absent")
    usual = ", ".join(labels) or "all"
    parser.add_argument("--models", nargs="+", default=labels, help=f"labels or names; {usual} when absent")
    parser.add_argument("--list", type=Path, default=HERE / "models.yaml", help="the models, with their parameters")
    parser.add_argument("--repeats", type=int, default=1, help="trainings of what draws, each of another seed")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare scans")
    parser.add_argument("--voxel-size", type=int, help="of the common grid, in mm; the study's when absent")
    parser.add_argument("--sites", nargs="+", help="of the study; all when absent")
    parser.add_argument("--out", type=Path, help="the folder for everybody's figures")
    return parser


def studies_of(given: argparse.Namespace) -> Iterator[StudyConfig]:
    """The studies that are asked for, but those whose dataset is not given."""
    for name in given.study:
        study = changed(load_study(HERE.parent / "studies" / f"{name}.yaml"), given.voxel_size, given.sites)
        if study.data.made is None and given.data is None:
            print(f"\nNo {name}: --data names no BIDS dataset.")
        else:
            yield study


def main() -> None:
    parser = arguments(str(__doc__), STUDIES, ())
    parser.add_argument("--slow", action="store_true", help="also what is trained in rounds")
    given = parser.parse_args()
    if given.repeats < 1:
        parser.error("--repeats: at least 1")
    try:
        models = chosen(entries(given.list), given.models, given.slow)
        print(machine())
        for study in studies_of(given):
            print(f"\n{table(study, results(study, models, given))}", flush=True)
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
