"""Federated averaging: w = sum_i n_i / n w_i, n_i a site's training people (McMahan 2017, arXiv 1602.05629).

The arithmetic is Flower's. Sites are added in the order of their names, so that the sum has the same last bit on every
engine.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from flwr.app import DEFAULT_TTL, Array, ArrayRecord, Message, Metadata, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from normfed_common.arrays import Arrays

WEIGHT = "num-subjects"


def mean(updates: Mapping[str, tuple[int, Arrays]]) -> Arrays:
    """The mean of the sites' arrays, weighted by their people.

    Parameters
    ----------
    updates
        Site to number of training people and arrays.
    """
    replies = [_reply(people, arrays) for _, (people, arrays) in sorted(updates.items())]
    strategy = FedAvg(weighted_by_key=WEIGHT)
    aggregated, _ = strategy.aggregate_train(0, replies)
    if aggregated is None:
        raise ValueError("no update to average")
    return {name: np.asarray(array.numpy()) for name, array in aggregated.items()}


def _reply(people: int, arrays: Arrays) -> Message:
    content = RecordDict(
        {
            "arrays": ArrayRecord({name: Array(array) for name, array in arrays.items()}),
            "metrics": MetricRecord({WEIGHT: people}),
        }
    )
    # Made here, not received: Flower's own constructor wants a run under way.
    metadata = Metadata(0, "", 0, 0, "", "", 0.0, DEFAULT_TTL, "train")
    return Message(content=content, metadata=metadata)  # type: ignore[call-overload]
