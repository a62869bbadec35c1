"""`normfed reproduce`: every recipe on its look-alike, and a small recipe as with real data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import normfed, run_folder
from rich.console import Console

from normfed_common.foundation.errors import DatasetError, RunError, StudyError, UserError
from normfed_server.results.figures import Figure
from normfed_simulation.datasets.recognition import recognised
from normfed_simulation.reproduction import data, recipe, running
from normfed_simulation.reproduction.comparing import compared
from normfed_simulation.reproduction.layout import Reproduction
from normfed_simulation.reproduction.look_alike.people import MARK
from normfed_simulation.reproduction.look_alike.trees import TREES, make
from normfed_simulation.reproduction.table import comparison_table

pytestmark = [pytest.mark.xdist_group("journeys"), pytest.mark.usefixtures("on_the_template")]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("trees")
    return {kind: make(kind, root / kind) for kind in TREES}


def reproduced(*arguments: object) -> tuple[Path, dict[str, Any], str]:
    """The folder, reproduction.json, and what was said."""
    result = normfed("reproduce", *arguments, "--workers", 0)
    assert result.exit_code == 0, result.output
    out = Path(str(arguments[arguments.index("--out") + 1]))
    folder = run_folder(out)
    return folder, json.loads((folder / "reproduction.json").read_text()), " ".join(result.output.split())


def test_without_maps_of_diffusion_what_needs_only_t1w_is_run(trees: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(trees["ppmi"], tmp_path / "ppmi", ignore=shutil.ignore_patterns("derivatives"))
    lacking = running.not_run(recipe.load("ppmi-parkinson"), "ppmi-parkinson", {"people": (tmp_path / "ppmi",)}, True)
    assert set(lacking) == {"sae", "mixture"}
    assert "has no FA (expected derivatives/*/sub-3110/dwi/sub-3110_param-FA_dwimap.nii.gz)" in lacking["mixture"]


@pytest.mark.parametrize("kind", TREES)
def test_a_look_alike_is_read_as_the_dataset_that_it_looks_like(kind: str, trees: dict[str, Path]) -> None:
    found = recognised(trees[kind])
    assert found is not None
    assert found[0] == kind.partition("-")[0]
    assert not found[1].found.problems


def test_a_look_alike_that_was_broken_off_is_completed(tmp_path: Path) -> None:
    whole = set(make("mslub", tmp_path).rglob("*"))
    (tmp_path / MARK).unlink()
    (tmp_path / "patient2" / "patient2_T1W.nii.gz").unlink()
    assert set(make("mslub", tmp_path).rglob("*")) == whole


@pytest.mark.parametrize("name", recipe.names())
def test_a_recipe_runs_on_its_look_alike_and_never_claims_to_have_reproduced_anything(
    name: str, tmp_path: Path
) -> None:
    federated = ("--federated", "fedbn") if recipe.load(name).segmentation is not None else ()
    folder, found, said = reproduced(name, "--look-alike", *federated, "--out", tmp_path)
    assert said.count("MADE-UP DATA") == 2
    assert "MADE-UP DATA" in (folder / "reproduction.md").read_text()
    assert "MADE-UP DATA" in (folder / "reproduction.html").read_text()
    assert found["look_alike"] is True
    assert {figure["verdict"] for row in found["rows"] for figure in row["figures"]} == {"not comparable"}
    assert found["not_run"] == {}
    assert any(figure["ours"] is not None for row in found["rows"] for figure in row["figures"])
    assert set(found["ours_alone"]) == ({"fedbn, seen", "fedbn, unseen"} if federated else set())
    for place in found["arms"].values():
        assert (folder / place / ("report.html" if place.startswith("arms") else "table.md")).exists()
    for text in found["differs"]:
        assert text in " ".join((folder / "reproduction.md").read_text().split())


SMALL: dict[str, Any] = {
    "title": "Small",
    "citation": "Nobody 2020",
    "roles": {
        role: {"what": role, "datasets": kinds, "published": "-", "access": "-", "look_alike": tree}
        for role, kinds, tree in (
            ("controls", ["bids"], "bids-controls"),
            ("patients", ["wmh"], "wmh"),
            ("more", ["ixi"], "ixi"),
        )
    },
    "study": {
        "data": {"modalities": ["T1w", "FLAIR"], "held_out_people": 1},
        "preprocessing": {"voxel_size_mm": 4},
        "federation": {"minimum_cohort": 1},
        "model": {"name": "atlas"},
        "comparisons": {"local": False, "pooled": False, "baselines": []},
        "evaluation": {"bins": 100, "bootstrap": 50},
    },
    "arms": {"first": {"needs": ["controls", "patients"]}, "second": {"needs": ["more", "patients"]}},
    "source": "Table 1",
    "rows": [
        {
            "name": "a",
            "arm": "first",
            "model": "federated",
            "figures": {"people": {"value": 9}, "auroc": {"value": 0.5}},
        },
        {"name": "b", "arm": "first", "model": "federated", "figures": {"people": {"value": 10}}},
        {"name": "c", "arm": "second", "model": "federated", "figures": {"auroc": {"value": 0.5}}},
        {"name": "d", "figures": {"auroc": {"value": 0.5}}},
    ],
    "differs": ["It is small."],
}


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe of the test's own, in the place of those that ship."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    monkeypatch.setattr(recipe, "_folder", lambda: folder)
    return folder


def as_real(tree: Path, place: Path) -> Path:
    """A look-alike that does not say that it is one."""
    shutil.copytree(tree, place, ignore=shutil.ignore_patterns(MARK))
    return place


def test_with_data_every_figure_has_its_verdict_and_an_arm_without_data_says_what_it_lacks(
    small: Path, trees: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {kind: as_real(trees[kind], tmp_path / kind) for kind in ("bids-controls", "wmh")}
    given = ("--data", f"controls={folders['bids-controls']}", "--data", f"patients={folders['wmh']}")
    folder, found, said = reproduced("small", *given, "--out", tmp_path / "out")
    assert found["look_alike"] is False
    assert "MADE-UP" not in said + (folder / "reproduction.md").read_text()
    assert found["not_run"] == {"second": "no --data more=DIR"}
    figures = {(row["name"], figure["metric"]): figure for row in found["rows"] for figure in row["figures"]}
    verdicts = {key: (figure["verdict"], figure["why"]) for key, figure in figures.items()}
    assert verdicts == {
        ("a", "people"): ("within", "the published number"),
        ("a", "auroc"): ("not comparable", "3 people are too few"),
        ("b", "people"): ("outside", "the published number"),
        ("c", "auroc"): ("not comparable", "no --data more=DIR"),
        ("d", "auroc"): ("not comparable", running.NO_MODEL),
    }
    metrics = json.loads((folder / "arms" / "first" / "metrics.json").read_text())
    ours, theirs = figures["a", "auroc"], metrics["evaluation"]["federated"]["all"]["auroc"]
    assert (ours["ours"], ours["sd"], ours["n"]) == (theirs["mean"], theirs["sd"], 3)
    assert "1 of 2 comparable figures agree with what was published, 1 do not; 3 cannot be compared." in said

    monkeypatch.setattr(running.experiment, "simulate", None)  # what is finished is not run again
    (folder / "reproduction.json").unlink()
    assert normfed("reproduce", "--resume", folder, "-q").exit_code == 0
    assert json.loads((folder / "reproduction.json").read_text()) == found


def test_a_look_alike_that_is_given_as_data_is_not_taken_for_real(small: Path, trees: dict[str, Path]) -> None:
    chosen = recipe.load("small")
    given = data.given(chosen, "small", [f"controls={trees['bids-controls']}", f"patients={trees['wmh']}"])
    assert data.is_look_alike(given)
    view = data.root_of(given, ["patients"], chosen.study_of("small", "first", False))
    assert view is not None
    assert data.is_look_alike({"patients": (view,)})  # nor is a view of it


def test_an_arm_that_its_data_do_not_allow_is_not_run_while_another_is(
    small: Path, trees: dict[str, Path], tmp_path: Path
) -> None:
    """IXI has no FLAIR, so nobody of it trains."""
    chosen = recipe.load("small")
    texts = [f"controls={trees['bids-controls']}", f"patients={trees['wmh']}", f"more={trees['ixi']}"]
    found = running.not_run(chosen, "small", data.given(chosen, "small", texts), False)
    assert list(found) == ["second"]
    assert found["second"].startswith("No site can train")
    assert "Guys (no FLAIR)" in found["second"]
    with pytest.raises(UserError) as caught:
        running.not_run(chosen, "small", data.given(chosen, "small", texts[1:]), False)
    assert str(caught.value) == found["second"]


def test_one_folder_may_serve_as_two_roles(small: Path, trees: dict[str, Path]) -> None:
    one = trees["bids-controls"]
    study = recipe.load("small").study_of("small", "first", False)
    assert data.root_of({"controls": (one,), "patients": (one,)}, ["controls", "patients"], study) == one


@pytest.mark.parametrize(
    ("arguments", "kind", "sentence"),
    [
        (["nowhere"], StudyError, "No recipe is called 'nowhere'"),
        (["small"], StudyError, "small needs data: --data controls=DIR"),
        (["small", "--data", "DIR"], StudyError, "Say which, such as --data controls=DIR"),
        (["small", "--data", "patient=DIR"], StudyError, "no 'patient'. Did you mean"),
        (["small", "--data", "patients=DIR/none"], DatasetError, "no such folder"),
        (["small", "--data", "patients=DIR/ixi"], DatasetError, "looks like ixi, and the patients are of wmh"),
        (["small", "--data", "controls=DIR/bids-controls"], StudyError, "Nothing can be run: no --data patients=DIR"),
        (["small", "--look-alike", "--data", "controls=DIR"], StudyError, "Leave out one of the two"),
        (["small", "--look-alike", "--federated", "fedbn"], StudyError, "--federated is of a segmentation"),
        (["--resume", "DIR"], RunError, r"holds no recipe\.json"),
        (["small", "--resume", "DIR"], StudyError, "leave out NAME"),
    ],
)
def test_what_cannot_be_run_is_said_in_a_sentence_and_leaves_nothing(
    small: Path, trees: dict[str, Path], tmp_path: Path, arguments: list[str], kind: type[Exception], sentence: str
) -> None:
    root = str(next(iter(trees.values())).parent)
    with pytest.raises(kind, match=sentence):
        normfed("reproduce", *(text.replace("DIR", root) for text in arguments), "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_a_name_the_recipes_are_listed_with_their_data() -> None:
    said = " ".join(normfed("reproduce").output.split())
    for name in recipe.names():
        assert name in said
        for role in recipe.load(name).roles.values():
            assert role.access.split()[0] in said


def test_the_table_fits_a_terminal_of_80_columns() -> None:
    chosen = recipe.load("wmh-pinon2023")
    ours = {name: Figure(mean=0.512, sd=0.1, n=60, ci95=(0.5, 0.52)) for name in chosen.table[0].figures}
    rows = tuple(compared(row, ours, False, None) for row in chosen.table)
    found = Reproduction(
        recipe="r", title="t", citation="c", look_alike=False, data={}, arms={}, not_run={}, rows=rows, differs=(),
        left_out=(),
    )  # fmt: skip
    console = Console(width=80, record=True)
    console.print(comparison_table(found))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    assert any("0.512" in line and "60" in line and "0.800 ± 0.090" in line for line in lines), "\n".join(lines)
