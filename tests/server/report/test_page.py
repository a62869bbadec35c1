"""What the report says of the figures, and what it must not say."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from compared import GAIN, calibration, difference, metrics, row, unseen
from run_results import history, run_results

from normfed_common.foundation.errors import RunError
from normfed_common.metrics.catalogue import BUILT_IN
from normfed_common.metrics.subjects import PairedTest
from normfed_common.study.config import StudyConfig
from normfed_common.study.data import LesionKind
from normfed_server.report import page
from normfed_server.report.ages import Ages
from normfed_server.report.page import write_report
from normfed_server.results import layout
from normfed_server.runs import folder as runs


@pytest.fixture
def written(study: StudyConfig, tmp_path: Path) -> Callable[..., str]:
    """The report of these figures, without the library that draws."""

    def write(
        found: dict[str, Any], patients: page.Patients = page.Patients(), tests: dict[str, Any] | None = None
    ) -> str:
        run = runs.begin(study, tmp_path)
        layout.write(run.folder, run_results(**found))
        path = write_report(run, patients, None if tests is None else run_results(**found).tested(tests))
        assert path == run.folder / "report.html"
        return re.sub(r"<script.*?</script>", "", path.read_text(), flags=re.DOTALL)

    return write


def test_a_run_that_is_not_finished_has_no_report(study: StudyConfig, tmp_path: Path) -> None:
    run = runs.begin(study, tmp_path)
    with pytest.raises(RunError, match="not finished, so there is nothing to report"):
        write_report(run)
    assert not (run.folder / "report.html").exists()


def test_the_page_says_its_findings_and_warnings_and_hides_small_counts(written: Callable[..., str]) -> None:
    found = metrics(local=difference(0.1, -0.05, 0.25))
    found["left_out"] = {"c": "takes no part: nobody"}
    text = written(found, page.Patients(attacks={"a": "scale"}), {"auroc": {"local": PairedTest(0.0004, 1)}})
    assert "not distinguishable from each site training alone" in text
    assert "better than" not in text
    assert "Partial: c takes no part: nobody." in text
    assert "Malicious by order: a (scale)." in text
    assert "each site alone p &lt; 0.001" in text
    assert "<td>9</td><td>2</td><td>&lt; 2</td>" in text


def test_the_words_of_the_tables_are_explained(written: Callable[..., str]) -> None:
    text = written(metrics())
    glossary = text[text.index('<h2 id="glossary">') : text.index("</dl>")]
    kinds = {kind for kind in get_args(LesionKind) if kind.isupper()}
    in_tables = {metric.title for metric in layout.described(BUILT_IN).values()} | kinds
    assert [word for word in in_tables if word.split(" (")[0].split(" at ")[0] not in glossary] == []


def test_chance_stands_below_the_models_where_a_metric_has_one(written: Callable[..., str]) -> None:
    found = metrics() | {"lesion_share": {"all": 0.03, "sites": {"a": 0.05}}}
    rows = [re.sub(r"<.*?>", " ", row).split() for row in re.findall(r'<tr class="chance">.*?</tr>', written(found))]
    assert rows[0] == ["chance", "0.500", "0.030"]  # AUROC, average precision
    assert ["chance", "0.050"] in rows  # average precision at site a


def test_what_thresholds_promise_and_keep_is_a_table_with_everything_that_must_be_known_beside_it(
    written: Callable[..., str],
) -> None:
    found = metrics(atlas=None)
    found["evaluation"]["federated"] |= {"merged": {}, "calibration": calibration(0.071, 0.05, a=3, b=4)}
    found["evaluation"]["atlas"] |= {"merged": {}, "calibration": calibration(None, a=3)}
    text = written(found)
    assert (
        '<th scope="row">a</th><td>3</td><td>2 %</td><td>7.1 % (5–7.1)</td><td>2 %</td><td>1.00</td><td>+1.000</td>'
        in text
    )
    assert '<th scope="row">all sites</th><td>7</td><td>2 %</td><td>7.1 % (5–7.1)</td>' in text
    assert text.count("Nothing measured of atlas: nobody was there.") == 1
    assert "No site had people enough in rim: the whole brain's threshold is used there." in text
    table = text[text.index("<h3>Further figures</h3>") :]
    assert ">false positives in normal people</a></th>" in table
    assert "<td>7.1 % (5–7.1)</td></tr>" in table
    assert "<td>–</td></tr>" in table  # of the atlas nothing was measured
    assert "best Dice: with the threshold that suits each patient best" in table


def test_dice_at_the_threshold_stands_beside_the_best_dice() -> None:
    names = [name for name, metric in layout.described(BUILT_IN).items() if "table" in metric.shown]
    assert names[names.index("best_dice") + 1] == "dice"


def test_a_page_of_before_has_no_table_of_what_thresholds_keep(written: Callable[..., str]) -> None:
    assert "promise and what they keep" not in written(metrics())


def test_the_league_says_of_how_many_sites_some_gain(written: Callable[..., str]) -> None:
    found = metrics()
    found["league"] = [row("ditto", 0.4, GAIN), row("federated", 0.3, GAIN)]
    assert "<td>2 / 1 of 3</td>" in written(found)


def test_a_strategys_tie_by_the_test_alone_is_explained_beside_it_and_below(written: Callable[..., str]) -> None:
    found = metrics(fedbn=difference(0.1, 0.05, 0.15))
    found["league"] = [row("federated", 0.3, GAIN), row("fedbn", 0.3, GAIN)]
    other_way = "the paired test points the other way, p = 0.004"
    text = written(found, tests={metric: {"fedbn": PairedTest(0.004, -1)} for metric in ("auroc", "auprc")})
    strategies = text[text.index('<h2 id="strategies">') : text.index('<h2 id="found">')]
    assert strategies.count(f"tied ({other_way})") == 2
    assert "the corrected paired test does not tell them apart or points the other way" in strategies
    assert "another training says otherwise" in strategies
    assert f"tied ({other_way})" in text[text.index('<h2 id="found">') :]


def test_ages_that_hardly_overlap_are_a_warning_in_the_open(written: Callable[..., str]) -> None:
    text = written(metrics(), page.Patients(ages=Ages((20.0, 25.0, 30.0), (60.0, 70.0, 80.0))))
    (warning,) = re.findall(r'<div class="warning">(.*?)</div>', text)
    assert "are older than those whom the model learnt from" in warning


def test_a_model_with_the_same_figures_is_called_the_same_and_an_interval_of_few_patients_is_their_number(
    written: Callable[..., str],
) -> None:
    found = metrics(pooled=difference(0.0, 0.0, 0.0), atlas=difference(0.0, -0.1, 0.1))
    text = written(found, tests={"auroc": {"pooled": PairedTest(1.0, 0), "atlas": PairedTest(0.5, 1)}})
    assert text.count('<td class="words">the same</td>') == 1
    assert "atlas p = 0.500." in text  # and nothing was to be tested of the other
    found["evaluation"]["federated"]["sites"]["a"]["auroc"]["n"] = 1
    assert '0.900<br><span class="soft">1 patient</span>' in written(found)


def test_what_conformal_p_values_cannot_say_stands_below_them(written: Callable[..., str]) -> None:
    found = metrics()
    p = {"mean": 1.0, "sd": 0.0, "n": 7, "ci95": [1.0, 1.0]}
    found["evaluation"]["federated"] |= {"merged": {}, "calibration": calibration(0.02, a=6)}
    assert "No conformal p can be below" not in written(found)
    found["evaluation"]["federated"]["all"]["conformal_p"] = p
    text = written(found)
    assert "No conformal p can be below 0.077: beside 12 scans of held-out people" in text
    assert "Federated does not see these patients as unusual as a whole" in text


def test_text_of_a_site_is_text_on_the_page(written: Callable[..., str]) -> None:
    found = metrics()
    found["left_out"] = {"c": "<img src=x onerror=alert(1)>"}
    found["notes"] = {"federated": {"a": ["<b>bold</b>"]}}
    text = written(found, page.Patients(left_out=[("sub-1", "<i>")], cases=()))
    assert "<img src=x" not in text
    assert "<b>bold" not in text
    assert "&lt;b&gt;bold&lt;/b&gt;" in text
    assert "&lt;i&gt;" in text


def test_titles_and_sites_of_somebody_elses_figures_are_text_on_the_page_and_in_its_drawings(
    written: Callable[..., str],
) -> None:
    bad = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    found = metrics(local=difference(0.1, 0.0, 0.2), atlas=difference(0.1, 0.0, 0.2))
    text = written(found | {"titles": {"atlas": bad, "local": f"own {bad}"}, "trained": [bad]})
    assert text.count("alert(1)") > 10
    assert "<script>alert" not in text
    assert "<img src=x" not in text


@pytest.mark.parametrize("several", [False, True])
def test_every_link_of_the_page_leads_somewhere(written: Callable[..., str], several: bool) -> None:
    found = metrics(local=difference(0.1, 0.0, 0.2)) if several else metrics()
    text = written(found)
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(re.findall(r'id="([^"]+)"', text))


def pictured() -> SimpleNamespace:
    return SimpleNamespace(
        title="Best",
        name="sub-1",
        site="a",
        about="MS, 64 years",
        detected="",
        figures={},
        share=0.1,
        scans=[],
        maps=[],
        projections="",
        threshold=None,
        clusters=None,
        remarks=(),
        ill=True,
    )


def test_whether_lesions_were_found_stands_in_the_title_and_under_every_picture(written: Callable[..., str]) -> None:
    case = pictured()
    case.scans = [("T1w", ""), ("FLAIR", "")]
    for case.detected, times in (("", 0), ("25 % of the lesions found", 4)):
        text = written(metrics(), page.Patients(cases=[case]))
        assert text.count(": 25 % of the lesions found<") == times
        assert 'Best: MS, 64 years <span class="soft">sub-1 at a</span>' in text


def test_what_a_model_remarks_on_a_pictured_scan_stands_beside_it(written: Callable[..., str]) -> None:
    case = pictured()
    for remarks in ((), ("Its T1w is <odd>.",)):
        case.remarks = remarks
        assert ("<p>Its T1w is &lt;odd&gt;.</p>" in written(metrics(), page.Patients(cases=[case]))) == bool(remarks)


@pytest.mark.parametrize(("intervals", "said"), [("moments", "Welch"), ("bootstrap", "Paired 95 % bootstrap")])
def test_the_page_says_what_its_intervals_are_made_of(written: Callable[..., str], intervals: str, said: str) -> None:
    found = {**metrics(local=difference(0.1, 0.0, 0.2)), "intervals": intervals}
    text = written(found)
    assert [other for other in ("Welch", "Paired 95 % bootstrap") if other in text] == [said]


def test_the_league_is_on_the_page_only_where_there_is_one(written: Callable[..., str]) -> None:
    found = metrics()
    found["league"] = [row("federated", 0.3, GAIN)]
    assert 'id="league"' not in written(found)
    found["league"] = [row("ditto", 0.4, GAIN), row("federated", 0.3, GAIN)]
    text = written(found)
    assert 'id="league"' in text
    assert "Who gains, who loses against training alone" in text


def test_a_run_in_which_no_model_has_auroc_or_average_precision_has_a_report(written: Callable[..., str]) -> None:
    """Sites may not say them, and a report of what they do say is better than none."""
    only_dice = {"dice": {"mean": 0.5, "sd": 0.1, "n": 9, "ci95": [0.4, 0.6]}}
    silent = {"all": only_dice, "sites": {"a": only_dice}, "kinds": {"MS": {}}, "worst_site": {}}
    found = metrics(local=None, atlas=None)
    found["evaluation"] = dict.fromkeys(("federated", "local", "atlas"), silent)
    text = written(found)
    assert "No site says an AUROC" in text
    assert "Dice at threshold" in text
    nothing = {**silent, "all": {}, "sites": {}}
    found["evaluation"] = dict.fromkeys(("federated", "atlas"), nothing)
    assert "Nothing was tested" in written(found)


def test_a_strategy_that_no_site_may_say_anything_of_stands_in_the_league_with_dashes(
    written: Callable[..., str],
) -> None:
    found = metrics()
    silent = {"mean": None, "ci95": [None, None], "worst_site": None, "trainings": [None, None]}
    last = row("fedbn", 0.3, None)
    last |= {metric: {**last[metric], **silent} for metric in ("auroc", "auprc")}
    found["league"] = [row("federated", 0.3, GAIN), last]
    text = written(found)
    line = text[text.index('<h3 id="league">') :]
    line = line[line.index('<th scope="row">fedbn') :]
    line = line[: line.index("</tr>")]
    assert "None" not in line
    assert line.count("–") >= 7


def test_a_metric_is_shown_under_the_title_that_the_file_gives_it(written: Callable[..., str]) -> None:
    """Whoever builds the report again need not have the plug-in."""
    found = metrics()
    peak = {"mean": -0.123, "sd": 0.1, "n": 9, "ci95": [-0.5, 0.5]}
    ours = found["evaluation"]["federated"]
    found["evaluation"]["federated"] = {
        **ours,
        "all": {**ours["all"], "peak": peak},
        "sites": {"a": {**ours["sites"]["a"], "peak": peak}},
    }
    told = {name: metric.model_dump(mode="json") for name, metric in layout.described(BUILT_IN).items()}
    found["metrics"] = {**told, "peak": {"title": "peak <in> the lesion"}}
    text = written(found)
    assert '<th scope="col">peak &lt;in&gt; the lesion</th>' in text
    assert "−0.123" in text


def test_how_far_training_came_stands_beside_principal_components(written: Callable[..., str]) -> None:
    found = metrics()
    found["rounds"] = history({"loss": {"a": 6.4}, "reference": 2.0})
    found["convergence"] = {"federated": {"loss": 6.4, "reference": 2.0, "ratio": 3.2}}
    text = written(found)
    assert '<th scope="row">federated</th><td>6.40</td><td>2.00</td><td>3.20</td>' in text
    assert "Training did not converge" in text
    assert "How far training came" not in written(metrics())


def test_models_have_intervals_over_patients_and_over_trainings_or_say_why_not(written: Callable[..., str]) -> None:
    found = metrics(local=difference(0.02, -0.02, 0.06)) | {"nothing_drawn": ["local"]}
    trained = {"means": [0.5, 0.6, 0.7], "mean": 0.6, "ci95": [0.352, 0.848]}
    found["evaluation"]["federated"]["trainings"] = {"auroc": trained}
    page = written(found)
    assert '0.900<br><span class="soft">0.850–0.950<br>trainings 0.352–0.848</span>' in page
    assert "The model was trained 3 times" in page
    drawn = metrics(local=difference(0.02, -0.02, 0.06))
    assert "Models were trained once" in written(drawn)
    assert "Nothing is drawn in training" in written(drawn | {"nothing_drawn": ["federated"]})


def test_unseen_hospitals_stand_in_a_table_of_their_own(written: Callable[..., str]) -> None:
    found = metrics(local=difference(0.02, -0.02, 0.06))
    assert "the model never saw" not in written(found)
    page = written(found | {"unseen": unseen(difference(0.1, 0.05, 0.15), difference(0.05, -0.01, 0.11))})
    assert page.count("federation without it") == 2  # by average precision, by AUROC
    cells = '<td>20</td><td>0.800</td><td>0.700</td><td>+0.100<br><span class="soft">+0.050 to +0.150</span></td>'
    assert page.count(cells) == 6  # all, a site, a kind
    assert page.count('<td>0.750<br><span class="soft">b</span></td>') == 2


def test_a_figure_over_fewer_patients_says_of_how_many(written: Callable[..., str]) -> None:
    found = metrics(local=difference(0.02, -0.02, 0.06))
    assert '<span class="soft">of ' not in written(found)
    found["evaluation"]["local"]["all"]["auroc"]["n"] = 12
    assert '<span class="soft">of 12</span>' in written(found)


def test_every_table_scrolls_within_itself_where_the_page_is_narrow(written: Callable[..., str]) -> None:
    text = written(metrics(local=difference(0.1, 0.0, 0.2)), page.Patients(left_out=[("sub-1", "no FLAIR")]))
    before = re.findall(r'(<div class="[a-z ]*"[^>]*>)?<table', text)
    assert len(before) > 5
    assert all("scroll" in opening for opening in before)


def test_a_comparison_of_strategies_comes_first_and_stands_nowhere_else(written: Callable[..., str]) -> None:
    found = metrics(fedbn=difference(0.0, -0.1, 0.1))
    found["league"] = [row("federated", 0.3, GAIN), row("fedbn", 0.3, GAIN)]
    text = written(found)
    assert text.index('<h2 id="strategies">') < text.index('<h2 id="found">') < text.index('<h2 id="trust">')
    assert text.count('<h3 id="league">') == 1
    assert text.index('<h3 id="league">') < text.index('<h2 id="found">')
    assert '<h2 id="strategies">' not in written(metrics(local=difference(0.0, -0.1, 0.1)))


def test_a_tie_by_the_test_alone_has_its_p_value_and_too_few_patients_for_any_are_said(
    written: Callable[..., str],
) -> None:
    found = metrics(local=difference(0.1, 0.05, 0.15), atlas=difference(0.1, -0.05, 0.25))
    for of in found["evaluation"].values():
        for figure in of["all"].values():
            figure["n"] = 6
    tests = {"local": PairedTest(0.0625, 1, 0.0625), "atlas": PairedTest(0.5, 1, 0.0625)}  # 2 · 2 / 2 ** 6
    text = written(found, tests=dict.fromkeys(("auroc", "auprc"), tests))
    least = "the paired test&#39;s least p is 0.062"
    assert f'<td class="words">undecided: too few ({least})</td>' in text  # by the interval better
    assert '<td class="words">undecided: too few</td>' in text
    assert "Of so few patients and 2 models compared the least corrected p = 0.062" in text
