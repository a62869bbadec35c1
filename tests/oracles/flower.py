"""Flower's strategies as arithmetic: made-up replies in, arrays out."""

from __future__ import annotations

from collections.abc import Sequence

from flwr.app import DEFAULT_TTL, Array, ArrayRecord, Message, Metadata, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from normfed_common.foundation.arrays import Arrays

WEIGHT = "num-subjects"


def aggregate(strategy: FedAvg, updates: Sequence[tuple[float, Arrays]]) -> Arrays:
    """What ``strategy`` (made with ``weighted_by_key=WEIGHT``) makes of weighted arrays."""
    aggregated, _ = strategy.aggregate_train(1, [reply(arrays, **{WEIGHT: weight}) for weight, arrays in updates])
    assert aggregated is not None
    return {name: array.numpy() for name, array in aggregated.items()}


def reply(arrays: Arrays, **metrics: float) -> Message:
    """A site's answer to a round."""
    record = ArrayRecord({name: Array(array.copy()) for name, array in arrays.items()})
    content = RecordDict({"arrays": record, "metrics": MetricRecord(dict(metrics))})
    # Made here, not received: Flower's own constructor wants a run under way.
    metadata = Metadata(0, "", 0, 0, "", "", 0.0, DEFAULT_TTL, "train")
    return Message(content=content, metadata=metadata)  # type: ignore[call-overload]
