"""What a hospital's tasks refuse, what they say beside their arrays, and what of an evaluation is left on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cohorts
import common_edges
import numpy as np
import pytest
from attacker import RULES, Server, offered, study

from normfed_client.answering.journal import LOG
from normfed_client.hospital.folder import open_hospital
from normfed_client.hospital.outbox import Outbox
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode
from normfed_common.learning.entries import build
from normfed_common.learning.setting import Setting
from normfed_common.models.catalogue import MODELS
from normfed_common.wire.answers import CanaryBack, Described, FineTuned, ScoredPeople, Trained
from normfed_common.wire.messages import error_code
from normfed_deploy.rehearsal import Rehearsal
from normfed_server.sites import claims

ASKED = study()
RANKS = {"model": ASKED.comparisons.baselines[0], "arm": "intensity"}
TUNED = study(strategy={"name": "fine-tuning", "epochs": 1})
APART = study(strategy={"name": "fedper"})
SETTING = Setting(ASKED.data.modalities, 4, (1, 1, 1), ASKED.seed)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital's dataset."""
    return cohorts.write(tmp_path_factory.mktemp("cohort"), {"north": {"control": 14, "WMH": 6, "MS": 5}})


@pytest.fixture
def server(cohort: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server that asks the hospital."""
    made = Rehearsal(tmp_path / "federation", cohort, {"north": ("north",)}, settings=RULES)
    (cache / "scans").mkdir(exist_ok=True)
    (made.folder / "north" / "cache").symlink_to(cache / "scans")
    return Server(made.folder / "north", monkeypatch)


def network() -> Arrays:
    """The study's model before the first round."""
    return build(MODELS, ASKED.model, SETTING).share()


def scored(server: Server) -> tuple[float, float]:
    """Everybody by the rank of the intensity; returns the range."""
    low, high = server.answer("evaluate.score", ASKED, offered({}), **RANKS)[1]["range"]
    return float(low), float(high)


def measured(server: Server, low: float, high: float) -> Arrays:
    """The figures between edges over a range, and a threshold in its middle."""
    arrays = common_edges.arrays(np.linspace(low, high, 50), 0.5)
    found: Arrays = server.answer("evaluate.measure", ASKED, arrays, threshold=0.5, **RANKS)[1]
    return found


def left(server: Server) -> list[str]:
    """What the hospital keeps of the scoring."""
    return sorted(path.name for path in (server.folder / "state" / "run-1" / "scores" / "intensity").rglob("*"))


def times(server: Server, what: str) -> int:
    """How many lines of the run's log hold this."""
    return (server.folder / "state" / "run-1" / LOG).read_text().count(what)


def test_a_site_that_measured_does_so_again_when_the_server_resumes_with_another_range(server: Server) -> None:
    """As it does when a site whose scores reached farther is gone, or one that was away is back."""
    low, high = scored(server)
    first = server.answer("evaluate.count", ASKED, low=low, high=high + 1, **RANKS)[1]
    figures = measured(server, low, high + 1)
    assert left(server) == ["served.safetensors"]  # nobody's scores
    assert scored(server) == (low, high)
    assert times(server, "evaluate.score intensity: answered from the outbox") == 1
    again = server.answer("evaluate.count", ASKED, low=low, high=high, **RANKS)[1]
    assert again["normal"].sum() == first["normal"].sum()
    np.testing.assert_array_equal(measured(server, low, high)["moments"], figures["moments"])
    assert left(server) == ["served.safetensors"]


def test_a_hospital_with_too_few_patients_counts_those_held_out_and_measures_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = cohorts.write(tmp_path / "data", {"north": {"control": 14, "WMH": 1}})
    made = Rehearsal(tmp_path / "federation", data, {"north": ("north",)}, settings=RULES)
    server = Server(made.folder / "north", monkeypatch)
    low, high = scored(server)
    answer, found = server.answer("evaluate.count", ASKED, low=low, high=high, **RANKS)
    assert found["held_out_people"].sum() == answer.subjects >= RULES["minimum_people"]
    assert found["held_out"].any()
    assert not found["normal"].any()
    assert not found["lesion"].any()
    assert left(server) == ["served.safetensors"]  # nobody's scores
    edges = common_edges.arrays(np.linspace(low, high, 50), 0.5)
    for task, arrays, more in (
        ("evaluate.measure", edges, {"threshold": 0.5}),
        ("evaluate.score", offered({}), {"detail": "ranking"}),
    ):
        before = len(open_hospital(server.folder).releases().all())
        assert error_code(server.ask(task, ASKED, arrays, **more, **RANKS)) == SiteCode.COHORT_TOO_SMALL
        assert len(open_hospital(server.folder).releases().all()) == before


def test_after_a_crash_between_the_answer_and_its_sending_no_scores_stay(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    low, high = scored(server)
    put = Outbox.put

    def killed(*values: Any) -> None:
        put(*values)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "put", killed)
        with pytest.raises(KeyboardInterrupt):
            measured(server, low, high)
    measured(server, low, high)
    assert times(server, "evaluate.measure intensity: answered from the outbox") == 1
    assert left(server) == ["served.safetensors"]


def test_figures_that_could_not_be_kept_are_made_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    low, high = scored(server)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "put", full)
        arrays = common_edges.arrays(np.linspace(low, high, 50), 0.5)
        reply = server.ask("evaluate.measure", ASKED, arrays, threshold=0.5, **RANKS)
        assert error_code(reply) is SiteCode.OUT_OF_SPACE
    assert left(server) == ["served.safetensors"]  # there is room for the answer now
    found = measured(server, low, high)
    other = {**RANKS, "run": "run-2"}
    server.answer("evaluate.score", ASKED, offered({}), **other)
    undisturbed = server.answer("evaluate.measure", ASKED, arrays, threshold=0.5, **other)[1]
    assert found.keys() == undisturbed.keys()
    for name, array in undisturbed.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("task", "fields"), [("evaluate.count", {"low": -9.0, "high": 9.0}), ("evaluate.measure", {"threshold": 0.5})]
)
def test_nothing_is_counted_or_measured_of_what_nobody_scored(
    server: Server, task: str, fields: dict[str, float]
) -> None:
    arrays = common_edges.arrays(np.linspace(0, 1, 9), 0.5)
    reply = server.ask(task, ASKED, arrays if task == "evaluate.measure" else None, **fields, **RANKS)
    assert error_code(reply) is SiteCode.BAD_REQUEST
    assert times(server, "nothing was scored for intensity") == 1


