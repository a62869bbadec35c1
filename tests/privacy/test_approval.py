"""Nothing runs at a hospital before a person there said so: a server asks a hospital that has no rule."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from attacker import MINIMUM, Server, as_sums, offered, study
from typer.testing import CliRunner

from normfed_client.answering.guards import working
from normfed_client.consent import approvals
from normfed_client.hospital import site as hospital_site
from normfed_client.operation.cli import site as commands
from normfed_common.foundation.errors import SiteCode, UserError
from normfed_common.foundation.registry import Registry
from normfed_common.study.config import StudyConfig
from normfed_common.wire.messages import error_code

Run = Callable[..., str]


@pytest.fixture
def asked() -> StudyConfig:
    return study(model={"name": "atlas"}, comparisons={"baselines": []})


@pytest.fixture
def server(server: Server) -> Server:
    """Its hospital has no rule by which anything runs without a person."""
    rules(server, approve_by_rule=[])
    return server


@pytest.fixture
def normfed(server: Server) -> Run:
    """`normfed site ...` at the hospital; its output on one line."""

    def run(*words: str) -> str:
        found = CliRunner().invoke(commands, [*words, "--home", str(server.folder)], catch_exceptions=False)
        assert found.exit_code == 0
        return " ".join(found.output.split())

    return run


@pytest.fixture
def approve(server: Server, normfed: Run) -> Callable[..., str]:
    """As a person does who copies the digest of the list that they read."""

    def run(asked: StudyConfig, *words: str, which: str = "") -> str:
        shown = normfed("show", which or asked.digest)
        (manifest,) = re.findall(r"List ([0-9a-f]+)\.", shown)
        return normfed("approve", which or asked.digest, "--by", "Dr. A", "--manifest", manifest, *words)

    return run


def rules(server: Server, **values: Any) -> None:
    """Change the hospital's site.yaml."""
    path = server.folder / "site.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values))


def code(server: Server, asked: StudyConfig, task: str = "query.describe", **fields: Any) -> SiteCode | None:
    """With which a request is refused; None where it is answered."""
    reply = server.ask(task, asked, **fields)
    return error_code(reply) if reply.has_error() else None


def log(server: Server) -> str:
    """The last line of the hospital's own log."""
    last: str = (server.folder / "log" / "site.log").read_text().splitlines()[-1]
    return last


def kept(folder: Path) -> set[str]:
    """What a run leaves in a hospital's folder."""
    return {
        str(path.relative_to(folder))
        for top in ("state", "outbox", "checkpoints")
        for path in folder.rglob(f"{top}/**/*")
    }


def test_a_study_that_nobody_decided_on_is_kept_for_people_to_see_and_nothing_else_happens(
    server: Server, asked: StudyConfig, normfed: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object) -> None:
        raise AssertionError("a site was opened, or code looked up, for a study that nobody approved")

    before = kept(server.folder)
    with monkeypatch.context() as patch:
        patch.setattr(hospital_site, "site_for", opened)
        patch.setattr(Registry, "__getitem__", opened)
        for task in ("query.describe", "train.sums", "evaluate.score"):
            assert code(server, asked, task) is SiteCode.AWAITS_APPROVAL
    assert kept(server.folder) == before
    line = log(server)
    assert "evaluate.score AWAITS_APPROVAL (250): study asked" in line
    assert f"normfed site show {asked.digest} shows it" in line
    assert f"{asked.digest[:12]} asked" in normfed("asked")
    shown = normfed("show", asked.digest[:8])
    assert "models atlas" in shown
    assert "asked waits for a person." in shown


def test_who_approves_lets_it_run_and_who_changes_their_mind_stops_it_at_the_next_request(
    server: Server, asked: StudyConfig, normfed: Run, approve: Run
) -> None:
    code(server, asked)
    assert "was approved on" in approve(asked)
    assert code(server, asked) is None
    assert code(server, asked, "train.sums", arrays=offered({})) is None
    normfed("refuse", asked.digest, "--by", "Dr. B", "--why", "no contract")
    assert code(server, asked, "train.sums", arrays=offered({})) is SiteCode.REFUSED_BY_HOSPITAL  # kept, and stays here
    refused = (server.folder / "state" / "run-1" / "site.log").read_text().splitlines()[-1]
    assert "by Dr. B: no contract" in refused
    assert "no contract" not in str(server.ask("query.describe", asked).error)
    normfed("reconsider", asked.digest, "--by", "Dr. A")
    rules(server, approve_by_rule=[{}])
    assert code(server, asked) is SiteCode.AWAITS_APPROVAL  # a person wants to look again, whatever rules say
    approve(asked)
    assert code(server, asked) is None


