"""Figures of single patients: what a simulation may read in the sites' own folders, and no server could."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ConfigDict

from normfed_client.hospital.simulated import read_sites
from normfed_client.imaging.bids import read_dataset
from normfed_common.algorithms.arms import FEDERATED, LOCAL, OWN, POOLED, REPEAT
from normfed_common.foundation.errors import DamagedError, DatasetError, RunError
from normfed_common.metrics.subjects import PairedTest, wilcoxon_holm
from normfed_common.study.base import Frozen
from normfed_server.report.verdicts import TITLES
from normfed_server.results import layout
from normfed_server.results.figures import PRECISION, LesionShare
from normfed_server.results.layout import RunResults
from normfed_server.results.models import BORROWED, UNSEEN
from normfed_server.results.reading import read_as
from normfed_server.results.volumes import Volume, Volumes
from normfed_server.runs.folder import Run

if TYPE_CHECKING:
    import pandas

    from normfed_client.imaging.bids import Visit
    from normfed_server.results.frames import Columns

CURE = "Copy the run folder again, or begin a new run."
PATIENTS: Columns = {
    "site": (str, "where the patient was tested"),
    "subject": (str, "name in the dataset"),
    "session": (str, "missing where the dataset has none"),
    "kind": (str, "of the lesion"),
    "age": (float, "in years; as sex and scanner missing where the dataset does not tell, or is no longer there"),
    "sex": (str, "F or M"),
    "scanner": (str, "name in the dataset"),
    "model": (
        str,
        "as metrics.json calls it; local is each site's own, or the mean of the others'",
    ),
    "title": (str, "what people read"),
    "metric": (str, "as metrics.json calls it"),
    "value": (float, "missing where it is not defined for this patient"),
}


class _Lesion(Frozen):
    """As much as its mask has of it, and whether it was found."""

    ml: float
    found: bool


class _Kept(Frozen):
    """What a site keeps of a patient's visit under a model; every other key is a metric."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | None]

    name: str
    kind: str
    lesion_ml: float | None = None
    lesion_share: float | None = None
    found_ml: float | None = None
    lesions: tuple[_Lesion, ...] = ()


def rows(run: Run, arm: str) -> list[dict[str, Any]]:
    """Per-patient figures of an arm, with the site's name.

    `local` is each site's own model, and at a site that trains none the mean over the other sites' own, as in
    metrics.json.

    Raises
    ------
    DamagedError
        If a site's file holds none.
    """
    found = []
    for folder in sorted((run.folder / "sites").glob("*")):
        kept = _own_rows(folder) if arm == OWN else _read(folder / "people" / f"{arm}.json")
        found += [{"site": folder.name, **row} for row in kept]
    return found


def _read(path: Path) -> list[dict[str, Any]]:
    """Nobody of a model that was not tested there."""
    if not path.exists():
        return []
    kept = read_as(list[_Kept], path, CURE)
    return [row.model_dump(exclude_unset=True) for row in kept]


def _own_rows(folder: Path) -> list[dict[str, Any]]:
    own = folder / "people" / f"{LOCAL}{folder.name}.json"
    if own.exists():
        return _read(own)
    paths = [path for path in sorted(own.parent.glob(f"{LOCAL}*.json")) if REPEAT not in path.name]
    return [
        {
            key: value if isinstance(value, str) else _mean([row.get(key) for row in of])
            for key, value in of[0].items()
            if key != "lesions"  # which of them several models found has no mean
        }
        for of in _by_name(paths)
    ]


def _by_name(paths: list[Path]) -> list[list[dict[str, Any]]]:
    """Every person's row in each file, whatever the order of each; a file that lacks somebody is damaged."""
    files = [_read(path) for path in paths]
    for path, found in zip(paths, files, strict=True):
        if sorted(row["name"] for row in found) != sorted({row["name"] for row in files[0]}):
            why = f"other people than in {paths[0].name}" if found is not files[0] else "somebody is there twice"
            raise DamagedError(f"{path} cannot be used ({why}). {CURE}", why)
    rows_of = [{row["name"]: row for row in found} for found in files]
    return [[of[name] for of in rows_of] for name in (rows_of[0] if rows_of else ())]


