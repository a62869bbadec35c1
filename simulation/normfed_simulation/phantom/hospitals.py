"""Write synthetic hospitals as one BIDS dataset, so that the demo takes the very path of real data.

Scans lie in template space and say so in their names (`space-MNI152NLin2009aSym`); a site with `native` writes tilted,
shifted scans on a grid of their own, so that registration has work to do.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import nibabel
import numpy as np
from scipy.spatial.transform import Rotation

from normfed_client.imaging.bids import Mask, Visit
from normfed_client.imaging.nifti import Image
from normfed_client.imaging.participants import Participant
from normfed_client.imaging.registration import resample
from normfed_common.foundation import digests, seeds
from normfed_common.foundation.errors import DatasetError
from normfed_common.foundation.files import atomic, write_text
from normfed_common.learning.cohort import Sex
from normfed_common.processes.workers import WorkerPool
from normfed_common.study.base import Frozen
from normfed_common.study.data import Contrast, LesionKind, PhantomConfig, PhantomSite
from normfed_simulation.phantom import anatomy
from normfed_simulation.phantom.lesions import add_lesions
from normfed_simulation.phantom.scanner import SCANNERS, expose, signal
from normfed_simulation.phantom.shapes import Lesion
from normfed_simulation.phantom.template import template
from normfed_simulation.phantom.variation import vary

VERSION = 6  # raise it when the same configuration gives other images
SPACE = "space-MNI152NLin2009aSym_"
CONTROL = "control"
AGES: dict[str, tuple[float, float]] = {
    CONTROL: (25, 80), "WMH": (60, 85), "MS": (25, 55), "tumour": (40, 75), "FCD": (18, 45),
}  # fmt: skip

PARTICIPANTS: dict[str, object] = {
    "participant_id": {"Description": "A synthetic person"},
    "site": {"Description": "The hospital"},
    "age": {"Description": "Age", "Units": "year"},
    "sex": {"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
    "group": {"Description": "Healthy (control), or the kind of lesion"},
}
MASK: dict[str, object] = {"SpatialReference": "MNI152NLin2009aSym; of native scans the scanner's own"}
SCAN = MASK | {"SkullStripped": True}
README = (
    "Synthetic scans that normfed makes: no person was scanned. Shapes follow the MNI152 template, contrasts and noise "
    "those of scanners of the vendor and field strength of each hospital."
)


@dataclass(frozen=True)
class SyntheticPerson:
    """One synthetic person, by name; everything else follows from the seed and the name."""

    subject: str
    site: PhantomSite
    group: str

    def age(self, seed: int) -> float:
        """Years, uniform in the range of the group."""
        return round(float(seeds.generator(seed, "age", self.subject).uniform(*AGES[self.group])), 1)

    def sex(self, seed: int) -> Sex:
        """Either as likely."""
        sex: Sex = get_args(Sex)[int(seeds.generator(seed, "sex", self.subject).integers(2))]
        return sex

    def absent(self, seed: int) -> str | None:
        """The modality that was not taken; None of most people."""
        lot = float(seeds.generator(seed, "absent", self.subject).uniform())
        for modality in get_args(Contrast):
            share = self.site.without.get(modality, 0.0)
            if lot < share:
                return str(modality)
            lot -= share
        return None


class _Job(Frozen):
    root: str
    seed: int
    voxel_size_mm: int
    subject: str
    site: PhantomSite
    group: str


def people(config: PhantomConfig) -> list[SyntheticPerson]:
    """Everybody, site by site."""
    found: list[SyntheticPerson] = []
    for number, site in enumerate(config.sites, start=1):
        groups = [CONTROL] * site.controls + [k for k in get_args(LesionKind) for _ in range(site.patients.get(k, 0))]
        found += [SyntheticPerson(f"sub-{number:02d}{i:03d}", site, group) for i, group in enumerate(groups, start=1)]
    return found


def visits(config: PhantomConfig, seed: int, root: Path) -> tuple[Visit, ...]:
    """What is read of ``root`` once it is written, known beforehand."""
    found = []
    for person in people(config):
        files = _files(person, seed, root)
        grid = "T1w" if person.site.native and "T1w" in files.images else min(files.images)
        lesions = () if person.group == CONTROL else (Mask(files.lesions, grid, person.group),)
        found.append(
            Visit(
                Participant(person.subject, person.site.name, person.group, person.age(seed), person.sex(seed)),
                None,
                dict(files.images),
                Mask(files.brain, grid, "brain"),
                lesions,
                in_template_space=not person.site.native,
            )
        )
    return tuple(found)


@dataclass(frozen=True)
class _Files:
    """Of one person: scans by modality, and masks; no lesion mask is written of healthy people."""

    images: dict[str, Path]
    brain: Path
    lesions: Path


def _files(person: SyntheticPerson, seed: int, root: Path) -> _Files:
    scans = root / person.subject / "anat"
    masks = root / "derivatives" / "masks" / person.subject / "anat"
    space = "" if person.site.native else SPACE
    mask_space = "space-T1w_" if person.site.native else SPACE
    taken = [contrast for contrast in get_args(Contrast) if contrast != person.absent(seed)]
    return _Files(
        {contrast: scans / f"{person.subject}_{space}{contrast}.nii.gz" for contrast in taken},
        masks / f"{person.subject}_{mask_space}desc-brain_mask.nii.gz",
        masks / f"{person.subject}_{mask_space}label-{person.group}_mask.nii.gz",
    )


def digest(config: PhantomConfig, seed: int) -> str:
    """Identifies the dataset that `write` makes."""
    return digests.of_json({"version": VERSION, "seed": seed, "config": config.model_dump(mode="json")})


def write(
    config: PhantomConfig, seed: int, root: Path, workers: int, told: Callable[[str], None] = lambda _name: None
) -> None:
    """Write the dataset into ``root``, unless it is there already; a broken-off attempt is completed.

    Raises
    ------
    DatasetError
        If the folder holds something else.
    """
    if written(config, seed, root):
        return
    key = digest(config, seed)
    everybody = people(config)
    if workers < 2:
        for person in everybody:
            _checked(serve_person(_job(person, config, seed, root)))
            told(person.subject)
    else:
        with WorkerPool("normfed_simulation.phantom.hospitals:serve_person", min(workers, len(everybody))) as pool:
            jobs = {pool.submit(partial(_job, person, config, seed, root)): person for person in everybody}
            for job in as_completed(jobs):
                _checked(job.result())
                told(jobs[job].subject)
    _write_tables(everybody, seed, root, key)


def written(config: PhantomConfig, seed: int, root: Path) -> bool:
    """Whether ``root`` holds the dataset already.

    Raises
    ------
    DatasetError
        If it holds another.
    """
    done = root / "dataset_description.json"
    if not done.exists():
        return False
    if digest(config, seed) not in done.read_text():
        raise DatasetError(f"{root}: holds another dataset. Choose another folder, or remove it.")
    return True


def _job(person: SyntheticPerson, config: PhantomConfig, seed: int, root: Path) -> bytes:
    job = _Job(
        root=str(root),
        seed=seed,
        voxel_size_mm=config.voxel_size_mm,
        subject=person.subject,
        site=person.site,
        group=person.group,
    )
    return job.model_dump_json().encode()


def serve_person(payload: bytes) -> bytes:
    """A worker's function: write one person's scans; returns the error's text, or nothing."""
    job = _Job.model_validate_json(payload)
    try:
        write_person(SyntheticPerson(job.subject, job.site, job.group), job.seed, job.voxel_size_mm, Path(job.root))
    except OSError as error:
        text = f"{job.root}: cannot be written ({error.strerror}). Free some space, or set NORMFED_CACHE."
        return text.encode()
    return b""


