"""What leaves in an export, and what must not."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flips import flip
from run_results import run_results

from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import DamagedError, RunError, UserError
from normfed_common.foundation.files import write_text
from normfed_common.metrics.calibration import FILE
from normfed_server.results import exporting, layout
from normfed_server.results.exporting import FILES, PARTICIPATION, SUMS, export
from normfed_server.state.folder import ServerHome

ROUNDS: list[dict[str, Any]] = [
    {"round": 1, "outcomes": {"a": "took part"}, "loss": {"a": 0.5}, "share": 1.0, "clusters": {"a": 1}},
    {"round": 2, "outcomes": {"a": "took part"}, "shares": {"a": 1.0}, "seconds": 3.0, "loss": {"a": 0.4}},
]


RESULTS = run_results(
    ROUNDS,
    sites=[{"name": "a", "train": 3, "held_out": 1, "test": None, "kinds": ["MS"]}],
    missing={"federated": {"b": [2]}},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run."""
    made = tmp_path / "run"
    (made / "sites" / "a").mkdir(parents=True)
    named.save(made / "model.safetensors", {"w": np.arange(3.0)})
    layout.write(made, RESULTS)
    for name in ("report.html", "study.yaml", "events.jsonl", "server.log", "sites/a/map.nii.gz"):
        (made / name).write_bytes(name.encode())
    return made


def test_an_export_is_the_runs_results_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    paths = export(folder, tmp_path / "out")
    assert paths == [tmp_path / "out" / name for name in (*FILES, PARTICIPATION, SUMS)]
    assert sorted(tmp_path.joinpath("out").rglob("*")) == sorted(paths)
    for name in FILES:
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("name", ["privacy.html", "privacy-audit.json"])
def test_what_is_promised_and_what_attacks_reached_goes_along_where_it_is_known(
    folder: Path, tmp_path: Path, name: str
) -> None:
    (folder / name).write_text("{}")
    (folder / "central.secret").write_text("never")
    paths = export(folder, tmp_path / "out")
    assert tmp_path / "out" / name in paths
    assert "central.secret" not in [path.name for path in tmp_path.joinpath("out").iterdir()]


def test_what_p_values_compare_with_goes_along_where_it_is_known(folder: Path, tmp_path: Path) -> None:
    named.save(folder / FILE, {"edges": np.arange(2.0)})
    assert tmp_path / "out" / FILE in export(folder, tmp_path / "out")
    flip(folder / FILE, bits=1)
    with pytest.raises(DamagedError):
        export(folder, tmp_path / "other")


def test_who_took_part_is_told_without_any_figure(folder: Path, tmp_path: Path) -> None:
    export(folder, tmp_path / "out")
    told = json.loads((tmp_path / "out" / PARTICIPATION).read_text())
    whole = RESULTS.model_dump(mode="json")
    secret = {"loss", "clusters", "hospital_time"}
    expected = [{key: entry[key] for key in entry.keys() - secret} for entry in whole["rounds"]]
    assert told == {"sites": whole["sites"], "missing": whole["missing"], "rounds": expected}


def test_damaged_figures_are_not_exported(folder: Path, tmp_path: Path) -> None:
    (folder / "metrics.json").write_text('{"study": "x"')
    with pytest.raises(DamagedError, match=r"metrics\.json cannot be read"):
        export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_checksums_are_those_of_hashlib_and_sha256sum_believes_them(folder: Path, tmp_path: Path) -> None:
    *paths, sums = export(folder, tmp_path / "out")
    expected = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in paths]
    assert sums.read_text().splitlines() == expected
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=sums.parent, check=True, capture_output=True)


@pytest.mark.parametrize("name", FILES)
def test_a_run_without_one_of_its_results_is_not_finished(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(RunError, match=rf"^run: not finished \({name} is not there yet\)\.$"):
        export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_overwrites_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(UserError, match="there is something already"):
        export(folder, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_an_export_goes_into_an_empty_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "deep" / "out").mkdir(parents=True)
    assert all(path.exists() for path in export(folder, tmp_path / "deep" / "out"))


def test_a_damaged_model_is_not_exported_with_a_checksum_that_vouches_for_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name in FILES:
        write_text(run / name, "{}")
    named.save(run / "model.safetensors", {"w": np.arange(3.0)})
    flip(run / "model.safetensors", bits=1)
    with pytest.raises(DamagedError, match="its digest is not that of its content"):
        export(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_has_checksums_and_an_unfinished_run_has_none(
    watched: tuple[ServerHome, str], tmp_path: Path
) -> None:
    home, name = watched
    with pytest.raises(RunError, match="not finished"):
        exporting.export(home.runs / name, tmp_path / "out")
    (home.runs / name / "report.html").write_bytes(b"x")
    named.save(home.runs / name / "model.safetensors", {"w": np.zeros(2)})
    layout.write(home.runs / name, run_results([{"outcomes": {"a": "took part"}}]))
    paths = exporting.export(home.runs / name, tmp_path / "out")
    sums = dict(line.split("  ")[::-1] for line in (tmp_path / "out" / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == {path.name for path in paths} - {"SHA256SUMS"}
    assert sums["report.html"].startswith("2d711642b726b04401627ca9fbac32f5")
    assert json.loads((tmp_path / "out" / "participation.json").read_text())["rounds"][0]["outcomes"] == {
        "a": "took part"
    }
