"""Whether all sites together beat the best one alone, with each harmonization of intensities and without.

    python benchmarks/bench_harmonization.py --data BIDS [--study NAME] [--model JSON] [--harmonizations LABEL ...]
        [--list FILE] [--out DIR] [--picture PNG]

A study's model is learnt behind each harmonization at every training site alone and at all of them together, by people
and by site; who is scored, trained nowhere. Where every site has patients of its own, each is scored by all others,
with sums as the study has them. The harmonizations: harmonizations.yaml. Intervals are of 95 %, by resampling people,
paired; the best site alone is chosen by the same figures, in its favour. With --out everybody's figures are kept as
JSON, and what is there already is not computed again. The picture has the histograms of every site, a panel per
harmonization.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from bench_models import HERE, markdown, told
from common import machine
from folds import Fold, cases_of, folds, prepared
from histogram_figure import Curves, drawn
from model_figures import Row, difference, mean
from pydantic import Field
from transfer import Entry, Federation, FirstSums, scores

from normfed_client.hospital.machine import computing
from normfed_client.hospital.site import Case
from normfed_client.imaging.cohort import PreparedCohort
from normfed_common.foundation import plain_yaml
from normfed_common.foundation.errors import SiteError, UserError
from normfed_common.foundation.files import write_json
from normfed_common.learning.cohort import Scan, Unlabelled
from normfed_common.metrics.base import ScoredScan
from normfed_common.metrics.catalogue import METRICS
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.models.combined.pipeline import Pipeline
from normfed_common.studies import load_study, resolve, validate_learner
from normfed_common.study.base import Frozen, NamedEntry
from normfed_common.study.config import StudyConfig
from normfed_common.study.data import AdaptUnseen
from normfed_common.study.federation import SumsBy
from normfed_common.study.validation import validate
from normfed_common.transforms.transformed import transformed

TOGETHER: dict[str, SumsBy] = {"all by people": "by-people", "all by site": "by-site"}
OTHERS = "all others"
FIGURES = ("auprc", "auroc")
SHOWN = 12  # people of a site in the picture
Arms = dict[str, list[Row]]  # who learnt: everybody's figures


class Harmonization(Frozen):
    """One of those to compare; see harmonizations.yaml."""

    label: str
    transforms: tuple[NamedEntry, ...]
    units: Literal["robust", "study"] = "robust"
    adapt_unseen: AdaptUnseen = Field("nobody", exclude_if=lambda whom: whom == "nobody")  # as `data.adapt_unseen`


def harmonized(study: StudyConfig, harmonization: Harmonization) -> StudyConfig:
    """The study with its model behind a harmonization."""
    raw = study.model_dump(mode="json")
    raw["transforms"] = list(harmonization.transforms)
    raw["data"]["adapt_unseen"] = harmonization.adapt_unseen
    if raw["model"]["name"] == "atlas":
        raw["model"]["units"] = harmonization.units
    return resolve(raw, f"{study.name}, {harmonization.label}")


def arms_of(study: StudyConfig, plan: Sequence[Fold]) -> dict[str, tuple[list[Fold], SumsBy]]:
    """Who learns, in which folds, with which weights of the sites.

    Every site is scored by the others where it has normal tissue; else the first fold's people are, by each of its
    sites as well.
    """
    if study.data.normal == "lesion-free-tissue":
        return {OTHERS: ([*plan], study.federation.sums)}
    whole = plan[0]
    alone = {
        site: ([Fold(site, {site: people}, whole.scored, whole.group)], "by-people")
        for site, people in whole.learn.items()
    }
    return {**alone, **{name: ([whole], sums) for name, sums in TOGETHER.items()}}


def computed(study: StudyConfig, plan: Sequence[Fold], label: str) -> Arms:
    """Everybody's figures, by who learnt."""
    found: Arms = {}
    first: FirstSums = {}
    for arm, (parts, sums) in arms_of(study, plan).items():
        begun = time.perf_counter()
        found[arm] = []
        for fold in parts:
            federation = Federation(study, Entry(label=label, model=study.model, sums=sums), fold, study.seed, first)
            for site, people in fold.scored.items():
                model = federation.served(federation.learnt.arrays, site)
                if study.data.adapt_unseen == "everybody" and site not in fold.learn:
                    _adapt(model, people)
                found[arm] += [_row(site, case, anomaly) for case, anomaly, _ in scores(model, people)]
        told(f"{label}, {arm}: AP {mean(found[arm]):.3f} in {time.perf_counter() - begun:.0f} s")
    return found


def _adapt(model: NormativeModel, people: Sequence[Case]) -> None:
    """As a site that only tests does, by all of its people; where they are too few nothing is learnt."""
    if isinstance(model, Pipeline):
        try:
            model.adapt(Unlabelled(PreparedCohort([(case.visit, case.entry) for case in people])))
        except SiteError as error:
            told(f"not adapted: {error.detail}")