def _checked(failure: bytes) -> None:
    if failure:
        raise DatasetError(failure.decode())


def write_person(person: SyntheticPerson, seed: int, voxel_size_mm: int, root: Path) -> None:
    """T1, FLAIR, brain mask and lesion mask of one person, but for the scan that was not taken."""
    rng = seeds.generator(seed, "person", person.subject)
    tissue = anatomy.person(person.age(seed), voxel_size_mm, rng)
    lesion: Lesion | None = None
    if person.group != CONTROL:
        tissue, lesion = add_lesions(person.group, tissue, rng)  # type: ignore[arg-type]
    variation = vary(tissue, person.age(seed), rng)
    scanner = SCANNERS[person.site.vendor, person.site.field_tesla]
    affine = template(voxel_size_mm).affine
    place = _tilt(rng) if person.site.native else np.eye(4)
    files = _files(person, seed, root)
    brain = _placed(tissue.brain.astype(np.float32), affine, place) > 0.5
    for contrast in get_args(Contrast):
        seen = _placed(signal(contrast, scanner, tissue, variation, lesion, rng), affine, place)
        image = expose(contrast, scanner, seen, brain, voxel_size_mm, rng)
        if contrast in files.images:
            _write(files.images[contrast], image, affine)
    _write(files.brain, brain.astype(np.uint8), affine)
    if lesion is not None:
        mask = _placed(lesion.mask.astype(np.float32), affine, place) > 0.5
        _write(files.lesions, mask.astype(np.uint8), affine)


