"""Is a chain what was written? Whoever has the public key can tell, without the folder that it comes from.

Every record is held against its digest, its signature, the record before it and its number. That shows every edit,
every record that was taken out, put in, moved or repeated, and a chain that was made with another key. It does not show
that the end was cut off, or that the key's owner wrote another chain: against that there are the heads that somebody
else holds. A clock that was set back is remarked on, and no fault: machines' clocks are set right.

A head counts as far as the key signed it. One that does not fit is a fault, but for heads of records whose loss a
person accepted; how many these are, and from where to where, is remarked on.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from normfed_common.chain.keys import VerifyingKey, statement
from normfed_common.chain.kinds.shared import LossAccepted, Opened, Repaired
from normfed_common.chain.records import START, Record, digest_of
from normfed_common.wire.head import Head

MOST_PROBLEMS = 100  # that are told one by one


@dataclass
class Verified:
    """What was found.

    Parameters
    ----------
    problems
        What is wrong, each in a sentence; the chain is good where there is none.
    remarks
        What a reader should know, and is no fault.
    records
        Those that could be read, in the order of the file.
    lost
        Heads that others hold, of records whose loss was accepted.
    """

    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    lost: list[Head] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def wrong(self, problem: str) -> None:
        """Note it; of very many the first."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)


def verify(
    lines: Iterable[bytes],
    key: VerifyingKey,
    heads: Mapping[str, Iterable[Head]] | None = None,
    so_far: Verified | None = None,
) -> Verified:
    """Verify a chain.

    Parameters
    ----------
    lines
        As they stand in the file, each with its end of line.
    heads
        Of this chain, that others hold: by who that is.
    so_far
        What was found, by the same key, of the lines before these; good.
    """
    found = Verified() if so_far is None else Verified([], [*so_far.remarks], [*so_far.records])
    last = found.records[-1] if found.records else None
    for place, line in enumerate(lines, len(found.records) + 1):
        record = _whole(found, place, line)
        if record is None:
            continue
        _of_itself(found, record, key)
        _after(found, record, last)
        found.records.append(record)
        last = record
    if last is None:
        found.wrong("There is no record.")
    _hold(found, heads or {}, key)
    return found


def _whole(found: Verified, place: int, line: bytes) -> Record | None:
    """The record of a line, if it is one."""
    if not line.endswith(b"\n"):
        found.wrong(f"Line {place}: the file ends in the middle of a record, or its end was cut off.")
    try:
        record = Record.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "all of it"
        number = _number(line)
        which = f"Record {number}" if number else f"Line {place}"
        found.wrong(f"{which}: was edited, or is damaged: it is not what a record can say ({where}).")
        return None
    if record.line() != line.rstrip(b"\n") + b"\n":
        found.wrong(f"Record {record.number}: was edited: it does not stand as records are written.")
    return record


def _number(line: bytes) -> int | None:
    try:
        number = json.loads(line)["number"]
    except (ValueError, KeyError, TypeError):
        return None
    return number if isinstance(number, int) else None


def _of_itself(found: Verified, record: Record, key: VerifyingKey) -> None:
    said = json.loads(record.line())
    del said["digest"], said["signature"]
    if digest_of(said) != record.digest:
        found.wrong(f"Record {record.number} ({record.content.kind}): was edited: its digest is of something else.")
    elif not key.made(statement(record.chain, record.number, record.digest), record.signature):
        found.wrong(f"Record {record.number} ({record.content.kind}): was not signed with this key.")
    if isinstance(record.content, Repaired):
        found.remarks.append(
            f"Record {record.number}: a record of {record.content.bytes} bytes or more was not written to its end "
            "(the process died, or the disk was full); what there was of it is kept beside the chain."
        )
    if isinstance(record.content, LossAccepted) and not key.made_head(record.content.head):
        found.wrong(f"Record {record.number}: accepts the loss of records that this key never signed.")
    elif isinstance(record.content, LossAccepted):
        lost = record.content.head.records
        found.remarks.append(
            f"Record {record.number}: a person said that the chain goes on without records, up to number {lost}, that "
            "the other side knows of."
        )


def _after(found: Verified, record: Record, last: Record | None) -> None:
    """Hold a record against the one before it."""
    number = record.number
    if last is None:
        if number == 1 and record.before == START:
            return
        if number > 1 and isinstance(record.content, Opened):
            found.remarks.append(f"It begins with record {number}: those before are in an archive that is not here.")
        else:
            found.wrong(f"Record {number}: the records before it are missing.")
        return
    if record.chain != last.chain:
        found.wrong(f"Record {number} after record {last.number}: belongs to another chain.")
    elif number <= last.number:
        found.wrong(f"Record {number}: stands after record {last.number}: it was moved, or is there twice.")
    elif number > last.number + 1:
        found.wrong(f"Record {number}: follows record {last.number}: {_missing(last.number + 1, number - 1)}")
    elif record.before != last.digest:
        found.wrong(f"Record {number}: was not written after this record {last.number}: one of the two is another.")
    if record.time < last.time:
        found.remarks.append(f"Record {number}: the clock was set back, from {last.time} to {record.time}.")


def _missing(first: int, last: int) -> str:
    return f"record {first} is missing." if first == last else f"records {first} to {last} are missing."


def _hold(found: Verified, heads: Mapping[str, Iterable[Head]], key: VerifyingKey) -> None:
    """Hold the chain against heads that others hold."""
    here = {(record.chain, record.number): record.digest for record in found.records}
    last: dict[str, int] = {}
    for chain, number in here:
        last[chain] = max(number, last.get(chain, 0))
    accepted = _accepted(found.records, key)
    for who, known in heads.items():
        elsewhere, lost = 0, defaultdict[str, list[int]](list)
        for head in dict.fromkeys(known):
            if not key.made_head(head):
                found.wrong(f"{who} holds a head of {head.records} records that was not signed with this key.")
                continue
            why = _against(head, who, here, last)
            if why and head.records <= accepted.get(head.chain, 0):
                lost[head.chain].append(head.records)
                found.lost.append(head)
            elif why:
                found.wrong(why)
            elsewhere += not why and (head.chain, head.records) not in here
        for numbers in lost.values():
            found.remarks.append(
                f"{who} holds {len(numbers)} heads, of records {min(numbers)} to {max(numbers)}, that are not those of "
                "this chain: a person accepted that loss, and what these records said cannot be verified here."
            )
        if elsewhere:
            found.remarks.append(f"{elsewhere} heads that {who} holds are of records in an archive that is not here.")


def _accepted(records: Iterable[Record], key: VerifyingKey) -> dict[str, int]:
    """Chains, and the last record of each whose loss a person accepted."""
    found: dict[str, int] = {}
    for record in records:
        if isinstance(record.content, LossAccepted) and key.made_head(record.content.head):
            head = record.content.head
            found[head.chain] = max(head.records, found.get(head.chain, 0))
    return found


def _against(head: Head, who: str, here: Mapping[tuple[str, int], str], last: Mapping[str, int]) -> str:
    """Why a chain is not the one of a head; empty where it is, or its record is in an archive that is not here."""
    if head.chain not in last:
        return f"{who} knows another chain of the same keeper, of {head.records} records: this is a new one."
    if head.records > last[head.chain]:
        return f"The end is cut off: {who} knows of {head.records} records; here are {last[head.chain]}."
    if here.get((head.chain, head.records), head.digest) != head.digest:
        return f"Record {head.records}: is another than the one that {who} knows: the past was written anew."
    return ""
