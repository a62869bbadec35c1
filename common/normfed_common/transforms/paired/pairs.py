"""People scanned on both of two scanners, and patches at the same place of both scans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from normfed_common.learning.cohort import Cohort, Person, Scan
from normfed_common.transforms.paired.network import VIEWS


@dataclass(frozen=True)
class Travelled:
    """One person's scans on both scanners, by number."""

    source: tuple[int, ...]
    target: tuple[int, ...]


def scanned_on(person: Person, scanner: str) -> bool:
    """Whether a scan is of the scanner of this name: as the site calls it, or with the site's name before it,
    ``site/scanner``; a site with one scanner by the site's name."""
    return scanner in (person.scanner, person.scanner.partition("/")[2]) and bool(scanner)


def travelled(cohort: Cohort, source: str, target: str) -> list[Travelled]:
    """The people of a cohort who were scanned on both."""
    found = []
    for visits in cohort.people():
        people = {index: cohort.scan(index).person for index in visits}
        both = [tuple(i for i, person in people.items() if scanned_on(person, name)) for name in (source, target)]
        if all(both):
            found.append(Travelled(*both))
    return found


@dataclass(frozen=True)
class Place:
    """A voxel of a person's two scans."""

    source: int
    target: int
    centre: tuple[int, int, int]


def drawn(cohort: Cohort, people: Sequence[Travelled], per_scan: int, rng: np.random.Generator) -> Iterator[Place]:
    """So many places of every source scan, each in its brain and beside any of the person's target scans, shuffled."""
    sources: list[tuple[int, int]] = []
    centres: list[np.ndarray] = []
    for person in people:
        for source in person.source:
            brain = np.flatnonzero(cohort.scan(source).mask)
            if len(brain):
                targets = rng.choice(person.target, per_scan)
                sources += [(source, int(target)) for target in targets]
                flat = rng.choice(brain, per_scan)
                centres.append(np.stack(np.unravel_index(flat, cohort.scan(source).mask.shape), 1))
    places = np.concatenate(centres) if centres else np.zeros((0, 3), int)
    for number in rng.permutation(len(sources)):
        x, y, z = (int(coordinate) for coordinate in places[number])
        source, target = sources[number]
        yield Place(source, target, (x, y, z))


def patches(source: Scan, target: Scan, centre: tuple[int, int, int], size: int) -> dict[str, np.ndarray]:
    """What a training step sees of a place.

    Returns
    -------
    float32 by ``{view}_source``, ``{view}_target``, both of shape (C, size, size) and 0 beyond the grid, and
    ``{view}_counts``, of shape (1, size, size): 1 in the background and where both scans' tissue is normal.
    """
    found: dict[str, np.ndarray] = {}
    for axis, view in enumerate(VIEWS):
        plane = [slice(None)] * 3
        plane[axis] = centre[axis]  # type: ignore[call-overload]
        middle = [centre[other] for other in range(3) if other != axis]
        here = tuple(plane)
        found[f"{view}_source"] = _window(source.images[:, *here], middle, size)
        found[f"{view}_target"] = _window(target.images[:, *here], middle, size)
        counts = _counts(source, here) & _counts(target, here)
        found[f"{view}_counts"] = _window(counts[None], middle, size)
    return found


def _counts(scan: Scan, plane: tuple[slice | int, ...]) -> np.ndarray:
    """bool: background, and normal tissue, of a plane."""
    mask = scan.mask[plane]
    flat = np.arange(scan.mask.size, dtype=np.int32).reshape(scan.mask.shape)[plane][mask]
    counts = ~mask
    counts[mask] = scan.is_normal(flat)
    return counts


def _window(plane: np.ndarray, middle: Sequence[int], size: int) -> np.ndarray:
    """A square of (C, A, B) around a pixel, 0 beyond the plane."""
    found = np.zeros((len(plane), size, size), np.float32)
    starts = [place - size // 2 for place in middle]
    ends = [min(start + size, length) for start, length in zip(starts, plane.shape[1:], strict=True)]
    begins = [max(start, 0) for start in starts]
    into = tuple(slice(b - s, e - s) for b, e, s in zip(begins, ends, starts, strict=True))
    of = tuple(slice(b, e) for b, e in zip(begins, ends, strict=True))
    found[:, *into] = plane[:, *of]
    return found
