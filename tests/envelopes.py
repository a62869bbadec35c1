"""Messages with whatever header and arrays."""

from __future__ import annotations

import json
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, Metadata, RecordDict

REQUEST = {
    "study": "{}",
    "arm": "federated",
    "model": {"name": "atlas"},
    "payload": {"task": "train.round", "round": 1},
}
ANSWER = {"site": "a", "payload": {"task": "train.round"}}


def message(header: dict[str, Any] | str, arrays: ArrayRecord | None = None, task: str = "train.round") -> Message:
    """A message of a task, with a header as text or as what becomes it."""
    text = header if isinstance(header, str) else json.dumps(header)
    return of(RecordDict({"header": ConfigRecord({"json": text}), "arrays": arrays or ArrayRecord()}), task)


def of(content: RecordDict, task: str = "train.round") -> Message:
    """A message with a content."""
    return Message(content=content, metadata=Metadata(1, "m", 1, 2, "", "", 0.0, 100.0, task))  # type: ignore[call-overload,no-any-return]
