"""The phantom looks like real scans: each expectation is the band of real people, as `bench_phantom.py` measures it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import get_args

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from normfed_client.imaging.template import tissues
from normfed_common.foundation import seeds
from normfed_common.study.data import LesionKind, PhantomSite
from normfed_simulation.phantom import anatomy
from normfed_simulation.phantom.hospitals import SyntheticPerson, write_person
from normfed_simulation.phantom.lesions import add_lesions
from normfed_simulation.phantom.scanner import SCANNERS, Scanner, expose, signal
from normfed_simulation.phantom.shapes import Lesion
from normfed_simulation.phantom.variation import vary

# Sites' medians, ten real sites at 2 mm, a little wider: people of one site differ.
NOISE_TO_WHITE = {"T1w": (0.010, 0.045), "FLAIR": (0.018, 0.050)}
CORTEX_TO_WHITE = {"T1w": (0.50, 0.75), "FLAIR": (0.84, 1.12)}
DARK_SHARE = (0.095, 0.31)  # of the brain that is as dark as fluid


def images(scanner: Scanner, tissue: anatomy.Tissue, lesion: Lesion | None = None) -> dict[str, np.ndarray]:
    rng = seeds.generator(5, "images")
    variation = vary(tissue, 50, rng)
    return {
        contrast: expose(
            contrast, scanner, signal(contrast, scanner, tissue, variation, lesion, rng), tissue.brain, 2, rng
        ).astype(float)
        for contrast in ("T1w", "FLAIR")
    }


@lru_cache(maxsize=4)
def somebody(age: float = 50, number: int = 0) -> anatomy.Tissue:
    return anatomy.person(age, 2, seeds.generator(4, "somebody", str(number)))


@pytest.mark.parametrize("contrast", ["T1w", "FLAIR"])
@pytest.mark.parametrize("kind", list(SCANNERS))
def test_noise_and_contrast_of_every_scanner_are_those_of_real_ones(kind: tuple[str, float], contrast: str) -> None:
    image = images(SCANNERS[kind], somebody())[contrast]  # type: ignore[index]
    grey, wm, _ = tissues(2)
    white, cortex = ndimage.binary_erosion(wm > 0.8), (grey > 0.8) & ~ndimage.binary_erosion(grey > 0.8, iterations=2)
    level = np.median(image[white])
    kernel = ndimage.generate_binary_structure(3, 1) / -6.0
    kernel[1, 1, 1] = 1
    rest = ndimage.convolve(image, kernel)[white]
    sigma = 1.4826 * np.median(np.abs(rest - np.median(rest))) / np.sqrt(7 / 6)
    assert NOISE_TO_WHITE[contrast][0] < sigma / level < NOISE_TO_WHITE[contrast][1]
    ratio = np.median(image[cortex]) / level
    assert CORTEX_TO_WHITE[contrast][0] < ratio < CORTEX_TO_WHITE[contrast][1]


def test_fluid_fills_as_much_of_the_brain_as_in_people_and_more_with_age() -> None:
    shares, ventricles = [], []
    for age in (25, 50, 80):
        people = [somebody(age, number) for number in range(2)]
        shares.append(np.mean([(person.csf > 0.5)[person.brain].mean() for person in people]))
        ventricles.append(np.mean([person.ventricles.sum() * 8e-3 for person in people]))
    assert all(DARK_SHARE[0] < share < DARK_SHARE[1] for share in shares)
    assert shares == sorted(shares)
    assert 8 < ventricles[0] < 30 < ventricles[2] < 90  # ml
    assert ventricles == sorted(ventricles)


@pytest.mark.parametrize(("kind", "least", "most"), [("WMH", 0.9, 91), ("MS", 1.9, 24), ("tumour", 55, 290)])
def test_volumes_of_lesions_spread_over_the_band_of_patients(kind: LesionKind, least: float, most: float) -> None:
    rngs = [seeds.generator(6, kind, str(number)) for number in range(8)]
    volumes = [add_lesions(kind, somebody(), rng)[1].mask.sum() * 8e-3 for rng in rngs]
    assert all(0.8 * least < volume < most for volume in volumes)
    assert max(volumes) > 1.5 * min(volumes)


def test_hyperintensities_lie_in_white_matter_most_of_them_at_the_ventricles() -> None:
    tissue = somebody()
    mask = add_lesions("WMH", tissue, seeds.generator(6, "place"))[1].mask
    distance = ndimage.distance_transform_edt(tissue.ventricles < 0.5, sampling=2)
    assert (tissue.wm[mask] >= 0.5).all()
    assert np.median(distance[mask]) < 0.6 * np.median(distance[tissue.wm > 0.5])
    assert ndimage.label(mask)[1] > 3


def test_hyperintensities_end_at_no_plane_of_the_template() -> None:
    lowest = []
    for number in range(5):
        rng = seeds.generator(6, "plane", str(number))
        areas = add_lesions("WMH", somebody(), rng)[1].mask.sum((0, 1))
        lowest.append(int(np.flatnonzero(areas)[0]))
        assert areas[lowest[-1]] < 0.2 * areas.max()
    assert len(set(lowest)) > 2


def test_around_hyperintensities_white_matter_is_a_little_brighter() -> None:
    lesion = add_lesions("WMH", somebody(), seeds.generator(6, "place"))[1]
    distance = ndimage.distance_transform_edt(~lesion.mask, sampling=2)
    levels = [lesion.flair[part & (somebody().wm > 0.8)].mean() for part in (lesion.mask, distance == 4, distance > 20)]
    assert levels[0] > 2 * levels[1] > 10 * levels[2]


def test_a_tumour_takes_the_place_of_sulci() -> None:
    tissue, lesion = add_lesions("tumour", somebody(70), seeds.generator(7, "tumour"))
    scanner = SCANNERS["siemens", 3.0]
    flair = images(scanner, tissue, lesion)["FLAIR"]
    white = np.median(flair[(tissue.wm > 0.9) & ~lesion.mask])
    assert (flair[lesion.mask] < 0.5 * white).mean() < 0.05


def test_a_tumour_narrows_the_ventricle_of_its_side_and_leaves_the_skull_where_it_was() -> None:
    """Real patients have .33 to .68 of the other side's; the mask is where the image is bright, after the push."""
    before, left = somebody(70), []
    middle = before.gm.shape[0] // 2
    for number in range(4):
        tissue, lesion = add_lesions("tumour", before, seeds.generator(7, "mass", str(number)))
        sides = [slice(None, middle), slice(middle + 1, None)]
        own = int(lesion.mask[sides[1]].sum() > lesion.mask[sides[0]].sum())
        ratios = [
            person.ventricles[sides[own]].sum() / person.ventricles[sides[1 - own]].sum() for person in (before, tissue)
        ]
        left.append(ratios[1] / ratios[0])
        assert (tissue.brain != before.brain).mean() < 0.01
        assert not (lesion.mask & ~tissue.brain).any()
        assert lesion.flair[lesion.mask].mean() > 0.3
    assert 0.2 < np.median(left) < 0.85


