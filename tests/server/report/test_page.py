"""What the report says of the figures, and what it must not say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_results import run_results

from normfed_common.foundation.errors import RunError
from normfed_common.metrics.catalogue import BUILT_IN
from normfed_common.study.config import StudyConfig
from normfed_server.report import page
from normfed_server.report.page import sentences, write_report
from normfed_server.results import layout
from normfed_server.results.layout import Figure
from normfed_server.runs import folder as runs

VERDICTS = ("better than", "worse than", "not distinguishable from")


def model(auroc: float, auprc: float = 0.2, n: int = 20) -> dict[str, Any]:
    both = {"auroc": {"mean": auroc, "sd": 0.1, "n": n}, "auprc": {"mean": auprc, "sd": 0.1, "n": n}}
    figures = {name: {**figure, "ci95": [0.0, 1.0]} for name, figure in both.items()}
    worst = {name: {"mean": figure["mean"] - 0.1, "site": "b"} for name, figure in both.items()}
    return {"all": figures, "sites": {"a": figures}, "kinds": {}, "worst_site": worst}


def difference(mean: float, low: float | None, high: float | None) -> dict[str, Any]:
    figure = {"mean": mean, "ci95": [low, high]}
    return {"all": {"auroc": figure, "auprc": figure}, "kinds": {}, "sites": {"a": {"auroc": figure}}}


def metrics(**models: Any) -> dict[str, Any]:
    """Of a run with these models beside the federated one; what a name's value says is its difference to it."""
    return {
        "sites": [{"name": "a", "train": 9, "held_out": 2, "test": None, "kinds": ["MS"]}],
        "strategies": {"federated": {"name": "fedavg"}},
        "evaluation": {"federated": model(0.9)} | {name: model(0.8) for name in models},
        "differences": {name: found for name, found in models.items() if found},
    }


def said(found: Mapping[str, Any]) -> list[str]:
    return sentences(run_results(**found))


def verdicts(found: list[str]) -> list[str]:
    return [verdict for sentence in found for verdict in VERDICTS if verdict in sentence]


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1), st.sampled_from(["pooled", "local"]))
def test_a_model_is_better_or_worse_only_where_the_interval_excludes_a_tie(
    mean: float, below: float, above: float, name: str
) -> None:
    low, high = mean - below, mean + above
    expected = "better than" if low > 0 else "worse than" if high < 0 else "not distinguishable from"
    assert verdicts(said(metrics(**{name: difference(mean, low, high)}))) == [expected]


@pytest.mark.parametrize("ends", [(0.0, 0.2), (-0.2, 0.0), (None, None)])
def test_an_interval_that_touches_a_tie_or_is_not_known_decides_nothing(
    ends: tuple[float | None, float | None],
) -> None:
    mean = -0.1 if ends[1] == 0 else 0.1
    found = said(metrics(local=difference(mean, *ends)))
    assert verdicts(found) == ["not distinguishable from"]
    assert any("95 % interval" in sentence for sentence in found) == (ends[0] is not None)


def test_the_findings_name_the_other_training_and_the_figures() -> None:
    found = said(metrics(pooled=difference(-0.02, -0.03, -0.01), local=difference(0.1, 0.05, 0.15)))
    assert found == [
        "The federated model reaches a mean AUROC of 0.900 over 20 patients.",
        "It is worse than training on all scans in one place: AUROC -0.020 (95 % interval -0.030 to -0.010).",
        "It is better than every site training alone: AUROC +0.100 (95 % interval +0.050 to +0.150).",
        "At its worst site (b) it reaches 0.800; local-only training at its own worst (b) 0.700.",
    ]


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.4, -0.2, "The trivial baseline atlas is better: average precision 0.500 against 0.200."),
        (
            -0.4,
            0.1,
            "The trivial baseline atlas is not distinguishable from it: average precision 0.500 against 0.200.",
        ),
        (
            -0.4,
            0.0,
            "The trivial baseline atlas is not distinguishable from it: average precision 0.500 against 0.200.",
        ),
        (None, None, "The trivial baseline atlas is not distinguishable from it: average precision 0.500 against 0.20"),
    ],
)
def test_a_trivial_baseline_is_better_only_beyond_its_interval(
    low: float | None, high: float | None, verdict: str
) -> None:
    found = metrics(atlas=difference(-0.3, low, high))
    found["evaluation"]["atlas"] = model(0.8, 0.5)
    (sentence,) = [text for text in said(found) if "trivial" in text]
    assert sentence.startswith(verdict)


@pytest.mark.parametrize(("patients", "better"), [(5, False), (6, True)])
def test_with_fewer_than_six_patients_nothing_is_called_better(patients: int, better: bool) -> None:
    found = metrics(local=difference(0.3, 0.2, 0.4), atlas=difference(-0.3, -0.4, -0.2))
    found["evaluation"]["federated"] = model(0.9, n=patients)
    found["evaluation"]["atlas"] = model(0.8, 0.5, n=patients)
    text = said(found)
    assert [word in " ".join(text) for word in ("better", "95 % interval")] == [better, better]
    assert (
        any("is not distinguishable from every site training alone: AUROC +0.300." in line for line in text) != better
    )


@pytest.mark.parametrize("other", ["pooled", "local", "leave-one-site-out"])
def test_what_is_no_baseline_is_never_called_trivial(other: str) -> None:
    found = metrics(**{other: None})
    found["evaluation"][other] = model(0.95, 0.9)
    assert not any("trivial" in sentence for sentence in said(found))


