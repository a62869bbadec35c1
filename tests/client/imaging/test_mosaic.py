"""Where things stand in the pictures of patients."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from normfed_client.imaging import mosaic as module
from normfed_client.imaging.mosaic import SCALE, SLICES, map_strip, mosaic, projections, scan_strip, shown_slices

SHAPE = (10, 14, 24)
GREEN = np.array([60, 230, 90])


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of which nothing is lost."""

    def encoded(pixels: np.ndarray) -> str:
        buffer = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
        return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()

    monkeypatch.setattr(module, "_encoded", encoded)


def test_what_jpeg_loses_nobody_sees() -> None:
    """On average a few of 255 grey levels, of outlines' colours as well."""
    rng = np.random.default_rng(0)
    pixels = np.repeat(np.repeat(rng.integers(0, 255, (20, 40, 1)), 4, 0), 4, 1) * np.ones(3)
    pixels[30:32] = GREEN
    assert np.abs(decoded(module._encoded(pixels)) - pixels).mean() < 6


def nothing() -> np.ndarray:
    return np.zeros(SHAPE, bool)


def decoded(uri: str) -> np.ndarray:
    """int (rows, columns, 3) of a data URI."""
    kind, _, data = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)


def tiles(uri: str) -> np.ndarray:
    """int (slices, height, width, 3) of a strip."""
    pixels = decoded(uri)
    height, width = SCALE * SHAPE[1], SCALE * SHAPE[0]
    assert pixels.shape == (height, SLICES * width, 3)
    return pixels.reshape(height, SLICES, width, 3).swapaxes(0, 1)


def test_the_slice_with_most_lesion_is_shown_and_others_keep_their_distance() -> None:
    lesion = nothing()
    lesion[2:5, 3:8, 4:21] = True
    lesion[2:7, 3:8, 12] = True
    chosen = shown_slices(lesion, ~nothing())
    assert 12 in chosen
    assert chosen == sorted(chosen)
    assert lesion.any((0, 1))[chosen].all()
    assert min(np.diff(chosen)) > 3


def test_beside_a_lesion_of_one_slice_and_without_any_the_brain_is_shown() -> None:
    brain = nothing()
    brain[2:8, 2:12, 4:21] = True
    brain[1:9, 1:13, 10] = True
    assert 10 in shown_slices(nothing(), brain)
    lesion = nothing()
    lesion[4, 4, 15] = True
    chosen = shown_slices(lesion, brain)
    assert 15 in chosen
    assert brain.any((0, 1))[chosen].all()


def test_front_is_up_and_the_persons_left_is_on_the_right() -> None:
    """On the common grid x grows to the person's right and y to the front (RAS)."""
    plane = np.zeros(SHAPE[:2], bool)
    plane[0, -1] = True  # the person's left, in front
    rows, columns = np.nonzero(module._turn(plane))
    width = SCALE * SHAPE[0]
    assert set(rows) == set(range(SCALE))
    assert set(columns) == set(range(width - SCALE, width))


def test_an_outline_is_every_lesion_pixel_with_a_neighbour_outside() -> None:
    rng = np.random.default_rng(0)
    plane = ndimage.binary_opening(rng.random((20, 20)) > 0.3)
    padded = np.pad(plane, 1)
    neighbours = [np.roll(padded, shift, axis)[1:-1, 1:-1] for axis in (0, 1) for shift in (-1, 1)]
    np.testing.assert_array_equal(module._outline(plane), plane & ~np.all(neighbours, 0))


def test_a_strip_is_the_scan_with_the_lesions_edge_or_the_map_over_the_same_slices(exact: None) -> None:
    brain, lesion = nothing(), nothing()
    brain[1:9, 1:13, 4:21] = True
    lesion[3:6, 4:7, 4:21] = True  # less than a tenth of the brain
    image = np.where(brain, 0.5, 0).astype(np.float32)
    image[1, 1, 4:21] = 1.0  # one bright corner in every slice sets the scale
    scores = np.where(lesion, 1.0, 0.0).astype(np.float32)
    slices = shown_slices(lesion, brain)
    scan = tiles(scan_strip(image, lesion, brain, slices))
    heat = tiles(map_strip(image, scores, lesion, brain, slices).picture)
    edge = module._outline(module._turn(lesion[..., 10])) > 0
    inside = module._turn(lesion[..., 10]) & ~edge
    plain = module._turn(brain[..., 10] & ~lesion[..., 10])
    bright = module._turn(image[..., 10] == 1)
    for tile in scan:
        assert np.abs(tile[edge] - GREEN).max() <= 1
        assert np.abs(tile[inside] - 127.5).max() <= 1
        assert (tile[bright] == 255).all()
    for tile in heat:
        assert tile[inside].min() > 230  # white: the highest scores
        assert np.abs(tile[plain & ~bright] - 127.5).max() <= 1  # no score, no colour
    outside = ~module._turn(brain[..., 10])
    assert scan[:, outside].max() == heat[:, outside].max() == 0


