"""Cohorts of prepared scans for benchmarks of the look at a cohort: people in memory, and lesions planted in them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from normfed_client.imaging.bids import Dataset
from normfed_client.imaging.cache import Cache, Entry
from normfed_client.imaging.preprocessing import Recipe, prepare
from normfed_client.imaging.template import anatomy
from normfed_client.quality.atlas import Opened, RobustAtlas, tissue_of
from normfed_common.foundation.errors import ScanError
from normfed_common.foundation.files import write_json
from normfed_common.study.preprocessing import PreprocessingConfig

ML = 8 / 1000  # of a voxel of 2 mm
SITES = ("controls-hammersmith", "controls-novosibirsk", "controls-oasis")


@dataclass(frozen=True)
class Person:
    """A prepared scan in memory: in robust units, mask of normal tissue, lesion."""

    name: str
    site: str
    age: float | None
    image: np.ndarray
    mask: np.ndarray
    lesion: np.ndarray

    @property
    def load_ml(self) -> float:
        """Of lesions on the template."""
        return float(self.lesion.sum()) * ML


def people(data: Dataset, cache: Path, modality: str) -> Iterator[Person]:
    """One scan of each person who has the modality and can be prepared."""
    recipe, store, tissue = Recipe(PreprocessingConfig(), (modality,), None), Cache(cache), tissue_of(anatomy(2))
    known: set[str] = set()
    for visit in data.visits:
        who = visit.participant
        if modality not in visit.images or who.subject in known:
            continue
        try:
            entry = prepare(visit, recipe, store)
        except ScanError:
            continue
        known.add(who.subject)
        yield Person(visit.name, who.site, who.age, _whole(entry, tissue), entry.mask(), entry.lesion())


def _whole(entry: Entry, tissue: np.ndarray) -> np.ndarray:
    """In robust units of all that is normal, lesions included in the picture."""
    image = np.load(entry.folder / "images.npy")[0].transpose(1, 2, 0)
    low, middle, high = np.percentile(image[entry.normal() & tissue], (25, 50, 75))
    return np.where(entry.mask(), (image - middle) * 1.349 / (high - low), 0).astype(np.float32)


def rescaled(person: Person, tissue: np.ndarray) -> Opened:
    """As the look opens whoever is taken for healthy: units of all tissue, lesions included."""
    low, middle, high = np.percentile(person.image[person.mask & tissue], (25, 50, 75))
    return np.where(person.mask, (person.image - middle) * 1.349 / (high - low), 0).astype(np.float32), person.mask


def with_lesions(person: Person, donor: Person, white: np.ndarray) -> Person:
    """A healthy person with a patient's lesions: what these are beside the patient's white matter."""
    lesion = donor.lesion & person.mask
    theirs = donor.image[donor.mask & (white > 0.8) & ~ndimage.binary_dilation(donor.lesion, iterations=3)]
    mine = person.image[person.mask & (white > 0.8)]
    soft = ndimage.gaussian_filter(lesion.astype(np.float32), 0.5)
    moved = donor.image - np.median(theirs) + np.median(mine)
    return replace(person, image=(1 - soft) * person.image + soft * moved, lesion=lesion)


def same(scan: Opened) -> Opened:
    return scan


def plain_atlas(atlas: RobustAtlas, scans: Sequence[Opened]) -> RobustAtlas:
    """The same with mean and standard deviation in the place of their robust likes."""
    values = np.stack([np.where(mask, image, np.nan) for image, mask in scans])[:, atlas.where]
    median, spread = np.zeros_like(atlas.median), np.ones_like(atlas.spread)
    median[atlas.where], spread[atlas.where] = np.nanmean(values, 0), np.maximum(np.nanstd(values, 0), 1e-2)
    return replace(atlas, median=median, spread=spread)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What every benchmark of the look is told."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a BIDS dataset")
    parser.add_argument("--cache", type=Path, required=True, help="of prepared scans")
    parser.add_argument("--sites", nargs="+", default=SITES, choices=SITES)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="for every trial, as JSON")
    return parser


def show(table: Sequence[str], begun: float, trials: object, out: Path | None) -> None:
    """Print the table and the seconds since ``begun``, and keep every trial where that was asked for."""
    print("\n".join(table))
    print(f"{time.perf_counter() - begun:.0f} s")
    if out is not None:
        write_json(out, trials)
