"""The look at a cohort on real scans: which planted faults it lists, and false alarms.

    python benchmarks/bench_faulty_scans.py --data BIDS --cache DIR --work EMPTY [--repeats N] [--out FILE]

Cohorts of one site's healthy people, as they are and with one person's scan made faulty. Scans are prepared, or found
prepared, at 2 mm in --cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from unittest import mock

import numpy as np
from bench_models import markdown, told
from common import machine
from quality_cohorts import arguments, show
from scipy import ndimage

from normfed_client.imaging.bids import Dataset, Visit, read_dataset
from normfed_client.imaging.cache import Cache, Entry, write_arrays
from normfed_client.imaging.preprocessing import Recipe, prepare
from normfed_client.quality import look
from normfed_common.study.preprocessing import PreprocessingConfig

MOST_PEOPLE = 13  # of a cohort with a fault


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


def fault_table(found: Sequence[tuple[str, str, bool, int]]) -> list[str]:
    """A line per kind of fault."""
    lines = []
    for name in dict.fromkeys(row[1] for row in found):
        some = [row for row in found if row[1] == name]
        others = [row[3] for row in some]
        named = f"{np.mean(others):.2f}, in {np.mean([n > 0 for n in others]):.0%}"
        lines.append([name, str(len(some)), str(sum(row[2] for row in some)), named])
    return markdown(["fault", "cohorts", "that person listed", "others listed a cohort, in how many cohorts"], lines)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder for cohorts with faults")
    given, begun = parser.parse_args(), time.perf_counter()
    print(machine())
    data = read_dataset(given.data)
    with mock.patch.object(look, "file_facts", lru_cache(None)(look.file_facts)):  # the files stay as they are
        found = [
            (site, *row) for site in given.sites for row in faults(data, given.cache, site, given.repeats, given.work)
        ]
    show(fault_table(found), begun, found, given.out)


if __name__ == "__main__":
    main()
