"""Sites' own models at every site, and how far each is from chance there."""

from __future__ import annotations

import pytest
from compared import model
from run_results import run_results

from normfed_server.results.matrix import matrix

MEANS = {"auprc": {"b": {"a": 0.3, "b": 0.008}, "a": {"a": 0.5}}}


def test_every_site_has_the_colour_of_its_own_chance() -> None:
    """Over all patients chance is above 0.008, at b it is below."""
    found = matrix(run_results(matrix=MEANS, lesion_share={"all": 0.1, "sites": {"a": 0.4, "b": 0.001}}), "auprc")
    assert found is not None
    assert (found.tests, list(found.rows), found.own) == (["a", "b"], ["b", "a"], 2)
    assert found.coloured == [[pytest.approx(-0.25), pytest.approx(0.007 / 0.999)], [pytest.approx(1 / 6), None]]
    assert found.reach == pytest.approx(0.25)


def test_where_no_chance_is_known_the_means_themselves_are_the_colours() -> None:
    found = matrix(run_results(matrix=MEANS), "auprc")
    assert found is not None
    assert not found.beside_chance
    assert found.coloured == [[0.3, 0.008], [0.5, None]]


def test_models_of_all_sites_stand_below_and_without_own_ones_there_is_no_matrix() -> None:
    results = run_results(matrix={"auroc": {"a": {"a": 0.7}}}, evaluation={"federated": model(0.9)})
    found = matrix(results, "auroc")
    assert found is not None
    assert dict(found.rows) == {"a": [0.7], "federated": [0.9]}
    assert matrix(results, "auprc") is None
