"""A third party adds a model, a score, a strategy with its own objective and step, and a command, without a fork."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import assert_same, normfed, run_folder, weights
from flwr.app import Message
from plugins import Plugins

from normfed_client.answering import serving
from normfed_client.training.objectives import OBJECTIVES
from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.cli import COMMANDS
from normfed_common.foundation.errors import PluginError, StudyError
from normfed_common.metrics.catalogue import METRICS
from normfed_common.models.catalogue import MODELS
from normfed_common.scoring.catalogue import SCORERS
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_common.wire.messages import decode_request
from normfed_server.steps.catalogue import STEPS
from normfed_simulation.datasets import DATASETS
from normfed_simulation.engines import local
from normfed_simulation.splits.catalogue import SPLITS

GUIDE = Path(__file__).parents[2] / "deploy" / "guides" / "plug-ins.md"
ALGORITHM = """
from pydantic import Field
from normfed_client.training.objectives import plain
from normfed_common.algorithms.table import Algorithm
from normfed_common.models.siamese import Siamese
from normfed_common.scoring.patient import PatientHead
from normfed_common.study.base import Frozen
from normfed_server.steps.mean import Mean

class Parameters(Frozen):
    times: int = Field(1, ge=1)

def train(job):
    outcome = plain(job)
    assert job.parameters.times == 1
    return outcome

class Step(Mean):
    pass

class Unet(Siamese):
    pass

class Head(PatientHead):
    pass

row = Algorithm("all", "their training", "their step", Parameters, "Theirs")
lost = Algorithm("all", "gone", "their step", Parameters, "Lost")
stepless = Algorithm("all", "plain", "gone", Parameters, "Stepless")

def hello():
    "Greets."
    print("hello")
"""
POINTS = {
    "normfed.models": {"unet": "theirs:Unet"},
    "normfed.scorers": {"theirs": "theirs:Head"},
    "normfed.strategies": {"theirs": "theirs:row", "lost": "theirs:lost", "stepless": "theirs:stepless"},
    "normfed.objectives": {"their training": "theirs:train"},
    "normfed.steps": {"their step": "theirs:Step"},
    "normfed.commands": {"hello": "theirs:hello"},
}


@pytest.fixture
def theirs(plugins: Plugins) -> Plugins:
    plugins.install("their-plugin", "1.2", POINTS, ALGORITHM, module="theirs")
    return plugins


def written(study_file: Path, path: Path, **changes: Any) -> Path:
    raw = yaml.safe_load(study_file.read_text())
    raw |= {"federation": {"rounds": 1, "minimum_cohort": 2}, "comparisons": {"pooled": False, "baselines": []}}
    raw["comparisons"]["local"] = False
    model = changes.pop("model", {})
    path.write_text(yaml.safe_dump({**raw, **changes, "model": {**raw["model"], **model}}))
    return path


def run(path: Path, out: Path) -> Path:
    result = normfed("simulate", path, "--out", out, "-q", "--workers", 0)
    assert result.exit_code == 0, result.output
    return run_folder(out)


def test_a_study_of_plug_ins_learns_as_one_of_the_same_things_of_ours(
    theirs: Plugins, study_file: Path, hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And every request says which plug-ins, in which version, the server has."""
    said: list[dict[str, str]] = []

    def call(message: Message) -> Message:
        said.append(decode_request(message)[0].plugins)
        return serving.call(message)

    monkeypatch.setattr(local, "call", call)
    model = {"name": "unet", "one_class": {"fit_on": "theirs", "models": 2}}
    path = written(study_file, tmp_path / "theirs.yaml", strategy={"name": "theirs", "times": 1}, model=model)
    first = weights(run(path, tmp_path / "theirs"))
    assert said
    assert all(each == {"their-plugin": "1.2"} for each in said)
    said.clear()
    plain = written(study_file, tmp_path / "plain.yaml", model={"one_class": {"models": 2}})
    assert_same(first, weights(run(plain, tmp_path / "plain")))
    assert all(each == {} for each in said)


@pytest.mark.parametrize(
    ("strategy", "sentence"),
    [
        ("lost", "strategy lost: No objective is called 'gone'. Known: alternating, "),
        ("stepless", "strategy stepless: No server step is called 'gone'. Known: adagrad, "),
        ({"name": "theirs", "times": 0}, "strategy: times: input should be greater than or equal to 1"),
        ("nobodys", "strategy: No strategy is called 'nobodys'. Known: cfl, "),
    ],
    ids=["objective", "step", "parameter", "strategy"],
)
def test_a_strategy_of_which_a_part_is_not_here_is_refused_in_words(
    theirs: Plugins, study_file: Path, tmp_path: Path, strategy: object, sentence: str
) -> None:
    path = written(study_file, tmp_path / "study.yaml", strategy=strategy)
    with pytest.raises(StudyError) as caught:
        run(path, tmp_path / "runs")
    assert sentence in str(caught.value)


def test_a_score_of_a_plug_in_has_its_own_parameters(theirs: Plugins, study_file: Path, tmp_path: Path) -> None:
    path = written(study_file, tmp_path / "study.yaml", model={"one_class": {"fit_on": "theirs", "features": 16}})
    with pytest.raises(StudyError, match=r"model: one_class\.features is not a key"):
        run(path, tmp_path / "runs")


def test_a_command_of_a_plug_in_is_one_of_normfeds_and_takes_the_name_of_none(theirs: Plugins) -> None:
    listed = normfed("--help").output
    assert "hello" in listed
    assert "Of the plug-in their-plugin 1.2." in listed
    assert not theirs.imported("theirs")
    assert normfed("hello").output == "hello\n"
    theirs.install("evil", "6", {"normfed.commands": {"site": "evil:hello"}}, "hello = print")
    with pytest.raises(PluginError, match=r"The command 'site' is provided by .*evil 6"):
        normfed("site", "--help")
    assert not theirs.imported("evil")


def test_the_guide_names_every_group_that_something_here_reads() -> None:
    registries = (MODELS, SCORERS, TRANSFORMS, METRICS, ALGORITHMS, OBJECTIVES, STEPS, DATASETS, SPLITS, COMMANDS)
    read = {registry.group for registry in registries}
    assert set(re.findall(r"^\| `(normfed\.[a-z]+)` \|", GUIDE.read_text(), re.MULTILINE)) == read
