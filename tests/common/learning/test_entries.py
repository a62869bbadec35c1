"""A learner that cannot be made is one sentence: whose it is, and what is missing or wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from plugins import Plugins
from synthetic import setting

from normfed_common.foundation.errors import PluginError, StudyError
from normfed_common.learning.entries import build
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.study.base import Frozen

CODE = """
from normfed_common.foundation.errors import StudyError
from normfed_common.models.base import NormativeModel
from normfed_common.study.base import Frozen

class Abstract(NormativeModel):
    Config = Frozen

class Whole(Abstract):
    def score(self, visits, rng): ...

class Raising(Whole):
    def __init__(self, config, setting):
        super().__init__(config, setting)
        self.network = self.layers

class Alone(Whole):
    def __init__(self, config, setting):
        self.config = config

class Partless(Whole):
    def __init__(self, config, setting):
        super().__init__(config, setting)
        del self.parts

class Phaseless(Whole):
    def phases(self):
        return None

class Refusing(Whole):
    def __init__(self, config, setting):
        raise StudyError("one modality at most.")
"""


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    plugins = Plugins(tmp_path / "installed", monkeypatch)
    kinds = ("Abstract", "Whole", "Raising", "Alone", "Partless", "Phaseless", "Refusing")
    points = {kind.lower(): f"tiny_models:{kind}" for kind in kinds}
    plugins.install("tiny-models", "1.2", {"normfed.models": points}, CODE)
    return plugins


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("abstract", r"Abstract cannot be used: it does not implement score\.$"),
        ("raising", r"Raising cannot be made: AttributeError: .* no attribute 'layers'.*; tiny_models\.py:17$"),
        ("alone", r"Alone cannot be used: its __init__ does not call super\(\)\.__init__\(config, setting\)\.$"),
        ("partless", r"Partless cannot be made: AttributeError: .* no attribute 'parts'"),
        ("phaseless", r"Phaseless cannot be made: TypeError: .*not iterable$"),
    ],
)
def test_a_plug_in_s_learner_that_cannot_be_made_is_one_sentence(named: Plugins, name: str, said: str) -> None:
    with pytest.raises(PluginError, match=rf"^The model '{name}' of the plug-in tiny-models 1\.2: {said}") as caught:
        build(MODELS, {"name": name}, setting())
    assert "\n" not in str(caught.value)


def test_a_plug_in_s_learner_that_is_whole_is_made_and_its_own_refusal_stays(named: Plugins) -> None:
    assert isinstance(build(MODELS, {"name": "whole"}, setting()), NormativeModel)
    with pytest.raises(StudyError, match=r"^one modality at most\.$"):
        build(MODELS, {"name": "refusing"}, setting())


def test_an_exception_of_our_own_learner_keeps_its_story(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ours(NormativeModel):
        Config = Frozen

        def __init__(self, config: Frozen, setting: object) -> None:
            raise KeyError("ours")

        score = None  # type: ignore[assignment]

    monkeypatch.setitem(MODELS._entries, "ours", Ours)
    with pytest.raises(KeyError, match="ours"):
        build(MODELS, {"name": "ours"}, setting())
