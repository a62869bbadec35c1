"""The words and figures that a header may hold: of a closed vocabulary, or bounded, in the one order that there is.

Whoever could write a header would else have room for anything in the names of lesions, or in what a machine is.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Sequence
from importlib.metadata import version

from normfed_client.hospital.folder import Hospital
from normfed_client.imaging.labels import ILL, NO_LESION, carried
from normfed_common.foundation.versions import PROTOCOL, installed_version
from normfed_common.metrics.groups import EVERYBODY
from normfed_common.study.config import StudyConfig
from normfed_common.wire.answers import Answer, Described, Figures, Machine, ScoredPeople

MOST_KINDS = 20
LONGEST_GPU = 64
TORCH_BUILD = re.compile(r"(\+(cpu|cu\d{2,3}|rocm\d(\.\d){1,2}|xpu))?")


def strange(hospital: Hospital, study: StudyConfig, answer: Answer) -> str:
    """What a header says that is not of the vocabulary, as a phrase that repeats nothing of it.

    Empty where all is of the vocabulary, and for answers that have no words to check: only descriptions, people's
    scores and figures have.
    """
    payload = answer.payload
    if isinstance(payload, Described):
        machine = "" if payload.machine is None else _machine(hospital, study, payload.machine)
        return machine or _kinds(study, payload.kinds)
    if isinstance(payload, ScoredPeople | Figures):
        return _kinds(study, payload.groups[1:]) if payload.groups[:1] in ((), (EVERYBODY,)) else "its groups"
    return ""


def _kinds(study: StudyConfig, kinds: Sequence[str]) -> str:
    """Names of lesions, joined by plus: of those that the study names, where it names any."""
    if len(kinds) > MOST_KINDS or list(kinds) != sorted(set(kinds)):
        return f"more than {MOST_KINDS} kinds of lesion, or in another order than that of their names"
    named = study.data.lesion_labels
    if named is None:
        return ""
    known = {*named, NO_LESION, ILL, *(carried(group) for group in study.data.ill_groups)}
    return "" if known.issuperset(_parts(kinds, known)) else "a kind of lesion that the study does not name"


def _parts(kinds: Iterable[str], known: set[str]) -> Iterable[str]:
    for kind in kinds:
        yield from [kind] if kind in known else kind.split("+")


def _machine(hospital: Hospital, study: StudyConfig, told: Machine) -> str:
    """Versions as they are installed; figures rounded, and no more of the graphics card than its name."""
    torch = version("torch").partition("+")[0]
    found = (told.normfed, told.protocol, told.flwr, told.torch[: len(torch)], told.python, told.study)
    if found != (installed_version(), PROTOCOL, version("flwr"), torch, platform.python_version(), study.digest):
        return "versions other than those that are installed, or another study"
    if not TORCH_BUILD.fullmatch(told.torch[len(torch) :]) or len(told.gpu) > LONGEST_GPU:
        return "a build of torch or a graphics card of an unknown form"
    figures = (told.memory_gb, told.disk_gb, told.gpu_memory_gb)
    if any(figure != round(figure, 1) for figure in figures) or told.power_w != hospital.config.power_w:
        return "figures that are not round"
    return ""
