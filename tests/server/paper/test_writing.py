"""Tables and figures of made-up runs: what is written, that it says what the figures say, and that it always is the
same."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from compared import GAIN, calibration, difference, metrics, model, row
from inked import cut
from matplotlib.figure import Figure
from PIL import Image
from run_results import run_results
from summaries import patients, summary

from normfed_common.study.config import StudyConfig
from normfed_server.arms import evaluation
from normfed_server.arms.evaluation import ArmResult
from normfed_server.paper import attempts, style
from normfed_server.paper.writing import write_paper
from normfed_server.results import layout
from normfed_server.results.paper_names import ours
from normfed_server.runs import folder as runs
from normfed_server.runs.folder import Run

ROUND = {
    "outcomes": {"a": "took part", "b": "late"},
    "shares": {"a": 1.0},
    "loss": {"a": 0.5},
    "site_seconds": {"a": 3},
}
SITES = {"a": model(0.9)["all"], "b_2 & c": model(0.7)["all"]}


def whole() -> dict[str, Any]:
    """Of a run that has something for every table and figure."""
    found = metrics(
        local=difference(0.1, 0.05, 0.15), pooled=difference(0.0, -0.1, 0.1), atlas=difference(0.2, 0.1, 0.3)
    )
    for number, name in enumerate(found["evaluation"]):
        of = model(0.9 - 0.1 * number)
        found["evaluation"][name] = {**of, "sites": SITES, "kinds": {"MS": of["all"]}}
    found["evaluation"]["federated"]["calibration"] = calibration(0.03, 0.01, a=4)
    found["differences"]["local"]["sites"] = dict.fromkeys(SITES, found["differences"]["local"]["all"])
    found["rounds"] = [ROUND, {**ROUND, "round": 2}]
    found["matrix"] = {"auroc": {"a": {"a": 0.9, "b": 0.7}, "b": {"a": 0.6, "b": None}}}
    found["league"] = [row("federated", 0.4, GAIN), row("local", 0.3, None)]
    return found


@pytest.fixture
def written(study: StudyConfig, tmp_path: Path) -> Callable[..., Run]:
    def write(found: dict[str, Any]) -> Run:
        run = runs.begin(study, tmp_path)
        layout.write(run.folder, run_results(**found))
        counts = {name: [[9, 3, 1], [0, 1, 2]][name != "normal"] for name in ("normal", "lesion", "regions")}
        result = ArmResult({"a": summary(patients(6, 0), resamplings=5)})
        result.counts["a"] = {name: pd.array(values).to_numpy(float) for name, values in counts.items()}
        for name in ("normal_people", "patients"):
            result.counts["a"][name] = result.counts["a"]["normal"]
        for arm in ("federated", "atlas"):
            evaluation.save(run.folder / runs.ARMS / arm / "evaluation.safetensors", result)
        write_paper(run)
        return run

    return write


def test_a_run_has_every_table_and_figure_that_it_has_figures_for(written: Callable[..., Run]) -> None:
    run = written(whole())
    names = {path.name for path in (run.folder / "tables").iterdir()}
    frames = {"models", "sites", "kinds", "gains", "league", "matrix", "calibration", "rounds", "cohorts"}
    assert {f"{name}.csv" for name in frames} <= names
    of_metric = {f"{by}-{metric}" for by in ("sites", "kinds") for metric in ("auroc", "auprc")} | {"matrix-auroc"}
    of_metric |= {"league-auroc", "league-auprc"}
    rest = {"models", "worst-sites", "gains", "costs", "calibration", "participation", "cohorts"}
    assert {f"{name}.tex" for name in of_metric | rest} == {name for name in names if name.endswith(".tex")}
    drawn = {"roc", "precision-recall", "sites", "gains-auroc", "gains-auprc", "matrix-auroc", "league", "loss"}
    drawn.add("calibration")
    figures = {path.name for path in (run.folder / "figures").iterdir()}
    assert figures == {f"{name}.{kind}" for name in drawn for kind in ("svg", "png")}

    for of in (runs.TABLES, runs.FIGURES):
        assert {path.name for path in ours(run.folder / of, of)} == {path.name for path in (run.folder / of).iterdir()}

    sites = pd.read_csv(run.folder / "tables" / "sites.csv")
    (found,) = sites.query("model == 'federated' and site == 'b_2 & c' and metric == 'auroc'")["mean"]
    assert found == 0.7
    league = (run.folder / "tables" / "league-auroc.tex").read_text()
    assert r"0.750 [0.000, 1.000] & 0.100 & $+$0.100 [0.050, 0.150] \\" in league
    participation = (run.folder / "tables" / "participation.tex").read_text()
    assert "{}a & 2 of 2 & -- & 100" in participation
    assert "{}b & 0 of 2 & late (2) & --" in participation
    assert r"b\_2 \& c" in (run.folder / "tables" / "sites-auroc.tex").read_text()

    svg = (run.folder / "figures" / "sites.svg").read_text()
    assert "b_2 &amp; c (n = 20)</text>" in svg  # text that can be searched and edited
    assert "<dc:date>" not in svg
    sizes = [float(size) for size in re.findall(r"font(?:-size)?: ([\d.]+)px", svg)]
    assert min(sizes) >= 7  # of a drawing whose unit is a point
    with Image.open(run.folder / "figures" / "roc.png") as image:
        assert image.width == int(style.COLUMN_MM / 25.4 * 300)

    before = {path: path.read_bytes() for name in ("tables", "figures") for path in (run.folder / name).iterdir()}
    write_paper(run)
    assert before == {path: path.read_bytes() for path in before}


def test_chance_of_average_precision_is_named_over_all_and_at_every_site(written: Callable[..., Run]) -> None:
    share = {"all": 0.03, "sites": {"a": 0.05}}
    run = written({**whole(), "lesion_share": share})
    models, sites = ((run.folder / "tables" / f"{name}.tex").read_text() for name in ("models", "sites-auprc"))
    assert r"{}chance & 0.500 & 0.030 \\" in models  # AUROC, average precision
    last = {line.split(" & ")[0]: line.split(" & ")[-1] for line in sites.splitlines() if line.startswith("{}")}
    assert (last["{}a"], last[r"{}b\_2 \& c"]) == (r"0.050 \\", r"-- \\")


def test_a_run_without_figures_of_its_model_has_its_cohorts(written: Callable[..., Run]) -> None:
    run = written({"sites": metrics()["sites"]})
    assert {path.name for path in (run.folder / "tables").iterdir()} == {"cohorts.csv", "cohorts.tex"}
    assert not (run.folder / "figures").exists()


def test_a_figure_that_fails_is_said_and_the_tables_are_there(
    written: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run, save = written(whole()), style.save
    monkeypatch.setattr(
        style, "save", lambda figure, folder, name: 1 / 0 if name == "roc" else save(figure, folder, name)
    )
    with caplog.at_level(logging.WARNING, attempts.__name__):
        write_paper(run)
    assert (run.folder / "tables" / "models.tex").exists()
    assert not (run.folder / "figures" / "roc.svg").exists()  # nor as it was before
    assert (run.folder / "figures" / "precision-recall.svg").exists()
    assert "no figure roc: ZeroDivisionError" in caplog.text
    assert f"normfed report {run.folder}" in caplog.text


def test_what_an_earlier_version_of_the_run_left_is_removed_and_what_a_person_put_there_stays(
    written: Callable[..., Run],
) -> None:
    run = written(whole())
    own = [run.folder / "tables" / "mine.csv", run.folder / "figures" / "roc-annotated.png"]
    for path in own:
        path.touch()
    layout.write(run.folder, run_results(**{**whole(), "matrix": {}, "league": []}))
    write_paper(run)
    assert all(path.exists() for path in own)
    left = {path.stem for name in ("tables", "figures") for path in (run.folder / name).iterdir()}
    assert not {name for name in left if name.startswith(("matrix", "league", "costs"))}
    assert {"sites", "sites-auroc", "gains", "roc"} <= left


LONGEST = 63  # characters of a name
HYPHENS, NONE = ("university-hospital-of-" * 3)[:LONGEST], "W" * LONGEST


def renamed(found: Any, names: dict[str, str]) -> Any:
    """The same with other keys, however deep they are."""
    if isinstance(found, list):
        return [renamed(of, names) for of in found]
    if not isinstance(found, dict):
        return found
    return {names.get(key, key): renamed(of, names) for key, of in found.items()}


@pytest.mark.parametrize("name", [HYPHENS, NONE], ids=["hyphens", "one word"])
def test_nothing_of_a_figure_is_cut_however_long_the_names_of_sites_and_models_are(
    written: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    drawn: dict[str, Figure] = {}
    save = style.save

    def seen(figure: Figure, folder: Path, of: str) -> list[Path]:
        drawn[of] = figure
        return save(figure, folder, of)

    monkeypatch.setattr(style, "save", seen)
    names = {"a": name, "b": f"{name[:-1]}2", "b_2 & c": f"{name[:-1]}3"}
    found = renamed(whole(), names)
    found["titles"] = {model: f"{model} {name} {name}" for model in found["evaluation"]}
    found["lesion_share"] = {"all": 0.03, "sites": {name: 0.05, names["b"]: 0.00059}}
    found["league"] = [{**of, "title": f"{name} {of['title']}"} for of in found["league"]]
    found["matrix"]["auprc"] = found["matrix"]["auroc"]
    written(found)
    expected = {*("roc", "precision-recall", "sites", "league", "loss", "calibration")}
    assert set(drawn) == expected | {f"{of}-{metric}" for of in ("gains", "matrix") for metric in ("auroc", "auprc")}
    for of, figure in drawn.items():
        assert cut(figure) == [], of
        width, height = figure.get_size_inches()
        assert all(axes.bbox.height > 0.1 * height * figure.dpi for axes in figure.axes), of  # there is a plot still
        assert width <= 1.05 * style.PAGE_MM / 25.4, of


def test_what_is_beyond_the_edge_of_a_figure_is_seen_by_this_test() -> None:
    figure = Figure(figsize=(2, 2))
    for at, text in ((0.5, "whole"), (0.95, "right"), (-0.1, "left")):
        figure.text(at, 0.5, text)
    assert cut(figure) == ["right", "left"]


def test_no_window_system_is_asked_for_and_settings_of_the_user_stay() -> None:
    code = (
        "import sys, matplotlib; matplotlib.rcParams['font.size'] = 33\n"
        "from normfed_server.paper import figures, style\n"
        "with style.drawing():\n"
        "    assert matplotlib.rcParams['font.size'] == 7.5\n"
        "    style.panels(2, height_mm=50)\n"
        "assert matplotlib.rcParams['font.size'] == 33\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_in_which_nobody_is_ill_says_nothing_of_lesions(written: Callable[..., Run]) -> None:
    sites = [{"name": "a", "train": 9, "held_out": 2, "test": 4, "kinds": [layout.WITHOUT_LESION]}]
    run = written({**whole(), "sites": sites})
    tables = {path.name for path in (run.folder / "tables").glob("*.tex")}
    assert tables == {"cohorts.tex", "calibration.tex", "participation.tex"}
    assert {path.stem for path in (run.folder / "figures").iterdir()} == {"loss", "calibration"}
