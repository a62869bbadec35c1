"""The look at a cohort on real scans: what of planted faults and of planted patients it lists, and false alarms.

    python benchmarks/bench_quality.py faults|contamination|cost --data BIDS --cache DIR [--repeats N] [--out FILE]

`faults`: cohorts of one site's healthy people, as they are and with one person's scan made faulty. `contamination`:
one or two of ten or twenty of one site's healthy people get the lesions of a patient (the patient's deviation from
their own white matter, in robust units, within the lesion mask, both on the template), so that scanner, age and
registration stay the person's own; and, apart, whole patients and healthy strangers of other scanners take the place of
people. `cost`: what lesions in a robust-unit mean-and-spread atlas's training people do to average precision on
patients. Scans are prepared, or found prepared, at 2 mm in --cache.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
from bench_models import markdown, told
from common import machine
from scipy import ndimage
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score

from normfed_client.imaging.bids import Dataset, Visit, read_dataset
from normfed_client.imaging.cache import Cache, Entry, write_arrays
from normfed_client.imaging.preprocessing import Recipe, prepare
from normfed_client.imaging.template import anatomy
from normfed_client.quality import look
from normfed_client.quality.atlas import UPPER, Opened, RobustAtlas, robust_atlas, tissue_of
from normfed_client.quality.checks import UNUSUAL_ALARMS, at_one_age
from normfed_client.quality.robust import limit, robust_z
from normfed_common.foundation.errors import ScanError
from normfed_common.foundation.files import write_json
from normfed_common.study.preprocessing import PreprocessingConfig

ML = 8 / 1000  # of a voxel
LOADS = (0.0, 2.0, 10.0, 20.0, 35.0, 1000.0)  # ml, between the rows of a table
SITES = ("controls-hammersmith", "controls-novosibirsk", "controls-oasis")
DRAWS = 2000  # of a bootstrap over people
MOST_PEOPLE = 13  # of a cohort with a fault


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


@dataclass(frozen=True)
class Scores:
    """Of every person of a cohort: robust z by what it is made of, and whether somebody is listed."""

    of: dict[str, np.ndarray]
    listed: np.ndarray


def scored(cohort: Sequence[Person], sign: int, tissue: np.ndarray, white: np.ndarray, grey: np.ndarray) -> Scores:
    """The look's score, the same without age, with mean and standard deviation, and what is trivial beside it."""
    scans = [rescaled(person, tissue) for person in cohort]
    atlas = robust_atlas([partial(_same, scan) for scan in scans], tissue, sign)
    upper, plain = (np.log([_upper(of, scan) for scan in scans]) for of in (atlas, _plain(atlas, scans)))
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


def _same(scan: Opened) -> Opened:
    return scan


def _upper(atlas: RobustAtlas, scan: Opened) -> float:
    """As `Distance.upper`."""
    found = atlas.map(scan)
    return max(float(np.percentile(found[found != 0], UPPER)), 1e-3)


def _plain(atlas: RobustAtlas, scans: Sequence[Opened]) -> RobustAtlas:
    values = np.stack([np.where(mask, image, np.nan) for image, mask in scans])[:, atlas.where]
    median, spread = np.zeros_like(atlas.median), np.ones_like(atlas.spread)
    median[atlas.where], spread[atlas.where] = np.nanmean(values, 0), np.maximum(np.nanstd(values, 0), 1e-2)
    return replace(atlas, median=median, spread=spread)


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


def faults(data: Dataset, cache: Path, site: str, repeats: int, work: Path) -> Iterator[tuple[str, bool, int]]:
    """Name of a fault, whether the person is listed for a serious doubt, and how many others are.

    Faults that preprocessing would pass on are made on the template: prepared again, each would take half a minute.
    """
    rng, recipe = np.random.default_rng(0), Recipe(PreprocessingConfig(), ("T1w",), None)
    visits = [v for v in data.visits if v.participant.site == site and "T1w" in v.images]
    store = Cache(cache)
    for number in range(repeats):
        chosen = [visits[i] for i in rng.permutation(len(visits))[:MOST_PEOPLE]]
        for name, change in {"none": None, **MADE}.items():
            folder = work / f"{site}-{number}-{name}".replace(" ", "-")
            own = _linked(chosen, recipe, store, folder)
            whose = chosen[0].participant.subject
            if change is not None:
                change(own, recipe.key(chosen[0]), recipe.key(chosen[1]), rng)
            seen = look.look_at(chosen, recipe, own, ("control",))
            named = {doubt.subject for doubt in seen.doubts if doubt.serious}
            also = {whose, chosen[1].participant.subject} if name == "duplicate" else {whose}
            told(f"{site} {number + 1}, {name}: {sorted({d.kind for d in seen.doubts if d.subject == whose})}")
            yield name, whose in named, len(named - also)


