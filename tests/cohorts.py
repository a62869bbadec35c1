"""Hospitals of many people in a moment: noise on the template, already in its space, with lesions where asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import nibabel
import numpy as np

from normfed_client.hospital.folder import Hospital, HospitalConfig
from normfed_client.hospital.people import PeopleSecret
from normfed_client.hospital.releases import Releases
from normfed_client.imaging.template import common_grid, whole
from normfed_common.chain import keys

SPACE = "space-MNI152NLin2009cSym"


def write(root: Path, sites: Mapping[str, Mapping[str, int]], seed: int = 5) -> Path:
    """A BIDS dataset of 4 mm scans, T1w and FLAIR; ``sites`` gives people per group, `control` or a kind of lesion."""
    grid = common_grid(4)
    t1, affine = whole("t1", 4)
    start = np.round((grid.affine[:3, 3] - affine[:3, 3]) / np.diag(affine)[:3]).astype(int)
    anatomy = t1[tuple(slice(s, s + n) for s, n in zip(start, grid.shape, strict=True))]
    rng = np.random.default_rng(seed)
    rows = ["participant_id\tsite\tgroup\tage\tsex"]
    for site, groups in sites.items():
        for group, count in groups.items():
            for number in range(count):
                name = f"sub-{site}{group}{number:02d}"
                rows.append(f"{name}\t{site}\t{group}\t50\tF")
                person(root, name, anatomy, grid.brain, grid.affine, group, rng)
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")
    (root / "dataset_description.json").write_text('{"Name": "cohort", "BIDSVersion": "1.10.0"}')
    return root


def person(
    root: Path,
    name: str,
    anatomy: np.ndarray,
    brain: np.ndarray,
    affine: np.ndarray,
    group: str,
    rng: np.random.Generator,
) -> None:
    """One person's scans and masks."""
    lesion = np.zeros(brain.shape, bool)
    if group != "control":
        x, y, z = (rng.integers(n // 3, 2 * n // 3) for n in brain.shape)
        radius = int(rng.integers(1, 4))
        lesion[x - radius : x + radius, y - radius : y + radius, z - radius : z + radius] = True
        lesion &= brain
    folder, masks = root / name / "anat", root / "derivatives" / "masks" / name / "anat"
    for modality, sign in (("T1w", -1), ("FLAIR", 1)):
        image = anatomy * rng.uniform(0.9, 1.1) + 0.05 * rng.standard_normal(brain.shape) + 0.4 * sign * lesion
        save(folder / f"{name}_{SPACE}_{modality}.nii.gz", np.where(brain, image + 1, 0), affine)
    save(masks / f"{name}_{SPACE}_desc-brain_mask.nii.gz", brain, affine)
    if lesion.any():
        save(masks / f"{name}_{SPACE}_label-{group}_mask.nii.gz", lesion, affine)


def save(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    """Write a NIfTI file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(data.astype(np.float32), affine), path)


def take_away(data: Path, modality: str, people: int) -> None:
    """The scans of the first people of a dataset."""
    for path in sorted(data.glob(f"sub-*/anat/*_{modality}.nii.gz"))[:people]:
        path.unlink()


def hospital(folder: Path, data: Path, minimum: int, per_voxel: int) -> Hospital:
    """Site a, of which nobody is held out."""
    config = HospitalConfig(
        site="a",
        server="f:1",
        data=data,
        device="cpu",
        minimum_people=minimum,
        minimum_people_per_voxel=per_voxel,
        held_out_share=0.0,
        quality_gate="off",
    )
    folder.mkdir()
    made = Hospital(folder, config)
    keys.make(made.key)
    made.people_secret.write_bytes(b"secret")
    Releases.create(made.record, PeopleSecret.read(made.people_secret))
    made.prepare("run")
    return made
