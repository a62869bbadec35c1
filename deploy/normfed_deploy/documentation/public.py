"""What is public in Python, as mkdocstrings is asked for it."""

from __future__ import annotations

from importlib import import_module

PLUGIN_NAMES = {  # what the author of a plug-in stands on
    "Models and transforms": (
        "normfed_common.models.base.NormativeModel",
        "normfed_common.transforms.base.ScanTransform",
        "normfed_common.learning.learner.Learner",
        "normfed_common.learning.phase.Phase",
        "normfed_common.learning.setting.Setting",
    ),
    "What they see and return": (
        "normfed_common.learning.cohort.Cohort",
        "normfed_common.learning.cohort.Scan",
        "normfed_common.learning.cohort.Person",
        "normfed_common.learning.batch.Batch",
        "normfed_common.learning.score.Score",
    ),
    "Metrics and one-class scores": (
        "normfed_common.metrics.base.Metric",
        "normfed_common.metrics.base.ScoredScan",
        "normfed_common.scoring.base.OneClassScore",
    ),
    "Strategies": (
        "normfed_common.algorithms.table.Algorithm",
        "normfed_client.training.objectives.Round",
        "normfed_client.training.objectives.Outcome",
        "normfed_server.steps.base.Step",
    ),
    "Datasets and splits": (
        "normfed_simulation.datasets.base.Dataset",
        "normfed_simulation.datasets.downloaded.Downloaded",
        "normfed_simulation.splits.base.Split",
    ),
    "Parameters": ("normfed_common.study.base.Frozen",),
}


def package() -> str:
    """Every public name of the package `normfed`, where it is defined."""
    return "\n".join(f"::: {where}.{name}\n    options:\n      heading_level: 2\n" for name, where in places().items())


def places() -> dict[str, str]:
    """Name to module, of the package that stands beside this one and imports nothing until it is used."""
    whole = import_module("normfed")
    return {name: getattr(whole, name).__module__ for name in whole.__all__ if not name.startswith("__")}


def for_plugins() -> str:
    """What a plug-in imports."""
    parts = []
    for title, names in PLUGIN_NAMES.items():
        parts += [f"## {title}\n", *(f"::: {name}\n    options:\n      heading_level: 3\n" for name in names)]
    return "\n".join(parts)
