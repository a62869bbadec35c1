"""What a hospital's audit says of an attack and of an honest run, and what happens when it cannot say it."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path

import pytest
from attacker import MINIMUM, Server, study
from flwr.app import Message, RecordDict

from normfed_client.answering import recorded
from normfed_client.answering.journal import LOG
from normfed_client.answering.serving import call
from normfed_client.hospital import machine
from normfed_client.hospital.folder import Hospital, open_hospital
from normfed_client.operation.runner import Runner
from normfed_client.recording import refusing
from normfed_client.recording.audit import Audit
from normfed_common.chain import files
from normfed_common.chain.comparing import compare
from normfed_common.chain.files import Chain
from normfed_common.chain.keys import VerifyingKey, statement
from normfed_common.chain.kinds.server import HeadRefused
from normfed_common.chain.kinds.shared import LossAccepted
from normfed_common.chain.kinds.site import Answered, Contradicted, Decided, KeyMade, Refused, Repeated, ServerWentBack
from normfed_common.chain.records import Record
from normfed_common.deployment.enrolment import certificate_fingerprint
from normfed_common.flower import act_as
from normfed_common.foundation.errors import SiteCode, UserError
from normfed_common.foundation.versions import installed_version
from normfed_common.wire import messages
from normfed_common.wire.head import Heads
from normfed_common.wire.messages import error_code
from normfed_common.wire.requests import Describe, Request, Sums
from normfed_deploy.rehearsal import Rehearsal
from normfed_server.sites.heads import Books
from normfed_server.state import admission
from normfed_server.state.chain import chain_of, key_of

ATLAS = {"name": "atlas"}
ASKED = study(model=ATLAS)


def audit_of(server: Server) -> Audit:
    return Audit(open_hospital(server.folder))


@pytest.fixture(autouse=True)
def _server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process in which nothing was refused yet: so many refusals an hour are written one by one."""
    act_as(1, 1)
    for module in (recorded, refusing):
        monkeypatch.setattr(module, "_few", refusing.Few())
    monkeypatch.setattr(recorded, "_repeats", refusing.Few(20))
    monkeypatch.setattr(recorded, "_looks", refusing.Few(600))


class Federation:
    """An honest server and its books: what it asks of `north`, and what its chain says of the answers."""

    def __init__(self, federation: Rehearsal, server: Server) -> None:
        self.home, self.server = federation.home, server
        self.chain: Chain = chain_of(self.home)
        self.books = Books(self.chain, self.home.heads, partial(admission.accepted_key, self.home))

    def ask(self, task: str, **fields: object) -> Message:
        """A request with the heads of both chains; its answer is written down."""
        reply = self.server.ask(task, ASKED, heads=self.books.heads("north"), **fields)
        payload = Describe() if task == "query.describe" else Sums(phase="moments")
        asked = Request(study=ASKED.model_dump_json(), run="run-1", arm="federated", model=ASKED.model, payload=payload)
        return self.books.hear("north", messages.requests({"north": 2}, asked, {})["north"], reply)

    def compared(self, site_lines: list[bytes] | None = None, server_lines: list[bytes] | None = None) -> list[str]:
        """What is wrong between the two chains."""
        audit = audit_of(self.server)
        keys = VerifyingKey(audit.chain.key_line()), VerifyingKey(key_of(self.home).line)
        ours, theirs = site_lines or list(audit.chain.lines()), server_lines or list(self.chain.lines())
        return compare(ours, keys[0], theirs, keys[1]).problems


@pytest.fixture
def both(federation: Rehearsal, server: Server) -> Federation:
    return Federation(federation, server)


