"""Whatever is asked and whatever happens, an answer that every guard let pass leaves, or a code."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import cohorts
import numpy as np
import pytest
from attacker import MINIMUM, PAYLOADS, RULES, Server, otherwise, study
from commands import assert_same
from flwr.app import Context, Message, Metadata, RecordDict
from jobs import hospital, job

from normfed_client.answering import gate
from normfed_client.answering.app import WORK
from normfed_client.answering.guards import order
from normfed_client.answering.guards.base import Guard, HospitalGuard
from normfed_client.answering.job import Job
from normfed_client.answering.journal import LOG
from normfed_client.hospital.config import SiteConfig
from normfed_client.hospital.folder import HOME_VARIABLE
from normfed_client.hospital.simulated import SITES_VARIABLE, write_sites
from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.foundation.versions import PROTOCOL, installed_version, release
from normfed_common.study.config import StudyConfig
from normfed_common.wire.answers import Answer, Told, Trained
from normfed_common.wire.messages import decode_answer, encode, error_code
from normfed_common.wire.requests import Payload, Request, ScorePeople, TrainRound
from normfed_deploy.rehearsal import Rehearsal

Ask = Callable[..., Message]


@pytest.fixture
def ask(hospitals: Path, cache: Path, tmp_path: Path, study: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Send one request of a round through a simulated site's gate to a given piece of work."""
    config = SiteConfig(
        name="a", data=hospitals, owns=("a",), cache=cache / "scans", output=tmp_path / "out", device="cpu"
    )
    write_sites(tmp_path / "sites.json", (config,))
    monkeypatch.setenv(SITES_VARIABLE, str(tmp_path / "sites.json"))

    def through(work: gate.Work, content: RecordDict | None = None) -> Message:
        header = Request(study=study.model_dump_json(), arm="federated", model=study.model, payload=TrainRound(round=1))
        metadata = Metadata(1, "m", 0, 2, "", "", 1.0, 99.0, "train.round")
        message = Message(content=encode(header, {}) if content is None else content, metadata=metadata)  # type: ignore[call-overload]
        return gate.guarded(message, Context(1, 2, {"partition-id": 0}, RecordDict(), {}), work)

    return through


def answered(job: Job[Any]) -> tuple[Answer, Arrays]:
    """As a handler does: on record, then told."""
    job.released.append("learning")
    return Answer(site=job.site.config.name, payload=Trained()), {"x": np.ones(2)}


def unreachable(_: Job[Any]) -> tuple[Answer, Arrays]:
    pytest.fail("must not be reached")


SECRET = "/data/patients/Jane_Doe_1971/sub-07_T1w.nii.gz"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError(SECRET), SiteCode.INTERNAL),
        (FileNotFoundError(2, "no such file", SECRET), SiteCode.INTERNAL),
        (OSError(28, "No space left on device", SECRET), SiteCode.OUT_OF_SPACE),
        (OSError(f"4096 requested and 0 written to {SECRET}"), SiteCode.OUT_OF_SPACE),  # as NumPy says it
        (SiteError(SiteCode.NOT_FINITE, SECRET), SiteCode.NOT_FINITE),
        (KeyError(SECRET), SiteCode.INTERNAL),
    ],
    ids=["runtime", "missing", "full", "full by numpy", "site", "key"],
)
def test_no_word_of_an_error_leaves_but_its_code(ask: Ask, tmp_path: Path, error: Exception, code: SiteCode) -> None:
    def work(_: Job[Any]) -> tuple[Answer, Arrays]:
        raise error

    reply = ask(work)
    assert error_code(reply) is code
    assert reply.error.reason == code.sentence
    assert not any(part in str(vars(reply)) + reply.error.reason for part in ("Jane", "sub-07", "/data"))
    assert "Jane" in (tmp_path / "out" / LOG).read_text()  # the site's own people can read it


class Speechless(OSError):
    """An error whose text is one more error."""

    def __str__(self) -> str:
        raise RuntimeError(SECRET)