def row(name: str, auprc: float, gain: dict[str, Any] | None) -> dict[str, Any]:
    figures = {
        "mean": auprc,
        "ci95": [0, 1],
        "trainings": [auprc],
        "worst_site": {"site": "a", "mean": 0.1},
        "sd_over_sites": None,
        "sites": {"a": 0.1},
    }
    return {
        "name": name,
        "title": name,
        "strategy": {"name": name},
        "sites": ["a"],
        "not_served": {},
        "auprc": figures,
        "auroc": {**figures, "mean": 0.75},
        "gain_over_local": gain and {"auroc": gain, "auprc": gain},
        "megabytes_per_round": 1.0,
        "seconds_per_round": 2.0,
    }


GAIN = {
    "mean": 0.1,
    "ci95": [0.05, 0.15],
    "n": 27,
    "sites": {site: {"mean": 0.1, "ci95": [0.0, 0.2], "n": 9} for site in "abc"},
    "gain": ["a", "b"],
    "lose": ["c"],
}


def test_the_best_of_several_strategies_is_said_with_where_it_was_picked() -> None:
    found = metrics()
    found["league"] = [
        row("ditto", 0.4, GAIN),
        row("federated", 0.3, GAIN),
        {**row("local", 0.9, None), "strategy": None},
    ]
    text = "Of 2 strategies ditto has the best average precision (0.400, AUROC 0.750)"
    text += ", picked on these very patients, so expect less on others"
    gains = "; against training alone 2 of 3 sites gain in AUROC beyond their interval, 1 lose."
    assert said(found)[-1] == text + gains
    found["league"][0]["gain_over_local"] = None
    assert said(found)[-1] == text + "."
    found["league"] = found["league"][1:]
    assert not any("strategies" in sentence for sentence in said(found))


def test_other_strategies_stand_in_the_league_and_not_among_the_models() -> None:
    found = metrics(pooled=None, ditto=None, atlas=None)
    found["strategies"]["ditto"] = {"name": "ditto"}
    assert list(page.main_models(run_results(**found))) == ["federated", "pooled", "atlas"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (0.12345, "0.123"),
        (0.9996, "1.000"),
        (1.0, "1.00"),
        (-3.14159, "-3.14"),
        (10, "10.0"),
        (-12.34, "-12.3"),
    ],
)
def test_a_number_has_three_digits_or_so(value: float | None, shown: str) -> None:
    assert page._number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), "not tested (fewer than six pairs)"),
        (0.0009, "p < 0.001"),
        (0.001, "p = 0.001"),
        (0.0496, "p = 0.050"),
        (1.0, "p = 1.000"),
    ],
)
def test_a_p_value_is_never_zero_and_says_where_nothing_was_tested(value: float, shown: str) -> None:
    assert page._p_value(value) == shown


@pytest.mark.parametrize(
    ("figure", "shown"),
    [
        (None, "–"),
        (Figure(mean=None, sd=None, n=0), "–"),
        (Figure(mean=0.5, sd=None, n=1), "0.500"),
        (Figure(mean=0.5, sd=0.1, n=9), '0.500<br><span class="soft">± 0.100</span>'),
    ],
)
def test_a_figure_has_its_spread_where_it_has_one(figure: Figure | None, shown: str) -> None:
    assert str(page._figure(figure)) == shown


@pytest.fixture
def written(study: StudyConfig, tmp_path: Path) -> Callable[..., str]:
    """The report of these figures, without the library that draws."""

    def write(found: dict[str, Any], patients: page.Patients = page.Patients()) -> str:
        run = runs.begin(study, tmp_path)
        layout.write(run.folder, run_results(**found))
        path = write_report(run, patients)
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
    text = written(found, page.Patients(attacks={"a": "scale"}, significance={"local": 0.0004}))
    assert "not distinguishable from every site training alone" in text
    assert "better than" not in text
    assert "Partial: c takes no part: nobody." in text
    assert "Malicious by order: a (scale)." in text
    assert "local p &lt; 0.001" in text
    assert "<td>9</td><td>2</td><td>&lt; 2</td>" in text


def test_text_of_a_site_is_text_on_the_page(written: Callable[..., str]) -> None:
    found = metrics()
    found["left_out"] = {"c": "<img src=x onerror=alert(1)>"}
    found["notes"] = {"federated": {"a": ["<b>bold</b>"]}}
    text = written(found, page.Patients(left_out=[("sub-1", "<i>")], cases=()))
    assert "<img src=x" not in text
    assert "<b>bold" not in text
    assert "&lt;b&gt;bold&lt;/b&gt;" in text
    assert "&lt;i&gt;" in text


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
    assert said(found) == ["No site says an AUROC of the federated model."]
    text = written(found)
    assert "No site says an AUROC" in text
    assert "Dice at threshold" in text
    nothing = {**silent, "all": {}, "sites": {}}
    found["evaluation"] = dict.fromkeys(("federated", "atlas"), nothing)
    assert "No site says an AUROC" in written(found)


def test_a_strategy_that_no_site_may_say_anything_of_stands_in_the_league_with_dashes(
    written: Callable[..., str],
) -> None:
    found = metrics()
    silent = {"mean": None, "ci95": [None, None], "worst_site": None, "trainings": [None, None]}
    last = row("fedbn", 0.3, None)
    last |= {metric: {**last[metric], **silent} for metric in ("auroc", "auprc")}
    found["league"] = [row("federated", 0.3, GAIN), last]
    text = written(found)
    line = text[text.index("<td>fedbn<br>") :]
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
    assert "<th>peak &lt;in&gt; the lesion</th>" in text
    assert "-0.123" in text
