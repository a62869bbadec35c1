"""Flower's strategies as arithmetic: made-up replies in, arrays out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flwr.app import DEFAULT_TTL, Array, ArrayRecord, Message, Metadata, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from normfed_common.arrays import Arrays

WEIGHT = "num-subjects"


def aggregate(strategy: FedAvg, updates: Sequence[tuple[float, Arrays]], round: int = 1) -> Arrays:
    """What ``strategy`` (made with ``weighted_by_key=WEIGHT``) makes of weighted arrays."""
    aggregated, _ = strategy.aggregate_train(round, [_reply(weight, arrays) for weight, arrays in updates])
    if aggregated is None:
        raise ValueError("no update to aggregate")
    return {name: np.asarray(array.numpy()) for name, array in aggregated.items()}


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
