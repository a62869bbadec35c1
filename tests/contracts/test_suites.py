"""The suites themselves: they run on what is installed, and find what is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from plugins import Plugins

ROOT = Path(__file__).parents[2]
CARELESS = """
import numpy as np
from normfed_common.learning.score import Score
from normfed_common.models.base import NormativeModel
from normfed_common.study.base import Frozen


class Careless(NormativeModel):
    Config = Frozen

    def score(self, visits, rng):
        return Score((visits[-1].images[0] - 0.5 + np.random.random()).astype(np.float32))
"""


def test_a_plug_in_is_run_through_the_suites_and_what_it_breaks_is_named(plugins: Plugins, tmp_path: Path) -> None:
    plugins.install("careless", "1", {"normfed.models": {"careless": "careless:Careless"}}, CARELESS)
    table = tmp_path / "table.md"
    suites = [f"tests/contracts/test_{name}.py" for name in ("model", "model_batches", "model_score")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "careless", *suites]
    found = subprocess.run(
        [*command, "--contracts-table", table],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(plugins.folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == pytest.ExitCode.TESTS_FAILED, found.stdout
    failed = {line.split("::")[1].split("[")[0] for line in found.stdout.splitlines() if line.startswith("FAILED")}
    assert failed == {
        "test_a_map_is_finite_never_negative_and_not_constant_and_exactly_0_outside_the_brain",
        "test_a_score_is_the_same_twice_and_whoever_was_scored_before",
        "test_the_last_of_several_visits_is_scored_each_opened_when_it_is_looked_at",
        "test_a_model_that_was_shared_scores_like_the_one_that_shared_it",
        "test_learning_and_scoring_draw_from_no_global_stream",
        "test_a_scan_without_a_modality_is_refused_by_its_name_in_training_and_scoring_where_the_model_needs_it",
    }
    row = next(line for line in table.read_text().splitlines() if line.startswith("| careless |"))
    assert row.count("✗") == len(failed)
