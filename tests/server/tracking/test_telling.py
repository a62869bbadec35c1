"""What trackers are told: the study's keys, rounds and ends, and no file of a single person that nobody asked for."""

from __future__ import annotations

from pathlib import Path

from compared import metrics
from run_results import rounds, run_results

from normfed_common.study.config import StudyConfig
from normfed_server.runs import folder as runs
from normfed_server.tracking import telling

OF_PATIENTS = ("report.html", "tables/patients/patients.csv", "figures/patients/bland-altman.png")
OF_ALL = ("study.yaml", "metrics.json", "model.safetensors", "tables/models.csv", "figures/roc.svg")
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
    for name in (*OF_PATIENTS, *OF_ALL, *NEVER, "tables/.half.csv"):
        path = run.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def passed(*, patients: bool) -> set[str]:
        return {path.relative_to(run.folder).as_posix() for path in telling.artefacts(run, patients=patients)}

    assert passed(patients=False) == set(OF_ALL)
    assert passed(patients=True) == {*OF_ALL, *OF_PATIENTS}
    run.sites_file.unlink()  # a server's: its report knows of no patient
    assert passed(patients=False) == {*OF_ALL, "report.html"}
