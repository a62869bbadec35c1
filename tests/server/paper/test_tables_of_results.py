"""What stands in the tables of results and below them, without a file being written."""

from __future__ import annotations

from typing import Any

import pytest
from compared import GAIN, difference, metrics, model, row
from run_results import run_results

from normfed_common.metrics.subjects import PairedTest
from normfed_server.paper.latex import Table
from normfed_server.paper.tables import tables


def made(n: int = 20, **said: Any) -> dict[str, Table]:
    """The tables of a run that tests at a and b, by name."""
    found = metrics(local=difference(0.1, 0.05, 0.15, n))
    for name in found["evaluation"]:
        at_site = model(0.9)["all"]
        found["evaluation"][name] = {**model(0.9, n=n), "sites": {"a": at_site, "b": at_site}}
    league = [row("federated", 0.4, GAIN), row("local", 0.3, None)]
    return {table.name: table for table in tables(run_results(**{**found, "league": league, **said}))}


def test_no_interval_is_printed_over_fewer_than_six_patients() -> None:
    for n, intervals in ((5, 0), (6, 2)):
        found = made(n)
        federated = next(cells for cells in found["models"].rows if cells[0] == "federated")
        printed = [cell for cells in found["gains"].rows for cell in cells if "[" in cell]
        assert [sum("[" in cell for cell in federated), len(printed)] == [intervals, intervals]


def simulated(p: float, n: int) -> dict[str, Table]:
    """The same of a simulation, in which the federated model is 0.1 above each site alone with this corrected p."""
    found = metrics(local=difference(0.1, 0.05, 0.15, n))
    found["evaluation"] = {name: model(0.9, n=n) for name in found["evaluation"]}
    found["evaluation"]["federated"]["sites"] = {"a": model(0.9, 0.8)["all"]}
    results = run_results(**found).tested({name: {"local": PairedTest(p, 1)} for name in ("auroc", "auprc")})
    return {table.name: table for table in tables(results)}


@pytest.mark.parametrize(
    ("p", "n", "printed", "verdict"),
    [
        (0.0625, 20, "0.062", "tied"),  # although the interval is clear of zero
        (0.0105, 20, "0.011", "better"),
        (0.0002, 20, "$<$0.001", "better"),
        (0.0105, 5, "0.011", "too few"),
    ],
)
def test_a_gain_has_how_many_patients_it_is_over_the_corrected_p_and_the_report_s_verdict(
    p: float, n: int, printed: str, verdict: str
) -> None:
    table = simulated(p, n)["gains"]
    ends = "" if n < 6 else " [0.050, 0.150]"
    assert table.rows == [
        ["each site alone", title, str(n), f"$+$0.100{ends}", printed, verdict]
        for title in ("average precision", "AUROC")
    ]
    assert list(table.columns)[2:] == ["$n$", "difference", "$p$", "federated is"]


def test_without_single_patients_there_is_no_p_and_the_interval_decides() -> None:
    assert [cells[4:] for cells in made()["gains"].rows] == [["--", "better"]] * 2


def test_at_sites_nothing_is_bold_where_models_were_tested_over_all_patients_alone() -> None:
    """There an average precision of 0.8 is beside 0.2, and no test says anything of these patients."""
    table = simulated(0.01, 20)["sites-auprc"]
    assert not any("textbf" in cell for cells in table.rows for cell in cells)
    assert "Nothing is bold" in table.caption
    assert "Bold: surely better" in made()["sites-auprc"].caption


def test_chance_is_never_zero_where_lesions_are_small() -> None:
    found = made(lesion_share={"all": 0.00042, "sites": {"a": 0.00003, "b": 0.25}})
    assert found["models"].rows[0] == ["chance", "0.500", "0.00042"]
    assert [row[-1] for row in found["sites-auprc"].rows] == ["0.00003", "0.250"]


def test_the_worst_site_of_every_model_and_what_a_round_costs() -> None:
    found = made()
    assert found["worst-sites"].rows == [[name, "0.100 (b)", "0.800 (b)"] for name in ("federated", "each site alone")]
    assert [cells[0] for cells in found["costs"].rows] == ["federated", "local"]
    assert all(len(cells) == 3 for cells in found["costs"].rows)


def test_what_stands_for_a_site_that_trains_nothing_is_said_below_the_tables_that_have_it() -> None:
    said = "the mean over the other sites' own models stands for its own"
    with_it = {name for name, table in made(trained=["a", "c"]).items() if said in table.caption}
    assert with_it == {"models", "gains", "sites-auroc", "sites-auprc", "league-auroc", "league-auprc"}
    for trained in (["a", "b"], []):  # of older runs nobody knows
        assert not any(said in table.caption for table in made(trained=trained).values())
