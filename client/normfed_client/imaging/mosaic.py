"""Pictures of people, as data that a page holds: the scan with the lesion's outline, and anomaly maps over it.

All pictures of a person are strips of the same axial slices, so that they can be compared one below the other.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as Picture
from scipy import ndimage

SLICES = 4
SCALE = 2
SHOWN = (90, 99.8)  # percentiles of a map in the brain: where colour begins, and where it is white
PROJECTED = (99, 99.95)  # of a lower one every line of sight meets some
BRAIN = 70  # grey of its shadow
FAINT = 0.55  # of the outline over a map
QUALITY = 86  # of JPEG without thinner colours: outlines stay sharp, at a third of the size of PNG
OUTLINE = np.array([60, 230, 90], np.float32)


@dataclass(frozen=True)
class MapStrip:
    """An anomaly map over the scan, as a data URI; the scores where its colours begin and where they are white."""

    picture: str
    low: float
    high: float


def mosaic(image: np.ndarray, anomaly_map: np.ndarray, lesion: np.ndarray, mask: np.ndarray) -> str:
    """One picture of `shown_slices`: the scan with the outline of the lesion above, the map over the scan below.

    Parameters
    ----------
    image, anomaly_map, lesion, mask
        (X, Y, Z) on the common grid.

    Returns
    -------
    A data URI.
    """
    slices = shown_slices(lesion, mask)
    map_row, _, _ = _map_row(image, anomaly_map, lesion, mask, slices)
    return _encoded(np.concatenate([_scan_row(image, lesion, mask, slices), map_row]))


def scan_strip(image: np.ndarray, lesion: np.ndarray, mask: np.ndarray, slices: Sequence[int]) -> str:
    """Axial slices of a scan, (X, Y, Z) on the common grid, with the outline of the lesion; a data URI."""
    return _encoded(_scan_row(image, lesion, mask, slices))


def map_strip(
    image: np.ndarray, anomaly_map: np.ndarray, lesion: np.ndarray, mask: np.ndarray, slices: Sequence[int]
) -> MapStrip:
    """The same slices with the map over them, from the 90th percentile (dark red) to the 99.8th (white).

    Parameters
    ----------
    image, anomaly_map, lesion, mask
        (X, Y, Z) on the common grid.
    """
    row, low, high = _map_row(image, anomaly_map, lesion, mask, slices)
    return MapStrip(_encoded(row), low, high)


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
    heat, _, _ = _heat(anomaly_map, mask, PROJECTED)
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
    return _encoded(np.concatenate(centred, 1))


def shown_slices(lesion: np.ndarray, mask: np.ndarray) -> list[int]:
    """The slice with most lesion, and others spread over the lesion's height, at least three voxels apart; where there
    is no lesion those with most brain."""
    per_slice = lesion.sum((0, 1)) + mask.sum((0, 1)) / (1 + mask[..., 0].size)
    chosen: list[int] = []
    while len(chosen) < SLICES:
        z = int(per_slice.argmax())
        chosen.append(z)
        per_slice[max(z - 3, 0) : z + 4] -= 1e6
    return sorted(chosen)


def _scan_row(image: np.ndarray, lesion: np.ndarray, mask: np.ndarray, slices: Sequence[int]) -> np.ndarray:
    """Pixels (rows, columns, 3)."""
    grey = _grey(image, mask)
    return np.concatenate([_draw(_base(grey, z), _edge(lesion, z)) for z in slices], 1)


def _map_row(
    image: np.ndarray, anomaly_map: np.ndarray, lesion: np.ndarray, mask: np.ndarray, slices: Sequence[int]
) -> tuple[np.ndarray, float, float]:
    """Pixels (rows, columns, 3), and the scores where colours begin and end."""
    grey, (heat, low, high) = _grey(image, mask), _heat(anomaly_map, mask, SHOWN)
    tiles = [_draw(_blend(_base(grey, z), _turn(heat[..., z])), _edge(lesion, z) * FAINT) for z in slices]
    return np.concatenate(tiles, 1), low, high


def _grey(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The scan from black to white, 0 to 1."""
    found: np.ndarray = np.clip(image / max(float(np.percentile(image[mask], 99.5)), 1e-6), 0, 1)
    return found


def _heat(anomaly_map: np.ndarray, mask: np.ndarray, shown: tuple[float, float]) -> tuple[np.ndarray, float, float]:
    """The map from nothing to white, 0 to 1, and the scores at both ends."""
    low, high = (float(end) for end in np.percentile(anomaly_map[mask], shown))
    return np.clip((anomaly_map - low) / max(high - low, 1e-9), 0, 1) * mask, low, high


def _base(grey: np.ndarray, z: int) -> np.ndarray:
    return np.repeat(_turn(grey[..., z])[..., None], 3, -1) * 255


def _edge(lesion: np.ndarray, z: int) -> np.ndarray:
    return _outline(_turn(lesion[..., z]))


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


def _encoded(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Picture.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG", quality=QUALITY, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