def test_what_was_asked_answered_and_refused_is_recorded_on_both_sides_and_nothing_of_a_person(
    both: Federation, server: Server, cohort: Path
) -> None:
    assert both.ask("query.describe").has_content()
    reply = both.ask("train.sums", phase="moments")
    assert both.ask("train.sums", phase="moments").has_content()  # again: from the outbox
    other = study(model=ATLAS, federation={"minimum_cohort": 1})
    reply_to_other = server.ask("query.describe", other, heads=both.books.heads("north"))
    assert error_code(reply_to_other) is SiteCode.MINIMUM_TOO_LOW
    assert server.send("train.evil", _request().content).has_error()
    assert server.send("train.sums", RecordDict()).has_error()

    audit = audit_of(server)
    found = audit.verify()
    assert found.problems == found.remarks == []
    contents = [record.content for record in audit.entries()]
    assert isinstance(contents[1], KeyMade)
    describe, sums, again, refused, evil, unreadable = contents[2:]
    assert isinstance(describe, Answered)
    assert (describe.people, describe.arrays, describe.asked.task) == ("20-49", (), "query.describe")
    assert isinstance(sums, Answered)
    assert isinstance(again, Repeated)
    assert (sums.kept, again.number, again.content) == (False, 4, sums.content)
    assert sums.epsilon is None  # the study has no differential privacy
    assert (sums.asked.study, sums.asked.run, sums.asked.model) == (ASKED.digest, "run-1", "atlas")
    assert sums.by.authority == certificate_fingerprint((server.folder / "ca.crt").read_bytes())
    _, arrays = messages.decode_answer(reply)
    assert {(a.name, a.shape, a.bytes) for a in sums.arrays} == {(n, a.shape, a.nbytes) for n, a in arrays.items()}
    for one, code in (
        (refused, SiteCode.MINIMUM_TOO_LOW),
        (evil, SiteCode.BAD_REQUEST),
        (unreadable, SiteCode.BAD_REQUEST),
    ):
        assert isinstance(one, Refused)
        assert one.code == code
    assert isinstance(unreadable, Refused)
    assert unreadable.asked.task == "unknown"

    # Nothing of a person, nor of where anything lies: in what either side wrote.
    text = audit.chain.path.read_text() + both.chain.path.read_text()
    names = {path.name for path in cohort.glob("sub-*")} | {path.name for path in cohort.rglob("*.nii.gz")}
    assert len(names) > 30
    for secret in (*names, str(cohort), str(server.folder), "sub-"):
        assert secret not in text

    # The two chains say the same, and hold each other's heads.
    assert both.compared() == []
    assert both.compared(site_lines=list(audit.chain.lines())[:4])[0].startswith("The site's chain: The end is cut off")
    assert any("has no record of it" in p for p in both.compared(site_lines=list(audit.chain.lines())[:3]))
    cut = list(both.chain.lines())
    assert "The server's chain: The end is cut off" in both.compared(server_lines=cut[:3])[0]


def _request() -> Message:
    asked = Request(study="{}", arm="federated", model=ATLAS, payload=Describe())
    return messages.requests({"north": 2}, asked, {})["north"]


def test_an_answer_that_was_changed_on_the_way_shows_in_the_comparison(both: Federation, server: Server) -> None:
    both.ask("query.describe")
    reply = both.server.ask("train.sums", ASKED, phase="moments")
    header, arrays = messages.decode_answer(reply)
    name = min(arrays)
    arrays[name] = arrays[name] + 1
    asked = Request(
        study=ASKED.model_dump_json(), run="run-1", arm="federated", model=ATLAS, payload=Sums(phase="moments")
    )
    request = messages.requests({"north": 2}, asked, {})["north"]
    both.books.hear("north", request, messages.answer(request, header, arrays))
    (told,) = both.compared()
    assert told.startswith("train.sums of federated in run-1 (the server's record")
    assert "the server received" in told