def _row(site: str, case: Case, anomaly: np.ndarray) -> Row:
    mask = case.entry.mask()
    lesion = case.entry.lesion() & mask
    scan = ScoredScan(anomaly, lesion, mask, 1.0, 0.0)
    figures = {name: METRICS[name](scan) if lesion.any() else float("nan") for name in FIGURES}
    return {"site": site, "name": case.visit.name, **figures}


def table(found: dict[str, Arms]) -> list[str]:
    """A line per harmonization: average precision of every arm, and what all sites gain by it and on the best alone."""
    reference = next(iter(found.values()))
    together = [arm for arm in reference if arm in (*TOGETHER, OTHERS)]
    sites = [arm for arm in reference if arm not in together]
    gains = [f"{arm} less the first's" for arm in together]
    gains += [f"{arm} less the best alone" for arm in together if sites]
    lines = []
    for label, arms in found.items():
        cells = [label, *(f"{mean(arms[arm]):.3f}" for arm in (*sites, *together))]
        cells += [_interval(difference(arms[arm], reference[arm])) for arm in together]
        means = {site: mean(arms[site]) for site in sites}
        best = max(means, key=means.__getitem__, default="")
        cells += [f"{_interval(difference(arms[arm], arms[best]))}, {best}" for arm in together if sites]
        lines.append([*cells, f"{mean(arms[together[-1]], 'auroc'):.3f}"])
    return markdown(["AP", *sites, *together, *gains, f"AUROC, {together[-1]}"], lines)


def _interval(gain: tuple[float, float, float]) -> str:
    middle, low, high = gain
    return f"{middle:+.3f} ({low:+.3f} to {high:+.3f})"


def curves(study: StudyConfig, fold: Fold, label: str) -> Curves:
    """The mean histogram of every site's people, after a harmonization that all training sites have learnt."""
    federation = Federation(study, Entry(label=label, model=study.model), fold, study.seed, {})
    found = {}
    for site, people in {**fold.scored, **fold.learn}.items():
        model = federation.served(federation.learnt.arrays, site)
        transforms = model.transforms if isinstance(model, Pipeline) else ()
        found[site] = [_values(transformed(case.scan(), transforms)) for case in people[:SHOWN]]
    return Curves(label, found)


def _values(scan: Scan) -> np.ndarray:
    values: np.ndarray = scan.images[0][scan.mask]
    return values


def kept(path: Path | None, asked: dict[str, Any]) -> Arms | None:
    """Earlier figures, if they answer the same question."""
    if path is None or not path.exists():
        return None
    found = json.loads(path.read_text())
    arms: Arms = found.pop("arms")
    return arms if found == asked else None


def results(study: StudyConfig, plan: Sequence[Fold], given: argparse.Namespace) -> Iterator[tuple[str, Arms]]:
    """Everybody's figures, harmonization by harmonization."""
    for one in chosen(given.list, given.harmonizations):
        asked = {"study": study.name, "model": study.model, **one.model_dump(mode="json")}
        name = re.sub(r"[^A-Za-z0-9.]+", "-", one.label).strip("-")
        path = None if given.out is None else given.out / f"{name}.json"
        arms = kept(path, asked)
        if arms is None:
            behind = harmonized(study, one)
            with computing(behind, torch.device("cpu")):
                arms = computed(behind, plan, one.label)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, {**asked, "arms": arms})
        yield one.label, arms


def chosen(path: Path, labels: Sequence[str]) -> list[Harmonization]:
    """Those of these labels, or all; the first always.

    Raises
    ------
    UserError
        If a label is of none.
    """
    raw = plain_yaml.read(path, "a list of harmonizations")["entries"]
    everything = [validate(Harmonization, entry, f"{path}: {entry.get('label')}") for entry in raw]
    for label in labels:
        if label not in {one.label for one in everything}:
            raise UserError(f"{label}: no harmonization is called that. See {path}.")
    return [one for number, one in enumerate(everything) if not labels or not number or one.label in labels]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a BIDS dataset")
    parser.add_argument("--study", default="real-t1-controls", help="of studies/")
    parser.add_argument("--model", help="another model than the study's, as JSON")
    parser.add_argument("--harmonizations", nargs="+", default=(), help="labels; all when absent")
    parser.add_argument("--list", type=Path, default=HERE / "harmonizations.yaml", help="the harmonizations")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare scans")
    parser.add_argument("--out", type=Path, help="the folder for everybody's figures")
    parser.add_argument("--picture", type=Path, help="where to write the histograms of sites, as PNG")
    given = parser.parse_args()
    try:
        study = load_study(HERE.parent / "studies" / f"{given.study}.yaml")
        if given.model is not None:
            study = study.model_copy(update={"model": validate_learner(MODELS, json.loads(given.model), "--model")})
        plan = folds(study, cases_of(study, prepared(study, given.data, given.workers), given.workers))
        print(machine())
        if given.picture is not None:
            panels = [
                curves(harmonized(study, one), plan[0], one.label) for one in chosen(given.list, given.harmonizations)
            ]
            drawn(panels).save(given.picture)
        else:
            print("\n".join(["", *table(dict(results(study, plan, given)))]), flush=True)
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
