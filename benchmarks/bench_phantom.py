"""What sets the phantom apart from real scans: contrast, noise, fluid, bright rims, lesions, texture and age.

    python benchmarks/bench_phantom.py [--real BIDS] [--leave-out SITE ...] [--study FILE] [--pictures DIR]

Both sides come through the project's own preprocessing, and the same estimators look at both (`phantom_figures`).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from common import machine
from phantom_figures import MODALITIES, Subject, figures
from PIL import Image as Picture
from scipy.stats import theilslopes

from normfed_client.imaging.bids import Visit, read_dataset
from normfed_client.imaging.cache import Cache, default_root
from normfed_client.imaging.cohort import kind
from normfed_client.imaging.preparation import prepare_all
from normfed_client.imaging.preprocessing import Recipe, prepare
from normfed_client.imaging.template import common_grid
from normfed_common.studies import load_study
from normfed_common.study.config import StudyConfig
from normfed_simulation.phantom import hospitals

SHOWN, SLICES_MM = 12, (-22, 4, 22, 40)  # people of each mosaic, heights of their axial slices
WORKERS = 2


def prepared(root: Path, study: StudyConfig, left_out: Iterable[str]) -> list[Subject]:
    """Everybody's first visit that has a T1 or a FLAIR."""
    visits: dict[str, Visit] = {}
    for visit in read_dataset(root).visits:
        if visit.participant.site not in left_out and not {*MODALITIES}.isdisjoint(visit.images):
            visits.setdefault(visit.participant.subject, visit)
    cache, recipe = default_root() / "scans", Recipe(study.preprocessing, MODALITIES, None)
    done = prepare_all(list(visits.values()), recipe, cache, WORKERS)
    for problem in done.problems:
        print(f"left out: {problem.why}")
    failed = {problem.what for problem in done.problems}
    return [
        Subject(visit, prepare(visit, recipe, Cache(cache)), kind(visit, study.data))
        for visit in visits.values()
        if visit.name not in failed
    ]


def by_site(subjects: list[Subject]) -> dict[str, list[dict[str, float]]]:
    """Everybody's figures, and the slope of the ventricles over the ages of all."""
    found = defaultdict(list)
    for subject in subjects:
        age = subject.visit.participant.age
        found[subject.visit.participant.site].append(figures(subject) | ({} if age is None else {"age": age}))
    return found


def slope(people: list[dict[str, float]]) -> float:
    """ml of ventricle per year, by Theil and Sen's median."""
    pairs = [(row["age"], row["ventricles: ml"]) for row in people if "age" in row and "ventricles: ml" in row]
    return float(theilslopes(*np.transpose(pairs)[::-1])[0]) if len({age for age, _ in pairs}) > 2 else float("nan")


def cell(sites: list[list[dict[str, float]]], key: str) -> str:
    """Median over people, and the range: of the sites' medians, of people for what lesions have."""
    values = [np.array([row[key] for row in site if key in row]) for site in sites]
    values = [found for found in values if len(found)]
    if not values:
        return "-"
    own = key.partition(":")[0] not in ("T1", "FLAIR", "folds")
    spread = np.concatenate(values) if own else np.array([np.median(found) for found in values])
    middle = f"{np.median(np.concatenate(values)):.3g}"
    return middle if len(spread) < 2 else f"{middle} ({spread.min():.3g} to {spread.max():.3g})"


def table(real: dict[str, list[dict[str, float]]], phantom: dict[str, list[dict[str, float]]]) -> None:
    """One line per figure: real, phantom, and the phantom's sites."""
    everybody = [row for side in (real, phantom) for site in side.values() for row in site]
    keys = sorted({key for row in everybody for key in row} - {"age"}, key=_order(everybody))
    print("figure | real | phantom | " + " | ".join(phantom))
    for key in keys:
        each = " | ".join(cell([site], key).partition(" ")[0] for site in phantom.values())
        print(f"{key} | {cell(list(real.values()), key)} | {cell(list(phantom.values()), key)} | {each}")
    slopes = [slope([row for site in side.values() for row in site]) for side in (real, phantom)]
    print(f"ventricles: ml a year | {slopes[0]:.2g} | {slopes[1]:.2g}")


def _order(rows: list[dict[str, float]]) -> object:
    first: dict[str, int] = {}
    for row in rows:
        for key in row:
            first.setdefault(key, len(first))
    groups = {"FLAIR": 0, "T1": 1, "folds": 2, "ventricles": 3}
    return lambda key: (groups.get(key.partition(":")[0], 4), key.partition(":")[0], first[key])


def picture(subjects: list[Subject], channel: int, path: Path) -> None:
    """Four slices of twelve people, spread over the sites; black is 0 and white the brightest 0.3 % of the brain."""
    rows = []
    for subject in _spread([s for s in subjects if s.scan().present[channel]]):
        scan = subject.scan()
        image = np.array(scan.images[channel]) * scan.mask
        image = np.clip(image / np.percentile(image[scan.mask], 99.7), 0, 1)
        floor = common_grid(2).affine[2, 3]
        planes = [np.rot90(image[..., round((height - floor) / 2)]) for height in SLICES_MM]
        rows.append(np.concatenate(planes, 1))
    half = (len(rows) + 1) // 2
    rows += [np.zeros_like(rows[0])] * (2 * half - len(rows))
    whole = np.concatenate([np.concatenate(rows[:half]), np.concatenate(rows[half:])], 1)
    Picture.fromarray(np.kron(whole * 255, np.ones((2, 2))).astype(np.uint8)).save(path)
    print(f"picture: {path}")


def _spread(subjects: list[Subject]) -> list[Subject]:
    """Every site in turn, patients and healthy people in turn within it."""
    queues: dict[tuple[str, str], list[Subject]] = defaultdict(list)
    for subject in subjects:
        queues[subject.visit.participant.site, subject.kind].append(subject)
    found = [s for turn in range(SHOWN) for queue in queues.values() for s in queue[turn : turn + 1]]
    return found[:SHOWN]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, help="a BIDS dataset")
    parser.add_argument("--leave-out", nargs="*", default=[], help="its sites that do not count")
    parser.add_argument("--study", type=Path, default=Path(__file__).parents[1] / "studies" / "demo.yaml")
    parser.add_argument("--pictures", type=Path, default=Path("."), help="the folder for the mosaics")
    given = parser.parse_args()
    study = load_study(given.study)
    if study.data.phantom is None:
        parser.error(f"{given.study}: makes no phantom")
    print(machine())
    root = default_root() / "datasets" / "phantom" / hospitals.digest(study.data.phantom, study.seed)
    hospitals.write(study.data.phantom, study.seed, root, WORKERS)
    sides = {"phantom": prepared(root, study, ())}
    if given.real is None:
        print("No real column: --real names no BIDS dataset.")
    else:
        sides["real"] = prepared(given.real, study, given.leave_out)
    given.pictures.mkdir(parents=True, exist_ok=True)
    for side, subjects in sides.items():
        for channel, name in enumerate(MODALITIES):
            picture(subjects, channel, given.pictures / f"{side}-{name}.png")
    table(by_site(sides.get("real", [])), by_site(sides["phantom"]))


if __name__ == "__main__":
    main()