def test_nothing_leaves_of_which_there_is_no_record(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answer("query.describe", ASKED)
    path = audit_of(server).chain.path
    before = path.read_bytes()
    real = os.fsync

    def full(handle: int) -> None:
        if os.readlink(f"/proc/self/fd/{handle}") == str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        for task, asked in (("train.sums", ASKED), ("query.describe", study(model=ATLAS, seed=8))):
            reply = server.ask(task, asked, **({"phase": "moments"} if task == "train.sums" else {}))
            assert error_code(reply) is SiteCode.AUDIT_UNUSABLE
            assert not reply.has_content()
        refusal = server.ask("query.describe", study(model=ATLAS, federation={"minimum_cohort": 1}))
        assert error_code(refusal) is SiteCode.AUDIT_UNUSABLE
        with pytest.raises(UserError, match="the disk is full"):
            audit_of(server).append(Decided(decision="approved", study=ASKED.digest, by="dpo"))
    assert path.read_bytes() == before
    log = (server.folder / "state" / "run-1" / LOG).read_text()
    assert "AUDIT_UNUSABLE (258): the audit:" in log
    # What was made waits in the outbox, and leaves once the disk has room.
    server.answer("train.sums", ASKED, phase="moments")
    assert audit_of(server).verify().good


def test_a_site_restored_from_an_old_backup_answers_nothing_until_a_person_says_so(
    both: Federation, server: Server
) -> None:
    both.ask("query.describe")
    path = audit_of(server).chain.path
    backup = path.read_bytes()
    both.ask("train.sums", phase="moments")
    path.write_bytes(backup)
    for _ in range(2):
        assert error_code(both.ask("query.describe")) is SiteCode.AUDIT_UNUSABLE
    contents = [record.content for record in audit_of(server).entries()]
    assert [type(content) for content in contents[3:]] == [Contradicted, Refused, Refused]
    assert "has 3 of the 4 records" in (server.folder / "state" / "run-1" / LOG).read_text()
    assert audit_of(server).accept_loss() == 4
    assert both.ask("query.describe").has_content()
    found = audit_of(server).verify()
    assert found.good
    assert isinstance(found.records[-2].content, LossAccepted)
    assert both.ask("query.describe").has_content()  # by the head of the chain as it goes on


def test_a_head_that_this_site_never_signed_stops_nothing(both: Federation, server: Server) -> None:
    """The server could make one up to keep a site from answering; it can refuse to ask it just as well."""
    both.ask("query.describe")
    made_up = audit_of(server).chain.head()
    assert made_up is not None
    heads = Heads(site=made_up.model_copy(update={"records": 900}))
    assert server.ask("query.describe", ASKED, heads=heads).has_content()


def test_a_server_whose_chain_went_back_or_is_not_told_any_more_is_noted(both: Federation, server: Server) -> None:
    both.ask("query.describe")
    both.ask("query.describe")
    told = [r.content.server for r in audit_of(server).entries() if isinstance(r.content, Answered | Repeated)]
    first, second = (head for head in told if head is not None)
    again = Heads(server=first)  # a request that was lost, and sent again
    assert server.ask("query.describe", ASKED, heads=again).has_content()
    rewritten = statement(second.chain, second.records, "0" * 64)
    signature = key_of(both.home).sign(rewritten)
    earlier = Heads(server=second.model_copy(update={"digest": "0" * 64, "signature": signature}))
    assert server.ask("query.describe", ASKED, heads=earlier).has_content()
    assert server.ask("query.describe", ASKED).has_content()
    assert server.ask("query.describe", ASKED).has_content()  # it is said once
    noted = [r.content for r in audit_of(server).entries() if isinstance(r.content, ServerWentBack)]
    assert [content.told for content in noted] == [earlier.server, None]
    assert "the server's own chain went back" in (server.folder / "state" / "run-1" / LOG).read_text()


def test_a_head_that_the_server_never_signed_is_refused_and_nothing_of_it_is_kept(
    both: Federation, server: Server
) -> None:
    """A machine in between could tell the site of a chain that there is not."""
    assert both.ask("query.describe").has_content()
    true = both.chain.head()
    assert true is not None
    made_up = true.model_copy(update={"records": true.records + 1})
    reply = server.ask("query.describe", ASKED, heads=Heads(server=made_up))
    assert error_code(reply) is SiteCode.HEAD_NOT_SIGNED
    last = audit_of(server).entries()[-1].content
    assert isinstance(last, Refused)
    assert (last.code, last.server) == (SiteCode.HEAD_NOT_SIGNED, None)
    assert "is not signed with" in (server.folder / "state" / "run-1" / LOG).read_text()
    assert both.ask("query.describe").has_content()
    assert both.compared() == []


def test_an_answer_with_a_head_that_the_site_never_signed_counts_as_a_refusal(both: Federation, server: Server) -> None:
    """Such as another site's, whose key answers in this one's place, or one that is made up."""
    assert both.ask("query.describe").has_content()
    before = both.books.of("north")
    header, arrays = messages.decode_answer(server.ask("query.describe", ASKED))
    assert header.head is not None
    forged = header.model_copy(update={"head": header.head.model_copy(update={"records": 900})})
    request = _request()
    for site, said in (("north", forged), ("south", header), ("nobody", header)):
        counted = both.books.hear(site, request, messages.answer(request, said, arrays))
        assert error_code(counted) is SiteCode.HEAD_NOT_SIGNED
        last = list(both.chain.records())[-1].content
        assert isinstance(last, HeadRefused)
        assert (last.site, last.head) == (site, said.head)
    assert both.books.of("north") == before
    assert both.books.of("south") is None
    assert both.compared() == []


def test_the_same_answer_asked_for_a_thousand_times_is_one_record_and_a_bounded_count(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "_repeats", refusing.Few(2))
    path = audit_of(server).chain.path
    server.answer("query.describe", ASKED)
    server.answer("train.sums", ASKED, phase="moments")
    first = [r for r in audit_of(server).entries() if isinstance(r.content, Answered)][-1]
    sizes = []
    for _ in range(6):
        header, _ = server.answer("train.sums", ASKED, phase="moments")
        last = audit_of(server).chain.head()
        assert header.head == last
        sizes.append(path.stat().st_size)
    assert len(set(sizes)) == 2
    again = [r.content for r in audit_of(server).entries() if isinstance(r.content, Repeated)]
    assert [one.number for one in again] == [first.number] * 2
    # In the next hour it is said how many there were.
    monkeypatch.setattr(recorded._repeats, "_since", -refusing.WINDOW_S)
    server.answer("train.sums", ASKED, phase="moments")
    last_record = audit_of(server).entries()[-1].content
    assert isinstance(last_record, Repeated)
    assert last_record.unwritten == 4
    assert audit_of(server).verify().good
    # Without the record of it, it is no repeat: it is written down before it leaves.
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[: first.number - 1]))
    server.answer("train.sums", ASKED, phase="moments")
    written = audit_of(server).entries()[-1].content
    assert isinstance(written, Answered)
    assert written.kept