def test_a_study_that_is_started_again_waits_until_a_person_allows_another_run(
    server: Server, asked: StudyConfig, normfed: Run, approve: Run
) -> None:
    sums = {"arrays": offered({})}
    code(server, asked)
    approve(asked)
    assert code(server, asked, run="failed-before-it-learnt") is None  # who is there is told, and no run is used up
    assert code(server, asked, "train.sums", **sums) is None
    assert "for 1 run, of which 1 began; another needs an approval of its own" in normfed("asked")
    for run in ("run-2", "run-3"):
        assert code(server, asked, run=run) is SiteCode.AWAITS_APPROVAL
        assert code(server, asked, "train.sums", run=run, **sums) is SiteCode.AWAITS_APPROVAL
    assert "was for 1 run, which began (run-1); run-3 is one more" in log(server)
    approve(asked)  # one more, as when it is trained again without a hospital that left
    assert code(server, asked, "train.sums", run="run-2", **sums) is None
    assert code(server, asked, "train.sums", **sums) is None  # the first goes on, and is none of it
    assert code(server, asked, "train.sums", run="run-3", **sums) is SiteCode.AWAITS_APPROVAL
    approve(asked, "--runs", "2")
    assert [code(server, asked, "train.sums", run=f"run-{n}", **sums) for n in (3, 4, 5)] == [
        None, None, SiteCode.AWAITS_APPROVAL
    ]  # fmt: skip


def test_a_rule_lets_in_as_many_runs_as_it_says_over_all_studies(server: Server, asked: StudyConfig) -> None:
    """A server that changes the seed has another study, and no more runs."""
    rules(server, approve_by_rule=[{"most_runs": 1}])
    sums = {"arrays": offered({})}
    other = study(model={"name": "atlas"}, comparisons={"baselines": []}, seed=8)
    assert code(server, asked, "train.sums", **sums) is None
    assert code(server, other, "train.sums", run="run-2", **sums) is SiteCode.AWAITS_APPROVAL
    assert code(server, asked, "train.sums", **sums) is None
    rules(server, approve_by_rule=[{"most_runs": 2}])
    assert code(server, other, "train.sums", run="run-2", **sums) is None


def test_whoever_approves_approves_the_list_that_they_read(
    server: Server, asked: StudyConfig, normfed: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    code(server, asked)
    (read,) = re.findall(r"List ([0-9a-f]+)\.", normfed("show", asked.digest))
    rules(server, minimum_people=5)  # somebody changes the rules after the officer read
    for words, said in (
        (("--manifest", read), "another list by now"),
        ((), "Nothing says which list was read"),
        (("--manifest", read[:8]), "no digest of a list"),
    ):
        found = CliRunner().invoke(
            commands, ["approve", asked.digest, "--by", "A", *words, "--home", str(server.folder)]
        )
        assert isinstance(found.exception, UserError)
        assert said in str(found.exception)
    assert code(server, asked) is SiteCode.AWAITS_APPROVAL


def test_decisions_that_are_deleted_do_not_let_in_by_rule_what_was_refused(
    server: Server, asked: StudyConfig, normfed: Run
) -> None:
    code(server, asked)
    normfed("refuse", asked.digest, "--by", "Dr. B")
    rules(server, approve_by_rule=[{}])
    (server.folder / approvals.FILE).unlink()
    assert code(server, asked) is SiteCode.REFUSED_BY_HOSPITAL


def test_an_approval_is_of_one_study_as_it_is_under_the_rules_as_they_are(
    server: Server, asked: StudyConfig, normfed: Run, approve: Run
) -> None:
    code(server, asked)
    approve(asked)
    assert code(server, study(model={"name": "atlas"}, seed=8)) is SiteCode.AWAITS_APPROVAL
    rules(server, minimum_people=5)
    assert code(server, asked) is SiteCode.AWAITS_APPROVAL
    assert "rules of site.yaml that change what leaves were changed since Dr. A" in log(server)


def test_what_was_approved_is_all_that_there_is(server: Server, asked: StudyConfig, normfed: Run) -> None:
    """A text that leaves out members of an ensemble would have them filled in after the person looked."""
    raw = json.loads(asked.model_dump_json()) | {"model": {"name": "ensemble"}}
    sparse = StudyConfig.model_validate_json(json.dumps(raw))
    rules(server, approve_by_rule=[{"models": ["ensemble"]}])
    assert code(server, sparse) is SiteCode.STUDY_REFUSED
    assert "leaves out what its models' defaults would fill in" in log_of_run(server)


def log_of_run(server: Server) -> str:
    last: str = (server.folder / "state" / "run-1" / "site.log").read_text().splitlines()[-1]
    return last


def test_a_study_sent_ahead_can_be_approved_before_the_run_begins(
    server: Server, asked: StudyConfig, normfed: Run, approve: Run, tmp_path: Path
) -> None:
    path = tmp_path / "ahead.yaml"
    path.write_text(yaml.safe_dump(asked.model_dump(mode="json", exclude={"description"})))
    until = date.today() + timedelta(days=30)
    assert f"until {until}" in approve(asked, "--until", str(until), which=str(path))
    assert code(server, asked) is None
    assert "was approved on" in normfed("show", asked.digest)


@pytest.mark.parametrize("damage", ["{", "", '{"decisions": []}'])
def test_a_damaged_record_of_decisions_approves_nothing_even_by_rule(
    server: Server, asked: StudyConfig, damage: str
) -> None:
    rules(server, approve_by_rule=[{}])
    path = server.folder / approvals.FILE
    path.touch(0o600)
    path.write_text(damage)
    assert code(server, asked) is SiteCode.AWAITS_APPROVAL
    assert "decisions.json: damaged" in log(server)


def test_a_rule_for_statistics_lets_numbers_out_and_nothing_learnt(server: Server, asked: StudyConfig) -> None:
    rules(server, approve_by_rule=[{"statistics_only": True}])
    assert code(server, asked) is None
    assert code(server, asked, "train.sums", arrays=offered({})) is SiteCode.AWAITS_APPROVAL


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ({"models": ["mixture"]}, "query.describe"),
        ({"strategies": ["fedprox"]}, "query.describe"),
        ({"metrics": []}, "evaluate.score"),
    ],
)
def test_what_the_policy_never_lets_in_is_refused_whoever_approves(
    server: Server, asked: StudyConfig, normfed: Run, approve: Run, values: dict[str, Any], task: str
) -> None:
    code(server, asked)
    rules(server, **values)
    approve(asked)
    assert code(server, asked, task) is SiteCode.POLICY_REFUSED


