"""One person's maps: made, written on the scan's own grid, and described beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from normfed_client.evaluating import maps
from normfed_client.evaluating.levels import at_thresholds
from normfed_client.hospital.site import Case
from normfed_client.imaging.mapping import ScanPlace, place_on, stem, write_map
from normfed_client.imaging.preprocessing import Recipe
from normfed_client.imaging.template import anatomy
from normfed_client.scoring.asked import Asked
from normfed_client.scoring.cluster_table import MAP_ENDING, write_clusters
from normfed_client.scoring.derivatives import Derivatives
from normfed_client.scoring.rows import SCORED, PersonScore
from normfed_client.scoring.run_model import RunModel
from normfed_common.foundation import digests
from normfed_common.foundation.files import write_json
from normfed_common.learning.score import ANOMALY, UNCERTAINTY, Score
from normfed_common.metrics.cluster_list import Cluster, list_clusters
from normfed_common.metrics.subjects import subject_score
from normfed_common.metrics.tissue import tissue_classes

IDENTITY = "Identity"  # in a sidecar: the same of the same scans, model and version
MEANINGS = {
    ANOMALY: "Anomaly: how unlike normal people a place looks to the model. Higher is more abnormal, never negative, 0 "
    "outside the brain. The scale is the model's own: people of one run can be compared, those of two runs not.",
    maps.P_VALUE: "Share of held-out normal people's voxels, of the brain or of the tissue, that are at least as "
    "abnormal. Not corrected for the number of voxels; 1 outside the brain.",
    UNCERTAINTY: "Standard error of the anomaly, in its units.",
}
UNITS = {ANOMALY: "arbitrary", UNCERTAINTY: "arbitrary", maps.P_VALUE: "1"}


@dataclass(frozen=True)
class Found:
    """What a model says of a visit, on the common grid."""

    score: Score
    p_values: np.ndarray | None
    subject_score: float
    abnormal_share: float | None
    clusters: list[Cluster] | None


def shown_on(asked: Asked, recipe: Recipe) -> str:
    """The modality on whose grid a visit's maps lie: the reference where it is among the scans that were named, as in a
    run, else the first that was."""
    modalities = {image: modality for modality, image in asked.visit.images.items()}
    named = [modalities[path] for path in asked.named if path in modalities]
    reference = recipe.reference(asked.visit)
    return reference if reference in named else named[0]


def identity(asked: Asked, model: RunModel) -> str:
    """What a person's maps follow from: the scans, the brain mask, the model, the version.

    Raises
    ------
    ReadError
        If a file cannot be read.
    """
    said = {"scans": model.recipe.key(asked.visit), "on": shown_on(asked, model.recipe), **model.provenance()}
    return digests.of_json({**said, "thresholds": model.thresholds()})


def map_path(asked: Asked, model: RunModel, out: Derivatives) -> Path:
    """Where a person's anomaly map is, or will be."""
    name = f"{stem(asked.visit, shown_on(asked, model.recipe))}_desc-{ANOMALY}{MAP_ENDING}"
    return out.folder(asked.participant_id, asked.session) / name


def look(model: RunModel, cases: Sequence[Case], place: ScanPlace) -> Found:
    """What the model says of the last case; those before it may hold earlier visits of the same person.

    Raises
    ------
    SiteError
        If its maps are not what a model promises.
    """
    case, study = cases[-1], model.study
    found = maps.score(model.model, maps.until(case, cases), case.visit.name)
    mask, size = case.entry.mask(), study.preprocessing.voxel_size_mm
    classes = tissue_classes(anatomy(size).tissues(), mask, size)
    p = None
    if model.levels.normal is not None:
        by = study.evaluation.threshold_by
        p = maps.p_map(found.anomaly[mask], mask, classes[mask], model.levels.normal, by)
    person = subject_score(found.anomaly, mask)
    if model.levels.thresholds is None:
        return Found(found, p, person, None, None)
    scan = at_thresholds(found.anomaly, mask, np.zeros_like(mask), classes, model.levels.thresholds, study)
    clusters = list_clusters(scan, classes, place.affine, p)
    return Found(found, p, person, float(scan.abnormal[mask].mean()), clusters)


def write(found: Found, asked: Asked, case: Case, place: ScanPlace, model: RunModel, out: Derivatives) -> PersonScore:
    """Write everything of a person, or nothing."""
    folder = out.folder(asked.participant_id, asked.session)
    brain = str(case.entry.meta()["brain"])
    with out.staged(folder) as aside:
        written = {
            name: write_map(values, case.visit, place, aside, name) for name, values in found.score.maps().items()
        }
        if found.p_values is not None:
            written[maps.P_VALUE] = write_map(found.p_values, case.visit, place, aside, maps.P_VALUE, outside=1.0)
        told = _told(asked, place, brain, model, out)
        for name, path in written.items():
            _describe(path, name, told, model)
        table = None
        if found.clusters is not None:
            table = write_clusters(found.clusters, written[ANOMALY], place.to_scan)
    volumes = [cluster.volume_mm3 / 1000 for cluster in found.clusters or ()]
    return PersonScore(
        asked.participant_id,
        asked.session,
        SCORED,
        subject_score=found.subject_score,
        abnormal_share=found.abnormal_share,
        clusters=None if found.clusters is None else len(volumes),
        largest_cluster_ml=max(volumes, default=None),
        brain=brain,
        sources=tuple(asked.visit.images[m].name for m in model.recipe.needed(asked.visit)),
        remarks=found.score.remarks,
        map=folder / written[ANOMALY].name,
        p_map=folder / written[maps.P_VALUE].name if maps.P_VALUE in written else None,
        cluster_table=None if table is None else folder / table.name,
    )


def on_scan(asked: Asked, case: Case, model: RunModel) -> ScanPlace:
    """Where a person's maps lie."""
    return place_on(asked.visit, case.entry, model.recipe, shown_on(asked, model.recipe))


def _told(asked: Asked, place: ScanPlace, brain: str, model: RunModel, out: Derivatives) -> dict[str, object]:
    """What all sidecars of a person say."""
    needed = model.recipe.needed(asked.visit)
    mask = asked.visit.brain
    return {
        "Sources": [out.uri(asked.visit.images[modality], asked.dataset) for modality in needed],
        "SourceDigests": {asked.visit.images[m].name: digests.of_file(asked.visit.images[m]) for m in needed},
        "SpatialReference": out.uri(place.path, asked.dataset),
        "BrainMask": {
            "From": brain,
            **({"Name": mask.path.name, "Digest": digests.of_file(mask.path)} if mask else {}),
        },
        **model.provenance(),
        "Device": str(model.device),
        IDENTITY: identity(asked, model),
    }


def _describe(path: Path, name: str, told: Mapping[str, object], model: RunModel) -> None:
    """Write the sidecar of a map."""
    said: dict[str, object] = {
        "Description": MEANINGS.get(name, f"Map `{name}` of the model {model.study.model['name']}."),
        **({"Units": UNITS[name]} if name in UNITS else {}),
    }
    thresholds = model.thresholds()
    if name == ANOMALY and thresholds is not None:
        specificity = model.study.evaluation.specificity
        said["Threshold"] = thresholds
        said["ThresholdDescription"] = f"Of the run, promised to leave {1 - specificity:.4g} of normal voxels above it."
    write_json(path.with_name(path.name.removesuffix(".nii.gz") + ".json"), {**said, **told})
