"""How a study's runs are shared out over a machine, and what is planned of a study."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY
from summaries import summary

from normfed_common.foundation.errors import RunError, StudyError
from normfed_common.studies import resolve
from normfed_common.study.changes import changed
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_simulation.domain_shift import folder, running
from normfed_simulation.domain_shift.assembling import _alike
from normfed_simulation.domain_shift.figures import Figures
from normfed_simulation.domain_shift.harmonizations import USUAL, changes, planned
from normfed_simulation.domain_shift.layout import Scanners
from normfed_simulation.domain_shift.running import Means, run_all, shared_out
from normfed_simulation.watcher import Silent


@pytest.mark.parametrize(
    ("cores", "sites", "waiting", "expected"),
    [
        (1, 6, 4, (1, 0)),  # no process of its own on a single core
        (2, 6, 4, (1, 2)),
        (16, 6, 4, (2, 6)),
        (64, 6, 4, (4, 6)),
        (64, 6, 0, (1, 6)),
        (6, 1, 4, (4, 0)),  # a single core for each
    ],
)
def test_a_run_has_a_worker_for_each_site_before_another_begins_beside_it(
    cores: int, sites: int, waiting: int, expected: tuple[int, int]
) -> None:
    assert shared_out(cores, sites, waiting) == expected


class Here:
    """A pool of processes that is none."""

    def __init__(self, function: str, count: int) -> None:
        assert function == "normfed_simulation.domain_shift.running:in_worker"
        assert count == 2

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def submit(self, job: Any) -> Any:
        from concurrent.futures import Future

        done: Future[bytes] = Future()
        done.set_result(running.in_worker(job()))
        return done


def test_runs_beside_each_other_are_told_all_that_one_here_is_and_say_why_they_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = folder.begin(resolve(changed(TINY, changes("z-score,nyul", None)), "test"), tmp_path / "data", tmp_path)
    asked, prepared = [], []

    def one(of: folder.ShiftFolder, name: str, means: Means, _: Any) -> None:
        asked.append((of.path, name, means.data, means.device, means.workers))
        if name == "nyul":
            raise RunError("b has 2 people")

    monkeypatch.setattr(running, "WorkerPool", Here)
    monkeypatch.setattr(running, "run_one", one)
    monkeypatch.setattr(running.experiment, "prepared", lambda *of: prepared.append(of[1]))
    means = Means(tmp_path / "data", "local", "cpu", 3, 2)
    failed = run_all(opened, means, lambda _: nullcontext(Silent()))
    assert failed == {"nyul": "b has 2 people"}
    assert prepared == [tmp_path / "data"]
    assert asked == [(opened.path, name, tmp_path / "data", "cpu", 3) for name in ("none", "z-score", "nyul")]


def test_every_run_has_what_is_compared_and_its_own_transforms_before_the_studys() -> None:
    study = resolve(changed({**TINY, "transforms": ["z-score"]}, changes("[percentiles, nyul], nyul", 2)), "test")
    shift = planned(study)
    assert list(shift.studies) == ["none", "percentiles+nyul", "nyul"]
    names = {name: [entry["name"] for entry in one.transforms] for name, one in shift.studies.items()}
    assert names == {
        "none": ["z-score"],
        "percentiles+nyul": ["percentiles", "nyul", "z-score"],
        "nyul": ["nyul", "z-score"],
    }
    for one in shift.studies.values():
        assert one.comparisons.local
        assert one.comparisons.leave_one_site_out
        assert one.comparisons.repeats == 2
        assert [entry["name"] for entry in one.comparisons.strategies] == ["fedbn", "ditto", "fine-tuning"]
        assert "domain_shift" not in one.model_dump()


def test_one_name_with_other_parameters_is_numbered_and_with_the_same_refused() -> None:
    text = "{name: nyul, scale: [0, 2]}, nyul"
    assert list(planned(resolve(changed(TINY, changes(text, None)), "t")).studies) == ["none", "nyul", "nyul#2"]
    with pytest.raises(StudyError, match="nyul is listed twice"):
        planned(resolve(changed(TINY, changes("nyul, nyul", None)), "t"))


def test_a_study_that_names_none_has_the_usual_ones_and_none_alone_can_be_asked_for() -> None:
    assert list(planned(resolve(TINY, "t")).studies) == ["none", *(name for name in USUAL if name in TRANSFORMS)]
    assert list(planned(resolve(changed(TINY, changes("none", None)), "t")).studies) == ["none"]


def test_a_folder_remembers_the_study_and_the_data_and_refuses_the_run_of_another(tmp_path: Path) -> None:
    begun = folder.begin(resolve(changed(TINY, changes("nyul", None)), "test"), Path("here"), tmp_path)
    again = folder.resume(begun.path)
    assert again.shift == begun.shift
    assert again.data == Path("here").resolve()
    assert again.run("nyul") == begun.run("nyul")
    other = again.run_folder("nyul") / "study.yaml"
    other.write_text(other.read_text().replace("seed: 7", "seed: 8"))
    with pytest.raises(RunError, match="holds the run of another study"):
        again.run("nyul")
    assert json.loads((begun.path / "data.json").read_text())["data"] == str(Path("here").resolve())


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"data": 3}'])
def test_a_folder_whose_data_cannot_be_read_is_one_sentence(tmp_path: Path, text: str | None) -> None:
    begun = folder.begin(resolve(TINY, "test"), None, tmp_path)
    path = begun.path / folder.DATA
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(RunError, match=r"data.json: cannot be read .* Say with --data DIR"):
        _ = folder.resume(begun.path).data


def test_what_was_found_of_scanners_and_cannot_be_read_any_more_is_not_finished(tmp_path: Path) -> None:
    begun = folder.begin(resolve(TINY, "test"), None, tmp_path)
    name = next(iter(begun.shift.studies))
    begun.run(name)
    (begun.run_folder(name) / "report.html").touch()
    assert not running.finished(begun, name)
    path = begun.scanners_file(name)
    path.parent.mkdir()
    path.write_text(Scanners(told=(), ages=(), slopes=()).model_dump_json())
    assert running.finished(begun, name)
    path.write_text(path.read_text()[:-3])
    assert not running.finished(begun, name)


def test_it_is_said_which_transforms_know_the_unseen_sites_own_people() -> None:
    remarks = planned(resolve(changed(TINY, changes("nyul, combat", None)), "t")).remarks
    assert any("What combat learns of a scanner stays at its site" in remark for remark in remarks)
    assert not any("average scanner" in remark for remark in remarks)
    remarks = planned(resolve(changed(TINY, changes("{name: combat, reference: a}", None)), "t")).remarks
    assert any("without the site of ComBat's reference (a), an average scanner" in remark for remark in remarks)
    assert not planned(resolve(changed(TINY, changes("nyul", None)), "t")).remarks


def test_all_runs_are_compared_at_the_sites_of_which_each_has_all_figures() -> None:
    def of(sites: str) -> Figures:
        one = [summary([{"auprc": 0.5}])]
        return Figures(
            tuple(sites), True, {"federated": dict.fromkeys(sites, one)}, {s: dict.fromkeys(sites, one) for s in sites}
        )

    found, remarks = _alike({"none": of("abc"), "nyul": of("bc")})
    for run in found.values():
        assert run.sites == ("b", "c")
        assert list(run.approaches["federated"]) == ["b", "c"]
    assert remarks == ["a left out everywhere: nyul has not all figures of it."]
    with pytest.raises(RunError, match="no site in common"):
        _alike({"none": of("a"), "nyul": of("b")})
