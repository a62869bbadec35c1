"""What an unlike modality beside the main one costs a matched filter, and whether it is noticed.

    python benchmarks/bench_unlike.py --data BIDS [--study NAME ...] [--models LABEL ...] [--sites SITE ...]

Sites that the model has not seen are scored as they are, and with their T1 inverted, its histogram made even, its
contrast bent, or smoothed; each with `unlike` as the model has it, and with nothing checked. Of each site: how many
scans had the T1 left out, in what share of the brain it is unlike, FLAIR too, and the mean average precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from bench_models import arguments, chosen, entries, markdown, studies_of
from common import machine
from folds import Fold, cases_of, folds, prepared
from scipy.stats import rankdata
from transfer import Entry, Federation

from normfed_client.evaluating import maps
from normfed_client.hospital.machine import computing
from normfed_client.hospital.site import Case
from normfed_common.foundation.errors import UserError
from normfed_common.learning.cohort import Scan, Visits
from normfed_common.metrics.base import ScoredScan
from normfed_common.metrics.catalogue import METRICS
from normfed_common.models.combined.pipeline import Pipeline
from normfed_common.models.matched_filter import MatchedFilter
from normfed_common.models.voxelwise.intensities import smoothed_inside
from normfed_common.study.config import StudyConfig

ALTERED, MAIN = "T1w", "FLAIR"
SMOOTHING_VOXELS = 1.5
Values = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of the volume and its mask, the new values in the mask
HOW: Mapping[str, Values] = {
    "as it is": lambda volume, mask: volume[mask],
    "inverted": lambda volume, mask: -volume[mask],
    "histogram even": lambda volume, mask: rankdata(volume[mask]),
    "square root": lambda volume, mask: np.sqrt(volume[mask] - volume[mask].min()),
    "smoothed": lambda volume, mask: smoothed_inside(volume, mask, SMOOTHING_VOXELS)[mask],
}


def altered(scan: Scan, channel: int, how: Values) -> Scan:
    """The scan with another modality in the place of one."""
    images = scan.images.copy()
    images[channel][scan.mask] = how(images[channel], scan.mask)
    return replace(scan, images=images)


def filter_of(model: Any) -> MatchedFilter:
    """The matched filter behind a study's post-processing."""
    inner = model.model if isinstance(model, Pipeline) else model
    if not isinstance(inner, MatchedFilter):
        raise UserError(f"{type(inner).__name__} does not tell what is unlike. Take a matched-filter.")
    return inner


def rows(study: StudyConfig, entry: Entry, fold: Fold) -> Iterator[list[str]]:
    """A line of the table for every site of a fold and every alteration."""
    federation = Federation(study, entry, fold, study.seed, {})
    arrays = federation.learn().arrays
    unchecked = entry.model_copy(update={"model": {**entry.model, "unlike": 1.0}})
    channel = study.data.modalities.index(ALTERED)
    for site, people in fold.scored.items():
        model = federation.served(arrays, site)
        bare = Federation(study, unchecked, fold, study.seed, {}).served(arrays, site)
        for name, how in HOW.items():
            scans = [altered(case.scan(), channel, how) for case in people]
            shares = [_shares(filter_of(model), scan) for scan in scans]
            left_out, checked = _scored(model, people, scans)
            _, plain = _scored(bare, people, scans)
            reach = [f"{min(values):.0%} to {max(values):.0%}" for values in zip(*shares, strict=True)]
            yield [name, site, f"{left_out} of {len(scans)}", *reach, f"{checked:.3f}", f"{plain:.3f}"]


def _shares(model: MatchedFilter, scan: Scan) -> list[float]:
    found = model.unlike(scan, model.units_of(scan), np.flatnonzero(scan.mask))
    return [found[name] for name in (ALTERED, MAIN)]


def _scored(model: Any, people: list[Case], scans: list[Scan]) -> tuple[int, float]:
    """How many scans had the modality left out, and the mean average precision."""
    left_out, precisions = 0, []
    for case, scan in zip(people, scans, strict=True):
        found = maps.score(model, Visits([lambda scan=scan: scan]), case.visit.name)  # type: ignore[misc]
        left_out += any(remark.startswith(ALTERED) for remark in found.remarks)
        scored = ScoredScan(found.anomaly, case.entry.lesion() & scan.mask, scan.mask, model.setting.voxel_size_mm, 0.0)
        precisions.append(METRICS["auprc"](scored))
    return left_out, float(np.nanmean(precisions))


def main() -> None:
    parser = arguments(str(__doc__), ("real-brains",), ("matched-filter learnt noise edge grey",))
    given = parser.parse_args()
    head = ["T1", "site", "left out", "T1 unlike in", "FLAIR unlike in", "AP", "AP, nothing checked"]
    try:
        models = [entry for entry in chosen(entries(given.list), given.models, slow=False) if not entry.baseline]
        print(machine())
        for study in studies_of(given):
            if not {ALTERED, MAIN} <= set(study.data.modalities):
                print(f"\nNo {study.name}: it lacks {ALTERED} or {MAIN}.")
                continue
            plan = folds(study, cases_of(study, prepared(study, given.data, given.workers), given.workers))
            for entry in models:
                with computing(study, torch.device("cpu")):
                    lines = [line for fold in plan for line in rows(study, entry, fold)]
                print("\n".join([f"\n### {study.name}: {entry.label}", "", *markdown(head, lines)]), flush=True)
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