def _mean(values: list[float | None]) -> float | None:
    """Of a figure by several models; none where one of them has none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def significance(run: Run, models: list[str], metric: str) -> dict[str, PairedTest]:
    """Wilcoxon-Holm tests of the federated model against every other one, paired by patient.

    Visits of one patient are not independent: their mean counts.
    """
    reference = by_patient(rows(run, FEDERATED), metric)
    others = {}
    for model in models:
        values = by_patient(rows(run, model), metric)
        others[model] = np.array([values.get(patient, np.nan) for patient in reference])
    return wilcoxon_holm(np.array([*reference.values()]), others)


def results(run: Run) -> RunResults:
    """A run's figures, with what is known of single patients: the paired tests of all that the federated model is
    compared with, by every metric that verdicts go by, chance as their mean, and how much of brains is called abnormal;
    metrics.json as it is where they are not here, as those of a server's run.

    Raises
    ------
    DamagedError
        If metrics.json or a site's file is none.
    """
    found = layout.read(run.folder)
    if not run.sites_file.exists():
        return found
    models = [model for model in found.differences if model not in (UNSEEN, BORROWED)]
    found = found.model_copy(update={"lesion_share": lesion_share(run, found.lesion_share)})
    tested = found.tested({metric: significance(run, models, metric) for metric in TITLES})
    return tested.with_volumes(called_abnormal(run))


def called_abnormal(run: Run) -> Volumes:
    """Of the federated model at the run's threshold, beside the lesions of patients, each with the mean of their
    visits; empty where sites kept no volumes, as those of an older version."""
    kept = [row for row in rows(run, FEDERATED) if row.get("lesion_ml") and row.get("found_ml") is not None]
    lesion_ml, found_ml = (by_patient(kept, volume) for volume in ("lesion_ml", "found_ml"))
    sites: dict[str, list[tuple[float, float]]] = {}
    for site, subject in lesion_ml:
        sites.setdefault(site, []).append((lesion_ml[site, subject], found_ml[site, subject]))
    if not sites:
        return Volumes()
    everybody = [pair for pairs in sites.values() for pair in pairs]
    return Volumes(Volume.of(everybody), {site: Volume.of(pairs) for site, pairs in sites.items()})


def lesion_share(run: Run, told: LesionShare | None) -> LesionShare | None:
    """Of every patient whose average precision is known their own share, and not that of their site's voxels together.

    Parameters
    ----------
    told
        That of metrics.json, which stays where it has none, and in runs of before, which kept no shares.
    """
    known = [row for row in rows(run, FEDERATED) if row.get(PRECISION) is not None]
    if told is None or not known or any(row.get("lesion_share") is None for row in known):
        return told
    shares = by_patient(known, "lesion_share")
    at_sites: dict[str, list[float]] = {}
    for (site, _), share in shares.items():
        at_sites.setdefault(site, []).append(share)
    sites = {site: fmean(of) for site, of in at_sites.items()}
    return told.model_copy(update={"all": fmean(shares.values()), "sites": sites})


def by_patient(found: Iterable[Mapping[str, Any]], metric: str) -> dict[tuple[str, str], float]:
    """Site and subject to the mean over the visits for which a metric is defined; NaN where it is for none."""
    values: dict[tuple[str, str], list[float]] = {}
    for row in found:
        of = values.setdefault((row["site"], row["name"].partition("_ses-")[0]), [])
        of += [row[metric]] if row.get(metric) is not None else []
    return {patient: float(np.mean(of)) if of else float("nan") for patient, of in values.items()}


def models_of(run: Run) -> list[str]:
    """The models that have figures of single patients, in the order of metrics.json: strategies of a comparison too."""
    return [model for model in layout.read(run.folder).evaluation if model not in (UNSEEN, BORROWED)]


def patients(run: Run) -> pandas.DataFrame:
    """A row for every patient's visit, model and metric, the columns of `PATIENTS`.

    Raises
    ------
    RunError
        If the run, which is finished, holds no figures of single patients, as that of a server.
    """
    import pandas

    if not run.sites_file.exists():
        raise RunError(
            f"{run.folder}: holds no figures of single patients, which never leave a hospital. A simulation has them."
        )
    results, visits = layout.read(run.folder), visits_of(run)
    found = [
        {
            **_person(row, visits.get((row["site"], row["name"]))),
            "model": model,
            "title": results.title(model),
            "metric": metric,
            "value": number_of(row[metric]),
        }
        for model in models_of(run)
        for row in rows(run, model)
        for metric in results.metrics
        if metric in row
    ]
    return pandas.DataFrame(found, columns=list(PATIENTS)).astype({"age": float, "value": float})


def _person(row: Mapping[str, Any], visit: Visit | None) -> dict[str, Any]:
    subject, _, session = row["name"].partition("_ses-")
    told = {what: getattr(visit.participant, what) if visit else None for what in ("age", "sex", "scanner")}
    return {"site": row["site"], "subject": subject, "session": session or None, "kind": row["kind"], **told}


def visits_of(run: Run) -> dict[tuple[str, str], Visit]:
    """By site and name, whoever is in the dataset of a run; nobody where it is a server's, or no longer there."""
    if not run.sites_file.exists():
        return {}
    try:
        configs = [config for config in read_sites(run.sites_file) if config.name != POOLED]
        sites = {data: read_dataset(data).sites() for data in {config.data for config in configs}}
        return {
            (config.name, visit.name): visit
            for config in configs
            if len(config.owns) == 1
            for visit in sites[config.data].get(config.owns[0], ())
        }
    except DatasetError:
        return {}


def number_of(value: float | None) -> float:
    """Not a number where there is none."""
    return float("nan") if value is None else value
