"""NIfTI in and out. Every file is checked at the door; each kind of fault has its own sentence."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.filebasedimages import ImageFileError
from nibabel.openers import ImageOpener
from nibabel.spatialimages import HeaderDataError

from normfed_common.foundation.errors import ReadError, ScanError
from normfed_common.foundation.files import atomic

MAXIMUM_VOXELS = 1024**3 // 2  # half a gigavoxel: 0.3 mm whole head
MINIMUM_SIDE = 8
MAXIMUM_OFFSET = 2**24  # bytes before the first voxel: of the header and its extensions
VOXEL_SIZE_MM = (0.1, 15.0)
EXTENSIONS = (".nii", ".nii.gz")


@dataclass(frozen=True)
class Image:
    """A 3-D image in memory, axes towards right, anterior, superior as closely as its affine allows.

    Parameters
    ----------
    data
        float32 of shape (X, Y, Z), scaling applied.
    affine
        (4, 4), voxel to world in mm, RAS.
    path
        Where it came from.
    """

    data: np.ndarray
    affine: np.ndarray
    path: Path

    @property
    def voxel_size_mm(self) -> np.ndarray:
        """(3,), along the array's axes."""
        return voxel_sizes(self.affine)


def voxel_edges_mm(path: Path) -> tuple[float, float, float]:
    """Of a scan that has been read before, from its header alone.

    Raises
    ------
    ReadError
        If it cannot be read any more.
    """
    try:
        image = nibabel.load(path)
    except (OSError, ImageFileError, HeaderDataError) as error:
        raise ReadError(f"{path}: cannot be read any more ({error}). Put the file back.") from error
    x, y, z = voxel_sizes(image.affine)
    return float(x), float(y), float(z)


def read(path: Path) -> Image:
    """Read a scan.

    Raises
    ------
    ScanError
        If the file is truncated, not NIfTI, not 3-D, too large or small, not finite, constant, or does not say where
        it lies in space; a `ReadError` if the system cannot read it, or there is none.
    """
    image = _read(path)
    _check_varies(image)
    return image


def read_mask(path: Path, reference: Image, may_be_empty: bool = False, inside: Collection[int] | None = None) -> Image:
    """Read a mask (anything above 0.5 is inside) that must lie on the grid of ``reference``.

    Parameters
    ----------
    may_be_empty
        Whether a mask of zeros means something: for lesions, that somebody looked and found none.
    inside
        The values that are inside, where the file has labels of several things.

    Raises
    ------
    ScanError
        For the faults of `read`, and if the mask lies on another grid or holds values no mask has.
    """
    mask = _read(path)
    if not may_be_empty and not mask.data.any():
        raise ScanError(f"{path}: the mask is empty, every voxel is 0. Draw it again, or leave it out.")
    if mask.data.any():
        _check_varies(mask)
    if mask.data.shape != reference.data.shape or not np.allclose(mask.affine, reference.affine, atol=1e-2):
        raise ScanError(
            f"{path}: the mask is not on the grid of its image {reference.path.name} "
            f"({_grid(mask)} against {_grid(reference)}). Resample the mask to the image."
        )
    values = np.unique(mask.data)
    if len(values) > 64 or values[0] < 0 or not np.array_equal(values, np.round(values)):
        raise ScanError(
            f"{path}: not a mask, it holds {len(values):,} different values from {values[0]:g} to {values[-1]:g}. "
            "A mask holds 0 and 1, or whole-number labels."
        )
    return Image(_inside(mask, inside).astype(np.float32), mask.affine, path)


def _inside(mask: Image, inside: Collection[int] | None) -> np.ndarray:
    """bool (X, Y, Z): what is meant by a mask."""
    found: np.ndarray = mask.data > 0.5 if inside is None else np.isin(mask.data, list(inside))
    return found


def volume_ml(path: Path, inside: Collection[int] | None = None) -> float:
    """Volume of what a mask marks, in ml; it may be empty.

    Parameters
    ----------
    inside
        See `read_mask`.

    Raises
    ------
    ScanError
        For the faults of `read` but that of an image without contrast.
    """
    mask = _read(path)
    return float(_inside(mask, inside).sum() * np.prod(mask.voxel_size_mm) / 1000)