def test_a_ranking_is_the_only_step_and_leaves_no_scores(server: Server) -> None:
    answer, arrays = server.answer("evaluate.score", ASKED, offered({}), detail="ranking", **RANKS)
    assert answer.payload == ScoredPeople(groups=("all", "MS", "WMH"))
    assert answer.subjects == 11
    assert set(arrays) == {"moments", "bootstrap"}
    assert left(server) == []
    assert server.answer("evaluate.score", ASKED, offered({}), **RANKS)[0].payload == ScoredPeople()


def test_a_rounds_answer_counts_the_people_trained_on_and_its_steps(server: Server) -> None:
    answer, arrays = server.answer("train.round", ASKED, offered(network()), round=1)
    described = server.answer("query.describe", ASKED)[0].told(Described)
    assert answer.subjects == described.counts["train"]
    model = build(MODELS, ASKED.model, SETTING)
    claims.check_training(answer, frozenset({"steps"}), model.most_batches("training", answer.subjects))
    assert answer.told(Trained).received_loss is None  # the strategy does not ask for it
    claims.check_arrays(arrays, network())


def test_a_canary_sends_back_what_it_was_sent_after_one_step(server: Server) -> None:
    answer, arrays = server.answer("train.canary", ASKED, offered(network()))
    assert answer.told(CanaryBack).steps == 1
    for name, array in network().items():
        np.testing.assert_array_equal(arrays[name], array)


def test_of_fine_tuning_nothing_but_the_loss_leaves_and_it_is_what_is_scored(server: Server) -> None:
    beyond = TUNED.federation.rounds + 1
    answer, arrays = server.answer("train.personal", TUNED, offered(network()), round=beyond)
    assert answer.told(FineTuned).loss > 0
    assert arrays == {}
    untuned = server.answer("evaluate.score", ASKED, offered(network()), run="run-2")[1]["range"]
    tuned = server.answer("evaluate.score", TUNED, offered(network()))[1]["range"]
    assert not np.array_equal(tuned, untuned)


def test_fine_tuning_comes_after_the_last_round_and_no_later(server: Server) -> None:
    for number in (1, TUNED.federation.rounds + 2):
        reply = server.ask("train.personal", TUNED, offered(network()), round=number)
        assert error_code(reply) is SiteCode.BAD_REQUEST
        assert times(server, f"the model has no round {number}") == 1


def test_without_its_own_part_a_site_scores_no_model_that_has_one(server: Server) -> None:
    reply = server.ask("evaluate.score", APART, offered(network()))
    assert error_code(reply) is SiteCode.PERSONAL_PART_MISSING
    arrays = server.answer("train.round", APART, offered(network()), round=1)[1]
    assert arrays.keys() < network().keys()
    server.answer("evaluate.score", APART, offered(network()))