@pytest.mark.parametrize(
    ("error", "written"),
    [
        (Speechless(), ""),
        (RuntimeError("/data/patients/Jane_\udcff.nii"), "Jane_\\udcff.nii"),
        (SiteError(SiteCode.INTERNAL, "\ud800"), "\\ud800"),
    ],
    ids=["no text", "a path that is no text", "a detail that is no text"],
)
def test_an_error_that_cannot_be_written_as_it_is_is_refused_like_any_other(
    ask: Ask, tmp_path: Path, error: Exception, written: str
) -> None:
    def work(_: Job[Any]) -> tuple[Answer, Arrays]:
        raise error

    assert error_code(ask(work)) is SiteCode.INTERNAL
    assert written in ((tmp_path / "out" / LOG).read_text() if written else "")


def test_a_refusal_is_sent_whatever_befalls_the_log(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise PermissionError(13, "not allowed", SECRET)

    def work(_: Job[Any]) -> tuple[Answer, Arrays]:
        raise SiteError(SiteCode.NOT_FINITE)

    monkeypatch.setattr(gate, "_journal", broken)
    assert error_code(ask(work)) is SiteCode.NOT_FINITE


def test_a_refusal_in_a_run_whose_folder_cannot_be_looked_at_is_in_the_hospitals_own_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = job(tmp_path, TrainRound(round=1))
    real = os.stat

    def stat(path: Any, *given: Any, **more: Any) -> os.stat_result:
        if str(path) == str(asked.config.output):
            raise PermissionError(13, "not allowed", SECRET)
        return real(path, *given, **more)

    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setattr(os, "stat", stat)
    assert gate._journal(asked, hospital(tmp_path)).folder == tmp_path / "home" / "log"


def test_a_request_that_breaks_the_protocol_or_asks_for_an_unknown_study_is_refused(
    ask: Ask, study: StudyConfig
) -> None:
    def header(text: str, payload: Payload = TrainRound(round=1)) -> Request:
        return Request(study=text, arm="x", model=study.model, payload=payload)

    whole = study.model_dump_json()
    assert error_code(ask(unreachable, encode(header(whole), {"w": np.array([np.nan])}))) is SiteCode.BAD_REQUEST
    assert error_code(ask(unreachable, encode(header(whole, ScorePeople()), {}))) is SiteCode.BAD_REQUEST  # in a round
    assert error_code(ask(unreachable, RecordDict())) is SiteCode.BAD_REQUEST
    for text in ("{}", "not json", whole.replace('"fedavg"', '"evil"')):
        assert error_code(ask(unreachable, encode(header(text), {}))) is SiteCode.STUDY_REFUSED


def test_an_answer_passes(ask: Ask) -> None:
    reply = ask(answered)
    assert reply.has_content()
    assert reply.metadata.reply_to_message_id == "m"


def test_the_work_is_given_what_was_asked_at_the_site_that_is_played(ask: Ask, study: StudyConfig) -> None:
    header = Request(study=study.model_dump_json(), arm="x", model=study.model, payload=TrainRound(round=2))
    jobs: list[Job[Any]] = []

    def work(job: Job[Any]) -> tuple[Answer, Arrays]:
        jobs.append(job)
        return answered(job)

    assert ask(work, encode(header, {"w": np.arange(3.0)})).has_content()
    (job,) = jobs
    assert (job.request, job.payload, job.config.name) == (header, TrainRound(round=2), "a")
    assert {name: array.tolist() for name, array in job.arrays.items()} == {"w": [0.0, 1.0, 2.0]}


def test_a_simulated_site_is_guarded_as_well(ask: Ask, study: StudyConfig) -> None:
    impossible = Request(
        study=study.model_dump_json(), arm="x", model=study.model, payload=TrainRound(round=1, since=2)
    )
    assert error_code(ask(unreachable, encode(impossible, {}))) is SiteCode.BAD_REQUEST
    forgotten = Answer(site="a", payload=Trained())
    assert error_code(ask(lambda _: (forgotten, {}))) is SiteCode.INTERNAL  # nobody was put on record


def test_an_unreadable_dataset_is_a_code(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (tmp_path / "sites.json").read_text()
    other = tmp_path / "elsewhere.json"
    other.write_text(text.replace("phantom", "no-phantom"))
    monkeypatch.setenv(SITES_VARIABLE, str(other))
    assert error_code(ask(unreachable)) is SiteCode.DATA_UNUSABLE


seen: list[str] = []


class Outer(Guard):
    """Notes when it is called."""

    def inbound(self, job: Job[Any]) -> None:
        seen.append(f"{type(self).__name__} in")

    def outbound(self, job: Job[Any], answer: Answer, arrays: Arrays) -> tuple[Answer, Arrays]:
        seen.append(f"{type(self).__name__} out {arrays['x'][0]:g}")
        return answer, arrays


class Inner(Outer):
    """The same, next to the work."""


class Noise(Guard):
    """Changes what leaves: as differential privacy would."""

    drawn = 0.0

    def outbound(self, job: Job[Any], answer: Answer, arrays: Arrays) -> tuple[Answer, Arrays]:
        Noise.drawn += 1
        return answer, {name: array + Noise.drawn for name, array in arrays.items()}


class Refusing(HospitalGuard):
    """Lets nothing out: as a spent privacy budget would."""

    def outbound(self, job: Job[Any], answer: Answer, arrays: Arrays) -> tuple[Answer, Arrays]:
        raise SiteError(SiteCode.TOO_MUCH_ASKED, f"{self.hospital.config.site}: nothing is left of the budget")


class Unapproved(HospitalGuard):
    """Lets nothing in: as a study that nobody approved would meet."""

    def inbound(self, job: Job[Any]) -> None:
        raise SiteError(SiteCode.STUDY_REFUSED, f"{job.request.run}: not approved")


@pytest.fixture(autouse=True)
def _nothing_seen() -> Iterator[None]:
    seen.clear()
    Noise.drawn = 0.0
    yield
    seen.clear()


def test_guards_see_a_request_in_their_order_and_an_answer_in_the_reverse(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "ORDER", (Outer, *order.ORDER, Noise, Inner))

    def work(job: Job[Any]) -> tuple[Answer, Arrays]:
        seen.append("work")
        return answered(job)

    reply = ask(work)
    assert seen == ["Outer in", "Inner in", "work", "Inner out 1", "Outer out 2"]
    assert decode_answer(reply)[1]["x"].tolist() == [2.0, 2.0]  # what the outermost saw is what leaves


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital's dataset."""
    return cohorts.write(tmp_path_factory.mktemp("cohort"), {"north": {"control": 3 * MINIMUM + 8}})


@pytest.fixture
def server(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server that asks the hospital."""
    made = Rehearsal(tmp_path / "federation", cohort, {"north": ("north",)}, settings=RULES)
    return Server(made.folder / "north", monkeypatch)


ATLAS = {"name": "atlas"}


def kept(server: Server) -> list[str]:
    return sorted(path.name for path in (server.folder / "outbox").rglob("*") if path.is_file())


def test_nothing_leaves_and_nothing_is_kept_when_a_guard_refuses_an_answer(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer("query.describe", study(model=ATLAS))
    with monkeypatch.context() as patch:
        patch.setattr(order, "ORDER", (Refusing, *order.ORDER))
        reply = server.ask("train.sums", study(model=ATLAS))
        assert error_code(reply) is SiteCode.TOO_MUCH_ASKED
        assert not reply.has_content()
        assert kept(server) == []
        assert "north: nothing is left of the budget" in (server.folder / "state" / "run-1" / LOG).read_text()
        assert server.ask("train.sums", study(model=ATLAS)).has_error()  # nor the second time, from the outbox
    server.answer("train.sums", study(model=ATLAS))
    assert [name.partition("-")[0] for name in kept(server)] == ["000000"]


def test_an_answer_that_cannot_be_kept_does_not_leave(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answer("query.describe", study(model=ATLAS))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(named, "save_file", full)
        assert error_code(server.ask("train.sums", study(model=ATLAS))) is SiteCode.OUT_OF_SPACE
        assert kept(server) == []
    server.answer("train.sums", study(model=ATLAS))


def test_noise_is_drawn_once_however_often_the_same_is_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the mean of many answers would be the answer without noise."""
    asked = study(model=ATLAS)
    server.answer("query.describe", asked)
    monkeypatch.setattr(order, "ORDER", (*order.ORDER, Noise))
    Noise.drawn = 0.0
    first = server.answer("train.sums", asked)[1]
    again = server.answer("train.sums", asked)[1]
    other = server.answer("train.sums", asked, otherwise(1))[1]
    for name, array in first.items():
        np.testing.assert_array_equal(again[name], array)
        np.testing.assert_allclose(other[name], array + 1, rtol=1e-12)


def test_a_server_that_is_upgraded_in_a_round_gets_the_answer_that_is_kept_and_no_other_noise(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work is the site's: else every patch version that a server says to have would be another draw."""
    asked, here = study(model=ATLAS), release(installed_version()) or pytest.fail("no version")
    server.answer("query.describe", asked)
    monkeypatch.setattr(order, "ORDER", (*order.ORDER, Noise))
    Noise.drawn = 0.0
    first = server.answer("train.sums", asked)[1]
    again = server.answer("train.sums", asked, version=f"{here[0]}.{here[1] + 1}.7")[1]
    assert_same(first, again)


def test_a_server_of_another_protocol_is_told_so_whatever_else_it_says(server: Server) -> None:
    for fields in ({}, {"unheard_of": 1}):
        reply = server.header("train.sums", study(model=ATLAS), protocol=PROTOCOL + 1, **fields)
        assert error_code(reply) is SiteCode.PROTOCOL_DIFFERS


def test_an_answer_in_the_outbox_is_not_given_again_once_a_guard_refuses_the_request(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = study(model=ATLAS)
    server.answer("query.describe", asked)
    server.answer("train.sums", asked)
    monkeypatch.setattr(order, "ORDER", (*order.ORDER, Unapproved))
    assert error_code(server.ask("train.sums", asked)) is SiteCode.STUDY_REFUSED


@pytest.mark.parametrize("task", ["train.round", "query.describe", "evaluate.count"])
def test_the_payload_of_another_task_than_the_messages_is_refused(server: Server, task: str) -> None:
    asked = study(model=ATLAS)
    header = Request(study=asked.model_dump_json(), run="run-1", arm="federated", model=ATLAS, payload=ScorePeople())
    assert error_code(server.send(task, encode(header, {}))) is SiteCode.BAD_REQUEST
    assert error_code(server.send("evaluate.score", encode(header, {}))) is SiteCode.VERSION_DIFFERS  # read, that is


def test_a_refused_run_leaves_no_folder_and_its_reason_is_in_the_hospitals_own_log(server: Server) -> None:
    reply = server.ask("query.describe", study(), run="made-up", version="9.0.0")
    assert error_code(reply) is SiteCode.VERSION_DIFFERS
    assert not (server.folder / "state" / "made-up").exists()
    assert "the server 9.0.0" in (server.folder / "log" / LOG).read_text()


def test_a_hospitals_request_has_checkpoints_of_its_own_as_often_as_its_configuration_says(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job[Any]] = []

    class Watching(Guard):
        def inbound(self, job: Job[Any]) -> None:
            jobs.append(job)

    monkeypatch.setattr(order, "ORDER", (*order.ORDER, Watching))
    server.answer("query.describe", study(model=ATLAS))
    for number in (1, 2):
        server.answer("train.sums", study(model=ATLAS), otherwise(number))
    found = [job.checkpoints for job in jobs if job.checkpoints is not None]
    assert [checkpoints.every_s for checkpoints in found] == [180.0] * 3  # 3 minutes, unless site.yaml says
    assert len({checkpoints.folder for checkpoints in found}) == 3
    assert [job.outbox is None for job in jobs] == [True, False, False]  # who is there is looked at anew


def test_a_hospital_refuses_a_request_that_belongs_to_no_run(server: Server) -> None:
    assert error_code(server.ask("query.describe", study(), run="")) is SiteCode.BAD_REQUEST
    assert "belongs to no run" in (server.folder / "log" / LOG).read_text()


def test_every_task_has_a_handler_and_a_payload_for_the_way_back() -> None:
    assert WORK.keys() == PAYLOADS.keys() == {kind.model_fields["task"].default for kind in get_args(Told)}
