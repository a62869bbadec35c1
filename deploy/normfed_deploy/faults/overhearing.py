"""Everything that reaches a rehearsed server, kept: what a server that turned bad would have of every site's answers.

The SuperLink deletes an answer when it has handed it on. Triggers in its own database copy what comes in before that;
being part of the transaction that stores it, they miss nothing, whatever is killed.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.stats import chisquare

from normfed_common.foundation.arrays import Arrays
from normfed_common.wire.messages import decode_answer
from normfed_deploy import flower

LEAST_P = 1e-6  # so few masked answers fall below by chance
_TRIGGERS = (
    "CREATE TABLE IF NOT EXISTS heard_objects (id TEXT PRIMARY KEY, content BLOB)",
    "CREATE TABLE IF NOT EXISTS heard_answers (id TEXT, task TEXT)",
    *(
        f"CREATE TRIGGER IF NOT EXISTS hear_objects_{number} AFTER {event} ON objects WHEN length(NEW.content) > 0 "
        "BEGIN INSERT OR IGNORE INTO heard_objects VALUES (NEW.object_id, NEW.content); END"
        for number, event in enumerate(("INSERT", "UPDATE OF content"))
    ),
    "CREATE TRIGGER IF NOT EXISTS hear_answers AFTER INSERT ON message_res "
    "BEGIN INSERT INTO heard_answers VALUES (NEW.message_id, NEW.message_type); END",
)


def listen(database: Path) -> int:
    """Keep from now on what sites answer; returns how many answers are kept already."""
    with _opened(database) as connection:
        for statement in _TRIGGERS:
            connection.execute(statement)
        return int(connection.execute("SELECT count(*) FROM heard_answers").fetchone()[0])


def learnt(database: Path, since: int = 0) -> list[tuple[str, Arrays]]:
    """Site and arrays of every answer to a round, or with sums, that came in whole.

    Of an answer that was announced and broke off, as its server was killed, there are pieces alone; it comes again.

    Parameters
    ----------
    since
        Answers to pass over, from the first; see `listen`.
    """
    with _opened(database) as connection:
        asked = "SELECT id FROM heard_answers WHERE rowid > ? AND task IN ('train.round', 'train.sums')"
        messages = [row[0] for row in connection.execute(asked, (since,))]
        contents = dict(connection.execute("SELECT id, content FROM heard_objects"))
    found = []
    for message in messages:
        reply = flower.message(message, contents)
        if reply is not None and not reply.has_error():
            answer, arrays = decode_answer(reply)
            found.append((answer.site, arrays))
    return found


def is_masked(arrays: Arrays) -> bool:
    """Whether an answer is integers that no test of their bytes can tell from chance."""
    if not arrays or {array.dtype.kind for array in arrays.values()} != {"u"}:
        return False
    content = b"".join(array.tobytes() for array in arrays.values())
    return bool(chisquare(np.bincount(np.frombuffer(content, np.uint8), minlength=256)).pvalue > LEAST_P)


@contextlib.contextmanager
def _opened(database: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        yield connection
