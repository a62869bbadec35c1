"""The best and the worst site: what a mean over all patients hides."""

from __future__ import annotations

from typing import Any

import pytest
from compared import metrics, model
from run_results import run_results

from normfed_server.report.headline import headline
from normfed_server.report.sites_apart import sites_apart


def at(**sites: tuple[float, float, int]) -> dict[str, Any]:
    """Site to its AUROC, average precision and patients."""
    found = metrics()
    found["evaluation"]["federated"]["sites"] = {site: model(*figures)["all"] for site, figures in sites.items()}
    return found


@pytest.mark.parametrize(
    ("sites", "expected"),
    [
        (
            {"a": (0.9, 0.2, 9), "b": (0.8, 0.004, 2), "c": (0.7, 0.1, 1)},
            "From site to site average precision goes from 0.004 at b (2 patients; chance 0.00031) to 0.200 at a "
            "(chance 0.050); AUROC is least at c (0.700).",
        ),
        (
            {"a": (0.9, 0.2, 9), "b": (0.8, 0.1, 1)},
            "From site to site average precision goes from 0.100 at b (1 patient; chance 0.00031) to 0.200 at a "
            "(chance 0.050); AUROC is least at b too (0.800).",
        ),
    ],
)
def test_the_ends_are_named_with_what_they_must_be_read_with(
    sites: dict[str, tuple[float, float, int]], expected: str
) -> None:
    found = run_results(**at(**sites), lesion_share={"all": 0.03, "sites": {"a": 0.05, "b": 0.00031}})
    assert sites_apart(found) == [expected]
    assert headline(found)[2] == expected


def test_chance_is_left_out_where_it_is_not_known() -> None:
    (said,) = sites_apart(run_results(**at(a=(0.9, 0.2, 9), b=(0.8, 0.1, 9))))
    assert "goes from 0.100 at b to 0.200 at a;" in said


def test_a_single_site_is_not_apart_from_itself_nor_one_that_says_nothing() -> None:
    assert sites_apart(run_results(**at(a=(0.9, 0.2, 9)))) == []
    found = at(a=(0.9, 0.2, 9), b=(0.8, 0.1, 9))
    found["evaluation"]["federated"]["sites"]["b"]["auprc"]["mean"] = None
    assert sites_apart(run_results(**found)) == []
