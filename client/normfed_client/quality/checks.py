"""The checks of a cohort: each says of whom it has a doubt, and in one sentence why and what to do.

Where numbers are compared within the cohort, the limit is the one that somebody passes by chance in ALARMS of clean
cohorts (`robust.limit`); beside it a difference must be large enough to matter.

What others look at: MRIQC measures a scan and lists outliers of a cohort (Esteban 2017); Qoala-T learns from manual
ratings of segmentations (Klapwijk 2019), which a hospital does not have; mirrored scans were found by comparing sides
(Glen 2020); who is unlike a normative model by the upper tail of deviations (Marquand 2016, extreme value statistics).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy import stats

from normfed_client.quality.doubts import Doubt, Kind
from normfed_client.quality.files import SAME_MM
from normfed_client.quality.measures import Measured
from normfed_client.quality.robust import limit, robust_z

ALARMS = 0.02  # share of clean cohorts in which one check names somebody; there are a dozen
UNUSUAL_ALARMS = 0.1  # the same of people far from normal, who are what a person should look at
FEWEST = 5  # scans that say what is usual
THICK_MM, ODD_VOXELS = 5.0, 2.0
BRAIN_ML = (800.0, 2000.0)  # of grown people, fluid inside the mask included
LESS_COVERED = 0.95  # of the usual share of the brain
NEAR = 0.5  # correlation of what is a person's own; of different people it is about 0.1
MIRRORED = -0.1  # correlation of sides; of others it is above 0.3
CLIPPED = 0.01  # share of the bright values at the largest
WHOLE = 0.98  # share of a brain's mask in one piece
OVERLAP = 0.85  # of a mask with the template's brain
AGES = (1.0, 105.0)  # outside, an age is a code or a typing error
WITH_AGE = 10  # people from whom a slope over age is taken

Check = Callable[[Sequence[Measured]], Iterator[Doubt]]
LOOK = "Look at the scan"


def orientation(cohort: Sequence[Measured]) -> Iterator[Doubt]:
    """Headers that put the scan in two places."""
    for one in cohort:
        for modality, facts in one.files.items():
            if facts.sides_apart:
                yield _doubt(
                    one, "orientation", f"qform and sform of {modality} disagree in which side is left. Export it again"
                )
            elif facts.forms_apart_mm > SAME_MM:
                yield _doubt(
                    one,
                    "orientation",
                    f"qform and sform of {modality} put it {facts.forms_apart_mm:.0f} mm apart; the sform is used. "
                    "Check that it is the right one",
                )


def mirrored(cohort: Sequence[Measured]) -> Iterator[Doubt]:
    """Left for right: brains, and coils, are not symmetric, and in the same way in most people (Glen 2020)."""
    for modality, some in _by_modality(cohort):
        usual = float(np.median([one.distances[modality].sides for one in some]))
        for one in some:
            if usual > -MIRRORED and one.distances[modality].sides < MIRRORED:
                text = f"left and right of {modality} look exchanged (correlation of sides with the cohort's "
                text += f"{one.distances[modality].sides:.2f}, usual {usual:.2f}). {LOOK}, and export it again"
                yield _doubt(one, "flipped", text)


def voxels(cohort: Sequence[Measured]) -> Iterator[Doubt]:
    """Slices much thicker than the others'."""
    for modality in _modalities(cohort):
        some = [one for one in cohort if modality in one.files]
        usual = float(np.median([one.files[modality].edges_mm[2] for one in some]))
        for one in some:
            thick = one.files[modality].edges_mm[2]
            if thick > max(ODD_VOXELS * usual, THICK_MM):
                yield _doubt(one, "voxels", f"slices of {modality} are {thick:.1f} mm thick, usual {usual:.1f} mm")


def missing(cohort: Sequence[Measured]) -> Iterator[Doubt]:
    """Modalities that others have."""
    for one in cohort:
        lacking = [m for m in _modalities(cohort) if m not in one.files]
        if lacking:
            text = f"has no {' and no '.join(lacking)}; studies that need it go on without this visit"
            yield _doubt(one, "missing", text)


