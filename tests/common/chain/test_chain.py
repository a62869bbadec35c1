"""Whatever is done to a chain afterwards shows; whatever befalls who writes it, no whole record is lost."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from normfed_common.chain import files, keys, records
from normfed_common.chain.cli import audit
from normfed_common.chain.files import Chain
from normfed_common.chain.keys import SigningKey, VerifyingKey
from normfed_common.chain.kinds.content import Content
from normfed_common.chain.kinds.people import people_class
from normfed_common.chain.kinds.shared import Closed, LossAccepted, Opened, Repaired, Started, Stopped
from normfed_common.chain.kinds.site import Decided, RulesChanged
from normfed_common.chain.records import Record
from normfed_common.chain.verifying import Verified, verify
from normfed_common.foundation.errors import UserError
from normfed_common.wire.head import Head

CONTENTS: tuple[Content, ...] = (
    Started(version="0.1.0"),
    RulesChanged(before="", after="ab" * 16),
    Decided(decision="approved", study="cd" * 16, manifest="ef" * 32, by="dpo"),
    Started(version="0.1.0"),  # the same again: another record
    Stopped(),
)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return keys.make(tmp_path_factory.mktemp("key") / "site.key")


@pytest.fixture
def chain(tmp_path: Path, key: SigningKey) -> Chain:
    return Chain(tmp_path / "audit.jsonl", lambda: key, "north")


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> list[bytes]:
    """A chain as it was exported."""
    made = Chain(tmp_path_factory.mktemp("chain") / "audit.jsonl", lambda: key, "north")
    for content in CONTENTS:
        made.append(content)
    return list(made.lines())


def public(key: SigningKey) -> VerifyingKey:
    return VerifyingKey(key.line)


def problems(lines: list[bytes], key: SigningKey, *heads: Head) -> list[str]:
    return verify(lines, public(key), {"The server": heads}).problems


def number_of(line: bytes) -> int:
    return int(json.loads(line)["number"])


def head_of(line: bytes) -> Head:
    return Record.model_validate_json(line).head


def test_a_chain_is_whole_as_it_was_written(lines: list[bytes], key: SigningKey) -> None:
    found = verify(lines, public(key), {"The server": map(head_of, lines)})
    assert found.problems == found.remarks == []
    assert [record.content for record in found.records[1:]] == list(CONTENTS)
    assert isinstance(found.records[0].content, Opened)


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_a_byte_that_was_changed_shows(data: st.DataObject, lines: list[bytes], key: SigningKey) -> None:
    whole = bytearray(b"".join(lines))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] = data.draw(st.integers(0, 255).filter(lambda value: value != whole[place]))
    assert problems(bytes(whole).splitlines(keepends=True), key)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_record_taken_out_repeated_moved_or_swapped_shows(
    data: st.DataObject, lines: list[bytes], key: SigningKey
) -> None:
    changed, last = list(lines), head_of(lines[-1])
    place = data.draw(st.integers(0, len(lines) - 1))
    other = data.draw(st.integers(0, len(lines) - 1).filter(lambda value: value != place))
    what = data.draw(st.sampled_from(["out", "twice", "moved", "swapped"]))
    if what == "out":
        del changed[place]
    elif what == "twice":
        changed.insert(other, changed[place])
    elif what == "moved":
        changed.insert(other, changed.pop(place))
    else:
        changed[place], changed[other] = changed[other], changed[place]
    assert problems(changed, key, last)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_an_end_that_was_cut_off_shows_by_a_head_that_somebody_else_holds(
    data: st.DataObject, lines: list[bytes], key: SigningKey
) -> None:
    whole = b"".join(lines)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    assert problems(cut.splitlines(keepends=True), key, head_of(lines[-1]))


def test_problems_name_the_record_and_what_is_wrong(lines: list[bytes], key: SigningKey) -> None:
    assert problems([*lines[:2], *lines[3:]], key) == ["Record 4: follows record 2: record 3 is missing."]
    assert "Record 2: stands after record 3" in problems([lines[0], lines[1], lines[2], lines[1]], key)[0]
    edited = lines[2].replace(b'"before":""', b'"before":"%s"' % (b"ab" * 16))
    assert problems([*lines[:2], edited, *lines[3:]], key) == [
        "Record 3 (rules-changed): was edited: its digest is of something else."
    ]
    told = problems(lines[:-2], key, head_of(lines[-1]))
    assert told == ["The end is cut off: The server knows of 6 records; here are 4."]
    assert problems([], key) == ["There is no record."]
    assert problems(lines[3:], key) == ["Record 4: the records before it are missing."]


def test_a_chain_that_was_made_anew_shows(tmp_path: Path, lines: list[bytes], key: SigningKey) -> None:
    """With another key by the signatures; with the same key by a head that somebody else holds."""
    stranger = keys.make(tmp_path / "other.key")
    for signer, name in ((stranger, "a"), (key, "b")):
        forged = Chain(tmp_path / f"{name}.jsonl", lambda signer=signer: signer, "north")  # type: ignore[misc]
        for content in CONTENTS:
            forged.append(content)
        found = problems(list(forged.lines()), key, head_of(lines[-1]))
        assert len(found) == (len(lines) + 1 if signer is stranger else 1)
        assert "another chain of the same keeper" in found[-1]


def test_a_past_that_was_written_anew_with_the_right_key_shows_by_a_head(
    tmp_path: Path, lines: list[bytes], key: SigningKey
) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join(lines[:3]))
    again = Chain(path, lambda: key, "north")
    for _ in range(3):
        again.append(Stopped())
    assert problems(list(again.lines()), key) == []
    (told,) = problems(list(again.lines()), key, head_of(lines[-2]))
    assert told == "Record 5: is another than the one that The server knows: the past was written anew."


def test_a_record_of_another_chain_of_the_same_key_shows(chain: Chain, lines: list[bytes], key: SigningKey) -> None:
    for _ in range(len(lines)):
        chain.append(Stopped())
    mixed = [*lines[:-1], list(chain.lines())[len(lines) - 1]]
    assert any("another chain" in problem for problem in problems(mixed, key))


@pytest.mark.parametrize("at", range(1, len(CONTENTS) + 1))
def test_a_chain_is_verified_on_from_where_it_was_before(lines: list[bytes], key: SigningKey, at: int) -> None:
    before = verify(lines[:at], public(key))
    assert verify(lines[at:], public(key), so_far=before) == verify(lines, public(key))
    assert len(before.records) == at
    without = lines[:at] + lines[at + 1 :]
    assert verify(without[at:], public(key), so_far=before) == verify(without, public(key))


def test_a_clock_that_was_set_back_is_remarked_on_and_no_fault(key: SigningKey) -> None:
    first = records.signed("a" * 32, 1, "2026-07-01T12:00:00.000Z", records.START, Stopped(), key)
    second = records.signed("a" * 32, 2, "2026-07-01T11:00:00.000Z", first.digest, Stopped(), key)
    found = verify([first.line(), second.line()], public(key))
    assert found.good
    assert "Record 2: the clock was set back" in found.remarks[0]


def test_half_a_record_is_set_apart_and_the_chain_says_so(chain: Chain, key: SigningKey) -> None:
    """Wherever a process died: records that are whole stay, and a whole one that lacks its end of line is given it."""
    for content in CONTENTS:
        chain.append(content)
    before = chain.path.read_bytes()
    start = before.rindex(b"\n", 0, len(before) - 1) + 1
    for length in (start, start + 1, (start + len(before)) // 2, len(before) - 2, len(before) - 1):
        chain.path.write_bytes(before[:length])
        chain.append(Stopped())
        found = verify(chain.lines(), public(key))
        assert found.good
        repaired = [record.content for record in found.records if isinstance(record.content, Repaired)]
        if length in (start, len(before) - 1):
            assert not repaired
            assert len(found.records) == (7 if length > start else 6)
        else:
            assert [one.bytes for one in repaired] == [length - start]
            assert len(found.records) == 7
            assert "was not written to its end" in found.remarks[0]
            assert max(chain.path.parent.glob("*.half-*")).read_bytes() == before[start:length]


def test_the_first_record_can_be_half_as_well(chain: Chain, key: SigningKey) -> None:
    chain.path.write_bytes(b'{"chain"')
    chain.append(Stopped())
    found = verify(chain.lines(), public(key))
    assert found.good
    assert [type(record.content) for record in found.records] == [Opened, Repaired, Stopped]


def appending(chain: Chain, times: int) -> int:
    """A process that appends; its number."""
    child = os.fork()
    if child:
        return child
    for _ in range(times):
        chain.append(Stopped())
    os._exit(0)


def test_two_processes_append_at_once(chain: Chain, key: SigningKey) -> None:
    for child in [appending(chain, 15), appending(chain, 15)]:
        os.waitpid(child, 0)
    found = verify(chain.lines(), public(key))
    assert found.problems == found.remarks == []
    assert len(found.records) == 31


def test_a_process_that_is_killed_while_it_appends_loses_no_record_before(chain: Chain, key: SigningKey) -> None:
    for attempt in range(6):
        child = appending(chain, 10_000)
        time.sleep(0.02 + 0.007 * attempt)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        whole = [line for line in chain.lines() if line.endswith(b"\n")]
        chain.append(Started())
        assert list(chain.lines())[: len(whole)] == whole
    assert verify(chain.lines(), public(key)).good


def test_on_a_full_disk_nothing_is_appended_and_what_was_begun_is_taken_back(
    chain: Chain, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel takes a part of the record, then no more, as on a disk that fills up."""
    chain.append(Started())
    before = chain.path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, limits[1]))
    try:
        with pytest.raises(OSError, match="large") as error:
            chain.append(Stopped())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.errno == errno.EFBIG
    assert chain.path.read_bytes() == before

    def never(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", never)
        with pytest.raises(OSError, match="No space"):
            chain.append(Stopped())
    assert chain.path.read_bytes() == before
    chain.append(Stopped())
    assert verify(chain.lines(), public(key)).good


def test_archives_are_closed_with_a_head_and_the_chain_goes_on(chain: Chain, key: SigningKey) -> None:
    with pytest.raises(UserError, match="nothing to archive"):
        chain.archive()
    chain.append(Stopped())
    first = chain.archive()
    chain.append(Stopped())
    second = chain.archive()
    chain.append(Started())
    found = verify(chain.lines(), public(key))
    assert found.problems == found.remarks == []
    kinds = [type(record.content) for record in found.records]
    assert kinds == [Opened, Stopped, Closed, Opened, Stopped, Closed, Opened, Started]
    for number in (2, 5, 8):
        assert chain.lacks(found.records[number - 1].head) == ""
    # Each file is verified by itself; what came before is said to be elsewhere.
    with open(second, "rb") as file:
        alone = verify(file, public(key))
    assert alone.good
    assert "begins with record 4" in alone.remarks[0]
    # Archives may be carried away: the chain goes on from what lies here.
    first.rename(first.with_suffix(".gone"))
    second.rename(second.with_suffix(".gone"))
    assert chain.append(Stopped()).number == 9


def test_an_earlier_chains_archive_is_not_written_over(chain: Chain) -> None:
    chain.append(Stopped())
    first = chain.archive()
    before = first.read_bytes()
    chain.begin_anew()
    chain.append(Stopped())
    with pytest.raises(UserError, match="is there already, of an earlier chain"):
        chain.archive()
    assert first.read_bytes() == before
    first.rename(first.with_suffix(".kept"))
    assert chain.archive() == first


def test_a_process_that_died_between_closing_and_opening_loses_nothing(chain: Chain, key: SigningKey) -> None:
    chain.append(Stopped())
    chain.archive()
    chain.path.unlink()
    assert chain.append(Started()).number == 5
    assert verify(chain.lines(), public(key)).good


def test_a_damaged_end_is_not_appended_to_and_can_be_set_apart(chain: Chain, key: SigningKey) -> None:
    chain.append(Stopped())
    with open(chain.path, "ab") as file:
        file.write(b"this is no record\n")
    before = chain.path.read_bytes()
    with pytest.raises(UserError, match="no record"):
        chain.append(Stopped())
    assert chain.path.read_bytes() == before
    assert chain.begin_anew().read_bytes() == before
    chain.append(Stopped())
    assert verify(chain.lines(), public(key)).good


def test_a_chain_says_what_it_lacks_of_a_head(chain: Chain) -> None:
    made = [chain.append(Stopped()) for _ in range(9)]
    for record in made:
        assert chain.lacks(record.head) == ""
        other = record.head.model_copy(update={"digest": "0" * 64})
        assert chain.lacks(other) == f"it has another record {record.number} than was told"
    assert chain.lacks(made[-1].head.model_copy(update={"records": 57})) == (
        "it has 10 of the 57 records that the other side knows of"
    )
    assert "another chain" in chain.lacks(made[0].head.model_copy(update={"chain": "0" * 32}))


def test_a_loss_that_a_person_accepted_is_a_remark(chain: Chain, lines: list[bytes], key: SigningKey) -> None:
    chain.path.write_bytes(b"".join(lines[:2]))
    chain.accept_loss(head_of(lines[-1]))
    found: Verified = verify(chain.lines(), public(key), {"The server": map(head_of, lines)})
    assert found.good
    assert "up to number 6" in found.remarks[0]
    assert isinstance(found.records[-1].content, LossAccepted)


@pytest.mark.parametrize(
    ("people", "told"),
    [(-1, "fewer than 10"), (0, "nobody"), (9, "fewer than 10"), (10, "10-19"), (99, "50-99"), (5000, "1000 or more")],
)
def test_people_are_told_in_classes(people: int, told: str) -> None:
    assert people_class(people) == told


def test_the_script_of_the_guide_verifies_without_normfed(tmp_path: Path, lines: list[bytes], key: SigningKey) -> None:
    guide = (Path(__file__).parents[3] / "deploy" / "guides" / "audit.md").read_text()
    (script,) = re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    (tmp_path / "north.pub").write_text(key.line + " normfed north\n")
    (tmp_path / "verify.py").write_text(script)
    first, second = (Record.model_validate_json(line) for line in lines[:2])
    forged = second.model_copy(update={"signature": first.signature})
    tampered = {
        "6 records, head": lines,
        "record 3 was edited": [*lines[:2], lines[2].replace(b'"before":""', b'"before":"ab"'), *lines[3:]],
        "record 4 does not follow record 2": lines[:2] + lines[3:],
        "record 2 was not signed": [lines[0], forged.line(), *lines[2:]],
    }
    for told, written in tampered.items():
        (tmp_path / "north.jsonl").write_bytes(b"".join(written))
        given = [sys.executable, "-I", "verify.py", "north.jsonl", "north.pub"]
        ended = subprocess.run(given, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert told in ended.stdout + ended.stderr
        assert ended.returncode == (0 if written is lines else 1)


def test_the_command_verifies_with_a_file_and_a_public_key_alone(
    tmp_path: Path, lines: list[bytes], key: SigningKey
) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"".join(lines))
    (tmp_path / "north.pub").write_text(key.line + " normfed north\n")
    asked = ["verify", str(tmp_path / "x.jsonl"), "--key", str(tmp_path / "north.pub")]
    good = CliRunner().invoke(audit, asked)
    assert good.exit_code == 0
    assert "6 records" in good.output
    (tmp_path / "x.jsonl").write_bytes(b"".join(lines[:2] + lines[3:]))
    bad = CliRunner().invoke(audit, asked)
    assert bad.exit_code == 1
    assert "record 3 is missing" in bad.output
    told = json.loads(CliRunner().invoke(audit, [*asked, "--json"]).output)
    assert told["good"] is False
