"""Two chains side by side: does the server's say of a site's answers what the site's own says?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from normfed_common.chain.keys import VerifyingKey
from normfed_common.chain.kinds import Answered, Asked, Opened, Received, Refused
from normfed_common.chain.records import Record
from normfed_common.chain.verifying import Verified, verify
from normfed_common.wire.head import Head

Key = tuple[str, str, str, int, int]
"""Run, arm, task, turn and repeat of an answer."""


def compare(
    site_lines: Iterable[bytes], site_key: VerifyingKey, server_lines: Iterable[bytes], server_key: VerifyingKey
) -> Verified:
    """Verify both chains, each against the heads that the other holds, then every answer in both.

    Returns
    -------
    All that is wrong; what a reader should know; and the site's records.
    """
    site_raw, server_raw = list(site_lines), list(server_lines)
    plain = verify(site_raw, site_key), verify(server_raw, server_key)
    name = next((r.content.whose for r in plain[0].records if isinstance(r.content, Opened)), "")
    received = [(r, r.content) for r in plain[1].records if isinstance(r.content, Received) and r.content.site == name]
    answered = [(r, r.content) for r in plain[0].records if isinstance(r.content, Answered)]
    site = verify(site_raw, site_key, {"The server": [c.head for _, c in received if c.head is not None]})
    server = verify(server_raw, server_key, {"The site": _heads_of_server(plain[0].records)})
    found = Verified(records=site.records)
    for whose, one in (("The site's chain", site), ("The server's chain", server)):
        found.problems += [f"{whose}: {problem}" for problem in one.problems]
        found.remarks += [f"{whose}: {remark}" for remark in one.remarks]
    _answers(found, name, answered, received)
    return found


def _heads_of_server(records: Iterable[Record]) -> list[Head]:
    found = (r.content.server for r in records if isinstance(r.content, Answered | Refused))
    return [head for head in found if head is not None]


def _answers(
    found: Verified,
    name: str,
    answered: list[tuple[Record, Answered]],
    received: list[tuple[Record, Received]],
) -> None:
    sent: dict[Key, list[tuple[Record, Answered]]] = defaultdict(list)
    for record, answer in answered:
        sent[_key(answer.asked)].append((record, answer))
    arrived: set[tuple[Key, str]] = set()
    begun = answered[0][0].time if answered else ""
    for record, reception in received:
        key = _key(reception.asked)
        arrived.add((key, reception.content))
        same = sent.get(key, [])
        if any(answer.content == reception.content for _, answer in same):
            continue
        where = f"{_words(reception.asked)} (the server's record {record.number})"
        if same:
            numbers = ", ".join(str(r.number) for r, _ in same)
            found.wrong(
                f"{where}: the server received {reception.content[:16]}…, the site's record {numbers} says that it "
                f"sent {same[-1][1].content[:16]}…."
            )
        elif record.time < begun or not answered:
            found.remarks.append(f"{where}: is from before the site's records that are here.")
        else:
            found.wrong(f"{where}: the server says that {name} answered; the site has no record of it.")
    lost = Counter(key for key, answers in sent.items() for _, a in answers if (key, a.content) not in arrived)
    for key, times in lost.items():
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
