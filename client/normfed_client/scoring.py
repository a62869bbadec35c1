"""Score new scans with the model of a finished run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from normfed_client.imaging.bids import TEMPLATE_SPACE, Participant, Visit
from normfed_client.imaging.cache import Cache, default_root
from normfed_client.imaging.mapping import write_map
from normfed_client.imaging.preprocessing import Recipe, missing_modalities, prepare
from normfed_client.imaging.template import common_grid
from normfed_client.personal import PersonalStore
from normfed_client.site import choose_device
from normfed_common import arrays as named
from normfed_common import seeds
from normfed_common.algorithms.clusters import model_number
from normfed_common.algorithms.table import configure
from normfed_common.arrays import Arrays
from normfed_common.errors import RunError, ScanError, SiteError
from normfed_common.metrics.subjects import subject_score
from normfed_common.models.base import Setting
from normfed_common.models.catalogue import build
from normfed_common.study.config import StudyConfig
from normfed_common.study.load import load_study

NAME = re.compile(r"^(?P<stem>.*?)(?:^|_)(?P<modality>(?:ce-[A-Za-z0-9]+_)?(?:T1w|T2w|FLAIR|pet))\.nii(?:\.gz)?$")


@dataclass(frozen=True)
class Scored:
    """One anomaly map."""

    path: Path
    subject_score: float
    abnormal_share: float


def served_arrays(run: Path, site: str | None) -> Arrays:
    """The federated model of a finished run as a site is served: of its cluster, with its personal parts.

    Parameters
    ----------
    site
        Whose; None for the model that all sites share.

    Raises
    ------
    RunError
        If the run is not finished, the strategy leaves no model that all share, or the site is not one of the run.
    """
    path = run / "model.safetensors"
    if not path.exists():
        raise RunError(f"{run}: holds no model.safetensors. Finish the run first: normfed simulate --resume {run}")
    study = load_study(run / "study.yaml")
    row, _ = configure(study.strategy)
    arrays, header = named.read(path, foreign=True)
    clusters = header.get("clusters", {})
    sites = sorted(folder.name for folder in (run / "sites").glob("*") if folder.name != "pooled")
    if site is not None and site not in sites:
        raise RunError(f"{run}: no site is called {site}. Its sites are {', '.join(sites)}.")
    if site is None and (clusters or row.needs_every_part):
        raise RunError(
            f"{run}: under {study.strategy['name']} sites have models of their own. Say whose with --site: "
            f"{', '.join(sites)}."
        )
    if clusters:
        arrays = named.unstacked(arrays)[model_number(clusters, str(site))]
    if not row.personal or site is None:
        return arrays
    try:
        kept = PersonalStore(run / "sites" / site / "personal" / "federated").latest()
    except SiteError as error:
        raise RunError(f"{run}: {error.detail}") from error
    if row.needs_every_part and not kept:
        raise RunError(f"{run}: {site} did not train, so under {study.strategy['name']} it has no whole model.")
    return {**arrays, **kept}


def score_scans(run: Path, scans: Sequence[Path], out: Path, device: str, site: str | None = None) -> Iterator[Scored]:
    """Write the anomaly map of every person among ``scans``; see `served_arrays` for ``site``.

    Raises
    ------
    RunError
        If the run is not finished.
    ScanError
        If a file cannot be used, or a person lacks a modality that the model needs.
    """
    arrays = served_arrays(run, site)
    study = load_study(run / "study.yaml")
    recipe = Recipe(study.preprocessing, study.data.modalities, ())
    visits = group(scans)
    for visit in visits:
        missing = missing_modalities(visit, study.data.modalities)
        if missing:
            raise ScanError(
                f"{visit.name}: the model needs {', '.join(study.data.modalities)}; {', '.join(missing)} is missing. "
                "Give the files of one person together."
            )
    model = build(study.model, _setting(study, device))
    model.load(arrays)
    threshold = _threshold(run)
    cache = Cache(default_root() / "scans")
    for visit in visits:
        entry = prepare(visit, recipe, cache)
        volume = entry.volume()
        anomaly_map = model.score(volume, seeds.generator(study.seed, "score", visit.name))
        path = write_map(anomaly_map, visit, entry, recipe, out)
        abnormal = float((anomaly_map[volume.mask] >= threshold).mean()) if threshold is not None else float("nan")
        yield Scored(path, subject_score(anomaly_map, volume.mask), abnormal)


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
        if match["modality"] in images:
            raise ScanError(
                f"{path}: a second {match['modality']} of {match['stem']}, beside {images[match['modality']]}."
            )
        images[match["modality"]] = path
    return [
        Visit(Participant(stem, "", ""), None, images, in_template_space=f"space-{TEMPLATE_SPACE}" in stem)
        for stem, images in sorted(found.items())
    ]


def _setting(study: StudyConfig, device: str) -> Setting:
    size = study.preprocessing.voxel_size_mm
    return Setting(study.data.modalities, size, common_grid(size).shape, study.seed, choose_device(device))


def _threshold(run: Path) -> float | None:
    """The run's abnormality threshold of the federated model."""
    path = run / "metrics.json"
    if not path.exists():
        return None
    value = json.loads(path.read_text())["evaluation"]["federated"]["threshold"]["value"]
    return None if value is None else float(np.float32(value))
