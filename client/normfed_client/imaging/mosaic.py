"""Pictures of patients: scan, lesion outline and anomaly map, as PNG data."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image as Picture
from scipy import ndimage

SLICES = 4
SCALE = 2
PROJECTED = (99, 99.95)  # percentiles; of a lower one every line of sight meets some
BRAIN = 70  # grey of its shadow
OUTLINE = np.array([60, 230, 90], np.float32)


def mosaic(image: np.ndarray, anomaly_map: np.ndarray, lesion: np.ndarray, mask: np.ndarray) -> str:
    """Four axial slices, those with most lesion first in place: scan with outline above, map over the scan below.

    Parameters
    ----------
    image, anomaly_map, lesion, mask
        (X, Y, Z) on the common grid.

    Returns
    -------
    A data URI.
    """
    grey = np.clip(image / max(float(np.percentile(image[mask], 99.5)), 1e-6), 0, 1)
    low, high = np.percentile(anomaly_map[mask], [90, 99.8])
    heat = np.clip((anomaly_map - low) / max(float(high - low), 1e-9), 0, 1) * mask
    rows: list[list[np.ndarray]] = [[], []]
    for z in _slices(lesion, mask):
        base = np.repeat(_turn(grey[..., z])[..., None], 3, -1) * 255
        edge = _outline(_turn(lesion[..., z]))
        rows[0].append(_draw(base, edge))
        rows[1].append(_draw(_blend(base, _turn(heat[..., z])), edge * 0.55))
    return _png(np.concatenate([np.concatenate(row, 1) for row in rows]))


def projections(anomaly_map: np.ndarray, lesion: np.ndarray, mask: np.ndarray) -> str:
    """The map's highest scores along each axis, seen from below, from the front and from the person's left, with the
    outline of the lesion's shadow.

    Parameters
    ----------
    anomaly_map, lesion, mask
        (X, Y, Z) on the common grid.

    Returns
    -------
    A data URI.
    """
    low, high = np.percentile(anomaly_map[mask], PROJECTED)
    heat = np.clip((anomaly_map - low) / max(float(high - low), 1e-9), 0, 1) * mask
    tiles = []
    for axis in (2, 1, 0):
        brain, shadow = (np.asarray(inside.any(axis)) for inside in (mask, lesion))
        base = _turn(brain)[..., None] * np.full(3, BRAIN, np.float32)
        tiles.append(_draw(_blend(base, _turn(heat.max(axis))), _outline(_turn(shadow))))
    height = max(len(tile) for tile in tiles)
    spare = [height - len(tile) for tile in tiles]
    centred = [
        np.pad(tile, ((rest // 2, rest - rest // 2), (0, 0), (0, 0))) for tile, rest in zip(tiles, spare, strict=True)
    ]
    return _png(np.concatenate(centred, 1))


def _slices(lesion: np.ndarray, mask: np.ndarray) -> list[int]:
    """The slice with most lesion, and others spread over the lesion's height, at least three voxels apart; where there
    is no lesion those with most brain."""
    per_slice = lesion.sum((0, 1)) + mask.sum((0, 1)) / (1 + mask[..., 0].size)
    chosen: list[int] = []
    while len(chosen) < SLICES:
        z = int(per_slice.argmax())
        chosen.append(z)
        per_slice[max(z - 3, 0) : z + 4] -= 1e6
    return sorted(chosen)


def _turn(plane: np.ndarray) -> np.ndarray:
    """Front up, the person's left on the right, as radiologists look; each voxel SCALE pixels wide."""
    turned = np.rot90(plane[::-1])
    return np.repeat(np.repeat(turned, SCALE, 0), SCALE, 1)


def _outline(plane: np.ndarray) -> np.ndarray:
    edge: np.ndarray = plane ^ ndimage.binary_erosion(plane)
    return edge.astype(np.float32)


def _draw(base: np.ndarray, edge: np.ndarray) -> np.ndarray:
    return base * (1 - edge[..., None]) + OUTLINE * edge[..., None]


def _blend(base: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Black-body colours, opaque in proportion to the score."""
    colour = np.stack([np.clip(3 * heat - offset, 0, 1) for offset in (0, 1, 2)], -1) * 255
    colour[..., 0] = np.maximum(colour[..., 0], 90)
    opacity = (np.sqrt(heat) * 0.9)[..., None]
    return base * (1 - opacity) + colour * opacity


def _png(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Picture.fromarray(pixels.astype(np.uint8)).quantize(192).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
