"""Every server step by the name that the table of algorithms uses."""

from __future__ import annotations

from typing import Any

from normfed_common.algorithms.table import configure, part
from normfed_common.foundation.errors import StudyError
from normfed_common.foundation.registry import Registry
from normfed_common.learning.setting import Setting
from normfed_common.models.combined.pipeline import assemble
from normfed_common.study.config import StudyConfig
from normfed_common.study.federation import FederationConfig
from normfed_server.steps import central
from normfed_server.steps.adaptive import Adagrad, Adam, Momentum, Yogi
from normfed_server.steps.base import Step
from normfed_server.steps.clusters import BestOfClusters, PriorClusters, SplittingClusters
from normfed_server.steps.controlled import Control
from normfed_server.steps.fair import Fair
from normfed_server.steps.mean import Mean
from normfed_server.steps.normalised import Normalised
from normfed_server.steps.robust import ClippedMean, KrumStep, Median, MultiKrumStep, TrimmedMean

STEPS: Registry[type[Step]] = Registry("server step", "normfed.steps", subclass_of=Step, joined_by="- ")

STEPS.add("mean", Mean)
STEPS.add("momentum", Momentum)
STEPS.add("adam", Adam)
STEPS.add("yogi", Yogi)
STEPS.add("adagrad", Adagrad)
STEPS.add("fair", Fair)
STEPS.add("normalised", Normalised)
STEPS.add("controlled", Control)
STEPS.add("median", Median)
STEPS.add("trimmed mean", TrimmedMean)
STEPS.add("krum", KrumStep)
STEPS.add("multi-krum", MultiKrumStep)
STEPS.add("clipped mean", ClippedMean)
STEPS.add("clusters", BestOfClusters)
STEPS.add("prior clusters", PriorClusters)
STEPS.add("splitting clusters", SplittingClusters)


def check_steps(study: StudyConfig) -> None:
    """Refuse a study with a strategy whose server step is not here, or does not go with its central privacy or with
    secure sums.

    Raises
    ------
    StudyError, PluginError
        If there is one.
    """
    for strategy in (study.strategy, *study.comparisons.strategies):
        step = make_step(strategy, study.federation)
        if study.privacy.central is not None:
            phases = assemble(study.transforms, study.model, Setting.of(study)).phases()
            central.check(strategy["name"], step, study.model["name"], phases)
        if study.privacy.secure_aggregation is not None and not step.linear:
            raise StudyError(
                f"privacy.secure_aggregation: strategy {strategy['name']} must see every site's update, and a secure "
                "sum shows none. Take one that needs their mean only, such as fedavg, or leave one of the two out."
            )


def make_step(strategy: dict[str, Any], federation: FederationConfig) -> Step:
    """The server step of a resolved strategy entry."""
    row, parameters = configure(strategy)
    return part(strategy, STEPS, row.server_step)(parameters, federation)
