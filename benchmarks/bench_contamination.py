"""The look at a cohort on real scans: whether it lists people with planted lesions, and false alarms.

    python benchmarks/bench_contamination.py --data BIDS --cache DIR [--modality FLAIR] [--repeats N] [--out FILE]

One or two of ten or twenty of one site's healthy people get the lesions of a patient (the patient's deviation from
their own white matter, in robust units, within the lesion mask, both on the template), so that scanner, age and
registration stay the person's own; and, apart, whole patients and healthy strangers of other scanners take the place of
people. Scans are prepared, or found prepared, at 2 mm in --cache.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
from bench_models import markdown, told
from common import machine
from quality_cohorts import SITES, Person, arguments, people, plain_atlas, rescaled, same, show, with_lesions
from scipy import ndimage
from sklearn.ensemble import IsolationForest

from normfed_client.imaging.bids import read_dataset
from normfed_client.imaging.template import anatomy
from normfed_client.quality.atlas import UPPER, Opened, RobustAtlas, robust_atlas, tissue_of
from normfed_client.quality.checks import UNUSUAL_ALARMS, at_one_age
from normfed_client.quality.robust import limit, robust_z

LOADS = (0.0, 2.0, 10.0, 20.0, 35.0, 1000.0)  # ml, between the rows of a table
DRAWS = 2000  # of a bootstrap over people


@dataclass(frozen=True)
class Scores:
    """Of every person of a cohort: robust z by what it is made of, and whether somebody is listed."""

    of: dict[str, np.ndarray]
    listed: np.ndarray


def scored(cohort: Sequence[Person], sign: int, tissue: np.ndarray, white: np.ndarray, grey: np.ndarray) -> Scores:
    """The look's score, the same without age, with mean and standard deviation, and what is trivial beside it."""
    scans = [rescaled(person, tissue) for person in cohort]
    atlas = robust_atlas([partial(same, scan) for scan in scans], tissue, sign)
    upper, plain = (np.log([_upper(of, scan) for scan in scans]) for of in (atlas, plain_atlas(atlas, scans)))
    features = np.array([_simple(scan, tissue, white, grey) for scan in scans])
    z = robust_z(at_one_age(upper, [person.age for person in cohort]), 0.03)
    found = {
        "robust atlas, age": z,
        "robust atlas": robust_z(upper, 0.03),
        "mean and sd": robust_z(plain, 0.03),
        "tail of intensities": robust_z(features[:, 2 if sign > 0 else 1]) * sign,
        "mean brightness": np.abs(robust_z(features[:, 0])),
        "isolation forest": -IsolationForest(random_state=0).fit(features).score_samples(features),
    }
    return Scores(found, z > limit(len(cohort), UNUSUAL_ALARMS))


def _upper(atlas: RobustAtlas, scan: Opened) -> float:
    """As `Distance.upper`."""
    found = atlas.map(scan)
    return max(float(np.percentile(found[found != 0], UPPER)), 1e-3)


def _simple(scan: Opened, tissue: np.ndarray, white: np.ndarray, grey: np.ndarray) -> list[float]:
    """What needs no atlas: mean, two tails of intensities, contrast, spread of white matter, size of the brain."""
    image, mask = scan
    inside, in_white = image[mask & tissue], image[mask & (white > 0.8)]
    low, high = np.percentile(inside, (0.5, 99.5))
    contrast = float(np.median(in_white) - np.median(image[mask & (grey > 0.8)]))
    return [float(image[mask].mean()), float(low), float(high), contrast, float(in_white.std()), float(mask.sum())]


@dataclass(frozen=True)
class Trial:
    """One person planted in a cohort: what, of whom, its load, and for every score the share of the others below."""

    kind: str
    donor: str
    people: int
    planted: int
    load_ml: float
    above: dict[str, float]
    listed: bool
    others_listed: int


def trials(
    kind: str, cohort: Sequence[Person], planted: Sequence[int], donors: Sequence[str], scores: Scores
) -> list[Trial]:
    """A row per planted person."""
    others = [i for i in range(len(cohort)) if i not in planted]
    return [
        Trial(
            kind,
            donor,
            len(cohort),
            len(planted),
            cohort[i].load_ml,
            {name: float(np.mean((z[others] < z[i]) + 0.5 * (z[others] == z[i]))) for name, z in scores.of.items()},
            bool(scores.listed[i]),
            int(scores.listed[others].sum()),
        )
        for i, donor in zip(planted, donors, strict=True)
    ]