def coverage(cohort: Sequence[Measured]) -> Iterator[Doubt]:
    """Brains that are cut off."""
    values = np.array([one.covered for one in cohort])
    usual = float(np.median(values))
    for one, z in zip(cohort, robust_z(values, 0.01), strict=True):
        if one.covered < LESS_COVERED * usual and z < -limit(len(cohort), ALARMS):
            text = f"only {one.covered:.0%} of the template's brain is in the scan, usual {usual:.0%}. {LOOK}: is it "
            yield _doubt(one, "coverage", text + "whole, and is the brain mask right?")


def duplicates(cohort: Sequence[Measured]) -> Iterator[Doubt]:
    """The same scan twice: the same values, or after registration the same deviations from the cohort."""
    seen: dict[str, tuple[Measured, str]] = {}
    known: set[tuple[str, str]] = set()
    for one in cohort:
        for modality, facts in one.files.items():
            other, of = seen.setdefault(facts.voxels, (one, modality))
            if (other, of) != (one, modality):
                known.add((other.visit.name, one.visit.name))
                yield from _same(one, modality, other, of, "has the same voxels as")
    for modality, some in _by_modality(cohort):
        prints = np.stack([one.distances[modality].fingerprint for one in some])
        for j, i in np.argwhere(np.tril(prints @ prints.T > NEAR, -1)):
            one, other = some[j], some[i]
            again = one.visit.participant.subject == other.visit.participant.subject
            if not again and (other.visit.name, one.visit.name) not in known:
                yield from _same(one, modality, other, modality, "shows the same brain as")


def intensities(cohort: Sequence[Measured]) -> Iterator[Doubt]:
    """Contrast between tissues, noise and clipping unlike the cohort's, each by its logarithm."""
    for modality in _modalities(cohort):
        some = [one for one in cohort if modality in one.contrasts]
        if len(some) < FEWEST:
            continue
        cut = limit(len(some), ALARMS)
        contrast = [one.contrasts[modality].contrast for one in some]
        noise = [one.contrasts[modality].noise for one in some]
        low = -robust_z(np.log(np.maximum(contrast, 1e-3)), 0.1)
        high = robust_z(np.log(np.maximum(noise, 1e-4)), 0.1)
        for one, less, more, c, n in zip(some, low, high, contrast, noise, strict=True):
            if less > cut:
                text = f"white and grey matter of {modality} differ by {c:.1f} spreads of white matter, usual "
                yield _doubt(one, "intensity", f"{text}{np.median(contrast):.1f}. {LOOK}")
            if more > cut:
                text = f"{modality} is noisy: {n:.1%} of white matter's brightness, usual {np.median(noise):.1%}"
                yield _doubt(one, "intensity", f"{text}. {LOOK}")
            clipped = one.files[modality].clipped if modality in one.files else 0.0
            if clipped > CLIPPED:
                yield _doubt(one, "intensity", f"{clipped:.0%} of the bright values of {modality} are cut off at one")


def registration(cohort: Sequence[Measured]) -> Iterator[Doubt]:
    """Scans that lie otherwise on the template than the others, though preprocessing let them pass."""
    for modality, some in _by_modality(cohort):
        values = np.arctanh(np.clip([one.distances[modality].likeness for one in some], -0.99, 0.99))
        for one, z in zip(some, robust_z(values, 0.05), strict=True):
            if z < -limit(len(some), ALARMS):
                text = f"{modality} on the template is unlike the cohort's ({one.distances[modality].likeness:.2f}, "
                text += f"usual {np.tanh(np.median(values)):.2f}). {LOOK}: was it registered rightly?"
                yield _doubt(one, "registration", text)


def masks(cohort: Sequence[Measured]) -> Iterator[Doubt]:
    """Brain masks that are none."""
    for one in cohort:
        if one.whole < WHOLE:
            yield _doubt(one, "mask", f"the brain mask is in pieces, the largest with {one.whole:.0%} of it. {LOOK}")
        elif one.entry.meta()["brain"] == "given" and one.overlap < OVERLAP:
            text = f"the brain mask overlaps with the template's brain by {one.overlap:.2f} (Dice), little for a brain"
            yield _doubt(one, "mask", f"{text}. {LOOK}")


def volumes(cohort: Sequence[Measured]) -> Iterator[Doubt]:
    """Brains of an unusual size."""
    values = np.array([one.volume_ml for one in cohort])
    usual, cut = float(np.median(values)), limit(len(cohort), ALARMS)
    for one, z in zip(cohort, robust_z(np.log(values), 0.05), strict=True):
        outside = not BRAIN_ML[0] <= one.volume_ml <= BRAIN_ML[1]
        if outside or abs(z) > cut:
            text = f"the brain has {one.volume_ml:,.0f} ml, usual {usual:,.0f} ml. {LOOK}: voxel sizes, mask, age"
            yield _doubt(one, "volume", text)


