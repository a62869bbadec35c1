"""What trackers are told: the study's keys, rounds and ends, and no file of a single person that nobody asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from compared import GAIN, difference, metrics, row
from run_results import rounds, run_results

from normfed_common.foundation import arrays as named
from normfed_common.study.config import StudyConfig
from normfed_server.paper.writing import write_paper
from normfed_server.results import layout
from normfed_server.results.sharing import without_single_people
from normfed_server.runs import folder as runs
from normfed_server.tracking import passing, telling

OF_PATIENTS = ("report.html", "tables/patients/patients.csv", "figures/patients/bland-altman.png")
OF_ALL = ("study.yaml", "metrics.json", "model.safetensors", "tables/models.csv", "figures/roc.svg")
OWN = ("tables/.half.csv", "tables/names.csv", "figures/scan.png", "tables/patients/key.csv")  # of whoever put it there
NEVER = ("sites/a/people/federated.json", "sites.json", "maps/sub-1.nii.gz", "left_out.json", "central.secret")


def test_a_study_is_one_level_of_keys(study: StudyConfig) -> None:
    told = telling.parameters(study)
    assert told["federation.rounds"] == study.federation.rounds
    assert told["strategy.name"] == study.strategy["name"]
    assert told["data.modalities"] == '["T1w", "FLAIR"]'
    assert "privacy.epsilon" not in told  # nothing was set


def test_rounds_are_told_by_site_and_of_other_models_below_their_names() -> None:
    entry = {
        "round": 3,
        "loss": {"a": 0.5, "b": None},
        "shares": {"a": 1.0},
        "outcomes": {"a": "took part", "b": "late"},
        "seconds": 9.0,
        "megabytes": {"out": 2.0, "back": 1.0},
        "share": 0.75,
    }
    (found,) = rounds(entry)
    told = {
        "loss/a": 0.5,
        "weight/a": 1.0,
        "round/seconds": 9.0,
        "round/share_of_people": 0.75,
        "round/megabytes_out": 2.0,
        "round/megabytes_back": 1.0,
        "round/sites": 1.0,
    }
    assert telling.scalars("federated", found) == told
    assert telling.scalars("pooled", found) == {f"pooled/{name}": value for name, value in told.items()}
    results = run_results([entry], rounds_of={"pooled": [entry, {**entry, "round": 4}]})
    assert [(arm, of.round) for arm, of in telling.rounds(results)] == [("federated", 3), ("pooled", 3), ("pooled", 4)]


def test_the_end_is_told_with_its_intervals_and_what_is_not_known_is_left_out() -> None:
    silent = {"auroc": {"mean": None, "sd": None, "n": 0}}
    found = metrics()
    found["evaluation"]["atlas"] = {"all": silent, "sites": {}, "kinds": {}, "worst_site": {}}
    told = telling.finals(run_results(**found))
    assert told["auroc/federated"] == 0.9
    assert told["auroc_low/federated"] == 0.85
    assert told["auroc_worst_site/federated"] == 0.8
    assert not [name for name in told if name.endswith("/atlas")]


def test_files_of_single_patients_are_passed_on_when_asked_for_and_never_the_sites_own(
    study: StudyConfig, tmp_path: Path
) -> None:
    run = runs.begin(study, tmp_path)
    layout.write(run.folder, run_results(**metrics()))
    for name in (*OF_PATIENTS, *OF_ALL, *NEVER, *OWN):
        path = run.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def passed(*, patients: bool) -> set[str]:
        with telling.artefacts(run, patients=patients) as (root, paths):
            return {path.relative_to(root).as_posix() for path in paths}

    assert passed(patients=False) == set(OF_ALL)
    assert passed(patients=True) == {*OF_ALL, *OF_PATIENTS}
    run.sites_file.unlink()  # a server's: its report knows of no patient
    assert passed(patients=False) == {*OF_ALL, "report.html"}


def test_figures_of_one_patient_are_in_no_file_that_is_passed_on_unless_asked_for(
    study: StudyConfig, tmp_path: Path
) -> None:
    secret = 0.123456
    found = metrics(local=difference(0.1, 0.05, 0.15))
    single = {"auroc": {"mean": secret, "sd": None, "n": 1}}
    for model in found["evaluation"].values():
        model["sites"]["ward"] = model["kinds"]["Glioma"] = single
        model["worst_site"]["auroc"] = {"mean": secret, "site": "ward"}
    its = {"auroc": {"mean": secret, "ci95": [None, None]}}
    found["differences"]["local"]["sites"]["ward"] = found["differences"]["local"]["kinds"]["Glioma"] = its
    found["matrix"] = {"auroc": {"a": {"a": 0.9, "ward": secret}}}
    found["sites"].append({"name": "ward", "train": 1, "held_out": 0, "test": 1, "kinds": ["Glioma"]})
    league = row("federated", 0.4, GAIN)
    league["auroc"] |= {"sites": {"a": 0.9, "ward": secret}, "worst_site": {"site": "ward", "mean": secret}}
    found["league"] = [league, row("local", 0.3, None)]
    entry = {"round": 1, "loss": {"a": 0.5, "ward": secret}, "outcomes": {"a": "took part", "ward": "took part"}}
    run = runs.begin(study, tmp_path)
    layout.write(run.folder, run_results([entry], **found))
    (run.folder / "arms").mkdir()
    (run.folder / "report.html").write_text(str(secret))
    (run.folder / "privacy.html").write_text("x")
    write_paper(run)

    def telling_it(*, patients: bool) -> set[str]:
        with telling.artefacts(run, patients=patients) as (root, paths):
            assert {"study.yaml", "metrics.json", "tables/sites.csv", "figures/sites.svg"} <= {
                path.relative_to(root).as_posix() for path in paths
            }
            assert not [path for path in paths if path.is_symlink()]  # which W&B would keep, with where it leads
            texts = {path: path.read_text() for path in paths if path.suffix != ".png"}
            return {path.name for path, text in texts.items() if "0.123" in text or "Glioma" in text}

    assert {"metrics.json", "sites.csv", "kinds.csv", "gains.csv", "matrix.csv", "rounds.csv"} <= telling_it(
        patients=True
    )
    assert telling_it(patients=False) == set()
    told = telling.finals(without_single_people(layout.read(run.folder)))
    assert told["auroc/federated"] == 0.9
    assert "auroc_worst_site/federated" not in told


def test_neither_parameters_nor_the_study_name_people_or_a_path(study: StudyConfig, tmp_path: Path) -> None:
    secret = tmp_path / "Ward 7" / "start.safetensors"
    secret.parent.mkdir()
    named.save(secret, {"weights": np.ones(1, np.float32)})
    data = study.data.model_copy(update={"exclude": {"sub-Doe": "moved", "ward": "too few"}})
    run = runs.begin(study.model_copy(update={"data": data, "initial_model": str(secret)}), tmp_path)
    layout.write(run.folder, run_results(**metrics()))
    (run.folder / "arms").mkdir()
    heard: list[dict[str, telling.Parameter]] = []

    class Hears:
        def parameters(self, told: Mapping[str, telling.Parameter]) -> None:
            heard.append(dict(told))

        def scalars(self, told: Mapping[str, float], step: int, time_s: float | None) -> None:
            pass

        def finals(self, told: Mapping[str, float]) -> None:
            pass

        def artefacts(self, root: Path, paths: list[Path]) -> None:
            heard.append({path.name: path.read_text() for path in paths if path.name == "study.yaml"})

    passing.pass_on(run, Hears(), patients=False)
    told, files = heard
    assert told["data.exclude.ward"] == "too few"
    assert str(told["initial_model"]).startswith("sha256:")
    assert "ward: too few" in str(files["study.yaml"])
    for word in ("Doe", "moved", "Ward 7", str(tmp_path)):
        assert word not in str(heard)