def contamination(everybody: Sequence[Person], modality: str, sites: Sequence[str], repeats: int) -> Iterator[Trial]:
    """Cohorts of one site with planted lesions; then with whole patients, and healthy strangers, of other scanners."""
    seen, rng = anatomy(2), np.random.default_rng(0)
    tissue, sign = tissue_of(seen), -1 if modality == "T1w" else 1
    score = partial(scored, sign=sign, tissue=tissue, white=seen.white, grey=seen.grey)
    ill = [p for p in everybody if p.load_ml > 0]
    if modality == "T1w":
        groups = {site: [p for p in everybody if p.site == site] for site in sites}
    else:  # nobody healthy has one: the base is the least ill, without what is drawn of them
        groups = {"ageing-a, b": [_healed(p, seen.white) for p in ill if p.site.startswith("ageing")]}
    for site, base in groups.items():
        for number in range(repeats):
            for size, count in ((10, 0), (10, 1), (20, 2)):
                if size > len(base) and not (size == 20 and len(base) > 12):
                    continue
                chosen = [base[i] for i in rng.permutation(len(base))[:size]]
                # A donor's own scan is no base for what is theirs.
                taken = {person.name for person in chosen}
                donors = [ill[i] for i in rng.permutation(len(ill)) if ill[i].name not in taken][:count]
                if len(donors) < count:
                    continue
                cohort = [with_lesions(p, d, seen.white) for p, d in zip(chosen, donors, strict=False)] + chosen[count:]
                scores = score(cohort)
                if not count:
                    yield Trial("clean", "", len(cohort), 0, 0.0, {}, False, int(scores.listed.sum()))
                yield from trials("lesions", cohort, range(count), [d.name for d in donors], scores)
            told(f"{modality} {site} {number + 1}")
            if modality != "T1w":
                continue
            chosen = [base[i] for i in rng.permutation(len(base))[:9]]
            strangers = [p for p in everybody if p.site in SITES and p.site != site]
            for kind, others in (("patient, other scanner", ill), ("healthy, other scanner", strangers)):
                other = others[rng.integers(len(others))]
                cohort = [other, *chosen]
                yield from trials(kind, cohort, [0], [other.name], score(cohort))


def _healed(person: Person, white: np.ndarray) -> Person:
    """With white matter of the person's own in the place of lesions: its median and its noise."""
    around = ndimage.binary_dilation(person.lesion, iterations=2)
    values = person.image[person.mask & (white > 0.8) & ~around]
    drawn = np.random.default_rng(len(person.name)).choice(values, person.image.shape)
    drawn = (drawn - np.median(values)) * 0.7 + np.median(values)
    soft = ndimage.gaussian_filter(around.astype(np.float32), 0.5)
    return replace(person, image=(1 - soft) * person.image + soft * drawn, lesion=np.zeros_like(person.lesion))


def interval(values: Sequence[float], whose: Sequence[str]) -> str:
    """Mean and its 95 % interval over donors."""
    rng, names = np.random.default_rng(0), sorted(set(whose))
    by = [np.array([v for v, w in zip(values, whose, strict=True) if w == name]) for name in names]
    drawn = [np.concatenate([by[i] for i in rng.integers(len(by), size=len(by))]).mean() for _ in range(DRAWS)]
    return f"{np.mean(values):.2f} ({np.quantile(drawn, 0.025):.2f} to {np.quantile(drawn, 0.975):.2f})"


def table(rows: Sequence[Trial]) -> list[str]:
    """By kind, cohort and load: share listed, and AUROC of every score."""
    lines, names = [], next(list(row.above) for row in rows if row.above)
    clean = [row for row in rows if row.kind == "clean"]
    groups = {(r.kind, r.people, r.planted) for r in rows if r.kind != "clean"}
    for kind, size, count in sorted(groups):
        some = [row for row in rows if (row.kind, row.people, row.planted) == (kind, size, count)]
        for low, high in pairwise(LOADS):
            part = [row for row in some if low <= row.load_ml < high]
            if part:
                whose = [row.donor for row in part]
                figures = [interval([row.above[name] for row in part], whose) for name in names]
                listed = interval([float(row.listed) for row in part], whose)
                loads = "none" if not part[0].load_ml else f"{low:g} to {high:g}"
                lines.append(
                    [f"{kind}, {count} of {size}", loads, str(len(set(whose))), str(len(part)), listed, *figures]
                )
    alarms = np.mean([row.others_listed > 0 for row in clean]), np.mean([row.others_listed for row in clean])
    heading = ["planted", "ml", "donors", "trials", "listed", *names]
    return [
        *markdown(heading, lines),
        "",
        f"{len(clean)} clean cohorts: somebody listed in {alarms[0]:.0%}, {alarms[1]:.2f} people each.",
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--modality", default="T1w", choices=("T1w", "FLAIR"))
    given, begun = parser.parse_args(), time.perf_counter()
    print(machine())
    everybody = list(people(read_dataset(given.data), given.cache, given.modality))
    found = list(contamination(everybody, given.modality, given.sites, given.repeats))
    show(table(found), begun, [vars(one) for one in found], given.out)


if __name__ == "__main__":
    main()