def same_grid(first: Path, second: Path) -> bool:
    """Whether two files lie on the same grid, by their headers alone; False where one cannot be read."""
    try:
        a, b = _open(first), _open(second)
    except ScanError:
        return False
    return a.shape[:3] == b.shape[:3] and np.allclose(a.affine, b.affine, atol=1e-2)


def image_like(
    data: np.ndarray, reference: Path, description: str, shown: tuple[float, float] = (0.0, 0.0)
) -> nibabel.Nifti1Image:
    """Float32 data, given on the canonical axes of ``reference``, in the file's own axes and space.

    Parameters
    ----------
    shown
        Values that a viewer should show as black and as white (cal_min and cal_max); both 0 to leave it the choice.
    """
    native = _open(reference)
    to_canonical = nibabel.io_orientation(native.affine)
    back = nibabel.orientations.ornt_transform(nibabel.orientations.axcodes2ornt("RAS"), to_canonical)
    oriented = nibabel.orientations.apply_orientation(data, back)
    header = nibabel.Nifti1Header()
    header["descrip"] = description.encode()[:79]
    header["cal_min"], header["cal_max"] = shown
    header.set_xyzt_units("mm", "sec")  # of the time, which a map does not have, validators ask as well
    image = nibabel.Nifti1Image(np.ascontiguousarray(oriented, dtype=np.float32), native.affine, header)
    image.set_sform(native.affine, code=max(int(native.header["sform_code"]), 1))
    image.set_qform(native.affine, code=max(int(native.header["qform_code"]), 1))
    return image


def write(image: nibabel.Nifti1Image, path: Path) -> None:
    """Write an image, atomically."""
    with atomic(path) as temporary:
        image.to_filename(temporary)


def _read(path: Path) -> Image:
    native = _open(path)
    _check_header(native, path)
    data = _data(native, path)
    if not np.isfinite(data).all():
        bad = int((~np.isfinite(data)).sum())
        raise ScanError(f"{path}: {bad:,} voxels are not finite (NaN or infinite). Export the scan again.")
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(data, native.affine))
    return Image(np.ascontiguousarray(canonical.get_fdata(dtype=np.float32)), canonical.affine, path)


def _check_varies(image: Image) -> None:
    if image.data.min() == image.data.max():
        raise ScanError(
            f"{image.path}: every voxel is {image.data.flat[0]:g}, so there is no image in it. Export the scan again."
        )


def _open(path: Path) -> nibabel.Nifti1Image:
    if not path.name.endswith(EXTENSIONS):
        raise ScanError(
            f"{path}: not a NIfTI file by its name; expected .nii or .nii.gz. Convert it, with dcm2niix say."
        )
    if path.exists() and not path.is_file():
        raise ScanError(f"{path}: not a file, but a folder, a pipe or a device. Give the scan itself.")
    try:
        if not _offset(path) <= MAXIMUM_OFFSET:
            why = f"more than {MAXIMUM_OFFSET:,} bytes before its first voxel"
            raise ScanError(f"{path}: not readable as NIfTI ({why}). Copy or convert it again.")
        image = nibabel.load(path)
    except FileNotFoundError as error:
        raise ReadError(f"{path}: no such file. A broken link, perhaps, or data that were not fetched.") from error
    except (ImageFileError, HeaderDataError, EOFError, OSError, zlib.error, ValueError, OverflowError) as error:
        _raise_if_of_the_system(path, error)
        raise ScanError(f"{path}: not readable as NIfTI ({_short(error)}). Copy or convert it again.") from error
    if not isinstance(image, nibabel.Nifti1Image):  # NIfTI-2 is a subclass
        raise ScanError(f"{path}: holds {type(image).__name__}, not NIfTI-1 or NIfTI-2. Convert it again.")
    return image


