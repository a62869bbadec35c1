"""What a hospital keeps no longer, by its own times (`Retention`, `keep_days`); each time is in the audit."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from normfed_client.consent.approvals import Approvals
from normfed_client.consent.asked import ENDING, FOLDER
from normfed_client.hospital.folder import Hospital
from normfed_client.hospital.secure_sums import forget_all_secrets
from normfed_client.imaging.cache import SIZES
from normfed_client.recording.audit import Audit
from normfed_client.withdrawal.erasing import erase, files_below, of_run, runs
from normfed_common.chain.kinds.people import people_class
from normfed_common.chain.kinds.site import Expired
from normfed_common.foundation import damage
from normfed_common.foundation.errors import UserError

What = Literal["answers", "checkpoints", "scores", "maps", "runs", "cache", "proposals"]
DAY_S = 86_400.0


def due(hospital: Hospital, now: float | None = None) -> dict[What, list[Path]]:
    """What has been kept for long enough, by kind.

    Parameters
    ----------
    now
        Seconds since 1970; the machine's clock when absent.
    """
    config, folder, state = hospital.config, hospital.folder, hospital.state
    times = _Times(time.time() if now is None else now)
    found: dict[What, list[Path]] = {
        "answers": times.older(files_below(folder / "outbox"), config.keep_days),
        "checkpoints": times.older(files_below(folder / "checkpoints"), config.keep_days),
        "scores": times.older(files_below(*state.glob("*/scores")), config.keep_days),
        "maps": times.older(files_below(*state.glob("*/maps"), *state.glob("*/people")), config.keep_maps_days),
        "runs": _idle(hospital, times),
        "cache": [path.parent for path in times.older(hospital.cache.glob(f"*/{SIZES}"), config.keep_cache_days)],
        "proposals": _undecided(hospital, times),
    }
    return {what: paths for what, paths in found.items() if paths}


def expire(hospital: Hospital) -> Mapping[What, list[Path]]:
    """Erase what is due, and write that down.

    On a disk that is full nothing can be written down; then room is made all the same.
    """
    found = due(hospital)
    for what, paths in found.items():
        try:
            Audit(hospital).append(Expired(what=what, files=people_class(len(paths))))
        except UserError as error:
            damage.say(str(error))
        for run in {path.relative_to(hospital.folder).parts[1] for path in paths} if what == "runs" else ():
            forget_all_secrets(hospital.state / run)
        erase(hospital, paths)
    return found


class _Times:
    def __init__(self, now: float) -> None:
        self.now = now

    def older(self, paths: Iterable[Path], days: float | None) -> list[Path]:
        """Those that were written so many days ago; none without a number."""
        if days is None:
            return []
        return [path for path in paths if self.written(path) < self.now - days * DAY_S]

    def written(self, path: Path) -> float:
        """When; now, if it is gone."""
        with suppress(OSError):
            return path.lstat().st_mtime
        return self.now


def _idle(hospital: Hospital, times: _Times) -> list[Path]:
    """Files of runs of which nothing was written for so long."""
    days, found = hospital.config.keep_runs_days, list[Path]()
    for run in runs(hospital) if days is not None else ():
        there = files_below(hospital.state / run, hospital.outbox(run), hospital.checkpoints(run))
        if len(times.older(there, days)) == len(there):
            found += of_run(hospital, run)
    return found


def _undecided(hospital: Hospital, times: _Times) -> list[Path]:
    """Studies that nobody decided on; none while it is not known who decided what."""
    with suppress(UserError):
        decided = {decision.study for decision in Approvals(hospital.folder).decisions()}
        files = [path for path in (hospital.folder / FOLDER).glob(f"*{ENDING}") if path.stem not in decided]
        return times.older(files, hospital.config.keep_proposals_days)
    return []
