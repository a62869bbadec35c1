"""What thresholds promise and what they keep, against the same worked out from everybody's scores in one place."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from normfed_common.metrics import histograms
from normfed_common.metrics.tissue import CLASSES
from normfed_common.privacy import disclosure
from normfed_common.study.evaluation import ThresholdBy
from normfed_server.arms.calibration import Calibration, Counts, calibrate

HIGH, SPECIFICITY = 30.0, 0.98
STEP = HIGH / histograms.COARSE_BINS
SHIFT = {"a": 1.0, "b": 1.1, "c": 2.0}  # a scanner that looks like illness
PEOPLE = {"a": 5, "b": 3, "c": 4}
BOTH: tuple[ThresholdBy, ...] = ("whole-brain", "tissue")


def scores() -> dict[str, list[np.ndarray]]:
    """Site to the scores of each class, all its held-out people's together."""
    rng = np.random.default_rng(4)
    return {
        site: [
            np.minimum(shift * rng.gamma(2, 0.5 + number, 800 * PEOPLE[site]), HIGH).astype(np.float32).astype(float)
            for number in range(len(CLASSES))
        ]
        for site, shift in SHIFT.items()
    }


def coarse(parts: list[np.ndarray]) -> np.ndarray:
    return np.stack([histograms.coarse_counts(part, 0.0, HIGH) for part in parts])


def added(counts: Counts) -> np.ndarray:
    found: np.ndarray = np.sum(list(counts.values()), axis=0)
    return found


def calibrated(held_out: Counts, by: ThresholdBy = "tissue", people: Mapping[str, int] = PEOPLE) -> Calibration:
    return calibrate(held_out, people, 0.0, HIGH, SPECIFICITY, by, added, instead=7.5, scans=9)


def classes(parts: list[np.ndarray], by: ThresholdBy) -> list[np.ndarray]:
    return parts if by == "tissue" else [np.concatenate(parts)]


def together(sites: Mapping[str, list[np.ndarray]], by: ThresholdBy) -> list[np.ndarray]:
    return [np.concatenate(parts) for parts in zip(*(classes(of, by) for of in sites.values()), strict=True)]


@pytest.mark.parametrize("by", BOTH)
def test_common_and_own_thresholds_are_quantiles_of_the_scores_within_a_bin(by: ThresholdBy) -> None:
    everybody = scores()
    found = calibrated({site: coarse(parts) for site, parts in everybody.items()}, by)
    told = {"": (found.thresholds, everybody)} | {s: (its.own, {s: everybody[s]}) for s, its in found.sites.items()}
    assert set(told) == {"", *everybody}
    for thresholds, of in told.values():
        exact = [np.quantile(part, SPECIFICITY, method="inverted_cdf") for part in together(of, by)]
        above = np.array(thresholds) - exact
        assert ((above >= 0) & (above <= STEP * (1 + 1e-9))).all()
    assert found.promised == 0.02
    assert found.lacking == ()
    assert found.by_class().shape == (len(CLASSES),)


@pytest.mark.parametrize("by", BOTH)
def test_false_positives_at_a_site_are_those_of_the_threshold_that_all_others_scores_give(by: ThresholdBy) -> None:
    everybody = scores()
    found = calibrated({site: coarse(parts) for site, parts in everybody.items()}, by)
    for site, its in found.sites.items():
        others = together({other: parts for other, parts in everybody.items() if other != site}, by)
        levels = [np.quantile(part, SPECIFICITY, method="inverted_cdf") for part in others]
        own = classes(everybody[site], by)
        exact = sum((part >= level).sum() for part, level in zip(own, levels, strict=True))
        within_a_bin = sum(
            ((part >= level) & (part < level + 2 * STEP)).sum() for part, level in zip(own, levels, strict=True)
        )
        assert its.above_others is not None
        assert its.others is not None
        low, high = its.above_others
        assert low == sum((part >= level).sum() for part, level in zip(own, its.others, strict=True))
        assert exact - within_a_bin <= low <= exact
        assert high - low <= len(own) * 10  # what stands in one bin
        assert its.voxels == sum(map(len, own))
        assert its.people == PEOPLE[site]
        used = sum((part >= level).sum() for part, level in zip(own, found.thresholds, strict=True))
        assert its.above[0] == used
    rates = {site: its.above_others[0] / its.voxels for site, its in found.sites.items() if its.above_others}
    assert rates["a"] < 0.02 < 0.08 < rates["c"]


