"""Is what is asked part of the study that it claims to be, and within what the hospital allows?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from normfed_client.hospital.asked import Asked
from normfed_client.hospital.rules import Rules
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.study.config import StudyConfig
from normfed_common.study.federation import PLAIN
from normfed_common.wire.messages import Request

IN_ROUNDS = ("train.round", "train.personal")
MOST_OF_A_ROUND = 10  # a round that is begun again after a fault starts from another model at most a few times
MEGABYTE, GIGABYTE = 1e6, 1e9


def check(task: str, key: str, request: Request, study: StudyConfig, rules: Rules, asked: Asked) -> None:
    """Refuse what the study does not contain, and more models or questions than the hospital allows.

    Raises
    ------
    SiteError
        If so.
    """
    beside = study.comparisons
    if request.model not in (study.model, *beside.baselines):
        raise SiteError(SiteCode.BAD_REQUEST, "the study has no such model")
    if request.strategy not in (study.strategy, *beside.strategies, PLAIN):
        raise SiteError(SiteCode.BAD_REQUEST, "the study has no such strategy")
    if request.compression not in (study.federation.compression, *beside.compressions, "none"):
        raise SiteError(SiteCode.BAD_REQUEST, f"the study has no compression {request.compression}")
    # One more round than the study has: fine-tuning comes after the last.
    if request.round > study.federation.rounds + 1 or request.since > request.round or request.repeat >= beside.repeats:
        raise SiteError(SiteCode.BAD_REQUEST, f"round {request.round}, repeat {request.repeat} are beyond the study")
    if bool(request.round) != (task in IN_ROUNDS):
        raise SiteError(SiteCode.BAD_REQUEST, f"{task} in round {request.round}")
    same, models = asked.note(task, request.arm, request.round, key)
    if models > rules.most_models:
        raise SiteError(SiteCode.TOO_MUCH_ASKED, f"most_models: {models} models were asked about")
    most = MOST_OF_A_ROUND if request.round else rules.most_requests_per_model
    if same > most:
        raise SiteError(SiteCode.TOO_MUCH_ASKED, f"{task} of {request.arm} was asked in {same} ways; at most {most}")


def check_run(folder: Path, cache: Path, rules: Rules) -> None:
    """Refuse a new run where the hospital keeps as many, or as much, as it allows.

    Parameters
    ----------
    folder
        The run's own, not there yet; beside it are those of the others.
    cache
        Of preprocessed scans: every way of preparing them adds all people's.

    Raises
    ------
    SiteError
        If so.
    """
    kept = sum(1 for _ in folder.parent.glob("*"))
    if kept >= rules.most_runs:
        detail = f"most_runs: {kept} runs are kept in {folder.parent}. Delete those that are not needed any more."
        raise SiteError(SiteCode.TOO_MUCH_ASKED, detail)
    size = sum(path.stat().st_size for path in cache.glob("*/*.npy")) / GIGABYTE
    if size > rules.largest_cache_gb:
        detail = f"largest_cache_gb: {cache} holds {size:,.0f} GB. Delete it; what is needed is made again."
        raise SiteError(SiteCode.TOO_MUCH_ASKED, detail)


def check_size(arrays: Mapping[str, np.ndarray], rules: Rules) -> None:
    """Refuse a message that is larger than the hospital takes or sends.

    Raises
    ------
    SiteError
        If so.
    """
    size = sum(array.nbytes for array in arrays.values()) / MEGABYTE
    if size > rules.largest_message_mb:
        detail = f"largest_message_mb: {size:,.0f} MB, site.yaml allows {rules.largest_message_mb:,.0f}"
        raise SiteError(SiteCode.TOO_MUCH_ASKED, detail)
