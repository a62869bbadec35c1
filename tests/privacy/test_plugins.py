"""A study that needs code which a hospital did not let in: nothing of it is ever imported."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import yaml
from attacker import Server, study
from plugins import Plugins

from normfed_client.answering.app import WORK
from normfed_client.answering.journal import LOG
from normfed_common.foundation.errors import SiteCode
from normfed_common.models.intensity import IntensityConfig
from normfed_common.study.config import StudyConfig
from normfed_common.wire.answers import Described
from normfed_common.wire.messages import error_code

CODE = """
from normfed_client.training.objectives import plain
from normfed_common.algorithms.parameters import Nothing
from normfed_common.algorithms.table import Algorithm
from normfed_common.models.intensity import Intensity
from normfed_common.scoring.patient import PatientHead

class Model(Intensity): pass
class Head(PatientHead): pass
row = Algorithm("all", "theirs", "mean", Nothing, "Theirs")
"""
POINTS = {
    "normfed.models": {"theirs": "theirs:Model"},
    "normfed.scorers": {"theirs": "theirs:Head"},
    "normfed.strategies": {"theirs": "theirs:row"},
    "normfed.objectives": {"theirs": "theirs:plain"},
}
MODEL, STRATEGY = {"name": "theirs", **IntensityConfig().model_dump(mode="json")}, {"name": "theirs"}


def changed(**values: Any) -> StudyConfig:
    """The study as a server would send it, of which nothing was looked up here."""
    honest = study()
    beside = {key: values.pop(key) for key in ("baselines", "strategies") if key in values}
    comparisons = honest.comparisons.model_copy(update=beside)
    return honest.model_copy(update={"comparisons": comparisons, **values})


SCORE = {**study().model, "one_class": {**study().model["one_class"], "fit_on": "theirs"}}
STUDIES = {
    "model": changed(model=MODEL),
    "baseline": changed(baselines=(MODEL,)),
    "strategy": changed(strategy=STRATEGY),
    "compared": changed(strategies=(STRATEGY,)),
    "score": changed(model=SCORE),
}


@pytest.fixture
def theirs(plugins: Plugins) -> Plugins:
    plugins.install("their-plugin", "1.2", POINTS, CODE, module="theirs")
    return plugins


def let_in(server: Server, **listed: str) -> None:
    path = server.folder / "site.yaml"
    names = {name.replace("_", "-"): version for name, version in listed.items()}
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"plugins": names}))


def logged(server: Server) -> str:
    """Whatever the hospital wrote down, with the run or, of one that it does not keep, with its own logs."""
    return "".join(path.read_text() for path in server.folder.rglob(LOG))


@pytest.mark.parametrize("listed", [{}, {"their_plugin": "1.1"}, {"other": "1.2"}], ids=["none", "version", "other"])
def test_nothing_that_is_not_listed_in_its_very_version_is_imported(
    server: Server, theirs: Plugins, listed: dict[str, str]
) -> None:
    """Whatever the server says, or does not say, of the plug-ins that the study needs."""
    let_in(server, **listed)
    for asked, said in itertools.product(STUDIES.values(), ({}, {"their-plugin": "1.2"}, {"normfed": "1.2"})):
        for task in WORK:
            reply = server.ask(task, asked, plugins=said)
            assert error_code(reply) is SiteCode.PLUGIN_REFUSED, (task, asked.model, said)
            assert "their" not in reply.error.reason
    assert not theirs.imported("theirs")
    text = logged(server)
    assert "the plug-in their-plugin 1.2 is installed here, but site.yaml " in text
    assert "To let it in, add their-plugin: '1.2'" in text


def test_what_calls_itself_normfed_is_not(server: Server, plugins: Plugins) -> None:
    """Once whatever wrote our name into its own metadata was imported, listed or not."""
    plugins.install("their-plugin", "1.2", POINTS, CODE, module="theirs", claims="normfed")
    for asked in STUDIES.values():
        assert error_code(server.ask("query.describe", asked)) is SiteCode.PLUGIN_REFUSED
    assert not plugins.imported("theirs")


def test_what_is_listed_is_used(server: Server, theirs: Plugins) -> None:
    let_in(server, their_plugin="1.2")
    for name, asked in STUDIES.items():  # a run has one study
        answer, _ = server.answer("query.describe", asked, run=name, plugins={"their-plugin": "1.2"})
        assert isinstance(answer.payload, Described)
        assert answer.payload.counts["train"] > 0
    assert theirs.imported("theirs")


def test_what_is_taken_off_the_list_is_not_used_any_more(server: Server, theirs: Plugins) -> None:
    let_in(server, their_plugin="1.2")
    assert not server.ask("query.describe", STUDIES["model"]).has_error()
    let_in(server)
    assert error_code(server.ask("query.describe", STUDIES["model"])) is SiteCode.PLUGIN_REFUSED


def test_another_version_than_the_servers_is_refused_as_normfeds_is(server: Server, theirs: Plugins) -> None:
    let_in(server, their_plugin="1.2")
    reply = server.ask("query.describe", STUDIES["model"], plugins={"Their_Plugin": "1.3"})
    assert error_code(reply) is SiteCode.VERSION_DIFFERS
    assert "the server has their-plugin 1.3, this site 1.2" in logged(server)
    assert not theirs.imported("theirs")


def test_a_server_cannot_tell_what_is_not_installed_from_what_is_not_let_in(server: Server, theirs: Plugins) -> None:
    replies = [
        server.ask("query.describe", study(), plugins={name: "1.2"}) for name in ("their-plugin", "not-installed")
    ]
    assert {(error_code(reply), reply.error.reason) for reply in replies} == {
        (SiteCode.PLUGIN_REFUSED, SiteCode.PLUGIN_REFUSED.sentence)
    }
    assert "the plug-in not-installed 1.2, which is not installed here" in logged(server)
    assert not theirs.imported("theirs")


@pytest.mark.parametrize(
    "said",
    [
        {"../x": "1"},
        {"x": "1\n2"},
        {"x": ""},
        {"": "1"},
        {"x" * 101: "1"},
        {"x": "1" * 51},
        {f"x{number}": "1" for number in range(101)},
    ],
    ids=["path", "line", "no version", "no name", "long name", "long version", "many"],
)
def test_names_and_versions_have_a_pattern_and_a_bound(server: Server, said: dict[str, str]) -> None:
    assert error_code(server.header("query.describe", study(), plugins=said)) is SiteCode.BAD_REQUEST
