"""Flower's strategies as arithmetic: made-up replies in, arrays out."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from flwr.app import DEFAULT_TTL, Array, ArrayRecord, Message, Metadata, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from normfed_common.foundation.arrays import Arrays
from normfed_common.wire import npy

WEIGHT = "num-subjects"
# Flower reads arrays with `ast`, which two threads (arms) may not do at once: see `normfed_common.wire.npy`.
_ONE_AT_A_TIME = threading.Lock()


def aggregate(strategy: FedAvg, updates: Sequence[tuple[float, Arrays]], round: int = 1) -> Arrays:
    """What ``strategy`` (made with ``weighted_by_key=WEIGHT``) makes of weighted arrays."""
    replies = [_reply(weight, arrays) for weight, arrays in updates]
    with _ONE_AT_A_TIME:
        aggregated, _ = strategy.aggregate_train(round, replies)
    if aggregated is None:
        raise ValueError("no update to aggregate")
    return {name: npy.read(array) for name, array in aggregated.items()}


def _reply(weight: float, arrays: Arrays) -> Message:
    content = RecordDict(
        {
            "arrays": ArrayRecord({name: Array(array) for name, array in arrays.items()}),
            "metrics": MetricRecord({WEIGHT: weight}),
        }
    )
    # Made here, not received: Flower's own constructor wants a run under way.
    metadata = Metadata(0, "", 0, 0, "", "", 0.0, DEFAULT_TTL, "train")
    return Message(content=content, metadata=metadata)  # type: ignore[call-overload]
