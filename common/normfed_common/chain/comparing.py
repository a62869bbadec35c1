"""Two chains side by side: does the server's say of a site's answers what the site's own says?

Which site it is says the server's record of whose key was accepted, never the site: the name in a site's own chain is
its own word.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from normfed_common.chain.keys import VerifyingKey
from normfed_common.chain.kinds.server import Membership, Received
from normfed_common.chain.kinds.shared import Asked, Opened
from normfed_common.chain.kinds.site import Answered, Refused, Repeated
from normfed_common.chain.records import Record
from normfed_common.chain.verifying import Verified, verify
from normfed_common.deployment.enrolment import key_fingerprint
from normfed_common.wire.head import Head

Key = tuple[str, str, str, int, int]
"""Run, arm, task, turn and repeat of an answer."""

Reception = tuple[Record, Received]
SHOWN = 32  # hex digits of a digest that people compare: 128 bits


@dataclass
class Compared(Verified):
    """What was found of two chains.

    Parameters
    ----------
    site
        Whose key it is, by the server's record of its acceptance; empty where there is none.
    """

    site: str = ""


def compare(
    site_lines: Iterable[bytes], site_key: VerifyingKey, server_lines: Iterable[bytes], server_key: VerifyingKey
) -> Compared:
    """Verify both chains, each against the heads that the other holds, then every answer in both.

    Returns
    -------
    All that is wrong; what a reader should know; the site's records, and its name.
    """
    site_raw, server_raw = list(site_lines), list(server_lines)
    theirs = verify(server_raw, server_key).records
    names, received = _of_key(theirs, key_fingerprint(site_key.line.encode()))
    site = verify(site_raw, site_key, {"The server": [c.head for _, c in received if c.head is not None]})
    server = verify(server_raw, server_key, {"The site": _heads_of_server(site.records)})
    found = Compared(records=site.records, lost=site.lost, site=names[-1] if names else "")
    for whose, one in (("The site's chain", site), ("The server's chain", server)):
        found.problems += [f"{whose}: {problem}" for problem in one.problems]
        found.remarks += [f"{whose}: {remark}" for remark in one.remarks]
    if _identified(found, names, site_key, theirs):
        headless = sum(one.head is None for _, one in received)
        if headless:
            found.remarks.append(f"{headless} answers of {found.site} came without a head of its chain.")
        _answers(found, received)
    return found


def _of_key(records: Iterable[Record], fingerprint: str) -> tuple[list[str], list[Reception]]:
    """The names that a key was accepted under, and the answers that came in under them while the key was theirs."""
    names: list[str] = []
    holding: set[str] = set()
    received: list[Reception] = []
    for record in records:
        content = record.content
        if isinstance(content, Membership) and content.kind == "accepted":
            if content.fingerprint == fingerprint:
                names += [content.site] if content.site not in names else []
                holding.add(content.site)
            else:
                holding.discard(content.site)
        elif isinstance(content, Received) and content.site in holding:
            received.append((record, content))
    return names, received


def _identified(found: Compared, names: list[str], site_key: VerifyingKey, theirs: Iterable[Record]) -> bool:
    """Whether it can be said which site this is; notes what speaks against it."""
    fingerprint = key_fingerprint(site_key.line.encode())
    said = {r.content.whose for r in found.records if isinstance(r.content, Opened)}
    if not names:
        held = [
            f"{r.content.site} with {r.content.fingerprint}"
            for r in theirs
            if isinstance(r.content, Membership) and r.content.kind == "accepted"
        ]
        found.wrong(
            f"The server's chain: no site was accepted with this key, {fingerprint}. Accepted: "
            f"{', '.join(held) or 'nobody'}. Give the site's own key, and the server's records with all archives."
        )
        return False
    if len(names) > 1:
        found.wrong(f"The server's chain: the key {fingerprint} was accepted under several names: {', '.join(names)}.")
    for name in sorted(said - set(names)):
        found.wrong(f"The site's chain: says that it is of {name}; the server accepted its key for {found.site}.")
    return True


def _heads_of_server(records: Iterable[Record]) -> list[Head]:
    found = (r.content.server for r in records if isinstance(r.content, Answered | Repeated | Refused))
    return [head for head in found if head is not None]


def _answers(found: Compared, received: list[Reception]) -> None:
    answered = [(r, r.content) for r in found.records if isinstance(r.content, Answered)]
    sent: dict[Key, list[tuple[Record, Answered]]] = defaultdict(list)
    for record, answer in answered:
        sent[_key(answer.asked)].append((record, answer))
    arrived: set[tuple[Key, str]] = set()
    first = found.records[0] if found.records else None
    begun = first.time if first is not None and first.number > 1 else ""  # records before it may be in an archive
    lost = set(found.lost)
    for record, reception in received:
        key = _key(reception.asked)
        arrived.add((key, reception.content))
        same = sent.get(key, [])
        if any(answer.content == reception.content for _, answer in same):
            continue
        where = f"{_words(reception.asked)} (the server's record {record.number})"
        if reception.head in lost:
            found.remarks.append(f"{where}: the site's record of it is among those whose loss was accepted.")
        elif same:
            numbers = ", ".join(str(r.number) for r, _ in same)
            found.wrong(
                f"{where}: the server received {reception.content[:SHOWN]}…, the site's record {numbers} says that it "
                f"sent {same[-1][1].content[:SHOWN]}…."
            )
        elif record.time < begun:
            found.remarks.append(f"{where}: is from before the site's records that are here.")
        else:
            found.wrong(f"{where}: the server says that {found.site} answered; the site has no record of it.")
    missing = Counter(key for key, answers in sent.items() for _, a in answers if (key, a.content) not in arrived)
    for key, times in missing.items():
        answer = sent[key][0][1]
        found.remarks.append(
            f"{_words(answer.asked)}: the site sent it {times} {'time' if times == 1 else 'times'}, the server says of "
            "none that it came: it was lost on the way, came too late, or was kept back."
        )


def _key(asked: Asked) -> Key:
    return asked.run, asked.arm, asked.task, asked.turn, asked.repeat


def _words(asked: Asked) -> str:
    turn = f", turn {asked.turn}" if asked.turn else ""
    return f"{asked.task} of {asked.arm}{turn} in {asked.run}"
