"""A whole study of domain shift on the smallest hospitals: what it leaves, interrupted or not."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toys
import yaml
from commands import normfed, run_folder

from normfed_common.foundation.errors import RunError, StudyError
from normfed_common.metrics.summary import add
from normfed_server.arms import evaluation
from normfed_server.results import layout as results_layout
from normfed_simulation.domain_shift import running
from normfed_simulation.domain_shift.layout import DomainShift, read

pytestmark = pytest.mark.xdist_group("journeys")


@pytest.fixture(scope="module", autouse=True)
def known() -> Iterator[None]:
    with toys.registered(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("normfed_simulation.domain_shift.probes.PERMUTATIONS", 4)
        yield


@pytest.fixture(scope="module")
def shift_study(study_file: Path, hospitals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One harmonization beside none, with a part that stays at the site."""
    path = tmp_path_factory.mktemp("shift") / "s.yaml"
    changed = {
        "model": {"name": "atlas"},
        "comparisons": {"pooled": False, "baselines": []},
        "domain_shift": {"harmonizations": ["site-centring"]},
    }
    path.write_text(yaml.safe_dump({**yaml.safe_load(study_file.read_text()), **changed}))
    return path


def run(*arguments: object) -> Any:
    return normfed("study", "domain-shift", *arguments, "--workers", 0, "--parallel", 1, "--quiet")


