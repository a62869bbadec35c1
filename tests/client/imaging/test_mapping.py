"""Maps back on a scan's own grid: a map that is linear in space is known in every voxel of any grid."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from normfed_client.imaging.bids import Visit
from normfed_client.imaging.cache import META, Entry
from normfed_client.imaging.mapping import place_on, write_map
from normfed_client.imaging.nifti import Image
from normfed_client.imaging.participants import Participant
from normfed_client.imaging.preprocessing import Recipe
from normfed_client.imaging.registration import resample
from normfed_client.imaging.template import common_grid, whole
from normfed_common.study.preprocessing import PreprocessingConfig

GRID = common_grid(4)
SLOPE, LEVEL = np.array([0.3, -0.2, 0.5]), 200.0
SHAPE = (14, 12, 10)


def affine_of(axes: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """From voxels to the world, for axes (3, 3) in mm, with the middle voxel at ``centre``."""
    found = np.eye(4)
    found[:3, :3] = axes
    found[:3, 3] = centre - axes @ (np.array(SHAPE) / 2)
    return found


TILTED = Rotation.from_euler("xyz", [12, -8, 20], degrees=True).as_matrix()
TO_REFERENCE = np.array([[1.1, 0.05, 0, 7], [-0.04, 0.9, 0.1, -12], [0, -0.1, 1.2, 20], [0, 0, 0, 1]])
NATIVE = {
    "straight": np.diag([3.0, 4.0, 5.0]),
    "left to right": np.diag([-3.0, 4.0, 5.0]),
    "tilted": TILTED * [3, 4, 5],
    "sagittal": (TILTED * [3, 4, 5])[:, [1, 2, 0]] * [1, -1, 1],
}


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    (tmp_path / "entry").mkdir()
    (tmp_path / "entry" / META).write_text(json.dumps({"to_reference": TO_REFERENCE.tolist()}))
    return Entry(tmp_path / "entry")


def scan(path: Path, axes: np.ndarray, centre: np.ndarray) -> Path:
    data = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(data, affine_of(axes, centre)), path)
    return path


def world(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Coordinates of every voxel, (X, Y, Z, 3)."""
    voxels = np.moveaxis(np.indices(shape), 0, -1)
    return voxels @ affine[:3, :3].T + affine[:3, 3]


def visit(**images: Path) -> Visit:
    return Visit(Participant("sub-01", "a", "ms"), "02", images)


def recipe(*modalities: str) -> Recipe:
    return Recipe(PreprocessingConfig(voxel_size_mm=4), modalities, None)


CENTRE = TO_REFERENCE[:3, :3] @ [0.0, -15.0, 15.0] + TO_REFERENCE[:3, 3]  # of the scans, amid the brain


@pytest.mark.parametrize("kind", NATIVE)
def test_a_map_that_is_linear_in_space_is_the_same_function_on_the_scan(
    tmp_path: Path, entry: Entry, kind: str
) -> None:
    person = visit(T1w=scan(tmp_path / "sub-01_T1w.nii.gz", NATIVE[kind], CENTRE))
    anomaly_map = (world(GRID.affine, GRID.shape) @ SLOPE + LEVEL).astype(np.float32)
    path = write_map(anomaly_map, person, place_on(person, entry, recipe("T1w")), tmp_path)
    assert path == tmp_path / "sub-01_ses-02_space-T1w_desc-anomaly_map.nii.gz"
    written, native = nibabel.load(path), nibabel.load(person.images["T1w"])
    np.testing.assert_allclose(written.affine, native.affine, atol=1e-5)  # overlays in any viewer
    on_template = world(np.linalg.inv(TO_REFERENCE) @ native.affine, SHAPE)
    np.testing.assert_allclose(written.get_fdata(), on_template @ SLOPE + LEVEL, atol=2e-3)


