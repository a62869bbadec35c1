"""Score new scans with the model of a finished run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from normfed_client.evaluating import maps
from normfed_client.evaluating.cluster_table import write_clusters
from normfed_client.evaluating.levels import Levels, at_thresholds, normal_voxels, thresholds_of
from normfed_client.evaluating.served import MODEL, served_arrays
from normfed_client.hospital.device import choose_device
from normfed_client.hospital.machine import computing
from normfed_client.hospital.simulated import read_sites
from normfed_client.hospital.site import Case, Site
from normfed_client.imaging.bids import TEMPLATE_SPACE, Visit, read_dataset
from normfed_client.imaging.cache import Cache, default_root
from normfed_client.imaging.labels import NO_LESION
from normfed_client.imaging.mapping import ScanPlace, place_on, write_map
from normfed_client.imaging.participants import Participant
from normfed_client.imaging.preprocessing import Recipe, missing_modalities, prepare
from normfed_client.imaging.template import anatomy, common_grid
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import DatasetError, RunError, ScanError, SiteError, WireError
from normfed_common.learning.learner import NETWORK, SUMS
from normfed_common.learning.setting import Setting
from normfed_common.metrics.cluster_list import list_clusters
from normfed_common.metrics.subjects import subject_score
from normfed_common.metrics.tissue import tissue_classes
from normfed_common.models.base import NormativeModel
from normfed_common.models.combined.pipeline import assemble
from normfed_common.studies import study_of_run
from normfed_common.study.config import StudyConfig

NAME = re.compile(
    r"^(?P<stem>.*?)(?:^|_)(?:(?P<modality>(?:ce-[A-Za-z0-9]+_)?(?:T1w|T2w|FLAIR|pet))"
    r"|(?:model-[A-Za-z0-9]+_)?param-(?P<map>FA|MD|fa|md)_dwimap)\.nii(?:\.gz)?$"
)


@dataclass(frozen=True)
class Scored:
    """One anomaly map; where the run has no threshold on its scale, the abnormal share is NaN, and there is no table of
    clusters. The remarks are the model's, of this scan (see `Score`)."""

    path: Path
    subject_score: float
    abnormal_share: float
    clusters: Path | None
    remarks: tuple[str, ...] = ()


def score_scans(run: Path, scans: Sequence[Path], out: Path, device: str, site: str | None = None) -> Iterator[Scored]:
    """Write the maps of every person among ``scans``: the anomaly, what else the model makes, and p-values where the
    run has normal people; and where it has thresholds a table of the clusters beside the anomaly.

    They lie on the grid of a scan that was named: of the reference (T1w) where it is among them, else of the first.

    Parameters
    ----------
    scans
        Those of a BIDS dataset are scored with what the dataset has beside them (a brain mask, other modalities), so
        that the map of a person of the run is that of the run's evaluation to the last bit.
    site
        Whose model: see `served_arrays`. Where it has a part of its own that is never written (one_class.fit_on:
        location) that part is learnt anew, from the site's dataset; without a site the shared part scores alone.

    Raises
    ------
    RunError
        If ``run`` is no run folder or not finished, its model gives a map that is none (see `Score`), or ``out`` cannot
        be made.
    ScanError
        If a file cannot be used, or a person lacks a modality that the model needs.
    """
    arrays = served_arrays(run, site)
    study = study_of_run(run)
    recipe = Recipe(study.preprocessing, study.data.modalities, ())
    visits = visits_of(scans)
    for visit in visits:
        missing = missing_modalities(visit, study.data.required)
        if missing:
            raise ScanError(_incomplete(visit, missing, study.data.required))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{out}: cannot be made ({error.strerror}). Choose another folder with --out.") from error
    levels = Levels(thresholds_of(run), normal_voxels(run))
    cache = Cache(default_root() / "scans")
    chosen = choose_device(device)
    with computing(study, chosen):
        model = _model(run, study, arrays, chosen, site)
    cases: list[Case] = []
    for visit in visits:
        with computing(study, chosen):  # between two maps the caller computes as it likes
            cases.append(Case(visit, prepare(visit, recipe, cache), NO_LESION))
            place = place_on(visit, cases[-1].entry, recipe, _shown_on(visit, recipe, scans))
            scored = _score(model, cases, study, place, out, levels)
        yield scored


def _score(
    model: NormativeModel,
    cases: list[Case],
    study: StudyConfig,
    place: ScanPlace,
    out: Path,
    levels: Levels,
) -> Scored:
    """Write the maps of the last case; those before it may hold earlier visits of the same person."""
    case = cases[-1]
    try:
        found = maps.score(model, maps.until(case, cases), case.visit.name)
    except SiteError as error:
        raise RunError(error.detail) from error
    mask = case.entry.mask()
    path, *_ = [write_map(values, case.visit, place, out, name) for name, values in found.maps().items()]
    size = study.preprocessing.voxel_size_mm
    classes = tissue_classes(anatomy(size).tissues(), mask, size)
    p = None
    if levels.normal is not None:
        p = maps.p_map(found.anomaly[mask], mask, classes[mask], levels.normal, study.evaluation.threshold_by)
        write_map(p, case.visit, place, out, maps.P_VALUE, outside=1.0)
    person = subject_score(found.anomaly, mask)
    if levels.thresholds is None:
        return Scored(path, person, float("nan"), None, found.remarks)
    scan = at_thresholds(found.anomaly, mask, np.zeros_like(mask), classes, levels.thresholds, study)
    clusters = list_clusters(scan, classes, place.affine, p)
    return Scored(path, person, float(scan.abnormal[mask].mean()), write_clusters(clusters, path), found.remarks)


