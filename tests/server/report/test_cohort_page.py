"""What the cohorts' page shows of figures that are made up: of 3, 8 and 23 sites, with merged bins, and with noise."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.bounded import PEOPLE
from normfed_common.statistics.tables import tables
from normfed_common.studies import resolve
from normfed_server.arms.cohorts import Cohorts
from normfed_server.report.cohort_figures import in_noise, plots, pyramids, rows_of_sites, without_ages
from normfed_server.report.cohort_grids import SAID, Box, grid, quantiles, scales, sections, unsaid
from normfed_server.report.cohort_words import rows
from normfed_server.results.cohorts import Cell, Statistics, assemble
from normfed_server.sites.description import SiteDescription

STUDY = resolve({"name": "s", "data": {"modalities": ["T1w"]}, "model": {"name": "atlas"}}, "test")
USUAL: dict[str, dict[tuple[int, int], float]] = {
    "group": {(0, 0): 12, (1, 1): 8},
    "age-F": {(3, 5): 12},
    "age-M": {(4, 4): 8},
    "registration": {(6, 6): 20},
    "vendor": {(7, 7): 20},
    "field": {(6, 6): 20},
    "raw-T1w": {(31, 34): 20},
    "intensity-T1w": {(8, 15): 20},
}


def site(people: int = 20, **changes: dict[tuple[int, int], float]) -> Arrays:
    found: Arrays = {PEOPLE: np.asarray(float(people))}
    for table in tables(STUDY):
        found[table.name] = np.zeros((len(table.bins),) * 2)
        for place, count in (USUAL | {n.replace("_", "-"): c for n, c in changes.items()}).get(table.name, {}).items():
            found[table.name][place] = count
    return found


def figures(sites: dict[str, Arrays], **changes: Any) -> Statistics:
    merged = {name: np.asarray(sum(arrays[name] for arrays in sites.values())) for name in site()}
    described = {name: SiteDescription(10, 0, 10, ()) for name in sites}
    return assemble(STUDY, Cohorts(sites, merged, {}), described).model_copy(update={"minimum": 10, **changes})


@pytest.mark.parametrize("count", [3, 8, 23])
def test_every_site_has_a_row_with_its_name_before_all_sites_together(count: int) -> None:
    found = figures({f"site-{number:02d}": site() for number in range(count)})
    plot = rows_of_sites(found, "raw-T1w")
    assert plot.count('"name":"all sites"') == count
    assert re.findall(r"site-\d\d \(20\)", plot) == [f"site-{number:02d} (20)" for number in range(count)]


def test_men_are_on_the_left_and_nobody_is_counted_below_zero() -> None:
    ((name, plot),) = pyramids(figures({"a": site()}))
    assert name == "a (20)"
    assert '"ticktext":["8","0","8"]' in plot


def test_sites_without_ages_are_named_and_not_drawn() -> None:
    found = figures({"a": site(), "b": site(age_F={(10, 10): 12}, age_M={(10, 10): 8})})
    assert without_ages(found) == ["b"]
    assert len(pyramids(found)) == 1


def test_what_no_site_knows_of_its_scanners_is_left_out_and_said() -> None:
    found = figures({"a": site(), "b": site()})
    assert "Scanners" not in sections(found)
    assert {"maker of the scanner", "field of the scanner"} <= set(unsaid(found))
    told = figures({"a": site(vendor={(0, 0): 20})})
    assert [of.title for of in sections(told)["Scanners"]] == ["maker of the scanner"]


def test_a_number_of_several_bins_stands_across_them_and_says_that_part_is_below_the_minimum() -> None:
    found = figures({"a": site(registration={(4, 5): 14, (7, 7): 10}), "b": site(registration={(6, 6): 20})})
    table = grid(found, "registration")
    assert [name.removeprefix("overlap ") for name in table.columns][:2] == ["0.8 to 0.85", "0.85 to 0.9"]
    a, b, every = (boxes for _, boxes in table.rows)
    assert [(box.text, box.wide) for box in a] == [("14, part <10*", 2), ("0", 1), ("10", 1)]
    assert [(box.text, box.wide) for box in b] == [("0", 1), ("0", 1), ("20", 1), ("0", 1)]
    assert [(box.text, box.wide) for box in every] == [("14, part <10*", 2), ("20", 1), ("10", 1)]


def test_all_sites_together_do_not_add_up_what_two_sites_tell_of_different_bins() -> None:
    table = grid(figures({"a": site(visits={(0, 2): 20}), "b": site(visits={(2, 3): 20})}), "visits")
    assert table.rows[-1][1] == (Box("40, part <10*", 3, 1.0),)


def test_few_who_lack_a_scan_are_below_the_minimum_and_two_groups_together_a_range() -> None:
    row = rows(figures({"a": site(group={(0, 1): 20}, voxel_T1w={(5, 9): 20})}))[0]
    assert (row.healthy, row.patients, row.lacking) == ("0–20", "0–20", "T1w <10*")


def test_numbers_of_a_scanner_are_read_off_on_a_logarithmic_scale() -> None:
    found = figures({"a": site(raw_T1w={(31, 40): 10, (41, 50): 10})})
    words = found.tables["raw-T1w"]
    low, middle, high = quantiles(words, found.sites["a"].tables["raw-T1w"])
    assert (low, middle, high) == pytest.approx((10**2.1, 1000, 10**3.9), rel=0.02)
    assert quantiles(words, (Cell(first=0, last=0, what="", people=5),))[1] < 0.1
    assert scales(found)[0].rows[0][1][1].text == "1,000"


@pytest.mark.parametrize("cells", [{33: 20}, {33: 4, 60: 16}, {3: 2, 12: 7, 40: 8, 68: 3}], ids=str)
def test_numbers_of_a_scanner_are_the_quantiles_of_values_that_are_even_within_bins(cells: dict[int, float]) -> None:
    """Bins that nobody is in hold none of them, wherever they are."""
    found = figures({"a": site(raw_T1w={(place, place): count for place, count in cells.items()})})
    words = found.tables["raw-T1w"]
    parts = [np.geomspace(*words.edges[place : place + 2], int(2000 * count)) for place, count in cells.items()]
    expected = np.quantile(np.concatenate(parts), SAID)
    assert quantiles(words, found.sites["a"].tables["raw-T1w"]) == pytest.approx(expected, rel=0.005)


def test_with_noise_counts_say_by_how_much_they_may_be_wrong_and_few_people_are_not_drawn() -> None:
    found = figures({"a": site(), "b": site(people=7)}, noise=(2.5, 3.5), epsilon=8.0)
    assert rows(found)[0].healthy == "12 ± 5"
    assert grid(found, "registration").rows[0][1] == (Box("20 ± 5", 1, 1.0),)
    assert in_noise(found) == ["b"]
    assert all('"name":"b"' not in plot for of in plots(found).values() for _, plot in of)
    assert scales(found) == []
