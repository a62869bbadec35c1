"""The table of algorithms: what is shared, what the site minimises, what the server does with the answers.

An algorithm is a row, not a class: one loop trains, one Flower strategy runs rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from normfed_common.registry import Registry


@dataclass(frozen=True)
class Algorithm:
    """One row.

    Parameters
    ----------
    sharing
        Which of the model's averaged arrays leave a site.
    objective
        What a site minimises beside the model's own loss.
    server_step
        How the server makes the next global model from the sites' answers.
    source
        Where it was published.
    """

    sharing: Literal["all"]
    objective: Literal["plain"]
    server_step: Literal["mean"]
    source: str


ALGORITHMS: Registry[Algorithm] = Registry("algorithm")

ALGORITHMS.add("fedavg", Algorithm("all", "plain", "mean", "McMahan 2017, arXiv 1602.05629"))