def test_what_merged_bins_leave_open_holds_the_exact_count() -> None:
    everybody = scores()
    rng = np.random.default_rng(1)
    told = {}
    for site, parts in everybody.items():
        rows = []
        for part in parts:
            present = np.zeros((6, histograms.COARSE_BINS), bool)
            owner = rng.integers(6, size=len(part))
            for person in range(6):
                present[person] = histograms.coarse_counts(part[owner == person], 0.0, HIGH) > 0
            rows.append(disclosure.merged_bins(histograms.coarse_counts(part, 0.0, HIGH), present, 4))
        told[site] = np.stack(rows)
    found = calibrated(told)
    for site, its in found.sites.items():
        assert its.others is not None
        assert its.above_others is not None
        exact = sum((part >= level).sum() for part, level in zip(everybody[site], its.others, strict=True))
        assert its.above_others[0] <= exact <= its.above_others[1]
        assert 0 < its.above_others[1] - its.above_others[0] < 0.01 * its.voxels


def test_with_one_site_nothing_is_measured_on_others() -> None:
    (its,) = calibrated({"a": coarse(scores()["a"]), "b": coarse(scores()["b"]) * 0}).sites.values()
    assert (its.others, its.above_others) == (None, None)
    assert its.own


@pytest.mark.parametrize("by", BOTH)
def test_where_nobody_is_held_out_every_class_has_the_threshold_that_there_is(by: ThresholdBy) -> None:
    nobody = np.zeros((len(CLASSES), histograms.COARSE_BINS), np.int64)
    found = calibrated({"a": nobody, "b": nobody}, by)
    assert found.by_class().tolist() == [7.5] * len(CLASSES)
    assert found.sites == {}
    assert found.lacking == (CLASSES if by == "tissue" else ())


def test_a_class_in_which_no_site_has_people_enough_has_the_whole_brain_s_threshold_and_is_named() -> None:
    everybody = {site: [*parts[:3], parts[3][:0]] for site, parts in scores().items()}
    held_out = {site: coarse(parts) for site, parts in everybody.items()}
    found = calibrated(held_out)
    assert found.lacking == (CLASSES[3],)
    assert found.thresholds[3] == calibrated(held_out, "whole-brain").thresholds[0]


def test_no_site_has_more_than_its_share_of_a_class_however_it_spreads_its_voxels() -> None:
    """c puts all that it has into one class, and would decide there alone."""
    held_out = {site: coarse(scores()[site]) for site in "ab"}
    held_out["c"] = np.zeros_like(held_out["a"])
    held_out["c"][3, -2] = 10**7

    def alike(counts: Counts) -> np.ndarray:
        found: np.ndarray = np.sum([row / max(row.sum(), 1) for row in counts.values()], axis=0)
        return found

    found = calibrate(held_out, PEOPLE, 0.0, HIGH, 0.6, "tissue", alike, 7.5, 9)
    assert found.thresholds[3] < HIGH / 2
    assert calibrate(held_out, PEOPLE, 0.0, HIGH, 0.6, "tissue", added, 7.5, 9).thresholds[3] > HIGH - 1


def test_it_is_read_as_it_was_written() -> None:
    found = calibrated({site: coarse(parts) for site, parts in scores().items()})
    assert Calibration.model_validate_json(found.model_dump_json()) == found
