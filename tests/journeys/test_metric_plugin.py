"""A metric of a third party goes from an installed plug-in into metrics.json and the report, and nothing is edited."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from commands import normfed, run_folder
from conftest import TINY
from plugins import Plugins

from normfed_common.foundation.errors import StudyError

pytestmark = pytest.mark.xdist_group("journeys")

TOY = {"normfed.metrics": {"peak": "toy_metric:METRIC"}}


def simulated(folder: Path, evaluation: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The run folder of a study without training, and its metrics.json."""
    study = TINY | {
        "model": {"name": "intensity"},
        "comparisons": {"local": False, "pooled": False, "baselines": [{"name": "atlas"}]},
        "evaluation": {**TINY["evaluation"], **evaluation},
    }
    folder.mkdir()
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    result = normfed("simulate", folder / "study.yaml", "--out", folder / "runs", "--workers", 0)
    assert result.exit_code == 0, result.output
    run = run_folder(folder / "runs")
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return run, found


def test_a_toy_metric_stands_in_every_table_as_the_mean_of_its_people(
    plugins: Plugins, hospitals: Path, tmp_path: Path
) -> None:
    plugins.install("toy-metrics", "1.0", TOY, module="toy_plugin")
    run, found = simulated(tmp_path / "with", {"metrics": ["peak"]})
    for name, model in found["evaluation"].items():
        people = {
            path.parents[1].name: [row["peak"] for row in json.loads(path.read_text())]
            for path in run.glob(f"sites/*/people/{name}.json")
        }
        everybody = [value for values in people.values() for value in values]
        assert set(everybody) <= {-1.0, 1.0}
        assert model["all"]["peak"]["mean"] == pytest.approx(np.mean(everybody))
        assert model["all"]["peak"]["n"] == len(everybody) == 7
        for site, values in people.items():
            assert model["sites"][site]["peak"]["mean"] == pytest.approx(np.mean(values))
        assert model["worst_site"]["peak"]["mean"] == pytest.approx(min(np.mean(values) for values in people.values()))
    means = {name: model["all"]["peak"]["mean"] for name, model in found["evaluation"].items()}
    assert found["differences"]["atlas"]["all"]["peak"]["mean"] == pytest.approx(means["federated"] - means["atlas"])
    assert found["metrics"]["peak"] == {
        "title": "peak in the lesion",
        "higher_is_better": True,
        "lowest": -1.0,
        "highest": 1.0,
        "unit": "hit or miss",
        "chance": None,
        "shown": ["differences"],
    }
    report = (run / "report.html").read_text()
    assert '<th scope="col">peak in the lesion</th>' in report
    assert '"label":"peak in the lesion"' in report  # the menu of the plot of every metric at every site

    _, without = simulated(tmp_path / "without", {})  # installed, but not asked for
    assert "peak" not in without["metrics"]
    for name, model in without["evaluation"].items():
        others = {metric: figure for metric, figure in found["evaluation"][name]["all"].items() if metric != "peak"}
        assert model["all"] == others


def test_a_metric_that_is_not_installed_is_refused_before_anything_begins(hospitals: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"evaluation\.metrics: No metric is called 'peak'\. Known: auprc, "):
        simulated(tmp_path / "with", {"metrics": ["peak"]})
    assert not (tmp_path / "with" / "runs").exists()
