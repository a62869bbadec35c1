"""The notebooks run from top to bottom, on tiny synthetic hospitals, and are stored with what they show."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import matplotlib
import nbformat
import pytest
from conftest import TINY
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "deploy" / "guides" / "notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
STUDY = {**TINY, "model": {"name": "atlas"}, "comparisons": {"local": False, "baselines": [{"name": "intensity"}]}}
# In the kernel as in this process: no tables and figures for a paper.
UNDRAWN = "import normfed_simulation.experiment\nnormfed_simulation.experiment.write_paper = lambda run: []"

pytestmark = pytest.mark.xdist_group("notebooks")


def notebook(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def small(name: str) -> Any:
    """The notebook with the tiny study in place of its own, where a cell sets what it is run with."""
    found = notebook(name)
    for cell in found.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            kept = [line for line in cell.source.splitlines() if line.startswith("import ")]
            cell.source = "\n".join([*kept, f"study, out = {STUDY!r}, 'runs'"])
            cell.source += "\ndata = normfed.example_data(study)" if "normfed" in " ".join(kept) else ""
    return found


def test_a_kernel_runs_the_demo_read_step_by_step(hospitals: Path, tmp_path: Path) -> None:
    run = small("demo")
    first = next(cell for cell in run.cells if cell.cell_type == "code")
    first.source = f"{UNDRAWN}\n{first.source}"
    NotebookClient(run, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in run.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 3
    assert not any(output.output_type == "error" for output in shown)


@pytest.mark.parametrize("name", ["own-data", "own-model"])
def test_the_others_run_as_well(
    name: str,
    hospitals: Path,
    tmp_path: Path,
    trying: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    within: dict[str, Any] = {"__name__": "__main__"}
    for cell in small(name).cells:
        if cell.cell_type == "code":
            exec(cell.source, within)
    said = capsys.readouterr().out
    if name == "own-data":
        assert "average precision" in said
    else:
        difference = float(said.rsplit(":", 1)[1])
        assert difference < 1e-5  # sums are exact to rounding, federated or pooled
    assert len(list((tmp_path / "runs").iterdir())) == 1


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_a_notebook_shows_is_stored_with_it_and_nothing_of_the_machine_that_made_it(name: str) -> None:
    stored = notebook(name)
    outputs = [output for cell in stored.cells if cell.cell_type == "code" for output in cell.outputs]
    assert len(outputs) >= 2
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)
    assert os.sep + "tmp" not in str(outputs)
    assert os.path.expanduser("~") + os.sep not in str(outputs)