def _offset(path: Path) -> float:
    """Bytes before the first voxel, all of which nibabel takes into memory: a small file may unpack to any number."""
    with ImageOpener(path) as file:
        block = file.read(nibabel.Nifti2Header.sizeof_hdr)
    for kind in (nibabel.Nifti1Header, nibabel.Nifti2Header):
        if kind.may_contain_header(block):
            return float(kind(block[: kind.sizeof_hdr], check=False)["vox_offset"])
    return 0.0


def _check_header(image: nibabel.Nifti1Image, path: Path) -> None:
    shape = image.shape
    if len(shape) != 3 and not (len(shape) == 4 and shape[3] == 1):
        raise ScanError(f"{path}: {len(shape)}-D {shape}; expected one 3-D volume. Choose one volume of the series.")
    if min(shape[:3]) < MINIMUM_SIDE:
        raise ScanError(
            f"{path}: only {shape} voxels; at least {MINIMUM_SIDE} a side are needed. A localiser, perhaps."
        )
    if np.prod(shape[:3], dtype=float) > MAXIMUM_VOXELS:
        raise ScanError(f"{path}: {shape} voxels, more than {MAXIMUM_VOXELS:,}. Resample it to 0.5 mm or coarser.")
    kind = image.get_data_dtype()
    if kind.kind not in "iuf":
        raise ScanError(f"{path}: holds {kind} values; expected whole or real numbers. Export the magnitude in grey.")
    if int(image.header["sform_code"]) == 0 and int(image.header["qform_code"]) == 0:
        raise ScanError(f"{path}: sform and qform are both unset, so left and right are unknown. Convert it again.")
    affine = image.affine
    if not np.isfinite(affine).all():
        raise ScanError(f"{path}: the affine is not finite. Convert the scan again.")
    sizes = voxel_sizes(affine)
    if sizes.min() == 0 or abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-3:
        raise ScanError(f"{path}: the affine is singular, so voxels have no volume. Convert the scan again.")
    if sizes.min() < VOXEL_SIZE_MM[0] or sizes.max() > VOXEL_SIZE_MM[1]:
        raise ScanError(
            f"{path}: voxels of {_sizes(sizes)} mm; expected {VOXEL_SIZE_MM[0]} to {VOXEL_SIZE_MM[1]} mm. "
            "Are the units right?"
        )
    cosines = affine[:3, :3] / sizes
    if np.abs(cosines.T @ cosines - np.eye(3)).max() > 0.05:
        raise ScanError(f"{path}: the affine shears (gantry tilt?). Resample the scan to a rectangular grid.")


def _data(image: nibabel.Nifti1Image, path: Path) -> np.ndarray:
    try:
        data = np.asanyarray(image.dataobj, dtype=np.float32)
        if path.name.endswith(".gz"):
            with gzip.open(path) as stream:  # only at its end is the checksum compared
                while stream.read(2**22):
                    continue
    except (EOFError, OSError, zlib.error, ValueError, OverflowError) as error:
        _raise_if_of_the_system(path, error)
        raise ScanError(
            f"{path}: ends early or is damaged ({_short(error)}). Copy the file again and compare its size."
        ) from error
    return data.reshape(data.shape[:3])


def _raise_if_of_the_system(path: Path, error: Exception) -> None:
    """Only the system's errors have a number; gzip and nibabel raise OSError without one for what a file holds."""
    if isinstance(error, PermissionError):
        raise ReadError(f"{path}: may not be read by this user. Change the file's rights.") from error
    if isinstance(error, OSError) and error.errno is not None:
        raise ReadError(
            f"{path}: could not be read just now ({error.strerror}). Check the disk or the network drive; run again."
        ) from error


def _short(error: BaseException) -> str:
    return str(error).split("\n")[0][:120] or type(error).__name__


def _sizes(sizes: np.ndarray) -> str:
    return " x ".join(f"{size:.2f}" for size in sizes)


def _grid(image: Image) -> str:
    return f"{image.data.shape} at {_sizes(image.voxel_size_mm)} mm"
