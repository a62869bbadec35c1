"""Which metrics a study has: the built-in ones always and in one order, of plug-ins only what it names."""

from __future__ import annotations

from pathlib import Path

import pytest
from plugins import Plugins

from normfed_common.foundation.errors import PluginError, StudyError
from normfed_common.metrics import catalogue, per_scan
from normfed_common.metrics.catalogue import BUILT_IN, chosen
from normfed_common.studies import resolve
from normfed_server.results.figures import IMAGE_AUROC, LeagueRow

# On the wire, in files and in tables: another order would make one metric's sums another's.
ORDER = [
    *("auroc", "auroc30", "auroc30_mcclish", "auprc", "aupro", "aupro30", "best_dice", "dice", "surface_dice"),
    *("lesion_sensitivity", "cluster_rank", "false_clusters", "froc", "conformal_p"),
]
TOY = {"normfed.metrics": {"peak": "toy_metric:METRIC"}}


def test_the_built_in_metrics_keep_their_order() -> None:
    assert [metric.name for metric in BUILT_IN] == ORDER
    assert chosen() == BUILT_IN


def test_a_new_metric_is_one_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brand_new.py").write_text(
        "from normfed_common.metrics.base import Metric\n"
        "METRICS = (Metric('brand_new', 'brand new', lambda scan: 0.5, place=15),)\n"
    )
    monkeypatch.setattr(per_scan, "__path__", [*per_scan.__path__, str(tmp_path)])
    found = [metric.name for metric in catalogue._built_in()]
    assert found == [ORDER[0], "brand_new", *ORDER[1:]]


def test_a_plug_in_counts_only_where_the_study_names_it(plugins: Plugins) -> None:
    plugins.install("toy", "1.0", TOY, module="toy_plugin")
    assert chosen() == BUILT_IN
    assert [metric.name for metric in chosen(("peak",))] == [*ORDER, "peak"]


def test_a_plug_in_that_is_installed_by_chance_leaves_a_study_as_it_is(plugins: Plugins) -> None:
    raw = {"name": "x", "model": {"name": "intensity"}, "data": {"modalities": ["FLAIR"]}}
    before = resolve(raw, "study.yaml").digest
    plugins.install("toy", "1.0", TOY, module="toy_plugin")
    assert resolve(raw, "study.yaml").digest == before
    asked = resolve({**raw, "evaluation": {"metrics": ["peak"]}}, "study.yaml")
    assert asked.evaluation.metrics == ("peak",)
    assert asked.digest != before


@pytest.mark.parametrize(
    ("metrics", "sentence"),
    [
        (
            ["peek"],
            r"study\.yaml: evaluation\.metrics: No metric is called 'peek'\. Did you mean peak\? Known: .*auroc.*peak",
        ),
        (["auroc"], r"study\.yaml: evaluation\.metrics: auroc is computed anyway\. Leave it out\."),
        (["peak", "peak"], "peak is computed anyway"),
        (["other_name"], "'other_name' calls itself 'peak'. The two names must be the same"),
    ],
)
def test_a_name_that_cannot_be_meant_is_refused_in_words(plugins: Plugins, metrics: list[str], sentence: str) -> None:
    points = {"normfed.metrics": {**TOY["normfed.metrics"], "other_name": "toy_metric:METRIC"}}
    plugins.install("toy", "1.0", points, module="toy_plugin")
    raw = {"name": "x", "model": {"name": "intensity"}, "data": {"modalities": ["FLAIR"]}}
    with pytest.raises(StudyError, match=sentence):
        resolve({**raw, "evaluation": {"metrics": metrics}}, "study.yaml")


@pytest.mark.parametrize("name", sorted({*LeagueRow.model_fields, "name", "kind", "subject_score", IMAGE_AUROC}))
def test_a_metric_takes_the_name_of_nothing_that_stands_beside_figures(plugins: Plugins, name: str) -> None:
    code = f"import toy_metric\nfrom dataclasses import replace\nMETRIC = replace(toy_metric.METRIC, name={name!r})\n"
    plugins.install("toy", "1.0", {"normfed.metrics": {name: "toy_plugin:METRIC"}}, code, module="toy_plugin")
    with pytest.raises(StudyError, match=f"No metric may be called '{name}'"):
        chosen((name,))


@pytest.mark.parametrize("names", [["Peak"], ["../peak"], ["peak hit"], [""], ["p" * 65], ["peak"] * 33])
def test_a_study_s_names_of_metrics_have_a_pattern_and_a_bound(names: list[str]) -> None:
    raw = {"name": "x", "model": {"name": "intensity"}, "data": {"modalities": ["FLAIR"]}}
    with pytest.raises(StudyError, match=r"study\.yaml: evaluation\.metrics"):
        resolve({**raw, "evaluation": {"metrics": names}}, "study.yaml")


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        ({"auroc": "toy_metric:METRIC"}, "The metric 'auroc' is provided by normfed .* and by toy 1.0"),
        ({"odd": "toy_metric:peak"}, "it is not a normfed_common.metrics.base.Metric"),
        ({"odd": "toy_metric:absent"}, "cannot be used: AttributeError"),
    ],
)
def test_a_plug_in_that_is_no_metric_or_takes_a_name_is_refused(
    plugins: Plugins, points: dict[str, str], sentence: str
) -> None:
    plugins.install("toy", "1.0", {"normfed.metrics": points}, module="toy_plugin")
    with pytest.raises(PluginError, match=sentence):
        chosen(tuple(points))
