"""A run on a server begins whole or not at all."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from members import accepted, begun, fingerprint_of
from plugins import Plugins

from normfed_common.foundation.errors import StudyError, UserError
from normfed_common.studies import load_study, resolve
from normfed_common.study.config import StudyConfig
from normfed_server.runs import starting
from normfed_server.state import admission
from normfed_server.state.folder import ServerHome
from normfed_server.state.ledger import State
from normfed_server.state.notes import EXCUSED, OPTIONS


@pytest.fixture
def federation(home: ServerHome) -> ServerHome:
    """Two sites accepted, one invited."""
    for site in "abc":
        admission.enrol(home, site)
    for site in "ab":
        admission.accept(home, site, f"key of {site}", fingerprint_of(site))
    return home


def runs(home: ServerHome) -> list[str]:
    return [entry.name for entry in home.ledger.all()]


@pytest.mark.parametrize("canary", [True, False])
def test_a_run_that_is_wanted_has_all_that_its_process_will_read(
    federation: ServerHome, study: StudyConfig, canary: bool
) -> None:
    name = starting.begin(federation, study, canary, ("b", "a"))
    folder = federation.runs / name
    assert load_study(folder / "study.yaml") == study
    assert json.loads((folder / OPTIONS).read_text()) == {"canary": canary}
    assert json.loads((folder / EXCUSED).read_text()) == ["a", "b"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert federation.ledger.get(name).state is State.OPEN


def test_nobody_accepted_is_said_before_anything_else(home: ServerHome, study: StudyConfig) -> None:
    admission.enrol(home, "a")
    with pytest.raises(UserError, match=r"No site is accepted yet: normfed server enrol SITE, then normfed server acc"):
        starting.begin(home, study, True, ("nobody",))
    admission.accept(home, "a", "key", fingerprint_of("a"))
    admission.revoke(home, "a")
    with pytest.raises(UserError, match="No site is accepted yet"):
        starting.begin(home, study, True, ())
    assert list(home.runs.iterdir()) == []


def test_who_is_left_out_must_be_a_member(federation: ServerHome, study: StudyConfig) -> None:
    with pytest.raises(UserError, match=r"No site is called d\. Sites: a, b, c\."):
        starting.begin(federation, study, True, ("a", "d"))
    assert (list(federation.runs.iterdir()), runs(federation)) == ([], [])


def test_a_study_that_cannot_be_run_leaves_no_folder(federation: ServerHome, study: StudyConfig) -> None:
    lost = study.model_copy(update={"strategy": {"name": "fedbn"}, "model": {"name": "atlas"}})
    with pytest.raises(StudyError):
        starting.begin(federation, lost, True, ())
    assert (list(federation.runs.iterdir()), runs(federation)) == ([], [])


@pytest.mark.parametrize("data", [{"split": {"by": "iid", "sites": 2}}, {"normal": "lesion-free-slices"}], ids=str)
def test_what_only_a_simulation_can_do_with_people_is_refused_before_a_hospital_is_asked(
    federation: ServerHome, study: StudyConfig, data: dict[str, Any]
) -> None:
    asked = study.model_copy(update={"data": study.data.model_copy(update=data)})
    with pytest.raises(StudyError, match="simulation"):
        starting.begin(federation, asked, True, ())
    assert (list(federation.runs.iterdir()), runs(federation)) == ([], [])


def test_a_strategy_whose_step_this_server_lacks_leaves_no_folder(
    federation: ServerHome, study: StudyConfig, plugins: Plugins
) -> None:
    code = """
from dataclasses import replace
from normfed_common.algorithms.table import ALGORITHMS
row = replace(ALGORITHMS["fedavg"], server_step="elsewhere")
"""
    plugins.install("half", "1", {"normfed.strategies": {"half": "half:row"}}, code)
    lost = study.model_copy(update={"strategy": {"name": "half"}})
    with pytest.raises(StudyError, match="strategy half: No server step is called 'elsewhere'"):
        starting.begin(federation, lost, True, ())
    assert (list(federation.runs.iterdir()), runs(federation)) == ([], [])


def test_a_run_whose_folder_is_not_complete_is_not_wanted(
    federation: ServerHome, study: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: object, _: object) -> None:
        if str(path).endswith(EXCUSED):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(starting, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        starting.begin(federation, study, True, ())
    assert runs(federation) == []


def test_a_study_that_names_a_site_that_no_member_is_does_not_begin(
    home: ServerHome, tmp_path: Path, study: Any
) -> None:
    """The site that was to be held out would train; of people only the hospitals know, and are not asked."""
    accepted(home, "a", tmp_path)
    held_out = study.model_copy(update={"data": study.data.model_copy(update={"out_of_sample": ("aa",)})})
    with pytest.raises(StudyError, match=r"data\.out_of_sample: no site is called aa .*Did you mean a\?"):
        begun(home, held_out)
    assert not home.runs.exists() or not list(home.runs.iterdir())
    excluded = study.data.model_copy(update={"out_of_sample": ("a",), "exclude": {"sub-nobody": "moved"}})
    assert begun(home, study.model_copy(update={"data": excluded}))


@pytest.mark.parametrize("data", [{"split": {"by": "iid", "sites": 2}}, {"normal": "lesion-free-slices"}])
def test_what_only_a_simulation_does_with_people_is_refused_before_the_run_is_there(
    federation: ServerHome, study: StudyConfig, data: dict[str, Any]
) -> None:
    asked = study.model_copy(update={"data": study.data.model_copy(update=data)})
    with pytest.raises(StudyError, match=r"^data\.(split|normal)[^.]*simulation[^.]*\.( Leave it out\.)?$"):
        starting.begin(federation, asked, True, ())
    assert (list(federation.runs.iterdir()), runs(federation)) == ([], [])


SECURE = {"secure_aggregation": {"minimum_sites": 3}}


@pytest.mark.parametrize(
    ("sites", "data", "refused"),
    [("ab", {}, True), ("abc", {}, False), ("abc", {"out_of_sample": ["c"]}, True), ("abc", {"sites": ["a"]}, True)],
)
def test_too_few_accepted_sites_for_secure_sums_are_refused_before_the_run_is_there(
    home: ServerHome, study: StudyConfig, sites: str, data: dict[str, Any], refused: bool
) -> None:
    for site in sites:
        admission.enrol(home, site)
        admission.accept(home, site, f"key of {site}", fingerprint_of(site))
    text = study.model_dump(mode="json")
    secure = resolve({**text, "data": {**text["data"], **data}, "privacy": SECURE}, "test")
    if not refused:
        assert starting.begin(home, secure, True, ())
        return
    with pytest.raises(StudyError, match=r"^privacy\.secure_aggregation: .* secure.*lower minimum_sites"):
        starting.begin(home, secure, True, ())
    assert runs(home) == []
    assert list(home.runs.iterdir()) == []