def test_a_server_cannot_make_a_site_write_without_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is there is asked again and again, of ever another machine; or answers come with records without end."""
    monkeypatch.setattr(recorded, "_looks", refusing.Few(2))
    free = iter(range(1, 100))
    describe = machine.describe
    monkeypatch.setattr(
        machine, "describe", lambda *given: describe(*given).model_copy(update={"memory_gb": float(next(free))})
    )
    for _ in range(2):
        server.answer("query.describe", ASKED)
    assert error_code(server.ask("query.describe", ASKED)) is SiteCode.TOO_MUCH_ASKED
    monkeypatch.setattr(recorded, "_kibibytes", refusing.Few(0))
    assert error_code(server.ask("train.sums", ASKED, phase="moments")) is SiteCode.TOO_MUCH_ASKED
    kinds = [r.content.kind for r in audit_of(server).entries()]
    assert kinds[2:] == ["answered", "answered", "refused", "refused"]


def test_the_process_that_relays_sends_nothing_that_is_not_in_the_audit(
    both: Federation, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a plug-in has made of the process that works: it holds the declared arrays, and is not recorded."""

    def asked(task: str, **payload: str) -> Message:
        said = Describe() if task == "query.describe" else Sums(**payload)
        header = Request(
            study=ASKED.model_dump_json(),
            run="run-1",
            version=installed_version(),
            arm="federated",
            model=ASKED.model,
            strategy=ASKED.strategy,
            payload=said,
        )
        return messages.requests({"north": 2}, header, {})["north"]

    describe, sums = asked("query.describe"), asked("train.sums", phase="moments")
    runner = Runner(open_hospital(server.folder), "127.0.0.1:9")
    try:
        true = {message.metadata.message_type: call(message) for message in (describe, sums)}
        for message in (describe, sums):
            assert runner._may_leave(message, true[message.metadata.message_type]).has_content()
        header, arrays = messages.decode_answer(true["train.sums"])
        assert header.head is not None
        before, _ = messages.decode_answer(true["query.describe"])
        name = min(arrays)
        for forged in (
            messages.answer(sums, header, arrays | {name: arrays[name] + MINIMUM}),
            messages.answer(sums, header.model_copy(update={"seconds": 1.5}), arrays),
            messages.answer(sums, header.model_copy(update={"head": None}), arrays),
            messages.answer(sums, header.model_copy(update={"head": before.head}), arrays),
            messages.answer(sums, header.model_copy(update={"head": both.chain.head()}), arrays),
        ):
            stopped = runner._may_leave(sums, forged)
            assert error_code(stopped) is SiteCode.AUDIT_UNUSABLE
            assert not stopped.has_content()
        assert "stopped an answer to train.sums: the audit: there is no record of it" in caplog.text
        assert "its head is of before its record" in caplog.text
        # A record that was written by hand does not help.
        chain = audit_of(server).chain
        forged = messages.answer(sums, header.model_copy(update={"seconds": 1.5}), arrays)
        written = [record for record in chain.records() if isinstance(record.content, Answered)][-1]
        said = written.content.model_copy(update={"content": messages.content_of(forged)[1]})
        with open(chain.path, "ab") as file:
            file.write(written.model_copy(update={"content": said}).line())
        assert error_code(runner._may_leave(sums, forged)) is SiteCode.AUDIT_UNUSABLE
    finally:
        runner._pool.close()


