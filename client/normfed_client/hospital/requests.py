"""Is what is asked part of the study that it claims to be, and within what the hospital allows?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from normfed_client.hospital.rules import Rules
from normfed_client.operation.outbox import Outbox
from normfed_common.errors import SiteCode, SiteError
from normfed_common.study.config import StudyConfig
from normfed_common.wire.messages import Request

PLAIN = {"name": "fedavg"}  # under which baselines, local and pooled models are trained
MEGABYTE = 1e6


def check(request: Request, study: StudyConfig, rules: Rules, outbox: Outbox) -> None:
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
    models = outbox.models()
    if request.arm not in models and len(models) >= rules.most_models:
        raise SiteError(SiteCode.TOO_MUCH_ASKED, f"most_models: {len(models)} models were trained or tested already")
    if not request.round and outbox.answers(request.arm) >= rules.most_requests_per_model:
        raise SiteError(SiteCode.TOO_MUCH_ASKED, f"most_requests_per_model: reached for {request.arm}")


def check_run(folder: Path, rules: Rules) -> None:
    """Refuse a new run where the hospital keeps as many as it allows.

    Parameters
    ----------
    folder
        The run's own, perhaps not there yet; beside it are those of the others.

    Raises
    ------
    SiteError
        If so.
    """
    if folder.exists() or not folder.parent.exists():
        return
    kept = sum(1 for _ in folder.parent.iterdir())
    if kept >= rules.most_runs:
        detail = f"most_runs: {kept} runs are kept in {folder.parent}. Delete those that are not needed any more."
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