def _incomplete(visit: Visit, missing: Sequence[str], required: Sequence[str]) -> str:
    needs = f"{visit.name}: the model needs {', '.join(required)}"
    if visit.participant.site:  # as its dataset has it, not by the names of the files that were given
        return f"{needs}, and the dataset {visit.lacks(missing)}."
    name = f"{visit.name}_{missing[0]}.nii.gz"
    return f"{needs}; {', '.join(missing)} is missing. Give the files of one person together, here {name} as well."


def _shown_on(visit: Visit, recipe: Recipe, scans: Sequence[Path]) -> str:
    """The modality on whose grid a visit's maps lie: the reference where it is among the scans that were named, as in a
    run, else the first that was."""
    modalities = {image: modality for modality, image in visit.images.items()}
    named = [modalities[path] for path in map(_absolute, scans) if path in modalities]
    reference = recipe.reference(visit)
    return reference if reference in named else named[0]


def _absolute(scan: Path) -> Path:
    return Path(os.path.abspath(scan))  # absolute() would keep ..


def _model(run: Path, study: StudyConfig, arrays: Arrays, device: torch.device, site: str | None) -> NormativeModel:
    """The model as it scores at ``site``; of the run's sites only a simulation's are on this machine."""
    size = study.preprocessing.voxel_size_mm
    setting = Setting.of(study, common_grid(size).shape, device, open_anatomy=partial(anatomy, size))
    model = assemble(study.transforms, study.model, setting)
    _load(model, arrays, run / MODEL)
    if site is not None and model.keeps_to_site:
        config = next(config for config in read_sites(run / "sites.json") if config.name == site)
        maps.personalise(model, Site(config.model_copy(update={"device": str(device)}), study))
    return model


def _load(model: NormativeModel, arrays: Arrays, path: Path) -> None:
    """Take what a file holds, which may come from anywhere.

    Raises
    ------
    RunError
        If it lacks what the model has learnt, or holds what no training makes.
    """
    parts = [f"{SUMS}{phase.name}." for phase in model.phases() if phase.kind == "summed"]
    parts += [NETWORK] if any(name.startswith(NETWORK) for name in model.share()) else []
    lacking = [part for part in parts if not any(name.startswith(part) for name in arrays)]
    numbers = (name for name, array in arrays.items() if array.dtype.kind == "f" and np.isfinite(array).all())
    strange = sorted(set(arrays) - set(numbers))
    try:
        if lacking:
            raise WireError(f"it holds no {lacking[0]}*")
        if strange:
            raise WireError(f"{strange[0][:100]} holds what is no finite number")
        model.load(arrays)
    except WireError as error:
        why = f"{path}: not a model of the run's study ({error})"
        raise RunError(f"{why}. Copy it again, or resume the run that writes it.") from error


def visits_of(scans: Sequence[Path]) -> list[Visit]:
    """The visits that scans belong to: as their dataset has them where they lie in one, else by their names.

    Raises
    ------
    ScanError
        See `group`.
    """
    datasets: dict[Path | None, dict[Path, Visit]] = {None: {}}
    found: dict[str, Visit] = {}
    loose: list[Path] = []
    for path in map(_absolute, scans):
        root = next((folder for folder in path.parents if (folder / "participants.tsv").exists()), None)
        if root is not None and root not in datasets:
            datasets[root] = _by_image(root)
        visit = datasets[root].get(path)
        if visit is None:
            loose.append(path)
        else:
            found[visit.name] = visit
    return [*(found[name] for name in sorted(found)), *group(loose)]


def _by_image(root: Path) -> dict[Path, Visit]:
    """Scan to visit of a dataset; empty where it cannot be read as one."""
    try:
        visits = read_dataset(root).visits
    except DatasetError:
        return {}
    return {image: visit for visit in visits for image in visit.images.values()}


def group(scans: Sequence[Path]) -> list[Visit]:
    """Scans whose names agree up to the modality, as visits of one person each.

    Raises
    ------
    ScanError
        If a name does not end in a modality, or two scans claim the same.
    """
    found: dict[str, dict[str, Path]] = {}
    for path in scans:
        match = NAME.match(path.name)
        if match is None:
            raise ScanError(
                f"{path}: the name does not say the modality; expected it to end in _T1w.nii.gz, _FLAIR.nii.gz, ..."
            )
        images = found.setdefault(match["stem"], {})
        modality = match["modality"] or match["map"].upper()
        if modality in images:
            raise ScanError(f"{path}: a second {modality} of {match['stem']}, beside {images[modality]}.")
        images[modality] = path
    return [
        Visit(Participant(stem, "", ""), None, images, in_template_space=f"space-{TEMPLATE_SPACE}" in stem)
        for stem, images in sorted(found.items())
    ]
