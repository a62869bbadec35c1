"""Whom a paper about a study cites: what its parts name, and nobody else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from commands import normfed
from compared import difference, metrics
from run_results import run_results

from normfed_common.foundation.errors import RunError
from normfed_common.studies import resolve
from normfed_server.results import layout
from normfed_server.runs import folder as runs
from normfed_simulation import citing

STUDY: dict[str, Any] = {
    "name": "cited",
    "data": {"modalities": ["T1w", "FLAIR"], "dataset": {"name": "wmh"}},
    "model": {"name": "siamese", "one_class": {"fit_on": "location"}},
    "transforms": ["nyul"],
    "strategy": {"name": "ditto"},
    "comparisons": {"strategies": ["fedprox"], "baselines": ["atlas"]},
}


def keys(text: str) -> set[str]:
    return set(re.findall(r"^@\w+\{([^,]+),", text, re.MULTILINE))


def test_a_study_s_parts_are_cited_and_no_others() -> None:
    found = keys(citing.text(citing.of_study(resolve(STUDY, "test"))))
    parts = {"kuijf2019", "alaverdyan2020", "scholkopf2001", "nyul1999", "li2021ditto", "li2020fedprox", "stouffer1949"}
    assert parts | {"normfed", "flower", "pytorch", "efron1993", "hanley1982"} <= found
    assert not found & {"mcmahan2017", "baur2021", "johnson2007", "abadi2016", "bonawitz2017", "welch1947"}


def test_members_of_an_ensemble_and_privacy_are_cited_too() -> None:
    study = {
        **STUDY,
        "model": {"name": "ensemble", "members": ["atlas", "intensity"]},
        "privacy": {"epsilon": 4.0, "secure_aggregation": True},
        "strategy": {"name": "fedavg"},
        "comparisons": {},
    }
    found = keys(citing.text(citing.of_study(resolve(study, "test"), resampled=False)))
    assert {"fisher1932", "stouffer1949", "meissen2021", "dwork2014", "bonawitz2017", "welch1947"} <= found
    assert "efron1993" not in found


def test_comments_say_what_an_entry_is_for() -> None:
    text = citing.text(citing.of_study(resolve(STUDY, "test")))
    assert "% model siamese: alaverdyan2020, pinon2023brain\n" in text
    assert "% one-class score location: alaverdyan2020, scholkopf2001\n" in text
    assert text.startswith("% the software: normfed, flower,")


def test_the_command_knows_runs_studies_and_the_software_alone(tmp_path: Path) -> None:
    study = resolve({**STUDY, "comparisons": {}}, "test")
    run = runs.begin(study, tmp_path / "runs")
    of_run = normfed("cite", str(run.folder))
    assert "nyul1999" in keys(of_run.stdout)
    assert normfed("cite", str(run.folder / "study.yaml")).stdout == of_run.stdout
    assert keys(normfed("cite").stdout) == set(citing.SOFTWARE)
    out = tmp_path / "mine.bib"
    assert normfed("cite", str(run.folder), "--out", str(out)).stdout.strip() == str(out)
    assert out.read_text() == of_run.stdout


def test_the_paired_test_and_its_correction_are_cited_where_models_were_tested_against_each_other() -> None:
    study, tests = resolve(STUDY, "test"), {"wilcoxon1945", "holm1979"}
    assert not keys(citing.text(citing.of_study(study))) & tests
    text = citing.text(citing.of_study(study, tested=True))
    assert "% paired tests: wilcoxon1945, holm1979\n" in text
    assert tests <= keys(text)


def test_a_run_cites_tests_only_with_single_patients_and_enough_of_them(tmp_path: Path) -> None:
    run = runs.begin(resolve({**STUDY, "comparisons": {}}, "test"), tmp_path / "runs")
    layout.write(run.folder, run_results(**metrics(atlas=difference(0.1, 0.05, 0.15))))
    assert "holm1979" not in keys(normfed("cite", str(run.folder)).stdout)  # a server's
    run.sites_file.write_text("[]")
    for patients, cited in ((5, False), (6, True)):
        for arm in ("federated", "atlas"):
            path = run.folder / "sites" / "a" / "people" / f"{arm}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = [{"name": f"sub-{n}", "kind": "MS", "auroc": 0.5 + 0.01 * n} for n in range(patients)]
            path.write_text(json.dumps(rows))
        assert ("holm1979" in keys(normfed("cite", str(run.folder)).stdout)) == cited


def test_what_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not there. Give a run folder, or a study file"):
        normfed("cite", str(tmp_path / "nothing"))
