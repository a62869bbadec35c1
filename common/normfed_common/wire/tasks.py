"""What a server can ask of a site, by name: the type of the message that carries it."""

from __future__ import annotations

from typing import Literal

Task = Literal[
    "query.describe",
    "query.keys",
    "query.shares",
    "query.survivors",
    "query.unmask",
    "train.canary",
    "train.round",
    "train.personal",
    "train.sums",
    "evaluate.score",
    "evaluate.count",
    "evaluate.measure",
]