def test_beyond_the_common_grid_there_is_no_anomaly(tmp_path: Path, entry: Entry) -> None:
    person = visit(T1w=scan(tmp_path / "sub-01_T1w.nii.gz", np.diag([15.0, 15.0, 15.0]), CENTRE))
    path = write_map(np.ones(GRID.shape, np.float32), person, place_on(person, entry, recipe("T1w")), tmp_path)
    written = nibabel.load(path)
    voxels = world(np.linalg.inv(GRID.affine) @ np.linalg.inv(TO_REFERENCE) @ written.affine, SHAPE)
    inside = ((voxels >= 0) & (voxels <= np.array(GRID.shape) - 1)).all(-1)
    assert 0 < inside.sum() < inside.size
    np.testing.assert_allclose(written.get_fdata()[inside], 1.0)
    outside = ((voxels < -1) | (voxels > np.array(GRID.shape))).any(-1)
    assert not written.get_fdata()[outside].any()


def test_beyond_the_common_grid_a_map_is_what_it_is_outside_the_brain(tmp_path: Path, entry: Entry) -> None:
    person = visit(T1w=scan(tmp_path / "sub-01_T1w.nii.gz", np.diag([15.0, 15.0, 15.0]), CENTRE))
    ones = np.ones(GRID.shape, np.float32)
    place = place_on(person, entry, recipe("T1w"))
    written = nibabel.load(write_map(ones, person, place, tmp_path, "pvalue", outside=1.0))
    np.testing.assert_allclose(written.get_fdata(), 1.0)
    assert (float(written.header["cal_min"]), float(written.header["cal_max"])) == (0, 0)


def test_the_header_shows_from_the_median_to_nearly_the_largest_of_what_is_anomalous(
    tmp_path: Path, entry: Entry
) -> None:
    person = visit(T1w=scan(tmp_path / "sub-01_T1w.nii.gz", NATIVE["straight"], CENTRE))
    anomaly_map = np.maximum(world(GRID.affine, GRID.shape) @ SLOPE, 0).astype(np.float32)
    place = place_on(person, entry, recipe("T1w"))
    header = nibabel.load(write_map(anomaly_map, person, place, tmp_path))
    positive = np.sort(header.get_fdata()[header.get_fdata() > 0])
    assert len(positive) < np.prod(SHAPE)
    assert float(header.header["cal_min"]) == pytest.approx(np.median(positive), rel=1e-5)
    assert float(header.header["cal_max"]) == pytest.approx(np.quantile(positive, 0.998), rel=1e-5)
    nothing = nibabel.load(write_map(np.zeros_like(anomaly_map), person, place, tmp_path))
    assert (float(nothing.header["cal_min"]), float(nothing.header["cal_max"])) == (0, 0)


@pytest.mark.parametrize(
    ("modalities", "expected"), [(("FLAIR", "T1w"), "T1w"), (("FLAIR",), "T1w"), (("T2w",), "T1w")]
)
def test_a_map_lies_on_the_t1_where_there_is_one(
    tmp_path: Path, entry: Entry, modalities: tuple[str, ...], expected: str
) -> None:
    """Also in a study that does not look at it: the T1 is what was registered."""
    scans = {
        name: scan(tmp_path / f"sub-01_{name}.nii.gz", axes, CENTRE)
        for name, axes in (("FLAIR", NATIVE["tilted"]), ("T1w", NATIVE["straight"]), ("T2w", NATIVE["sagittal"]))
    }
    place = place_on(visit(**scans), entry, recipe(*modalities))
    path = write_map(np.ones(GRID.shape, np.float32), visit(**scans), place, tmp_path)
    assert f"space-{expected}_" in path.name
    np.testing.assert_allclose(nibabel.load(path).affine, nibabel.load(scans[expected]).affine, atol=1e-5)


def test_without_a_t1_a_map_lies_on_the_first_of_the_studys_scans(tmp_path: Path, entry: Entry) -> None:
    person = visit(FLAIR=scan(tmp_path / "sub-01_FLAIR.nii.gz", NATIVE["tilted"], CENTRE))
    path = write_map(np.ones(GRID.shape, np.float32), person, place_on(person, entry, recipe("FLAIR")), tmp_path)
    assert path.name == "sub-01_ses-02_space-FLAIR_desc-anomaly_map.nii.gz"


