"""Whether ComBat could be learnt with differential privacy: what noise does to a scanner's mean at places in the brain.

    python benchmarks/bench_private_combat.py [--study NAME] [--data BIDS] [--epsilon E ...] [--repeats N]

A scanner's effect is learnt from its own ten people or so, and every scan that it corrects depends on them all, so that
it would have to be released with noise once, before anything else is learnt. Each person's features, less a centre and
in units that are taken to be public, are one vector that is shortened to a length of 1; the scanner's mean is that of
their sum with the noise of one release. In the table: of the squared distance of scanners' means from the mean of all,
the share that is left after the correction by such a mean. 1 is as if nothing had been corrected, more is worse.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from bench_models import HERE, markdown
from common import machine
from folds import cases_of, prepared

from normfed_client.imaging.template import anatomy, common_grid
from normfed_common.foundation.errors import UserError
from normfed_common.learning.setting import Setting
from normfed_common.privacy.accounting import noise_multiplier
from normfed_common.privacy.mechanisms import SampledGaussian
from normfed_common.privacy.releases import shortened
from normfed_common.studies import load_study
from normfed_common.study.config import StudyConfig
from normfed_common.study.privacy import PrivacyConfig
from normfed_common.transforms.combat.features import Grid, Kind

FEATURES: tuple[tuple[Kind, float], ...] = (
    ("places", 8),
    ("places", 16),
    ("places", 32),
    ("places", 64),
    ("regions", 64),
)


def features_of(study: StudyConfig, data: Path | None) -> dict[str, dict[str, np.ndarray]]:
    """By kind of features and site that trains, those of its people (n, p)."""
    size = study.preprocessing.voxel_size_mm
    setting = Setting.of(study, common_grid(size).shape, open_anatomy=partial(anatomy, size))
    train = cases_of(study, prepared(study, data, 1), 1)["train"]
    found: dict[str, dict[str, np.ndarray]] = {}
    for kind, edge_mm in FEATURES:
        grid = Grid(kind, edge_mm, edge_mm / 2, setting)
        found[f"{kind} of {edge_mm:g} mm ({grid.counts.sum()})"] = {
            site: np.array([grid.of(case.scan(), 0, normal=True)[grid.counts] for case in people])
            for site, people in train.items()
            if people
        }
    return found


def left(sites: dict[str, np.ndarray], multiplier: float, rng: np.random.Generator) -> float:
    """The share of the squared distance between scanners that is left; see the module."""
    everybody = np.concatenate(list(sites.values()))
    centre = everybody.mean(0)
    length = float(np.sqrt(((everybody - centre) ** 2).sum(1).mean()))  # of a usual person's vector
    before, after = 0.0, 0.0
    for people in sites.values():
        total = sum(shortened({"x": (one - centre) / length})["x"] for one in people)
        noised = total + multiplier * rng.standard_normal(len(centre))
        mean = people.mean(0)
        before += float(((mean - centre) ** 2).sum())
        after += float(((mean - centre - noised * length / len(people)) ** 2).sum())
    return after / before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="domain-shift", help="of studies/")
    parser.add_argument("--data", type=Path, help="a BIDS dataset, where the study makes none")
    parser.add_argument("--epsilon", type=float, nargs="+", default=[4.0, 16.0])
    parser.add_argument("--repeats", type=int, default=20, help="draws of the noise")
    given = parser.parse_args()
    try:
        study = load_study(HERE.parent / "studies" / f"{given.study}.yaml")
        features = features_of(study, given.data)
    except UserError as error:
        parser.error(str(error))
    delta = PrivacyConfig().delta
    multipliers = [0.0] + [noise_multiplier(one, delta, lambda z: [SampledGaussian(z)]) for one in given.epsilon]
    print(machine())
    rows = []
    for name, sites in features.items():
        rng = np.random.default_rng(0)
        shares = [np.mean([left(sites, z, rng) for _ in range(given.repeats if z else 1)]) for z in multipliers]
        rows.append([name, *(f"{share:.2f}" for share in shares)])
    titles = [f"epsilon {one:g} (z {z:.2f})" for one, z in zip(given.epsilon, multipliers[1:], strict=True)]
    print("\n".join(markdown(["features", "shortened alone", *titles], rows)))


if __name__ == "__main__":
    main()
