"""The curves of a page are those of the run's counts, beside chance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from run_results import run_results

from normfed_server.report import curves as drawn
from normfed_server.results.curves import Band, Curves


def band(*points: tuple[float, float]) -> Band:
    line = np.array(points)
    return Band(line, line, line)


@pytest.fixture(autouse=True)
def _figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are, not as a page."""
    monkeypatch.setattr(drawn, "to_html", lambda figure: figure)


FOUND = {"ours": Curves(band((0, 0), (0.1, 0.8), (1, 1)), band((0, 1), (0.8, 0.5), (1, 0.02)), 0.02)}


def test_every_model_is_a_line_and_chance_is_dotted() -> None:
    ours, chance = drawn.roc(FOUND).data  # type: ignore[attr-defined]
    assert (ours.name, ours.x, ours.y) == ("ours", (0, 0.1, 1), (0, 0.8, 1))
    assert (chance.name, chance.x, chance.y, chance.line.dash) == ("chance", (0, 1), (0, 1), "dot")


def test_chance_of_precision_is_the_lesions_share() -> None:
    ours, chance = drawn.precision_recall(FOUND).data  # type: ignore[attr-defined]
    assert (ours.x, ours.y) == ((0, 0.8, 1), (1, 0.5, 0.02))
    assert (chance.x, chance.y) == ((0, 1), (0.02, 0.02))


def test_a_model_that_was_only_ranked_has_no_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn, "curves", lambda folder, name: FOUND["ours"] if name == "federated" else None)
    results = run_results(titles={"federated": "federated VAE"})
    assert list(drawn.curves_of(tmp_path, results, ("federated", "local"))) == ["federated VAE"]