def test_people_have_sulci_that_the_template_lacks_and_each_their_own() -> None:
    """White matter of real people has .38 to .73 mm^-1 of surface per volume, 16 mm above the origin and higher."""
    people = [somebody(30, number) for number in range(2)]
    found = []
    for person in people:
        white = person.wm[..., 44:] > 0.5
        sides = sum((white != np.roll(white, 1, axis)).sum() for axis in range(3))
        found.append(sides / 2 / white.sum())
    assert all(0.34 < surface < 0.8 for surface in found)
    fluid = [person.csf[..., 44:] > 0.3 for person in people]
    assert (fluid[0] & fluid[1]).sum() < 0.6 * (fluid[0] | fluid[1]).sum()


@pytest.mark.parametrize("kind", get_args(LesionKind))
def test_lesions_are_bright_on_flair_and_dark_on_t1_each_in_its_measure(kind: LesionKind) -> None:
    lesion = add_lesions(kind, somebody(), seeds.generator(8, kind))[1]
    assert lesion.mask.any()
    assert lesion.flair[lesion.mask].mean() > 0
    assert lesion.t1[lesion.mask].mean() < 0
    assert (lesion.flair[lesion.mask].mean() > 0.2) == (kind != "FCD")  # dysplasia is barely seen there


def test_healthy_brains_have_rims_and_spots_brighter_than_their_white_matter() -> None:
    """The false alarms of intensity; real normal tissue has its 99.9 % quantile at 1.35 to 1.9 times white matter."""
    for scanner in SCANNERS.values():
        tissue = somebody()
        flair = images(scanner, tissue)["FLAIR"]
        white = np.median(flair[tissue.wm > 0.9])
        assert 1.25 < np.percentile(flair[tissue.brain], 99.9) / white < 1.9


@pytest.mark.parametrize("native", [False, True])
def test_a_person_follows_from_the_seed(tmp_path: Path, native: bool) -> None:
    site = PhantomSite(name="a", vendor="ge", field_tesla=3.0, controls=0, native=native)
    files = []
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_person(SyntheticPerson("sub-01", site, "WMH"), seed, 4, tmp_path / folder)
        paths = sorted((tmp_path / folder).rglob("*.nii.gz"))
        files.append([np.asarray(nibabel.load(path).dataobj) for path in paths])
    assert all(np.array_equal(one, same) for one, same in zip(files[0], files[1], strict=True))
    assert not any(np.array_equal(one, other) for one, other in zip(files[0], files[2], strict=True))


def test_a_native_scan_is_tilted_and_as_noisy_as_others(tmp_path: Path) -> None:
    found = {}
    for native in (False, True):
        site = PhantomSite(name="a", vendor="philips", field_tesla=3.0, controls=0, native=native)
        write_person(SyntheticPerson("sub-01", site, "control"), 3, 2, tmp_path / str(native))
        path = next((tmp_path / str(native)).rglob("*FLAIR.nii.gz"))
        mask = next((tmp_path / str(native)).rglob("*brain_mask.nii.gz"))
        found[native] = [np.asarray(nibabel.load(p).dataobj).astype(float) for p in (path, mask)]
        found[native].append(ndimage.binary_erosion(found[native][1] > 0, iterations=15))
    assert (found[False][1] != found[True][1]).mean() > 0.01
    rest = {native: (image - ndimage.uniform_filter(image, 3))[deep] for native, (image, _, deep) in found.items()}
    assert np.median(np.abs(rest[True])) == pytest.approx(np.median(np.abs(rest[False])), rel=0.35)
