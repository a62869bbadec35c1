"""Files of scans: each fault has its sentence, and what is read is the same whatever the orientation and type."""

import gzip
import os
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from normfed_client.imaging import nifti
from normfed_common.foundation.errors import ScanError

AFFINE = np.diag([1.5, 2.0, 2.5, 1.0])
SHAPE = (12, 14, 10)


def picture() -> np.ndarray:
    return np.random.default_rng(0).random(SHAPE).astype(np.float32)


def save(path: Path, data: np.ndarray | None = None, affine: np.ndarray = AFFINE, **codes: int) -> Path:
    image = nibabel.Nifti1Image(picture() if data is None else data, affine)
    for name, code in codes.items():
        getattr(image, f"set_{name}")(affine, code=code)
    image.to_filename(path)
    return path


def broken(path: Path, kind: str) -> Path:
    """A file with one fault."""
    whole = save(path)
    if kind == "missing":
        whole.unlink()
    elif kind == "link to nowhere":
        whole.unlink()
        whole.symlink_to(path.parent / "elsewhere.nii.gz")
    elif kind == "empty":
        whole.write_bytes(b"")
    elif kind == "text":
        whole.write_text("this is a letter")
    elif kind == "gzip cut short":
        whole.write_bytes(whole.read_bytes()[:-200])
    elif kind == "gzip damaged":
        content = bytearray(whole.read_bytes())
        content[-6] ^= 0xFF  # the checksum, which most readers never look at
        whole.write_bytes(bytes(content))
    elif kind == "data cut short":
        whole.write_bytes(gzip.compress(gzip.decompress(whole.read_bytes())[:-500]))
    elif kind == "data nowhere":
        content = bytearray(gzip.decompress(whole.read_bytes()))
        content[108:112] = np.float32(np.inf).tobytes()  # where they begin
        whole.write_bytes(gzip.compress(bytes(content)))
    elif kind == "header only":
        whole.write_bytes(gzip.compress(gzip.decompress(whole.read_bytes())[:100]))
    elif kind == "four dimensions":
        save(path, np.random.default_rng(0).random((12, 12, 12, 3), np.float32))
    elif kind == "two dimensions":
        save(path, np.random.default_rng(0).random((64, 64), np.float32))
    elif kind == "pipe":
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    elif kind == "folder":
        path.unlink(missing_ok=True)
        path.mkdir()
    elif kind == "few slices":
        save(path, np.random.default_rng(0).random((64, 64, 3), np.float32))
    elif kind == "complex":
        save(path, picture().astype(np.complex64))
    elif kind == "colour":
        save(path, np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")]))
    elif kind == "nan":
        data = picture()
        data[3, 3, 3] = np.nan
        save(path, data)
    elif kind == "infinite":
        data = picture()
        data[3, 3, 3:6] = np.inf
        save(path, data)
    elif kind == "constant":
        save(path, np.full(SHAPE, 7, np.float32))
    elif kind == "no orientation":
        save(path, sform=0, qform=0)
    elif kind == "singular":
        header = nibabel.load(path).header.copy()
        header["srow_z"], header["sform_code"], header["qform_code"] = 0, 1, 0
        nibabel.Nifti1Image(picture(), None, header).to_filename(path)
    elif kind == "microscope":
        save(path, affine=np.diag([0.001, 0.001, 0.001, 1]))
    elif kind == "metres":
        save(path, affine=np.diag([1000.0, 1000, 1000, 1]))
    elif kind == "sheared":
        affine = AFFINE.copy()
        affine[0, 1] = 0.8
        save(path, affine=affine)
    return path


FAULTS = [
    ("missing", "no such file"),
    ("link to nowhere", "no such file"),
    ("pipe", "not a file, but a folder, a pipe or a device"),
    ("folder", "not a file, but a folder, a pipe or a device"),
    ("empty", "not readable as NIfTI"),
    ("text", "not readable as NIfTI"),
    ("gzip cut short", "damaged"),
    ("gzip damaged", "damaged"),
    ("data cut short", "ends early"),
    ("data nowhere", "not readable as NIfTI"),
    ("header only", "not readable as NIfTI"),
    ("four dimensions", "4-D (12, 12, 12, 3); expected one 3-D volume"),
    ("two dimensions", "2-D"),
    ("few slices", "at least 8 a side"),
    ("complex", "expected whole or real numbers"),
    ("colour", "expected whole or real numbers"),
    ("nan", "1 voxels are not finite"),
    ("infinite", "3 voxels are not finite"),
    ("constant", "every voxel is 7"),
    ("no orientation", "left and right are unknown"),
    ("singular", "singular"),
    ("microscope", "expected 0.1 to 15.0 mm"),
    ("metres", "expected 0.1 to 15.0 mm"),
    ("sheared", "shears"),
]


@pytest.mark.parametrize(("kind", "sentence"), FAULTS, ids=[kind for kind, _ in FAULTS])
def test_each_fault_has_its_sentence_with_file_and_cure(tmp_path: Path, kind: str, sentence: str) -> None:
    path = broken(tmp_path / "sub-01_T1w.nii.gz", kind)
    with pytest.raises(ScanError) as caught:
        nifti.read(path)
    text = str(caught.value)
    assert sentence in text
    assert text.startswith(f"{path}: ")
    assert text.rstrip()[-1] in ".?"
    assert "\n" not in text


def test_other_formats_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"DICM")
    with pytest.raises(ScanError, match="not a NIfTI file by its name"):
        nifti.read(tmp_path / "a.dcm")
    nibabel.MGHImage(picture(), AFFINE).to_filename(tmp_path / "a.mgz")
    with pytest.raises(ScanError, match="not a NIfTI file by its name"):
        nifti.read(tmp_path / "a.mgz")


