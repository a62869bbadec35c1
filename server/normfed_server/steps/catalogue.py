"""Every server step by the name that the table of algorithms uses."""

from __future__ import annotations

from typing import Any

from normfed_common.algorithms.table import ServerStep, configure
from normfed_common.study.federation import FederationConfig
from normfed_server.steps.adaptive import Adagrad, Adam, Momentum, Yogi
from normfed_server.steps.base import Step
from normfed_server.steps.clusters import BestOfClusters, PriorClusters, SplittingClusters
from normfed_server.steps.controlled import Control
from normfed_server.steps.fair import Fair
from normfed_server.steps.mean import Mean
from normfed_server.steps.normalised import Normalised
from normfed_server.steps.robust import ClippedMean, KrumStep, Median, MultiKrumStep, TrimmedMean

STEPS: dict[ServerStep, type[Step]] = {
    "mean": Mean,
    "momentum": Momentum,
    "adam": Adam,
    "yogi": Yogi,
    "adagrad": Adagrad,
    "fair": Fair,
    "normalised": Normalised,
    "controlled": Control,
    "median": Median,
    "trimmed mean": TrimmedMean,
    "krum": KrumStep,
    "multi-krum": MultiKrumStep,
    "clipped mean": ClippedMean,
    "clusters": BestOfClusters,
    "prior clusters": PriorClusters,
    "splitting clusters": SplittingClusters,
}


def make_step(strategy: dict[str, Any], federation: FederationConfig) -> Step:
    """The server step of a resolved strategy entry."""
    row, parameters = configure(strategy)
    return STEPS[row.server_step](parameters, federation)
