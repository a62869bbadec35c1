"""An arm's figures on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from plugins import Plugins
from toy_metric import METRIC

from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import StudyError
from normfed_common.metrics.calibration import NormalVoxels
from normfed_common.metrics.catalogue import BUILT_IN, chosen
from normfed_common.metrics.groups import EVERYBODY
from normfed_common.metrics.summary import Summary, summarise
from normfed_server.arms import evaluation
from normfed_server.arms.calibration import Calibration, SiteCalibration
from normfed_server.arms.evaluation import ArmResult


def of(value: float, *names: str) -> Summary:
    rows = [{"auroc": value, "peak": -value}] * 3
    return summarise(rows, ["MS"] * 3, (EVERYBODY,), 4, 1, "a", metrics=chosen(names))


def test_figures_are_read_with_the_metrics_that_they_are_of(plugins: Plugins, tmp_path: Path) -> None:
    plugins.install("toy", "1.0", {"normfed.metrics": {"peak": "toy_metric:METRIC"}}, module="toy_plugin")
    path = tmp_path / "evaluation.safetensors"
    evaluation.save(path, ArmResult({"a": of(0.5, "peak"), "b": of(0.25, "peak")}))
    found = evaluation.load(path)
    assert found is not None
    assert [metric.name for metric in found.summaries["b"].metrics] == [*(m.name for m in BUILT_IN), METRIC.name]
    assert found.summaries["b"].mean("peak") == -0.25
    plugins.uninstall("toy")
    with pytest.raises(StudyError, match="No metric is called 'peak'"):
        evaluation.load(path)


def test_what_the_thresholds_keep_is_read_as_it_was_and_older_figures_say_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.safetensors"
    told = SiteCalibration(people=3, voxels=9.0, own=(0.5,), above=(1.0, 2.0), others=(0.4,), above_others=(3.0, 3.0))
    calibration = Calibration(promised=0.02, classes=("brain",), thresholds=(0.45,), lacking=(), sites={"a": told})
    for said in (calibration, None):
        evaluation.save(path, ArmResult({"a": of(0.5)}, calibration=said))
        found = evaluation.load(path)
        assert found is not None
        assert found.calibration == said
    arrays, header = named.read(path)
    del header["calibration"]
    named.save(path, arrays, header)
    assert evaluation.load(path) is not None


def test_figures_without_a_plug_in_s_are_of_the_built_in_metrics(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.safetensors"
    evaluation.save(path, ArmResult({"a": of(0.5)}))
    found = evaluation.load(path)
    assert found is not None
    assert found.summaries["a"].metrics == BUILT_IN
    np.testing.assert_array_equal(found.summaries["a"].moments, of(0.5).moments)


def test_what_p_values_compare_with_is_read_as_it_was_and_may_be_absent(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.safetensors"
    normal = NormalVoxels(np.array([0.0, 1.0]), np.arange(12).reshape(4, 3))
    for said in (normal, None):
        evaluation.save(path, ArmResult({"a": of(0.5)}, normal_voxels=said))
        found = evaluation.load(path)
        assert found is not None
        if said is None:
            assert found.normal_voxels is None
        else:
            assert found.normal_voxels is not None
            np.testing.assert_array_equal(found.normal_voxels.counts, said.counts)
            np.testing.assert_array_equal(found.normal_voxels.edges, said.edges)