def test_huge_volumes_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.nii.gz")
    monkeypatch.setattr(nifti, "MAXIMUM_VOXELS", 1000)
    monkeypatch.setattr(nifti, "_data", lambda *_: pytest.fail("was read"))
    with pytest.raises(ScanError, match="more than 1,000"):
        nifti.read(path)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_a_small_file_that_unpacks_to_a_huge_extension_is_refused_before_it_fills_memory(
    tmp_path: Path, kind: type[nibabel.Nifti1Image]
) -> None:
    """Two gigabytes of zeros per extension, and as many extensions as somebody likes, are a few megabytes of gzip."""
    path, size = tmp_path / "a.nii.gz", 2**26
    image = kind(picture(), AFFINE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", bytes(size)))
    image.to_filename(path)
    assert path.stat().st_size < size / 100
    tracemalloc.start()
    with pytest.raises(ScanError, match="more than 16,777,216 bytes before its first voxel"):
        nifti.read(path)
    assert not nifti.same_grid(path, path)
    assert tracemalloc.get_traced_memory()[1] < size / 4
    tracemalloc.stop()


def test_an_extension_of_a_usual_size_is_read_over(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(picture(), AFFINE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", bytes(100_000)))
    image.to_filename(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(nifti.read(tmp_path / "a.nii.gz").data, picture())


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("grid", "not on the grid of its image"),
        ("moved", "not on the grid"),
        ("picture", "not a mask"),
        ("empty", "the mask is empty, every voxel is 0"),
        ("negative", "not a mask"),
    ],
)
def test_masks_are_checked_against_their_image(tmp_path: Path, kind: str, sentence: str) -> None:
    image = nifti.read(save(tmp_path / "t1.nii.gz"))
    data = (picture() > 0.5).astype(np.float32)
    affine = AFFINE.copy()
    if kind == "grid":
        data = data[:-1]
    elif kind == "moved":
        affine[0, 3] = 1.0
    elif kind == "picture":
        data = picture()
    elif kind == "empty":
        data[:] = 0
    elif kind == "negative":
        data[0] = -1
    with pytest.raises(ScanError, match=sentence):
        nifti.read_mask(save(tmp_path / "mask.nii.gz", data, affine), image)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PSR", "LAS", "AIL", "SPR"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_every_orientation_reads_as_the_same_picture(tmp_path: Path, axes: str, kind: type) -> None:
    expected = picture()
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes))
    turned = nibabel.orientations.apply_orientation(expected, turn)
    affine = AFFINE @ inv_ornt_aff(turn, SHAPE)
    kind(turned, affine).to_filename(tmp_path / "a.nii")
    image = nifti.read(tmp_path / "a.nii")
    np.testing.assert_array_equal(image.data, expected)
    np.testing.assert_allclose(image.affine, AFFINE)
    np.testing.assert_allclose(image.voxel_size_mm, [1.5, 2.0, 2.5])


def test_scaled_integers_read_as_their_values(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 1000, SHAPE).astype(np.int16)
    image = nibabel.Nifti1Image(stored, AFFINE)
    image.header.set_slope_inter(0.25, -3.0)
    image.to_filename(tmp_path / "a.nii.gz")
    read = nibabel.load(tmp_path / "a.nii.gz").get_fdata()
    np.testing.assert_allclose(nifti.read(tmp_path / "a.nii.gz").data, read, rtol=1e-6)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PSR"])
def test_a_map_lies_on_its_scan_in_the_scans_own_axes(tmp_path: Path, axes: str) -> None:
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes))
    stored = nibabel.orientations.apply_orientation(picture(), turn)
    nibabel.Nifti1Image(stored, AFFINE @ inv_ornt_aff(turn, SHAPE)).to_filename(tmp_path / "scan.nii.gz")
    nifti.write(nifti.image_like(picture() * 2, tmp_path / "scan.nii.gz", "test"), tmp_path / "map.nii.gz")
    scan, written = nibabel.load(tmp_path / "scan.nii.gz"), nibabel.load(tmp_path / "map.nii.gz")
    assert written.shape == scan.shape
    np.testing.assert_allclose(written.affine, scan.affine)
    np.testing.assert_allclose(written.get_fdata(), stored * 2, rtol=1e-6)
    assert nibabel.aff2axcodes(written.affine) == tuple(axes)
