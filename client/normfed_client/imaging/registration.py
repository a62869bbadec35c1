"""Linear registration with SimpleITK: rigid within a person, affine to the template, both by mutual information.

Transforms are 4x4 matrices from fixed to moving world coordinates in mm, RAS, so that they compose by multiplication.
One thread and fixed seeds: the same scan gives the same matrix everywhere. Source: Mattes 2003.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from normfed_client.imaging.nifti import Image

# Sums over several threads differ in their last bits from run to run, and training amplifies that.
sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)

SEED = 20231
BINS = 32
SAMPLES = {1: 0.05, 2: 0.15, 4: 0.6}  # share of the voxels compared, by shrink factor; all beyond
WORKING_MM = 2.0  # scans are compared at about this resolution
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SCALE_LIMITS = (0.6, 1.6)  # no adult's brain is further from the template than this along any axis


def to_sitk(image: Image) -> sitk.Image:
    """As SimpleITK image, whose world is LPS."""
    converted = sitk.GetImageFromArray(np.ascontiguousarray(image.data.transpose(2, 1, 0), dtype=np.float32))
    affine = LPS @ image.affine
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    converted.SetSpacing([float(size) for size in sizes])
    converted.SetOrigin([float(value) for value in affine[:3, 3]])
    u, _, vt = np.linalg.svd(affine[:3, :3] / sizes)  # the nearest rotation: headers are rounded
    converted.SetDirection((u @ vt).ravel().tolist())
    return converted


def _comparable(image: Image) -> sitk.Image:
    """At about WORKING_MM: averages of neighbouring voxels where the scan is finer."""
    full = to_sitk(image)
    return sitk.BinShrink(full, [max(1, int(WORKING_MM / size)) for size in full.GetSpacing()])


def resample(
    image: Image,
    matrix: np.ndarray,
    shape: tuple[int, ...],
    affine: np.ndarray,
    nearest: bool = False,
    outside: float = 0.0,
) -> np.ndarray:
    """The image on another grid, float32 (X, Y, Z); ``outside`` where it does not reach.

    Parameters
    ----------
    matrix
        (4, 4) from the grid's world to the image's world.
    """
    to_voxel = np.linalg.inv(image.affine) @ matrix @ affine
    return ndimage.affine_transform(
        image.data,
        to_voxel[:3, :3],
        to_voxel[:3, 3],
        output_shape=shape,
        order=0 if nearest else 1,
        output=np.float32,
        cval=outside,
    )


def rigid(fixed: Image, moving: Image) -> np.ndarray:
    """Align two scans of one person: six degrees of freedom from where their headers put them."""
    target, movable = _comparable(fixed), _comparable(moving)
    start = sitk.CenteredTransformInitializer(
        target, movable, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    centres, headers = sitk.Euler3DTransform(start), sitk.Euler3DTransform(start)
    headers.SetTranslation((0.0, 0.0, 0.0))
    # Scans of one visit usually share the scanner's frame; where they do not, their centres are a better start.
    starts = [headers, centres] if any(centres.GetTranslation()) else [headers]
    best = _likeliest(starts, target, movable, None)
    return _matrix(_optimise(target, movable, _optimise(target, movable, best, None, (4,)), None, (2,), search=True))


def affine(template: Image, brain: np.ndarray, moving: Image, moving_mask: np.ndarray) -> np.ndarray:
    """Align a scan whose brain is known to the template: rigid first, then twelve degrees of freedom.

    Parameters
    ----------
    brain
        bool, the template's brain; only there, and just around, the two are compared.
    moving_mask
        The scan's brain: the rest is blanked, as in the skull-stripped template.
    """
    fixed, movable = to_sitk(template), _comparable(Image(moving.data * moving_mask, moving.affine, moving.path))
    mask = _to_sitk_mask(ndimage.binary_dilation(brain, iterations=3), template)
    start = sitk.Euler3DTransform(
        sitk.CenteredTransformInitializer(
            fixed, movable, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
        )
    )
    turned = _optimise(fixed, movable, _optimise(fixed, movable, start, mask, (8,)), mask, (4,))
    full = sitk.AffineTransform(3)
    full.SetCenter(turned.GetCenter())
    full.SetMatrix(turned.GetMatrix())
    full.SetTranslation(turned.GetTranslation())
    return _stretched(fixed, movable, full, mask)


def affine_of_head(template: Image, brain: np.ndarray, moving: Image, start: np.ndarray) -> np.ndarray:
    """Align a scan that shows more than the brain, from where a search puts the brain (`head_search`).

    Parameters
    ----------
    brain
        bool, the template's brain; only there the two are compared.
    start
        From the template's world to the scan's, (4, 4).
    """
    mask = _to_sitk_mask(brain, template)
    start = LPS @ start @ LPS
    full = sitk.AffineTransform(start[:3, :3].ravel().tolist(), start[:3, 3].tolist())
    centre = LPS[:3, :3] @ (template.affine[:3, :3] @ np.argwhere(brain).mean(0) + template.affine[:3, 3])
    full.SetCenter(centre.tolist())
    full.SetTranslation((start[:3, 3] + (start[:3, :3] - np.eye(3)) @ centre).tolist())
    return _stretched(to_sitk(template), _comparable(moving), full, mask)


def _to_sitk_mask(mask: np.ndarray, grid: Image) -> sitk.Image:
    return sitk.Cast(to_sitk(Image(mask.astype(np.float32), grid.affine, grid.path)) > 0.5, sitk.sitkUInt8)


def _stretched(fixed: sitk.Image, moving: sitk.Image, start: sitk.AffineTransform, mask: sitk.Image) -> np.ndarray:
    near = _optimise(fixed, moving, start, mask, (4,))
    return _matrix(_optimise(fixed, moving, near, mask, (4, 2), search=True))


def plausible(matrix: np.ndarray) -> bool:
    """Whether an affine to the template stretches no axis beyond what brains differ by."""
    scales = np.linalg.svd(matrix[:3, :3], compute_uv=False)
    return bool(
        SCALE_LIMITS[0] <= scales.min() and scales.max() <= SCALE_LIMITS[1] and np.linalg.det(matrix[:3, :3]) > 0
    )


def bias_corrected(image: Image, mask: np.ndarray | None) -> Image:
    """N4 (Tustison 2010) estimated on a grid four times coarser, applied at full resolution."""
    full = to_sitk(image)
    floor = float(image.data.min())
    shifted = full - floor + 1.0
    inside = (
        to_sitk(Image(mask.astype(np.float32), image.affine, image.path)) > 0.5
        if mask is not None
        else sitk.OtsuThreshold(shifted, 0, 1, 200)
    )
    factors = [max(1, round(4 / size)) for size in full.GetSpacing()]
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations([30, 30, 20])
    corrector.Execute(sitk.Shrink(shifted, factors), sitk.Shrink(sitk.Cast(inside, sitk.sitkUInt8), factors))
    field = sitk.Exp(corrector.GetLogBiasFieldAsImage(shifted))
    corrected = sitk.GetArrayFromImage(sitk.Cast(shifted / field, sitk.sitkFloat32)).transpose(2, 1, 0) + floor - 1.0
    return Image(np.ascontiguousarray(corrected), image.affine, image.path)


def _method(mask: sitk.Image | None, shrink: tuple[int, ...]) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentagePerLevel([SAMPLES.get(factor, 1.0) for factor in shrink], SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(list(shrink))
    method.SetSmoothingSigmasPerLevel([factor / 2 for factor in shrink])
    if mask is not None:
        method.SetMetricFixedMask(mask)
    return method


def _optimise(
    fixed: sitk.Image,
    moving: sitk.Image,
    start: sitk.Transform,
    mask: sitk.Image | None,
    shrink: tuple[int, ...],
    search: bool = False,
) -> sitk.Transform:
    """Steps of at most a voxel never leave the basin they start in; a line search then finds its bottom."""
    method = _method(mask, shrink)
    if search:
        method.SetOptimizerAsGradientDescentLineSearch(
            learningRate=1.0,
            numberOfIterations=80,
            convergenceMinimumValue=1e-6,
            convergenceWindowSize=6,
            estimateLearningRate=method.EachIteration,
            lineSearchMaximumIterations=10,
        )
    else:
        method.SetOptimizerAsGradientDescent(
            learningRate=1.0,
            numberOfIterations=150,
            convergenceMinimumValue=1e-6,
            convergenceWindowSize=10,
            estimateLearningRate=method.EachIteration,
        )
    method.SetOptimizerScalesFromPhysicalShift()
    transform = type(start)(start)
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(fixed, moving)
    except RuntimeError:  # SimpleITK: no overlap along the way; the start is as good as it gets
        return start
    return transform


def _likeliest(
    candidates: Sequence[sitk.Euler3DTransform], fixed: sitk.Image, moving: sitk.Image, mask: sitk.Image | None
) -> sitk.Euler3DTransform:
    """The candidate under which the two scans are most alike; the first of equals."""
    if len(candidates) == 1:
        return candidates[0]
    return min(candidates, key=lambda candidate: _evaluate(fixed, moving, candidate, mask))


def _evaluate(fixed: sitk.Image, moving: sitk.Image, transform: sitk.Transform, mask: sitk.Image | None) -> float:
    method = _method(mask, (4,))
    method.SetInitialTransform(type(transform)(transform), inPlace=True)
    try:
        return float(method.MetricEvaluate(fixed, moving))
    except RuntimeError:  # SimpleITK: the two do not overlap at all
        return float("inf")


def _matrix(transform: sitk.Transform) -> np.ndarray:
    linear = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - linear @ centre
    return LPS @ matrix @ LPS
