"""What a consortium is told of its cohorts, from figures that are made up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.bounded import PEOPLE
from normfed_common.statistics.tables import tables
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_common.wording.terminal_text import plain
from normfed_server.arms.cohorts import Cohorts
from normfed_server.report.cohort_words import rows, terminal_table
from normfed_server.results.cohort_warnings import apart, warnings
from normfed_server.results.cohorts import Statistics, assemble
from normfed_server.sites.description import SiteDescription

STUDY = resolve({"name": "s", "data": {"modalities": ["T1w", "FLAIR"]}, "model": {"name": "atlas"}}, "test")
USUAL: dict[str, dict[tuple[int, int], float]] = {
    "role": {(0, 0): 10, (2, 2): 10},
    "group": {(0, 0): 12, (1, 1): 8},
    "age-F": {(3, 5): 10},
    "age-M": {(4, 6): 10},
    "registration": {(6, 6): 20},
    "voxel-T1w": {(2, 2): 20},
    "voxel-FLAIR": {(5, 5): 20},
    "intensity-T1w": {(8, 15): 20},
    "intensity-FLAIR": {(8, 15): 20},
}


def site(people: int = 20, **changes: dict[tuple[int, int], float]) -> Arrays:
    told = USUAL | {name.replace("_", "-"): cells for name, cells in changes.items()}
    found: Arrays = {PEOPLE: np.asarray(float(people))}
    for table in tables(STUDY):
        found[table.name] = np.zeros((len(table.bins),) * 2)
        for place, count in told.get(table.name, {}).items():
            found[table.name][place] = count
    return found


def figures(sites: dict[str, Arrays], missed: dict[str, str] | None = None, **changes: Any) -> Statistics:
    merged = {name: sum((arrays[name] for arrays in sites.values()), np.zeros(())) for name in site()}
    described = {name: SiteDescription(10, 0, 10, ("WMH",)) for name in sites}
    found = assemble(STUDY, Cohorts(sites, {n: np.asarray(a) for n, a in merged.items()}, missed or {}), described)
    return found.model_copy(update=changes)


def said(study: StudyConfig = STUDY, **sites: Arrays) -> str:
    return "\n".join(warnings(figures(sites), study))


def test_alike_sites_are_told_nothing() -> None:
    assert said(a=site(), b=site()) == ""


def test_people_of_too_few_of_a_role_who_are_in_no_figure_are_told_of() -> None:
    described = {
        "a": SiteDescription(10, -1, 10, ()),
        "b": SiteDescription(10, 0, -1, ()),
        "pooled": SiteDescription(-1, 0, 0, ()),
    }
    told = warnings(figures({"a": site(), "b": site()}), STUDY, described)
    assert told == (
        "In no figure, as they are fewer than 3 (federation.minimum_cohort, or the site's own minimum): "
        "people held out at a, to test on at b.",
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"age_F": {(7, 8): 10}, "age_M": {(7, 8): 10}},
            "Ages do not overlap: a has people of 30 to 70 years, b",
        ),
        ({"group": {(1, 1): 20}}, "No healthy people: b."),
        (
            {"group": {(0, 0): 7, (1, 1): 13}},
            "ComBat, which needs about 10 of a scanner: b (7).",
        ),
        ({"voxel_FLAIR": {(9, 9): 20}}, "No FLAIR at all: b."),
        ({"voxel_FLAIR": {(5, 5): 10, (9, 9): 10}}, "People without FLAIR: b (10)."),
        ({"intensity_FLAIR": {(16, 23): 20}}, "FLAIR of b lies apart"),
        ({"age_F": {(10, 10): 10}, "age_M": {(4, 6): 10, (10, 10): 5}}, "Most people's ages are not known: b."),
        ({"registration": {(4, 4): 15, (6, 6): 5}}, "less than 0.85 after registration: b (15) people"),
        ({"raw_T1w": {(0, 0): 5, (31, 34): 15}}, "Files of T1w whose brain is at next to 0 or less in many voxels: b."),
        ({"vendor": {(0, 0): 10, (2, 2): 10}}, "Scanners of several makers: b."),
    ],
)
def test_each_thing_to_know_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    assert sentence in said(a=site(), b=site(**changes))


def test_group_that_goes_with_site_is_noticed() -> None:
    assert "Group goes with site: a have healthy people only, b patients only" in said(
        a=site(group={(0, 0): 20}), b=site(group={(1, 1): 20})
    )


def test_what_is_told_of_several_bins_together_is_taken_for_none_of_them() -> None:
    """Nobody knows whether there is anybody without FLAIR, or without a diagnosis."""
    assert said(a=site(), b=site(group={(0, 1): 20}, voxel_FLAIR={(5, 9): 20})) == ""


def test_many_sites_whose_ages_do_not_overlap_are_told_in_one_sentence() -> None:
    young, old = site(), site(age_F={(7, 8): 10}, age_M={(7, 8): 10})
    told = said(a=young, b=young, c=old, d=old)
    assert "Ages do not overlap: a, b have people of 30 to 70 years, c, d of 70 to 90." in told
    assert told.count("overlap") == 1


def test_histograms_of_few_people_under_noise_are_not_held_against_each_other() -> None:
    noisy = {"a": site(), "b": site(intensity_T1w={(16, 23): 20})}
    assert any("lies apart" in text for text in warnings(figures(noisy, noise=(0.4, 0.6)), STUDY))
    assert not any("lies apart" in text for text in warnings(figures(noisy, noise=(1.0, 1.4)), STUDY))


def test_noise_is_taken_for_nobody() -> None:
    noisy = {"b": site(vendor={(0, 0): 17, (2, 2): 3}), "a": site()}
    assert any("several makers" in text for text in warnings(figures(noisy), STUDY))
    assert not any("several makers" in text for text in warnings(figures(noisy, noise=(2.0, 3.0)), STUDY))


def test_sites_that_refused_come_first_with_the_reason() -> None:
    found = warnings(figures({"a": site()}, {"c": "has fewer subjects than its minimum cohort"}), STUDY)
    assert found[0] == "Not in the figures: c: has fewer subjects than its minimum cohort."


@pytest.mark.parametrize("shift", [1, 4])
def test_two_histograms_that_are_shifted_lie_so_many_quartile_ranges_apart(shift: int) -> None:
    curve = np.zeros(32)
    curve[8:16] = 1
    assert apart(np.roll(curve, shift), curve) == pytest.approx(shift / 4, rel=0.05)


def test_a_site_with_too_few_people_has_a_row_without_a_number() -> None:
    few = rows(figures({"a": site()}, {"c": "too few"}, too_few=("c",), minimum=10))[1]
    assert (few.site, few.people, few.healthy) == ("c", "<10*", "–")


def test_a_row_says_what_is_told_and_that_something_is_not() -> None:
    found = figures({"a": site(), "b": site(group={(0, 1): 20}, age_F={}, age_M={}, age_unknown={(3, 6): 20})})
    a, b, every = rows(found)
    assert (a.healthy, a.patients, a.ages, a.women, a.lacking) == ("12", "8", "30–69", "50%", "none")
    assert (b.healthy, b.patients, b.ages, b.women) == ("0–20", "0–20", "30–69", "not told")
    assert (every.people, every.healthy, every.women) == ("40", "12–32", "50% of 20")
    assert plain(str(terminal_table(found).title)) == "Cohorts of s"


def test_the_ages_of_a_site_are_held_against_its_own_noise_and_not_that_of_all_sites_together() -> None:
    few = site(age_F={(3, 5): 7}, age_M={})
    one, _, every = rows(figures({"a": few, "b": few}, noise=(2.0, 5.0)))
    assert (one.ages, every.ages) == ("30–59", "–")
