"""What lesions in the training people of a mean-and-spread atlas cost: its average precision on patients.

    python benchmarks/bench_contamination_cost.py --data BIDS --cache DIR [--repeats N] [--out FILE]

None, one, two or four of twenty of one site's healthy people get the lesions of a patient, as in
`bench_contamination.py`. Scans are prepared, or found prepared, at 2 mm in --cache.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from bench_models import markdown, told
from common import machine
from quality_cohorts import Person, arguments, people, plain_atlas, rescaled, same, show, with_lesions
from sklearn.metrics import average_precision_score

from normfed_client.imaging.bids import read_dataset
from normfed_client.imaging.template import anatomy
from normfed_client.quality.atlas import RobustAtlas, robust_atlas, tissue_of


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
                atlas = robust_atlas([partial(same, scan) for scan in scans], tissue, -1)
                plain = plain_atlas(atlas, scans)
                ap = float(np.mean([_ap(plain, p, tissue) for p in tested]))
                clean = ap if not count else clean
                told(f"{site}, {count} with lesions: AP {ap:.3f} ({ap - clean:+.3f})")
                yield site, count, ap, ap - clean


def _ap(atlas: RobustAtlas, person: Person, tissue: np.ndarray) -> float:
    found = atlas.map(rescaled(person, tissue))
    where = person.mask & atlas.tissue
    return float(average_precision_score(person.lesion[where], found[where]))


def cost_table(costs: Sequence[tuple[str, int, float, float]]) -> list[str]:
    """A line per site and number of people with lesions."""
    lines = []
    for site, count in dict.fromkeys(row[:2] for row in costs):
        some = [row for row in costs if row[:2] == (site, count)]
        mean, less = np.mean([row[2] for row in some]), np.array([row[3] for row in some])
        lines.append([site, str(count), f"{mean:.3f}", f"{less.mean():+.3f} ({less.min():+.3f} to {less.max():+.3f})"])
    return markdown(["site", "with lesions", "AP", "less clean (least to most)"], lines)


def main() -> None:
    given, begun = arguments(__doc__).parse_args(), time.perf_counter()
    print(machine())
    found = list(cost(list(people(read_dataset(given.data), given.cache, "T1w")), given.sites, given.repeats))
    show(cost_table(found), begun, found, given.out)


if __name__ == "__main__":
    main()