@pytest.fixture(scope="module")
def whole(shift_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    result = run(shift_study, "--out", out)
    assert result.exit_code == 0, result.output
    return run_folder(out)


def test_every_harmonization_is_an_ordinary_run_and_none_comes_first(whole: Path) -> None:
    found = read(whole)
    assert list(found.harmonizations) == ["none", "site-centring"]
    assert "fedbn, ditto, fine-tuning are left out: atlas learns from sums" in found.remarks[0]
    assert found.sites == ("a", "b", "c")
    for name, one in found.harmonizations.items():
        assert not one.failed
        ordinary = results_layout.read(whole / one.run)
        assert (whole / one.run / "report.html").exists()
        for metric, own in one.figures.items():
            federated, unseen = (ordinary.evaluation[model] for model in ("federated", "leave-one-site-out"))
            assert own.matrix == ordinary.matrix[metric], name
            assert own.approaches["federated"].mean == pytest.approx(federated.all[metric].mean)
            assert own.approaches["federated"].ci95 == pytest.approx(federated.all[metric].ci95)
            assert own.approaches["leave-one-site-out"].mean == pytest.approx(unseen.all[metric].mean)
            assert own.gaps["federated"].all.gap.mean == pytest.approx(
                federated.all[metric].mean - unseen.all[metric].mean  # type: ignore[operator]
            )


def test_the_gap_of_single_sites_is_their_diagonal_less_the_others_of_the_same_column(whole: Path) -> None:
    one = read(whole).harmonizations["none"].figures["auprc"]
    for site, gap in one.gaps["local"].sites.items():
        others = [row[site] for train, row in one.matrix.items() if train != site]
        assert gap.gap.mean == pytest.approx(one.matrix[site][site] - sum(others) / len(others))  # type: ignore


def test_personal_parts_are_those_of_the_site_when_its_healthy_people_are_looked_at(whole: Path) -> None:
    told = {name: one.scanners for name, one in read(whole).harmonizations.items()}
    for name, found in told.items():
        assert found is not None, name
        assert [one.people for one in found.told] == [15, 15]
        assert found.told[0].chance == pytest.approx(1 / 3)
        assert all("20 are needed" in fit.why for fit in found.ages)
    assert told["none"] != told["site-centring"]


def interrupted(whole: Path, folder: Path) -> Path:
    """As if the power had failed while the last run was under way; nothing of the first is to be made again."""
    shutil.copytree(whole, folder)
    for name in ("domain-shift.json", "domain-shift.html", "scanners/site-centring.json"):
        (folder / name).unlink()
    last = folder / "runs" / "site-centring"
    for name in ("metrics.json", "report.html", "model.safetensors"):
        (last / name).unlink()
    shutil.rmtree(last / "arms" / "without-b")
    return folder


def test_what_is_interrupted_and_resumed_has_the_same_figures_and_makes_nothing_again(
    whole: Path, shift_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = interrupted(whole, tmp_path / "copy")
    simulate, begun = running.experiment.simulate, []

    def dying(run: Any, *rest: Any) -> Path:
        begun.append(run.folder.name)
        if len(begun) == 1:
            raise KeyboardInterrupt
        return simulate(run, *rest)

    monkeypatch.setattr(running.experiment, "simulate", dying)
    stopped = run("--resume", folder)
    assert stopped.exit_code == 130
    assert f"normfed study domain-shift --resume {folder}" in " ".join(stopped.output.split())
    assert not (folder / "domain-shift.json").exists()
    with pytest.raises(StudyError, match="leave out STUDY"):
        run(shift_study, "--resume", folder)
    assert run("--resume", folder).exit_code == 0
    assert begun == ["site-centring"] * 2
    assert read(folder) == read(whole)
    assert run("--resume", folder).exit_code == 0  # nothing is left to do but the page
    assert len(begun) == 2


def test_a_harmonization_that_fails_says_why_and_the_others_have_their_figures(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = interrupted(whole, tmp_path / "copy")

    def failing(*_: Any) -> Path:
        raise RunError("b has 2 people")

    monkeypatch.setattr(running.experiment, "simulate", failing)
    assert run("--resume", folder).exit_code == 1
    found = read(folder).harmonizations
    assert found["site-centring"].failed == "b has 2 people"
    assert found["none"] == read(whole).harmonizations["none"]
    assert "site-centring has no figures: b has 2 people." in (folder / "domain-shift.html").read_text()


def test_sums_over_people_are_what_intervals_are_made_of(whole: Path) -> None:
    """The mean over everybody of the matrix's diagonal is that of every site's own model at home."""
    arms = whole / "runs" / "none" / "arms"
    loaded = {site: evaluation.load(arms / f"local-{site}" / "evaluation.safetensors") for site in "abc"}
    together = add([found.summaries[site] for site, found in loaded.items() if found is not None])
    own = read(whole).harmonizations["none"].figures["auroc"].approaches["local"]
    assert own.mean == pytest.approx(together.mean("auroc"))
    assert own.n == 7


def test_the_file_says_what_its_schema_says(whole: Path) -> None:
    assert DomainShift.model_validate_json((whole / "domain-shift.json").read_bytes())
    assert json.loads((whole / "domain-shift.json").read_text())["study"] == "tiny"


@pytest.mark.parametrize(
    ("harmonizations", "why"),
    [
        ("none,no-such", "no-such"),
        ("centring,centring", "listed twice"),
        ("{centring: 1}", "name"),
        ("[", "not a list of names"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence_and_leaves_no_folder(
    shift_study: Path, tmp_path: Path, harmonizations: str, why: str
) -> None:
    with pytest.raises(StudyError, match=why):
        run(shift_study, "--out", tmp_path / "out", "--harmonizations", harmonizations)
    assert not (tmp_path / "out").exists()


def test_what_is_no_folder_of_such_a_study_is_not_resumed(whole: Path) -> None:
    with pytest.raises(RunError, match=r"holds no domain-shift\.yaml"):
        run("--resume", whole / "runs" / "none")


def test_where_no_site_trains_and_tests_every_model_is_others_and_no_gap_is_defined(
    study_file: Path, hospitals: Path, tmp_path: Path
) -> None:
    """Two sites of healthy people train, and a third, which never does, has patients: so are the real sites of T1."""
    with open(hospitals / "participants.tsv", encoding="utf-8") as file:
        people = list(csv.DictReader(file, delimiter="\t"))
    ill = [one["participant_id"] for one in people if one["site"] != "c" and one["group"] != "control"]
    raw = yaml.safe_load(study_file.read_text())
    raw |= {"model": {"name": "atlas"}, "comparisons": {"pooled": False, "baselines": []}}
    raw["data"] |= {"train_sites": ["a", "b"], "exclude": dict.fromkeys(ill, "trains only")}
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(raw))
    assert run(path, "--out", tmp_path / "out", "--harmonizations", "none").exit_code == 0
    folder = run_folder(tmp_path / "out")
    found = read(folder)
    one = found.harmonizations["none"].figures["auprc"]
    assert (found.sites, found.trained, found.tested) == (("c",), ("a", "b"), ("c",))
    assert not one.gaps
    alone = [one.approaches[f"only {site}"].mean for site in "ab"]
    assert [one.matrix[site]["c"] for site in "ab"] == alone
    assert one.approaches["borrowed"].mean == pytest.approx(sum(alone) / 2)  # type: ignore[arg-type]
    assert one.approaches["leave-one-site-out"].mean == one.approaches["federated"].mean
    assert "none of which trains" in found.words["What is lost"][0]
    assert "no gap is defined" in " ".join(found.remarks)
    assert "What is lost at a scanner" not in (folder / "domain-shift.html").read_text()
