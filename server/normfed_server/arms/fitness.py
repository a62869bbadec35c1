"""Fit to run? What every site says of its versions and its machine, held against what the study needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from normfed_common.foundation.units import GIGABYTE
from normfed_common.study.config import StudyConfig
from normfed_common.wire.answers import Machine
from normfed_common.wire.bounds import BELOW_MINIMUM

SITE_BASE_GB = 1.0  # Python, torch and a cohort's index: measured 0.6 to 0.9
SITE_MODELS = 7.0  # weights, gradients, Adam's two moments, what came, what goes, a checkpoint being written
SITE_DISK_MODELS = 9.0  # outbox, checkpoint of weights and moments, personal parts
SERVER_BASE_GB = 0.6
SERVER_MODELS = 3.6  # measured by benchmarks/bench_aggregation.py, for any number of sites
CLASSES = (10, 30, 100, 300, 1000)


@dataclass(frozen=True)
class Misfit:
    """Something that does not fit; ``fatal`` if a run would surely break on it."""

    where: str
    text: str
    fatal: bool


def estimate(model_bytes: int) -> dict[str, float]:
    """Gigabytes that a model of this size needs: memory and disk at a site, memory at the server; batches aside."""
    model = model_bytes / GIGABYTE
    return {
        "site_memory_gb": SITE_BASE_GB + SITE_MODELS * model,
        "site_disk_gb": SITE_DISK_MODELS * model,
        "server_memory_gb": SERVER_BASE_GB + SERVER_MODELS * model,
    }


def findings(study: StudyConfig, machines: Mapping[str, Machine], model_bytes: int, version: str) -> list[Misfit]:
    """What does not fit, the fatal first; sites of a version that is too far away never came so far."""
    needs = estimate(model_bytes)
    found = []
    free = psutil.virtual_memory().available / GIGABYTE
    if free < needs["server_memory_gb"]:
        text = f"needs about {needs['server_memory_gb']:.1f} GB of memory, and {free:.1f} are free"
        found.append(Misfit("server", text, False))
    for site, machine in sorted(machines.items()):
        if machine.study != study.digest:
            text = f"with its normfed {machine.normfed} reads this study otherwise than the server with {version}: "
            found.append(Misfit(site, text + "one of the two was changed; install it anew", True))
        if machine.memory_gb < needs["site_memory_gb"]:
            text = f"needs about {needs['site_memory_gb']:.1f} GB of memory, and {machine.memory_gb:.1f} are free"
            found.append(Misfit(site, text, False))
        if machine.disk_gb < needs["site_disk_gb"]:
            text = f"needs about {needs['site_disk_gb']:.1f} GB of disk, and {machine.disk_gb:.1f} are free"
            found.append(Misfit(site, text, True))
    return sorted(found, key=lambda finding: (not finding.fatal, finding.where))


def size_class(people: int) -> str:
    """A cohort's size as it may be shown: a class, never a number below the study's minimum."""
    if people == BELOW_MINIMUM:
        return "too few"
    if people == 0:
        return "nobody"
    below = [edge for edge in CLASSES if edge <= people]
    above = [edge for edge in CLASSES if edge > people]
    if not above:
        return f"{CLASSES[-1]} or more"
    return f"{below[-1]}–{above[0] - 1}" if below else f"fewer than {above[0]}"
