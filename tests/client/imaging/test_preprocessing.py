"""Scans on the common grid: registration finds a known transform, and what is no brain is set aside by name."""

import errno
import gzip
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from normfed_client.imaging import registration
from normfed_client.imaging.bids import Mask, Visit, read_dataset
from normfed_client.imaging.cache import Cache
from normfed_client.imaging.nifti import Image, read, read_mask
from normfed_client.imaging.participants import Participant
from normfed_client.imaging.preprocessing import Recipe, prepare
from normfed_client.imaging.template import BRAIN_LEVEL, common_grid, whole
from normfed_common.foundation import digests
from normfed_common.foundation.errors import ReadError, ScanError
from normfed_common.learning.cohort import Person
from normfed_common.study.data import PhantomSite
from normfed_common.study.preprocessing import PreprocessingConfig
from normfed_simulation.phantom.hospitals import SyntheticPerson, write_person

pytestmark = pytest.mark.xdist_group("registration")

CONFIG = PreprocessingConfig(voxel_size_mm=4)
RECIPE = Recipe(CONFIG, ("T1w", "FLAIR"), None)
T1W = Recipe(CONFIG, ("T1w",), None)


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Visit:
    """A person with a tumour whose scans lie tilted in a space of their own, at 2 mm."""
    root = tmp_path_factory.mktemp("native")
    site = PhantomSite(name="a", vendor="siemens", field_tesla=3.0, controls=0, native=True)
    write_person(SyntheticPerson("sub-01", site, "tumour"), 12, 2, root)
    (root / "participants.tsv").write_text("participant_id\tsite\nsub-01\ta\n")
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    (visit,) = read_dataset(root).visits
    return visit


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A cache for tests of what is done once scans are registered, which happens once."""
    return Cache(tmp_path_factory.mktemp("kept"))


def test_a_tilted_scan_comes_to_lie_on_the_template(native: Visit, kept: Cache) -> None:
    entry = prepare(native, RECIPE, kept)
    meta = entry.meta()
    assert float(str(meta["overlap"])) > 0.9
    turned = Rotation.from_matrix(_rotation(np.array(meta["to_reference"]))).magnitude()
    assert np.degrees(turned) > 3  # it was tilted, and the tilt was found
    scan = entry.scan(Person(0))
    assert scan.images.shape == (2, *common_grid(4).shape)
    assert entry.lesion().sum() > 20
    assert scan.images.min() >= 0
    assert scan.images.max() <= CONFIG.clip[1]


def test_a_scan_with_a_mask_is_registered_by_it_and_by_nothing_else(native: Visit, tmp_path: Path) -> None:
    """To the last bit: whatever is done about scans without a mask leaves these alone."""
    assert native.brain is not None
    entry = prepare(replace(native, images={"T1w": native.images["T1w"]}, lesions=()), T1W, Cache(tmp_path))
    scan, (t1, affine), grid = read(native.images["T1w"]), whole("t1", 2), common_grid(4)
    brain = read_mask(native.brain.path, scan)
    matrix = registration.affine(Image(t1, affine, Path("t1")), t1 > BRAIN_LEVEL, scan, brain.data > 0.5)
    image, inside = (registration.resample(one, matrix, grid.shape, grid.affine) for one in (scan, brain))
    mask = (inside > 0.5) & (image != 0)
    low, high = np.percentile(image[mask], CONFIG.percentiles)
    expected = np.where(mask, np.clip((image - low) / (high - low), *CONFIG.clip), 0).astype(np.float32)
    np.testing.assert_array_equal(entry.meta()["to_reference"], matrix)
    np.testing.assert_array_equal(entry.mask(), mask)
    np.testing.assert_array_equal(entry.scan(Person(0)).images[0], expected)


def _rotation(matrix: np.ndarray) -> np.ndarray:
    u, _, vt = np.linalg.svd(matrix[:3, :3])
    return u @ vt  # type: ignore[no-any-return]


def test_registration_finds_a_known_transform() -> None:
    t1, affine = whole("t1", 2)
    template = Image(t1, affine, Path("t1"))
    known = np.eye(4)
    known[:3, :3] = Rotation.from_euler("xyz", [7, -5, 4], degrees=True).as_matrix() @ np.diag([1.05, 0.95, 1.0])
    known[:3, 3] = [6, -9, 4]
    moved = Image(registration.resample(template, np.linalg.inv(known), t1.shape, affine), affine, Path("moved"))
    found = registration.affine(template, t1 > 0.2, moved, (moved.data > 0.2))
    corners = np.array([[x, y, z, 1] for x in (-60, 60) for y in (-90, 60) for z in (-40, 70)]).T
    error = np.linalg.norm(((found - known) @ corners)[:3], axis=0)
    assert error.max() < 2.0  # mm, at the corners of the brain


def test_registration_of_the_same_scan_gives_the_same_matrix_to_the_last_bit(native: Visit) -> None:
    t1, affine = whole("t1", 2)
    scan = read(native.images["T1w"])
    first, second = (
        registration.affine(Image(t1, affine, Path("t1")), t1 > 0.2, scan, scan.data > 0) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_rigid_alignment_finds_a_known_motion() -> None:
    t1, affine = whole("t1", 2)
    fixed = Image(t1, affine, Path("t1"))
    known = np.eye(4)
    known[:3, :3] = Rotation.from_euler("xyz", [3, 2, -4], degrees=True).as_matrix()
    known[:3, 3] = [3, -4, 2]
    inverted = Image(np.where(t1 > 0.1, 1.1 - t1, 0).astype(np.float32), affine, Path("other contrast"))
    moved = Image(registration.resample(inverted, np.linalg.inv(known), t1.shape, affine), affine, Path("moved"))
    found = registration.rigid(fixed, moved)
    corners = np.array([[x, y, z, 1] for x in (-60, 60) for y in (-90, 60) for z in (-40, 70)]).T
    assert np.linalg.norm(((found - known) @ corners)[:3], axis=0).max() < 2.0
    assert np.linalg.det(found[:3, :3]) == pytest.approx(1.0, abs=1e-6)


def test_what_is_no_brain_is_set_aside_by_name_and_remembered(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).random((60, 60, 60)).astype(np.float32)
    path = tmp_path / "sub-01_T1w.nii.gz"
    nibabel.Nifti1Image(noise, np.diag([3, 3, 3, 1.0])).to_filename(path)
    visit = Visit(Participant("sub-01", "a", "control"), None, {"T1w": path})
    recipe, cache = Recipe(CONFIG, ("T1w",), None), Cache(tmp_path / "c")
    for _ in range(2):
        with pytest.raises(ScanError, match=r"sub-01: registration to MNI152 failed, .* data.exclude"):
            prepare(visit, recipe, cache)
    (found,) = (tmp_path / "c").glob("*/meta.json")
    assert "registration" in json.loads(found.read_text())["failure"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOENT, errno.EACCES, errno.EMFILE, errno.ESTALE])
@pytest.mark.parametrize("step", ["open", "checksum"])
def test_what_the_system_cannot_read_is_tried_again(
    hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, step: str
) -> None:
    """The key is known by then: the network drive went away between the two reads."""
    visit, cache = read_dataset(hospitals).visits[0], Cache(tmp_path)
    module, name = (nibabel, "load") if step == "open" else (gzip, "open")
    real = getattr(module, name)

    def gone(path: object, *arguments: object, **more: object) -> object:
        if path == visit.images["T1w"]:
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, gone)
        with pytest.raises(ReadError, match="T1w"):
            prepare(visit, RECIPE, cache)
    assert not list(tmp_path.iterdir())
    assert prepare(visit, RECIPE, cache).mask().any()


@pytest.mark.parametrize("bias", [False, True])
def test_a_scan_that_registration_breaks_off_at_is_a_fault_of_that_scan(tmp_path: Path, bias: bool) -> None:
    """A cube of 0.8 mm once broke off the work of its whole hospital."""
    path = tmp_path / "sub-01_T1w.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).random((8, 8, 8)), np.diag([0.1, 0.1, 0.1, 1])), path)
    visit = Visit(Participant("sub-01", "a", "control"), None, {"T1w": path})
    recipe = Recipe(CONFIG.model_copy(update={"bias_correction": bias}), ("T1w",), None)
    with pytest.raises(ScanError, match=r"^sub-01: cannot be registered \(.+\)\. Look at the scan"):
        prepare(visit, recipe, Cache(tmp_path / "cache"))


def test_a_file_that_ends_early_is_remembered_as_what_it_is(hospitals: Path, tmp_path: Path) -> None:
    visit = read_dataset(hospitals).visits[0]
    cut = tmp_path / "sub-01_T1w.nii.gz"
    cut.write_bytes(visit.images["T1w"].read_bytes()[:-2000])
    broken, cache = replace(visit, images={**visit.images, "T1w": cut}), Cache(tmp_path / "c")
    with pytest.raises(ScanError, match="ends early or is damaged"):
        prepare(broken, RECIPE, cache)
    (entry,) = (tmp_path / "c").iterdir()
    assert "ends early" in json.loads((entry / "meta.json").read_text())["failure"]


@pytest.mark.parametrize(("absent", "channel"), [("T1w", 0), ("FLAIR", 1)])
def test_an_absent_modality_is_0_and_the_others_are_as_without_it_in_the_study(
    native: Visit, tmp_path: Path, absent: str, channel: int
) -> None:
    """The scan that is there is registered to the template."""
    there = {modality: path for modality, path in native.images.items() if modality != absent}
    masks = [replace(mask, modality=next(iter(there))) for mask in (native.brain, *native.lesions) if mask]
    lacking = replace(native, images=there, brain=masks[0], lesions=tuple(masks[1:]))
    entry = prepare(lacking, RECIPE, Cache(tmp_path))
    assert entry.meta()["present"] == [index != channel for index in (0, 1)]
    assert RECIPE.reference(lacking) in there
    assert float(str(entry.meta()["overlap"])) > 0.85
    scan, alone = entry.scan(Person(0)), prepare(lacking, replace(RECIPE, modalities=tuple(there)), Cache(tmp_path))
    assert scan.present.tolist() == entry.meta()["present"]
    assert (scan.images[channel] == 0).all()
    np.testing.assert_array_equal(scan.images[1 - channel], alone.scan(Person(0)).images[0])
    for name in ("mask", "lesion", "normal"):
        np.testing.assert_array_equal(getattr(entry, name)(), getattr(alone, name)())
    assert "present" not in alone.meta()


def test_the_key_of_a_visit_with_every_modality_is_what_it_was_before_any_could_be_absent(hospitals: Path) -> None:
    visit = next(visit for visit in read_dataset(hospitals).visits if visit.lesions and visit.brain)
    assert visit.brain is not None
    assert RECIPE.key(visit) == digests.of_json(
        {
            "version": 3,
            "config": CONFIG.model_dump(mode="json"),
            "images": [[modality, digests.of_file(visit.images[modality])] for modality in ("FLAIR", "T1w")],
            "modalities": ["T1w", "FLAIR"],
            "brain": [visit.brain.modality, digests.of_file(visit.brain.path)],
            "lesions": [[mask.label, mask.modality, digests.of_file(mask.path)] for mask in visit.lesions],
            "registered": True,
        }
    )
    bare = replace(visit, lesions=(), brain=None)
    keys = [RECIPE.key(replace(bare, images={m: visit.images[m]})) for m in ("T1w", "FLAIR")]
    assert len({*keys, RECIPE.key(bare)}) == 3


@pytest.fixture
def mask_of(native: Visit, tmp_path: Path) -> Callable[[str, bool], Mask]:
    """Masks on the grid of the T1 of `native`: empty ones, or with a ball of lesion in the brain."""

    def make(label: str, empty: bool) -> Mask:
        scan = read(native.images["T1w"])
        centre = np.argwhere(scan.data > np.percentile(scan.data, 99)).mean(0)
        distance = np.linalg.norm(np.moveaxis(np.indices(scan.data.shape), 0, -1) - centre, axis=-1)
        path = tmp_path / f"sub-01_space-T1w_label-{label}_mask.nii.gz"
        inside = (distance < 0 if empty else distance < 8).astype(np.uint8)
        nibabel.Nifti1Image(inside, scan.affine).to_filename(path)
        return Mask(path, "T1w", label)

    return make


def test_an_empty_lesion_mask_means_no_lesion_of_its_kind(
    native: Visit, kept: Cache, mask_of: Callable[[str, bool], Mask]
) -> None:
    looked = replace(native, lesions=(mask_of("WMH", True),))
    entry = prepare(looked, RECIPE, kept)
    assert not entry.lesion().any()
    assert entry.meta()["lesion_voxels_by_label"] == {"WMH": 0}
    np.testing.assert_array_equal(entry.normal(), entry.mask())


def test_an_empty_mask_leaves_the_lesion_of_another_mask_as_it_is(
    native: Visit, kept: Cache, mask_of: Callable[[str, bool], Mask]
) -> None:
    tumour = mask_of("tumour", False)
    alone = prepare(replace(native, lesions=(tumour,)), RECIPE, kept)
    both = prepare(replace(native, lesions=(mask_of("WMH", True), tumour)), RECIPE, kept)
    assert alone.lesion().any()
    np.testing.assert_array_equal(both.lesion(), alone.lesion())
    assert both.meta()["lesion_voxels_by_label"] == {"WMH": 0, "tumour": int(alone.lesion().sum())}


def test_an_empty_brain_mask_is_refused(native: Visit, tmp_path: Path, mask_of: Callable[[str, bool], Mask]) -> None:
    with pytest.raises(ScanError, match="every voxel is 0"):
        prepare(replace(native, brain=mask_of("brain", True)), RECIPE, Cache(tmp_path / "c"))


def test_a_mask_of_another_person_is_noticed(native: Visit, tmp_path: Path) -> None:
    scan = read(native.images["T1w"])
    data = np.zeros(scan.data.shape, np.uint8)
    data[:30, :30, :30] = 1
    nibabel.Nifti1Image(data, scan.affine).to_filename(tmp_path / "mask.nii.gz")
    wrong = Visit(native.participant, None, native.images, Mask(tmp_path / "mask.nii.gz", "T1w", "brain"))
    with pytest.raises(ScanError, match="sub-01"):
        prepare(wrong, RECIPE, Cache(tmp_path / "c"))


def test_content_and_parameters_make_the_key_not_names_or_places(hospitals: Path, tmp_path: Path) -> None:
    visit = read_dataset(hospitals).visits[0]
    copies = {}
    for modality, path in visit.images.items():
        copies[modality] = tmp_path / path.name.replace(visit.participant.subject, "sub-99")
        copies[modality].write_bytes(path.read_bytes())
    moved = Visit(Participant("sub-99", "z", "x"), None, copies, visit.brain, visit.lesions, visit.in_template_space)
    assert RECIPE.key(moved) == RECIPE.key(visit)
    other = Recipe(PreprocessingConfig(voxel_size_mm=4, clip=(0.0, 1.0)), RECIPE.modalities, None)
    assert other.key(visit) != RECIPE.key(visit)
    copies["T1w"].write_bytes(copies["FLAIR"].read_bytes())
    assert RECIPE.key(moved) != RECIPE.key(visit)


def test_percentiles_map_to_zero_and_one_inside_the_brain(hospitals: Path, tmp_path: Path) -> None:
    visit = read_dataset(hospitals).visits[0]
    scan = prepare(visit, RECIPE, Cache(tmp_path)).scan(Person(0))
    for image in scan.images:
        low, high = np.percentile(image[scan.mask], [1, 99])
        assert (low, high) == (pytest.approx(0, abs=1e-3), pytest.approx(1, abs=1e-3))
        assert (image[~scan.mask] == 0).all()


def test_normal_tissue_keeps_its_distance_from_lesions(native: Visit, kept: Cache) -> None:
    from scipy.ndimage import distance_transform_edt

    config = PreprocessingConfig(voxel_size_mm=4, lesion_margin_mm=9.0)
    entry = prepare(native, Recipe(config, ("T1w", "FLAIR"), None), kept)
    scan, lesion = entry.scan(Person(0)), entry.lesion()
    distance = distance_transform_edt(~lesion, sampling=4)
    normal = np.zeros(scan.mask.size, bool)
    normal[scan.normal_index] = True
    np.testing.assert_array_equal(normal.reshape(scan.mask.shape), scan.mask & (distance > 9.0))


def test_bias_correction_flattens_a_known_field() -> None:
    t1, affine = whole("t1", 2)
    ramp = np.exp(np.linspace(-0.4, 0.4, t1.shape[0]))[:, None, None].astype(np.float32)
    shaded = Image(t1 * ramp, affine, Path("x"))
    brain = t1 > 0.3
    corrected = registration.bias_corrected(shaded, brain).data

    def spread(image: np.ndarray) -> float:
        ratio = image[brain] / t1[brain]
        return float(ratio.std() / ratio.mean())

    assert spread(corrected) < 0.6 * spread(shaded.data)