def test_a_mosaic_is_both_strips_of_the_shown_slices(exact: None) -> None:
    rng = np.random.default_rng(0)
    image, scores = rng.random((2, *SHAPE)).astype(np.float32)
    lesion = rng.random(SHAPE) < 0.1
    slices = shown_slices(lesion, ~nothing())
    scan = decoded(scan_strip(image, lesion, ~nothing(), slices))
    heat = decoded(map_strip(image, scores, lesion, ~nothing(), slices).picture)
    np.testing.assert_array_equal(decoded(mosaic(image, scores, lesion, ~nothing())), np.concatenate([scan, heat]))


def test_a_map_says_at_which_scores_its_colours_begin_and_end() -> None:
    """Scores of the brain from 0 to 1000 in equal steps: percentiles are ten times their number."""
    brain = nothing()
    brain.ravel()[:1001] = True
    scores = np.full(SHAPE, 1e6, np.float32)  # outside nothing counts
    scores.ravel()[:1001] = np.arange(1001)
    found = map_strip(brain.astype(np.float32), scores, nothing(), brain, [0, 1, 2, 3])
    assert (found.low, found.high) == pytest.approx((900, 998))


def test_scores_outside_the_brain_are_not_drawn(exact: None) -> None:
    brain = nothing()
    brain[2:8, 2:12, 4:21] = True
    scores = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    scores[~brain] = 100
    strip = map_strip(brain.astype(np.float32), scores, nothing(), brain, shown_slices(nothing(), brain))
    assert tiles(strip.picture)[:, ~module._turn(brain[..., 10])].max() == 0


def test_a_map_and_a_scan_without_any_contrast_are_drawn_too() -> None:
    nowhere, everywhere, slices = nothing(), ~nothing(), [2, 6, 10, 14]
    blank = np.zeros(SHAPE, np.float32)
    flat = map_strip(blank, np.ones(SHAPE, np.float32), nowhere, everywhere, slices)
    assert tiles(scan_strip(blank, nowhere, everywhere, slices)).max() == tiles(flat.picture).max() == 0


def test_colours_go_from_dark_red_to_white_and_cover_with_the_score() -> None:
    grey = np.full((1, 4, 3), 128.0)
    none, low, middle, high = module._blend(grey, np.array([[0.0, 0.01, 0.5, 1.0]]))[0]
    np.testing.assert_allclose(none, 128)
    np.testing.assert_allclose(low, 128 * (1 - 0.09) + np.array([90, 0, 0]) * 0.09)
    cover = 0.9 * np.sqrt(0.5)
    np.testing.assert_allclose(middle, 128 * (1 - cover) + np.array([255, 127.5, 0]) * cover)
    np.testing.assert_allclose(high, 128 * 0.1 + 255 * 0.9)


def test_projections_show_the_highest_score_of_every_line_of_sight_and_the_lesions_shadow(exact: None) -> None:
    brain, lesion = nothing(), nothing()
    brain[1:9, 1:13, 2:22] = True
    lesion[2:6, 3:8, 4:10] = True
    scores = np.zeros(SHAPE, np.float32)
    scores[7, 11, 20] = 5.0  # right, in front, high
    pixels = decoded(projections(scores, lesion, brain))
    x, y, z = (SCALE * side for side in SHAPE)
    assert pixels.shape == (z, 2 * x + y, 3)
    spare = (z - y) // 2
    below, front, left = pixels[spare : spare + y, :x], pixels[:, x : 2 * x], pixels[:, 2 * x :]
    for tile, axis in ((below, 2), (front, 1), (left, 0)):
        bright = module._turn(scores.max(axis) > 0)
        edge = module._outline(module._turn(lesion.any(axis))) > 0
        assert tile[bright].min() > 220
        assert np.abs(tile[edge] - GREEN).max() <= 8
        assert tile[~bright & ~edge].max() <= module.BRAIN + 8
    assert np.nonzero(left.min(-1) > 220)[1].max() < y / 2  # the face is on the left
    assert np.nonzero(front.min(-1) > 220)[1].max() < x / 2  # and the person's right


def test_scores_outside_the_brain_are_not_projected(exact: None) -> None:
    scores = np.ones(SHAPE, np.float32)
    brain = nothing()
    brain[4:6, 5:8, 9:12] = True
    assert decoded(projections(scores, nothing(), brain)).max() <= module.BRAIN + 8