def test_a_head_from_before_an_accepted_loss_does_not_have_the_whole_chain_read(
    both: Federation, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that sends it with every request would have the site parse years of records each time."""
    audit = audit_of(server)
    path = audit.chain.path
    backup = path.read_bytes()
    lost = audit.append(Decided(decision="approved", study=ASKED.digest, by="dpo")).head
    path.write_bytes(backup)
    assert audit.contradiction(lost)
    audit.accept_loss()
    for _ in range(60):
        audit.append(Decided(decision="approved", study=ASKED.digest, by="dpo"))
    read: list[bytes] = []
    parse = Record.model_validate_json
    monkeypatch.setattr(Record, "model_validate_json", lambda line: read.append(line) or parse(line))
    files._parsed.cache_clear()
    assert audit.contradiction(lost) == ""
    assert len(read) < 12  # of 65: the last, some on the way to its number, the one that accepts the loss


def test_site_yaml_that_was_changed_is_in_the_audit_once(server: Server) -> None:
    hospital = open_hospital(server.folder)
    for minimum in (4, 4, 5, 4):
        rules = hospital.config.model_copy(update={"minimum_people": minimum})
        Audit(Hospital(hospital.folder, rules)).note_rules()
    changed = [r.content for r in audit_of(server).entries() if r.content.kind == "rules-changed"]
    digests = [content.after for content in changed]  # type: ignore[union-attr]
    assert len(digests) == 3
    assert digests[0] == digests[2]