def _tilt(rng: np.random.Generator) -> np.ndarray:
    """Where the head lay: a rotation of some degrees and a shift, as a 4x4 matrix from template to scanner world."""
    place = np.eye(4)
    place[:3, :3] = Rotation.from_euler("xyz", rng.normal(0, 6, 3), degrees=True).as_matrix()
    place[:3, 3] = rng.normal(0, 8, 3)
    return place


def _placed(data: np.ndarray, affine: np.ndarray, place: np.ndarray) -> np.ndarray:
    """``data`` (X, Y, Z) as it is, or, where the head lay elsewhere, resampled on a grid of the scanner's own."""
    if np.array_equal(place, np.eye(4)):
        return data
    return resample(Image(data, affine, Path("phantom")), np.linalg.inv(place), data.shape, affine)


def _write(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    image = nibabel.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, code=4 if path.name.find(SPACE) >= 0 else 1)
    image.set_qform(affine, code=4 if path.name.find(SPACE) >= 0 else 1)
    with atomic(path) as temporary:
        image.to_filename(temporary)


def _write_tables(everybody: list[SyntheticPerson], seed: int, root: Path, key: str) -> None:
    rows = ["participant_id\tsite\tage\tsex\tgroup"]
    rows += [f"{p.subject}\t{p.site.name}\t{p.age(seed)}\t{p.sex(seed)}\t{p.group}" for p in everybody]
    write_text(root / "participants.tsv", "\n".join(rows) + "\n")
    masks = root / "derivatives" / "masks"
    taken = {contrast for person in everybody for contrast in _files(person, seed, root).images}
    ill = {person.group for person in everybody} - {CONTROL}
    sidecars = {
        root / "participants.json": PARTICIPANTS,
        **{root / f"{contrast}.json": SCAN | {"Description": f"Simulated {contrast}"} for contrast in taken},
        masks / "desc-brain_mask.json": MASK | {"Description": "The brain, as it was made", "Type": "Brain"},
        **{masks / f"label-{kind}_mask.json": MASK | {"Description": kind, "Type": "Lesion"} for kind in ill},
    }
    for path, told in sidecars.items():
        write_text(path, json.dumps(told, indent=1) + "\n")
    generated = [{"Name": "normfed phantom", "Version": str(VERSION), "Description": key}]
    for folder, name in ((masks, "Masks of synthetic brains"), (root, "Synthetic hospitals")):
        write_text(folder / "README.md", f"# {name}\n\n{README}\n")
        text = {"Name": name, "BIDSVersion": "1.10.0", "DatasetType": "derivative", "GeneratedBy": generated}
        write_text(folder / "dataset_description.json", json.dumps(text, indent=1) + "\n")
