"""Fields over a grid: smooth noise, a soft step, and images moved by a displacement."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def smooth_noise(shape: tuple[int, ...], scale: float, rng: np.random.Generator) -> np.ndarray:
    """Unit-variance noise of correlation length ``scale`` voxels, float32: drawn and smoothed on a coarse grid."""
    import torch
    from torch.nn.functional import interpolate

    coarse = tuple(int(np.ceil(2 * side / scale)) + 2 for side in shape)
    drawn = ndimage.gaussian_filter(rng.standard_normal(coarse, dtype=np.float32), 1.0)
    field: np.ndarray = interpolate(torch.from_numpy(drawn)[None, None], size=shape, mode="trilinear")[0, 0].numpy()
    return (field - field.mean()) / max(float(field.std()), 1e-6)


def logistic(x: np.ndarray) -> np.ndarray:
    """S(x) = 1 / (1 + exp(-x)), without overflow."""
    curve: np.ndarray = 0.5 + 0.5 * np.tanh(0.5 * x)
    return curve


def warp(images: np.ndarray, displacement: np.ndarray, box: tuple[slice, ...]) -> np.ndarray:
    """Linear interpolation of ``images`` (C, X, Y, Z) at x + displacement(x), for x in ``box``; 0 elsewhere.

    In torch: splines take ten times as long.
    """
    import torch
    from torch.nn.functional import grid_sample

    axes = [torch.arange(side, dtype=torch.float32)[part] for side, part in zip(images.shape[1:], box, strict=True)]
    identity = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    size = torch.tensor(images.shape[1:], dtype=torch.float32).view(3, 1, 1, 1)
    position = (identity + torch.from_numpy(displacement[:, *box].astype(np.float32))) / (size - 1) * 2 - 1
    grid = position.flip(0).permute(1, 2, 3, 0)[None]
    warped = np.zeros_like(images)
    warped[:, *box] = grid_sample(torch.from_numpy(images)[None], grid, align_corners=True)[0].numpy()
    return warped
