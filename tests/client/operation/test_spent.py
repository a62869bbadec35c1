"""`normfed site ledger`: what the hospital reads of its budget."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import yaml
from commands import normfed

from normfed_client.hospital.bookkeeping.budget import BudgetRules, refusal
from normfed_client.hospital.bookkeeping.entries import Kind, Release
from normfed_client.hospital.folder import open_hospital
from normfed_common.foundation.errors import UserError
from normfed_common.privacy.accounting import epsilon
from normfed_common.privacy.mechanisms import SampledGaussian

ONE = SampledGaussian(10.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    settings = {"site": "a", "server": "f:1", "data": str(tmp_path), "epsilon_per_year": 1.0}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path


def enter(folder: Path, key: str, arm: str, kind: Kind = "noise", run: str = "run-1") -> None:
    spent = {"noise": (ONE,), "without noise": (SampledGaussian(0.0),), "stays": ()}[kind]
    release = Release(key, kind, spent, run, arm, "train.sums")
    assert not open_hospital(folder).ledger().reserve(release, partial(refusal, BudgetRules()))


def test_before_anything_was_spent_the_budget_is_whole(folder: Path) -> None:
    output = normfed("site", "ledger", "--home", folder).output
    assert "Nothing was spent yet." in output
    assert "0 of 1 is spent, 1 is left" in output


def test_years_models_and_what_is_left_are_shown(folder: Path) -> None:
    for key in "ab":
        enter(folder, key, "atlas")
    enter(folder, "c", "federated")
    enter(folder, "c", "federated", "stays")
    output = normfed("site", "ledger", "--home", folder).output
    three, two = epsilon([ONE] * 3, 1e-5), epsilon([ONE] * 2, 1e-5)
    assert f"{three:.3g} of 1 is spent, {1 - three:.3g} is left" in output
    rows = [line.split() for line in output.splitlines() if line.startswith("run-1")]
    assert [row[1:5] for row in rows] == [["atlas", f"{two:.3g}", "2", "–"], ["federated", rows[1][2], "1", "1"]]
    assert "What stays is not counted." in " ".join(output.split())
    assert "without noise" not in output  # no column for what there is not


def test_on_80_columns_two_runs_of_a_day_are_told_apart_and_no_line_is_wider(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    runs = [f"glioma-normative-20261127-13462{second}" for second in range(2)]
    kinds: tuple[Kind, ...] = ("noise", "without noise", "stays")
    for number, (run, kind) in enumerate((run, kind) for run in runs for kind in kinds):
        enter(folder, str(number), "synthetic-anomalies-local", kind, run)
    output = normfed("site", "ledger", "--home", folder).output
    lines = output.splitlines()
    assert max(map(len, lines)) <= 80
    first_column = "".join(line.split(" ")[0] for line in lines)
    assert all(run in first_column for run in runs)


def test_what_was_reserved_and_has_no_answer_is_counted_and_said(folder: Path) -> None:
    enter(folder, "a", "atlas")
    enter(folder, "b", "atlas")
    open_hospital(folder).ledger().settle("a", "made")
    output = " ".join(normfed("site", "ledger", "--home", folder).output.split())
    assert "whether it left or not (1 with no answer so far" in output
    assert "What stays" not in output
    assert f"{epsilon([ONE] * 2, 1e-5):.3g} of 1 is spent" in output


def test_a_year_in_which_something_left_without_noise_has_no_epsilon(folder: Path) -> None:
    enter(folder, "a", "atlas", "without noise")
    assert "∞ of 1 is spent, 0 is left" in normfed("site", "ledger", "--home", folder).output
    found = json.loads(normfed("site", "ledger", "--json", "--home", folder).output)
    assert found["spent_for_life"] is None


def test_programs_read_every_entry(folder: Path) -> None:
    enter(folder, "a", "atlas")
    found = json.loads(normfed("site", "ledger", "--json", "--home", folder).output)
    assert found["spent_for_life"] == epsilon([ONE], 1e-5)
    assert list(found["spent_per_year"].values()) == [epsilon([ONE], 1e-5)]
    assert found["entries"][0]["spent"] == [[10.0, 1.0, 1]]


def test_of_distributed_noise_it_is_said_who_is_trusted_and_what_the_site_s_own_share_is_worth(
    folder: Path,
) -> None:
    shared = SampledGaussian(10.0, sites=4)
    release = Release("a", "noise", (shared,), "run-1", "atlas", "train.sums")
    assert not open_hospital(folder).ledger().reserve(release, lambda *_: "")
    enter(folder, "b", "atlas")
    output = " ".join(normfed("site", "ledger", "--home", folder).output.split())
    assert f"{epsilon([ONE] * 2, 1e-5):.3g} of 1 is spent" in output
    assert "with this hospital's share of distributed noise: 1. They count" in output
    assert "as if the noise of 4 hospitals were in each" in output
    assert f"epsilon of all entries would be {epsilon([ONE, SampledGaussian(5.0)], 1e-5):.3g}" in output
    entries = json.loads(normfed("site", "ledger", "--json", "--home", folder).output)["entries"]
    assert [entry["noise_sites"] for entry in entries] == [4, 1]


def test_a_damaged_ledger_is_said_in_one_sentence(folder: Path) -> None:
    (folder / "ledger.sqlite").write_bytes(b"x" * 5000)
    with pytest.raises(UserError, match=r"cannot be used \(file is not a database\)"):
        normfed("site", "ledger", "--home", folder)
