"""From one visit's scans to a volume on the common grid.

Reference scan (T1 where there is one) to MNI152 by an affine, the other modalities rigidly to the reference, all in one
resampling; brain mask as given, else as found in the reference scan, else the template's through the registration;
intensities normalised in the brain; lesion masks by the same transforms. Pre-registered scans (`space-MNI152...`) are
only put on the grid.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from normfed_client.imaging import brain_extraction, diffusion, registration
from normfed_client.imaging.bids import Mask, Visit
from normfed_client.imaging.cache import IGNORED, META, PRESENT, Cache, Entry, write_arrays
from normfed_client.imaging.nifti import Image, read, read_mask
from normfed_client.imaging.placement import GIVEN, TEMPLATE, Brain, place
from normfed_client.imaging.steps import Steps
from normfed_client.imaging.template import common_grid
from normfed_common.foundation import digests
from normfed_common.foundation.errors import ReadError, ScanError
from normfed_common.study.config import StudyConfig
from normfed_common.study.modalities import MAPS
from normfed_common.study.preprocessing import PreprocessingConfig

VERSION = 3  # of this file's arithmetic and of the cache's layout: raise it and old entries are no longer found
UNMASKED = 4  # the same of how scans without a brain mask are registered, and their brains found
MINIMUM_BRAIN_SHARE = 0.5


@dataclass(frozen=True)
class Recipe:
    """What beside the scans decides the result.

    Parameters
    ----------
    whole_slices
        Whether only axial slices without any lesion are normal, instead of all that is far from lesions: as Kascenas
        2022 learns from the tumour-free slices of patients.
    """

    config: PreprocessingConfig
    modalities: tuple[str, ...]
    lesion_labels: tuple[str, ...] | None
    whole_slices: bool = False

    @classmethod
    def of(cls, study: StudyConfig) -> Recipe:
        """What a study says."""
        data = study.data
        return cls(study.preprocessing, data.modalities, data.lesion_labels, data.normal == "lesion-free-slices")

    def key(self, visit: Visit) -> str:
        """The content key of a visit; reads the files once.

        Raises
        ------
        ReadError
            If a file cannot be read at all.
        """
        try:
            return digests.of_json(
                {
                    "version": VERSION,
                    "config": self.config.model_dump(mode="json"),
                    "images": [[m, digests.of_file(visit.images[m])] for m in self.needed(visit)],
                    "modalities": self.modalities,
                    "brain": [visit.brain.modality, digests.of_file(visit.brain.path)] if visit.brain else None,
                    "lesions": [_said(mask) for mask in self.lesions(visit)],
                    "registered": visit.in_template_space,
                    # Entries that were made before there was any of these keep their keys.
                    **({"ignored": [_said(mask) for mask in visit.ignored]} if visit.ignored else {}),
                    **({} if visit.brain or visit.in_template_space else {"unmasked": _unmasked()}),
                    **({"whole_slices": True} if self.whole_slices else {}),
                }
            )
        except OSError as error:
            raise ReadError(
                f"{error.filename}: cannot be read ({error.strerror}). Check the file and its rights."
            ) from error

    def lesions(self, visit: Visit) -> list[Mask]:
        """The visit's lesion masks that count."""
        return [m for m in visit.lesions if self.lesion_labels is None or m.label in self.lesion_labels]

    def reference(self, visit: Visit) -> str:
        """The modality that is registered to the template: T1 where there is one, else the study's first."""
        return next((m for m in ("T1w", *self.modalities) if m in visit.images), self.modalities[0])

    def needed(self, visit: Visit) -> list[str]:
        """Modalities whose files matter: those of the study that the visit has, the reference, and those that masks lie
        on."""
        brain = [visit.brain] if visit.brain else []
        masks = [mask.modality for mask in (*self.lesions(visit), *visit.ignored, *brain)]
        return sorted({*(m for m in self.modalities if m in visit.images), self.reference(visit), *masks})


def _unmasked() -> list[object]:
    return [UNMASKED, brain_extraction.installed()]  # with another extractor another brain is found


def _said(mask: Mask) -> list[object]:
    return [mask.label, mask.modality, digests.of_file(mask.path), *([] if mask.values is None else [mask.values])]


def missing_modalities(visit: Visit, modalities: tuple[str, ...]) -> list[str]:
    """Those of the modalities that the visit lacks."""
    return [modality for modality in modalities if modality not in visit.images]


def prepare(visit: Visit, recipe: Recipe, cache: Cache) -> Entry:
    """Preprocess a visit, or find it in the cache.

    Raises
    ------
    ScanError
        If a file fails at the door or registration fails. What the files hold is remembered as a failure, so that it
        is not tried again; what the system could not read (`ReadError`) is.
    """
    steps = Steps(cache, (VERSION, UNMASKED))
    entry = cache.get_or_build(recipe.key(visit), lambda folder: _build(visit, recipe, folder, steps))
    failure = entry.meta().get("failure")
    if failure:
        raise ScanError(str(failure))
    return entry