def ages(cohort: Sequence[Measured]) -> Iterator[Doubt]:
    """Ages that nobody has, and sexes that some lack."""
    told = [one.visit.participant for one in cohort]
    some_sex = any(who.sex for who in told)
    for one, who in zip(cohort, told, strict=True):
        if who.age is not None and not AGES[0] <= who.age <= AGES[1]:
            yield _doubt(one, "age", f"age {who.age:g} in participants.tsv. Correct it, or leave it empty")
        elif some_sex and who.sex is None:
            yield _doubt(one, "missing", "has no sex in participants.tsv, or one that is neither M nor F")


def unusual(cohort: Sequence[Measured]) -> Iterator[Doubt]:
    """People counted as healthy whose tissue is far from the others': the guard against contamination."""
    scores = unusual_scores(cohort)
    if not scores:
        return
    cut = limit(len(scores), UNUSUAL_ALARMS)
    for one in cohort:
        z, modality = scores.get(one.visit.name, (0.0, ""))
        if z > cut:
            text = f"{modality} is far from the cohort's ({z:.1f} robust standard deviations, listed above {cut:.1f}). "
            text += f"{LOOK}: a lesion, an artefact, or only unusual?"
            yield _doubt(one, "unusual", text)


def unusual_scores(cohort: Sequence[Measured]) -> dict[str, tuple[float, str]]:
    """Of every visit: how far its tissue is from the cohort's, in robust standard deviations between people of its age,
    and in which modality."""
    found: dict[str, tuple[float, str]] = {}
    for modality, some in _by_modality(cohort):
        values = np.log(np.maximum([one.distances[modality].upper for one in some], 1e-3))
        values = at_one_age(values, [one.visit.participant.age for one in some])
        for one, z in zip(some, robust_z(values, 0.03), strict=True):
            found[one.visit.name] = max(found.get(one.visit.name, (-np.inf, "")), (float(z), modality))
    return found


def at_one_age(values: np.ndarray, ages: Sequence[float | None]) -> np.ndarray:
    """Values without what goes with age, by a slope that outliers do not bend (Theil 1950, Sen 1968), which is taken as
    none where it would be better at a younger age; as they are where few ages are known.

    Old brains are farther from a cohort's median than young ones, with nothing wrong.
    """
    known = np.array([np.nan if age is None else age for age in ages], float)
    there = np.isfinite(known)
    if there.sum() < WITH_AGE or np.ptp(known[there]) == 0:
        return values
    slope = max(float(stats.theilslopes(values[there], known[there])[0]), 0.0)
    found: np.ndarray = values - slope * (np.where(there, known, np.median(known[there])) - np.median(known[there]))
    return found


CHECKS: tuple[Check, ...] = (
    orientation,
    mirrored,
    voxels,
    missing,
    coverage,
    duplicates,
    intensities,
    registration,
    masks,
    volumes,
    ages,
    unusual,
)


def _doubt(one: Measured, kind: Kind, text: str) -> Doubt:
    ended = text if text.endswith("?") else f"{text}."
    return Doubt(subject=one.visit.participant.subject, visit=one.visit.name, kind=kind, text=ended)


def _same(one: Measured, modality: str, other: Measured, of: str, how: str) -> Iterator[Doubt]:
    """Of both, as it is not known whose it is."""
    for mine, m, theirs, n in ((one, modality, other, of), (other, of, one, modality)):
        named = f"{theirs.visit.name} ({n})" if m != n else theirs.visit.name
        yield _doubt(mine, "duplicate", f"{m} {how} {named}. Find out whose it is, and exclude the other")


def _modalities(cohort: Sequence[Measured]) -> list[str]:
    return list(Counter(m for one in cohort for m in one.files))


def _by_modality(cohort: Sequence[Measured]) -> Iterator[tuple[str, list[Measured]]]:
    """Modalities with the visits that were compared in them, where these are enough to say what is usual."""
    for modality in _modalities(cohort):
        some = [one for one in cohort if modality in one.distances]
        if len(some) >= FEWEST:
            yield modality, some
