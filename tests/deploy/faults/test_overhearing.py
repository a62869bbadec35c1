"""What is kept of the answers that a server receives, and which of them are noise to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from envelopes import of
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from normfed_common.foundation.arrays import Arrays
from normfed_common.secure.keystream import keystream
from normfed_common.wire.answers import Answer, Trained
from normfed_common.wire.messages import encode
from normfed_deploy.faults.overhearing import is_masked, learnt, listen

# Of Flower's tables, what is listened to.
TABLES = """
CREATE TABLE objects (object_id TEXT PRIMARY KEY, content BLOB, is_available INTEGER);
CREATE TABLE message_res (message_id TEXT, message_type TEXT);
"""
CLEAR: Arrays = {"w": np.linspace(-1, 1, 4000, dtype=np.float32)}
MASKED: Arrays = {"w": keystream(bytes(32), 4000, 32), "secure/people": keystream(b"p" * 32, 1, 32)}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / "superlink.db")) as connection:
        connection.executescript(TABLES)
    return tmp_path / "superlink.db"


def handed_on(
    database: Path, site: str, arrays: Mapping[str, np.ndarray], task: str = "train.round", pieces: int | None = None
) -> None:
    """An answer comes in, or so many pieces of it, is handed on, and deleted, as the SuperLink does."""
    message = of(encode(Answer(site=site, payload=Trained()), dict(arrays), packed=True), task)
    with closing(sqlite3.connect(database)) as connection, connection:
        for number, found in list(get_all_nested_objects(message).items())[:pieces]:
            connection.execute("INSERT OR IGNORE INTO objects VALUES (?, '', 0)", (number,))
            connection.execute("UPDATE objects SET content = ? WHERE object_id = ?", (found.deflate(), number))
        connection.execute("INSERT INTO message_res VALUES (?, ?)", (message.object_id, task))
        connection.execute("DELETE FROM objects")
        connection.execute("DELETE FROM message_res")


def test_answers_about_people_are_kept_though_the_server_deletes_them(database: Path) -> None:
    assert listen(database) == 0
    handed_on(database, "a", CLEAR)
    handed_on(database, "b", CLEAR, "query.keys")
    handed_on(database, "d", {"v": CLEAR["w"] + 1}, pieces=2)  # the rest never came
    since = listen(database)  # again, before the next run
    handed_on(database, "c", MASKED)
    assert [site for site, _ in learnt(database)] == ["a", "c"]
    ((site, arrays),) = learnt(database, since)
    assert site == "c"
    for name, array in MASKED.items():
        np.testing.assert_array_equal(arrays[name], array)


@pytest.mark.parametrize(
    ("arrays", "masked"),
    [
        (MASKED, True),
        (CLEAR, False),
        ({"w": (CLEAR["w"] * 2**25).astype(np.int64).astype(np.uint32)}, False),  # as integers, and not masked
        ({**MASKED, "b": np.ones(9, np.float32)}, False),
        ({}, False),
    ],
)
def test_only_integers_that_look_like_chance_are_masked(arrays: Arrays, masked: bool) -> None:
    assert is_masked(arrays) == masked
