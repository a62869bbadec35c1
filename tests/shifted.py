"""Hospitals whose scanners shift what they scan, and ComBat learnt from them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from synthetic import People, setting

from normfed_common.foundation.arrays import add
from normfed_common.learning.cohort import Person
from normfed_common.learning.setting import Setting
from normfed_common.transforms.combat.config import CombatConfig
from normfed_common.transforms.combat.transform import CombatTransform

RANGE = (-9.0, 9.0)
BARE = replace(setting(), shape=(1, 1, 1), open_anatomy=None, value_range=RANGE)


def combat(where: Setting | None = None, **values: Any) -> CombatTransform:
    """Of few people, at places of 8 mm unless told otherwise."""
    raw = {"minimum_people": 2, "places_mm": 8, "smoothing_mm": 4, **values}
    return CombatTransform(
        CombatConfig.model_validate(raw, strict=False), where or replace(setting(), value_range=RANGE)
    )


def shifts(scanner: str) -> np.ndarray:
    """What a scanner adds, (C, X, Y, Z): other at the front than at the back, and little of it fine."""
    rng = np.random.default_rng(ord(scanner[-1]))
    noise = gaussian_filter(rng.standard_normal((2, 26, 28, 6)), (0, 6, 6, 6))
    return rng.normal(0, 0.3, (2, 1, 1, 1)) + 0.3 * noise / noise.std()


def hospitals(**scanners: int) -> People:
    """People of so many of each scanner, whose scans are noise plus an effect of age plus the scanner's."""
    people = People(sum(scanners.values()))
    names = [name for name, count in scanners.items() for _ in range(count)]
    rng = np.random.default_rng(5)
    for number, (one, name) in enumerate(zip(people.scans, names, strict=True)):
        age = float(rng.uniform(20, 80))
        images = np.where(one.mask, one.images + 0.01 * (age - 50) + shifts(name), 0).astype(np.float32)
        whose = Person(number, age, "F" if rng.random() < 0.5 else "M", name)
        people.scans[number] = replace(one, images=images, person=whose)
    return people


def visited(people: People, visits: int) -> People:
    """The same scans, as so many visits of fewer people."""
    for number, one in enumerate(people.scans):
        first = people.scans[number - number % visits].person
        people.scans[number] = replace(one, person=replace(one.person, index=number // visits, sex=first.sex))
    return people


def federated(transform: CombatTransform, sites: list[People]) -> CombatTransform:
    """The same, after all of its phases over these sites."""
    rng = np.random.default_rng(0)
    for phase in transform.phases():
        transform.absorb(phase.name, add([transform.statistics(phase.name, site, rng) for site in sites]))
    return transform