def _build(visit: Visit, recipe: Recipe, folder: Path, steps: Steps) -> None:
    try:
        meta = _run(visit, recipe, folder, steps)
    except ReadError:
        raise  # the key is of what the files hold, and this is not: nothing is kept under it
    except ScanError as error:
        meta = {"failure": str(error)}
    except RuntimeError as error:  # SimpleITK: of a scan that it can make nothing of, or of memory that it lacks
        why = str(error).strip().splitlines()[-1][:200] if str(error).strip() else "no reason given"
        raise ReadError(
            f"{visit.name}: cannot be registered ({why}). Look at the scan, or list the subject under data.exclude."
        ) from error
    (folder / META).write_text(json.dumps(meta))


def _run(visit: Visit, recipe: Recipe, folder: Path, steps: Steps) -> dict[str, object]:
    config = recipe.config
    grid = common_grid(config.voxel_size_mm)
    scans = {modality: read(visit.images[modality]) for modality in recipe.needed(visit)}
    given = None
    if visit.brain:
        given = Brain(read_mask(visit.brain.path, scans[visit.brain.modality]), visit.brain.modality, GIVEN)
    lesion_masks, ignored_masks = (
        [(mask, read_mask(mask.path, scans[mask.modality], True, mask.values)) for mask in masks]
        for masks in (recipe.lesions(visit), visit.ignored)
    )
    reference = recipe.reference(visit)
    placed = place(visit, scans, reference, given, config, steps)
    matrices, mask = placed.matrices, placed.mask

    def on_grid(image: Image, modality: str) -> np.ndarray:
        return registration.resample(image, matrices[modality], grid.shape, grid.affine)

    def volume(modality: str) -> np.ndarray:
        scan = scans[modality]
        if not config.bias_correction or modality in MAPS:
            return on_grid(scan, modality)
        brain = placed.brain if placed.brain and placed.brain.modality == modality else None
        return steps.array(
            "N4",
            [scan.path, *([] if brain is None else [brain.image.path])],
            [config.voxel_size_mm, matrices[modality].tolist(), *([] if brain is None else brain.said)],
            lambda: on_grid(registration.bias_corrected(scan, None if brain is None else brain.mask), modality),
        )

    present = [modality in scans for modality in recipe.modalities]
    absent = np.zeros(grid.shape, np.float32)
    images = np.stack([volume(m) if m in scans else absent for m in recipe.modalities])
    mask &= (images != 0).any(0)  # outside every field of view there is nothing to judge
    if mask.sum() < MINIMUM_BRAIN_SHARE * grid.brain.sum():
        raise ScanError(
            f"{visit.name}: only {mask.sum() / grid.brain.sum():.0%} of the brain is in the field of view "
            f"({scans[reference].path.name}). List the subject under data.exclude, or get the whole scan."
        )
    lesion, ignored = np.zeros(grid.shape, bool), np.zeros(grid.shape, bool)
    for found, image in ignored_masks:
        ignored |= mask & (on_grid(image, found.modality) > 0.5)
    voxels: dict[str, int] = {}
    for found, image in lesion_masks:
        inside = mask & ~ignored & (on_grid(image, found.modality) > 0.5)
        voxels[found.label] = voxels.get(found.label, 0) + int(inside.sum())
        lesion |= inside
    for image, modality in zip(images, recipe.modalities, strict=True):
        if modality in scans:
            image[...] = _normalised(image, mask, config, visit.name, modality)
    write_arrays(folder, images, mask, lesion, mask & ~_not_normal(lesion | ignored, recipe))
    if ignored.any():
        np.save(folder / IGNORED, ignored)
    return {
        "overlap": placed.overlap,
        "brain": placed.brain.source if placed.brain else TEMPLATE,
        "brain_voxels": int(mask.sum()),
        "lesion_voxels": int(lesion.sum()),
        "lesion_voxels_by_label": voxels,
        "to_reference": matrices[reference].tolist(),
        **({} if all(present) else {PRESENT: present}),
    }


def _not_normal(lesion: np.ndarray, recipe: Recipe) -> np.ndarray:
    """bool (X, Y, Z): what is within the margin of a lesion, or in an axial slice with any."""
    if not lesion.any():
        return lesion
    if recipe.whole_slices:
        return np.broadcast_to(lesion.any((0, 1)), lesion.shape)
    distance: np.ndarray = ndimage.distance_transform_edt(~lesion, sampling=recipe.config.voxel_size_mm)
    return distance <= recipe.config.lesion_margin_mm


def _normalised(
    image: np.ndarray, mask: np.ndarray, config: PreprocessingConfig, name: str, modality: str
) -> np.ndarray:
    if modality in MAPS:
        return np.clip(diffusion.in_own_units(image, mask, modality, name), *config.value_range)
    values = image[mask]
    if config.normalisation == "percentiles":
        low, high = np.percentile(values, config.percentiles)
    else:
        low, high = float(values.mean()), float(values.mean() + values.std())
    if not high > low:
        raise ScanError(f"{name}: {modality} is constant inside the brain. Is the brain mask this scan's?")
    scaled = np.clip((image - low) / (high - low), *config.value_range)
    return np.where(mask, scaled, 0).astype(np.float32)