def _linked(visits: Sequence[Visit], recipe: Recipe, store: Cache, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for visit in visits:
        entry = prepare(visit, recipe, store)
        (folder / entry.folder.name).symlink_to(entry.folder)
    return folder


def _rewritten(
    cache: Path, key: str, change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
) -> None:
    """An entry with another image and mask in the place of the one linked to; the source's files stay."""
    entry = Entry((cache / key).resolve())
    image, mask = np.load(entry.folder / "images.npy")[0].transpose(1, 2, 0), entry.mask()
    meta = (entry.folder / "meta.json").read_text()
    (cache / key).unlink()

    def build(folder: Path) -> None:
        changed, inside = change(image, mask)
        write_arrays(folder, np.where(inside, changed, 0)[None], inside, np.zeros_like(inside), inside)
        (folder / "meta.json").write_text(meta)

    Cache(cache).get_or_build(key, build)


def _moved(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A registration that is off by 8 to 16 mm and 8 to 20 degrees; a mask that came with it is off as well."""
    turn, shift = rng.uniform(8, 20) * rng.choice([-1, 1]), rng.uniform(4, 8) * rng.choice([-1, 1])
    found = ndimage.shift(ndimage.rotate(image, turn, (1, 2), reshape=False, order=1), (0, shift, 0), order=1)
    inside = ndimage.shift(ndimage.rotate(mask.astype(np.float32), turn, (1, 2), reshape=False, order=1), (0, shift, 0))
    return found, inside > 0.5


def _noisy(share: float) -> Callable[[Path, str, str, np.random.Generator], None]:
    def change(cache: Path, key: str, _other: str, rng: np.random.Generator) -> None:
        _rewritten(cache, key, lambda i, m: (np.clip(i + share * rng.standard_normal(i.shape), 0, 2), m))

    return change


MADE: dict[str, Callable[[Path, str, str, np.random.Generator], None]] = {
    "mirrored": lambda cache, key, _o, _r: _rewritten(cache, key, lambda i, m: (i[::-1], m[::-1])),
    "noise 5 %": _noisy(0.05),
    "noise 10 %": _noisy(0.1),
    "lowest quarter cut": lambda cache, key, _o, _r: _rewritten(
        cache, key, lambda i, m: (i, m & (np.arange(m.shape[2]) >= m.shape[2] // 4))
    ),
    "half cut": lambda cache, key, _o, _r: _rewritten(
        cache, key, lambda i, m: (i, m & (np.arange(m.shape[0])[:, None, None] < m.shape[0] // 2))
    ),
    "registered wrongly": lambda cache, key, _o, rng: _rewritten(cache, key, lambda i, m: _moved(i, m, rng)),
    "blurred 4 mm": lambda cache, key, _o, _r: _rewritten(cache, key, lambda i, m: (ndimage.gaussian_filter(i, 1), m)),
    "duplicate": lambda cache, key, other, rng: _again(cache, key, other, rng),
}


def _again(cache: Path, key: str, other: str, rng: np.random.Generator) -> None:
    """The other person's scan, in other units, a little noisier and moved by half a voxel."""
    entry = Entry((cache / other).resolve())
    image, mask = np.load(entry.folder / "images.npy")[0].transpose(1, 2, 0), entry.mask()
    noisy = ndimage.shift(image, (0.5, 0, 0.25), order=1) * 0.9 + 0.01 * rng.standard_normal(image.shape)
    _rewritten(cache, key, lambda _i, _m: (noisy, mask))


def cost(everybody: Sequence[Person], sites: Sequence[str], repeats: int) -> Iterator[tuple[str, int, float, float]]:
    """Site, how many of twenty were contaminated, AP on patients and what it differs from clean ones'."""
    seen, rng = anatomy(2), np.random.default_rng(1)
    tissue = tissue_of(seen)
    ill = [p for p in everybody if p.load_ml > 1]
    for site in sites:
        base = [p for p in everybody if p.site == site]
        for _ in range(repeats):
            chosen = [base[i] for i in rng.permutation(len(base))[: min(20, len(base))]]
            order = rng.permutation(len(ill))
            donors, tested = [ill[i] for i in order[:4]], [ill[i] for i in order[4:]]
            clean = float("nan")
            for count in (0, 1, 2, 4):
                made = [with_lesions(p, d, seen.white) for p, d in zip(chosen, donors[:count], strict=False)]
                scans = [rescaled(p, tissue) for p in [*made, *chosen[count:]]]
                atlas = robust_atlas([partial(_same, scan) for scan in scans], tissue, -1)
                plain = _plain(atlas, scans)
                ap = float(np.mean([_ap(plain, p, tissue) for p in tested]))
                clean = ap if not count else clean
                told(f"{site}, {count} with lesions: AP {ap:.3f} ({ap - clean:+.3f})")
                yield site, count, ap, ap - clean


def _ap(atlas: RobustAtlas, person: Person, tissue: np.ndarray) -> float:
    found = atlas.map(rescaled(person, tissue))
    where = person.mask & atlas.tissue
    return float(average_precision_score(person.lesion[where], found[where]))


def fault_table(found: Sequence[tuple[str, str, bool, int]]) -> list[str]:
    """A line per kind of fault."""
    lines = []
    for name in dict.fromkeys(row[1] for row in found):
        some = [row for row in found if row[1] == name]
        others = [row[3] for row in some]
        named = f"{np.mean(others):.2f}, in {np.mean([n > 0 for n in others]):.0%}"
        lines.append([name, str(len(some)), str(sum(row[2] for row in some)), named])
    return markdown(["fault", "cohorts", "that person listed", "others listed a cohort, in how many cohorts"], lines)


def cost_table(costs: Sequence[tuple[str, int, float, float]]) -> list[str]:
    """A line per site and number of people with lesions."""
    lines = []
    for site, count in dict.fromkeys(row[:2] for row in costs):
        some = [row for row in costs if row[:2] == (site, count)]
        mean, less = np.mean([row[2] for row in some]), np.array([row[3] for row in some])
        lines.append([site, str(count), f"{mean:.3f}", f"{less.mean():+.3f} ({less.min():+.3f} to {less.max():+.3f})"])
    return markdown(["site", "with lesions", "AP", "less clean (least to most)"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("faults", "contamination", "cost"))
    parser.add_argument("--data", type=Path, required=True, help="a BIDS dataset")
    parser.add_argument("--cache", type=Path, required=True, help="of prepared scans")
    parser.add_argument("--work", type=Path, help="an empty folder for cohorts with faults")
    parser.add_argument("--modality", default="T1w", choices=("T1w", "FLAIR"))
    parser.add_argument("--sites", nargs="+", default=SITES, choices=SITES)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="for every trial, as JSON")
    given = parser.parse_args()
    data, begun = read_dataset(given.data), time.perf_counter()
    print(machine())
    rows: list[object]
    if given.part == "faults":
        with mock.patch.object(look, "file_facts", lru_cache(None)(look.file_facts)):  # the files stay as they are
            found = [
                (site, *row)
                for site in given.sites
                for row in faults(data, given.cache, site, given.repeats, given.work)
            ]
        print("\n".join(fault_table(found)))
        rows = list(found)
    elif given.part == "contamination":
        everybody = list(people(data, given.cache, given.modality))
        trial = list(contamination(everybody, given.modality, given.sites, given.repeats))
        print("\n".join(table(trial)))
        rows = [vars(one) for one in trial]
    else:
        costs = list(cost(list(people(data, given.cache, "T1w")), given.sites, given.repeats))
        print("\n".join(cost_table(costs)))
        rows = list(costs)
    print(f"{time.perf_counter() - begun:.0f} s")
    if given.out is not None:
        write_json(given.out, rows)


if __name__ == "__main__":
    main()