def test_a_map_on_another_scan_lies_where_registration_to_the_reference_puts_it(tmp_path: Path, entry: Entry) -> None:
    t1, affine = whole("t1", 4)
    moved = np.eye(4)  # the person, between the two scans
    moved[:3, :3] = Rotation.from_euler("xyz", [3, 2, -4], degrees=True).as_matrix()
    moved[:3, 3] = [3, -4, 2]
    inverted = Image(np.where(t1 > 0.1, 1.1 - t1, 0).astype(np.float32), affine, Path("other contrast"))
    finer, shape = affine @ np.diag([0.75, 0.75, 0.75, 1]), tuple(round(n / 0.75) for n in t1.shape)
    person = visit(T1w=tmp_path / "sub-01_T1w.nii.gz", FLAIR=tmp_path / "sub-01_FLAIR.nii.gz")
    nibabel.save(nibabel.Nifti1Image(t1, affine), person.images["T1w"])
    flair = resample(inverted, np.linalg.inv(moved), shape, finer)
    nibabel.save(nibabel.Nifti1Image(flair, finer), person.images["FLAIR"])
    anomaly_map = (world(GRID.affine, GRID.shape) @ SLOPE + LEVEL).astype(np.float32)
    path = write_map(anomaly_map, person, place_on(person, entry, recipe("T1w", "FLAIR"), "FLAIR"), tmp_path)
    assert path.name == "sub-01_ses-02_space-FLAIR_desc-anomaly_map.nii.gz"
    written = nibabel.load(path)
    assert written.shape == shape
    np.testing.assert_allclose(written.affine, finer, atol=1e-5)
    expected = world(np.linalg.inv(moved @ TO_REFERENCE) @ finer, shape) @ SLOPE + LEVEL
    brain = (flair > 0.1) & (written.get_fdata() > 0)
    assert brain.sum() > 10_000
    assert np.abs(written.get_fdata() - expected)[brain].max() < 1.2  # 2 mm along the slope
    on_reference = world(np.linalg.inv(TO_REFERENCE) @ finer, shape) @ SLOPE + LEVEL
    assert np.abs(on_reference - expected)[brain].max() > 3


def test_scans_in_the_templates_space_lie_where_they_say(tmp_path: Path, entry: Entry) -> None:
    person = replace(visit(T1w=tmp_path / "none.nii.gz", FLAIR=tmp_path / "none.nii.gz"), in_template_space=True)
    places = [place_on(person, entry, recipe("T1w", "FLAIR"), modality) for modality in (None, "T1w", "FLAIR")]
    assert [place.modality for place in places] == ["T1w", "T1w", "FLAIR"]
    assert all(np.array_equal(place.to_scan, TO_REFERENCE) for place in places)


def test_a_voxel_of_the_common_grid_lies_on_the_scan_where_its_map_is(tmp_path: Path, entry: Entry) -> None:
    person = visit(T1w=scan(tmp_path / "sub-01_T1w.nii.gz", NATIVE["sagittal"], CENTRE))
    voxel = np.round(nibabel.affines.apply_affine(np.linalg.inv(GRID.affine), [0.0, -15.0, 15.0]))  # amid the scan
    distance = np.linalg.norm(world(GRID.affine, GRID.shape) - GRID.affine[:3] @ [*voxel, 1], axis=-1)
    near = np.exp(-(distance**2) / 200).astype(np.float32)
    written = nibabel.load(write_map(near, person, place_on(person, entry, recipe("T1w")), tmp_path))
    brightest = np.unravel_index(written.get_fdata().argmax(), written.shape)
    expected = nibabel.affines.apply_affine(written.affine, brightest)
    found = nibabel.affines.apply_affine(place_on(person, entry, recipe("T1w")).affine, voxel)
    assert np.linalg.norm(found - expected) < np.linalg.norm([3, 4, 5]) / 2 + 0.5  # half a voxel of the scan


def test_a_contrast_agent_is_an_entity_of_its_own_in_a_name(tmp_path: Path, entry: Entry) -> None:
    """BIDS has one word after `space-`, and no underscore in it."""
    person = visit(**{"ce-GD_T1w": scan(tmp_path / "sub-01_ce-GD_T1w.nii.gz", NATIVE["straight"], CENTRE)})
    place = place_on(person, entry, recipe("ce-GD_T1w"))
    path = write_map(np.ones(GRID.shape, np.float32), person, place, tmp_path)
    assert path.name == "sub-01_ses-02_ce-GD_space-T1w_desc-anomaly_map.nii.gz"
    assert nibabel.load(path).header.get_xyzt_units()[0] == "mm"
