"""All metrics by name: those of every study, and those of plug-ins that a study asks for."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from importlib import import_module

from normfed_common.foundation.errors import StudyError
from normfed_common.foundation.registry import Registry
from normfed_common.metrics import per_scan
from normfed_common.metrics.base import RESERVED, Metric

METRICS: Registry[Metric] = Registry("metric", "normfed.metrics", instance_of=Metric, joined_by="_")


def _built_in() -> tuple[Metric, ...]:
    modules = sorted(module.name for module in pkgutil.iter_modules(per_scan.__path__, f"{per_scan.__name__}."))
    found: list[Metric] = [metric for module in modules for metric in import_module(module).METRICS]
    return tuple(sorted(found, key=lambda metric: (metric.place, metric.name)))


BUILT_IN = _built_in()
for _metric in BUILT_IN:
    METRICS.add(_metric.name, _metric)


def chosen(extra: Sequence[str] = ()) -> tuple[Metric, ...]:
    """The metrics of a study, in the order in which sites send them: the built-in ones, then the extra ones.

    Parameters
    ----------
    extra
        ``evaluation.metrics`` of the study: of installed plug-ins only what it names is taken, so that every site and
        the server have the same metrics whatever else is installed.

    Raises
    ------
    StudyError
        If one is not known, or is named twice.
    PluginError
        If its plug-in cannot be used.
    """
    found = list(BUILT_IN)
    for name in extra:
        metric = METRICS[name]
        if metric.name != name:
            raise StudyError(
                f"The plug-in metric {name!r} calls itself {metric.name!r}. The two names must be the same."
            )
        if name in RESERVED:
            raise StudyError(f"No metric may be called {name!r}: metrics.json has something else of that name.")
        if metric in found:
            raise StudyError(f"{name} is computed anyway. Leave it out.")
        found.append(metric)
    return tuple(found)