@pytest.mark.parametrize("wrong", ["models: atlas", "approve_by_rule: [{modles: [atlas]}]", "hour: []", "site: ["])
def test_a_site_yaml_that_cannot_be_read_serves_nothing(server: Server, asked: StudyConfig, wrong: str) -> None:
    rules(server, approve_by_rule=[{}])
    with open(server.folder / "site.yaml", "a", encoding="utf-8") as file:
        file.write(f"\n{wrong}\n")
    assert code(server, asked) is SiteCode.DATA_UNUSABLE


def test_outside_its_hours_a_site_says_later_and_sends_what_is_ready(
    server: Server, asked: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        now = staticmethod(lambda: datetime(2026, 11, 30, clock[0]))

    clock = [19]
    monkeypatch.setattr(working, "datetime", Clock)
    rules(server, approve_by_rule=[{}], hours=["mon-fri 18:00-06:00"])
    assert code(server, asked) is None
    assert code(server, asked, "train.sums", arrays=offered({})) is None
    clock[0] = 12
    assert code(server, asked, "train.sums", arrays=offered({})) is None  # from the outbox
    assert code(server, asked) is SiteCode.OUT_OF_HOURS
    assert "hours of site.yaml are mon-fri 18:00-06:00" in log_of_run(server)
    clock[0] = 18
    assert code(server, asked) is None


def test_figures_that_are_not_listed_do_not_leave(server: Server, asked: StudyConfig) -> None:
    """The hospital's own file has them all the same; nor do counts leave from which they could be worked out."""
    rules(server, approve_by_rule=[{}])
    sums = server.sums(asked, "run-1")
    model = offered(as_sums("moments", {name.split(".")[-1]: value for name, value in sums.items()}))
    whole = figures(server, asked, model, "run-1")
    rules(server, metrics=["dice"])
    server.answer("query.describe", asked, run="run-2")
    some = figures(server, asked, model, "run-2")
    told = [bool(row[..., 0].any()) for row in some["moments"].transpose(1, 0, 2)]
    assert sum(told) == 1
    column = told.index(True)
    np.testing.assert_array_equal(some["moments"][:, column], whole["moments"][:, column])
    assert whole["moments"][0, :, 0].astype(bool).sum() > 1
    for name in ("normal", "lesion", "regions", "patients", "normal_people", "held_out_people"):
        assert not some[name].any()
    assert whole["normal"].any()
    assert whole["held_out_people"].sum() >= MINIMUM
    assert "image_auroc" not in some
    people = json.loads((server.folder / "state" / "run-2" / "people" / "federated.json").read_text())
    assert people[0].keys() >= {"dice", "auroc"}
    rules(server, metrics=["image_auroc"])  # no figure of a scan: once a hospital that lists it alone answered nothing
    server.answer("query.describe", asked, run="run-3")
    of_people = figures(server, asked, model, "run-3")
    assert not of_people["moments"].any()
    for name in ("normal_people", "held_out_people", "image_auroc"):
        np.testing.assert_array_equal(of_people[name], whole[name])


def figures(server: Server, asked: StudyConfig, model: dict[str, np.ndarray], run: str) -> dict[str, np.ndarray]:
    """All three steps of an evaluation."""
    _, found = server.answer("evaluate.score", asked, arrays=model, run=run)
    low, high = (float(value) for value in found["range"])
    _, counts = server.answer("evaluate.count", asked, run=run, low=low, high=high)
    edges = np.linspace(low, high, 20)
    common = {
        "edges": edges,
        "held_out_people": np.ones(21, np.int64),
        "held_out": np.ones((counts["held_out"].shape[0], 21), np.int64),
        "thresholds": np.full(counts["held_out"].shape[0], (low + high) / 2),
    }
    threshold = (low + high) / 2
    _, measured = server.answer("evaluate.measure", asked, arrays=common, run=run, threshold=threshold)
    return measured | {"coarse lesion": counts["lesion"], "held_out_people": counts["held_out_people"]}
