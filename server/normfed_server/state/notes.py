"""Small files in a run's folder, by which its process, the reconciler and the operator tell each other things."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from normfed_common.foundation.errors import RunError
from normfed_common.study.base import Frozen
from normfed_common.study.data import SiteName
from normfed_common.study.withdrawn import RunFolderName, Why

COORDINATOR = "coordinator.json"  # which process works on the run
OUTCOME = "outcome.json"  # how it ended, once it did
CRASH = "crash.json"  # the error that last ended its process
DEATHS = "deaths.json"  # how often its process died since the run last got further
EXCUSED = "excused.json"  # sites that the operator said may be left out
OPTIONS = "options.json"  # how the operator started the run
REPLACES = "replaces.json"  # of a run that was begun again without sites
LOG = "server.log"
COHORTS, COHORTS_PAGE = "statistics.json", "statistics.html"  # of a run that counts and trains nothing


class Replaces(Frozen):
    """Of a run that was begun again.

    Parameters
    ----------
    run
        The one that it replaces.
    without
        Sites that withdrew from that.
    sites
        All that are asked: nobody else is.
    """

    run: RunFolderName
    without: tuple[SiteName, ...]
    sites: tuple[SiteName, ...]
    why: Why = ""


def replaces(folder: Path) -> Replaces | None:
    """What a run replaces; None where it is a run of its own.

    Raises
    ------
    RunError
        If the note is damaged: without it a site would be asked that withdrew.
    """
    path = folder / REPLACES
    try:
        return Replaces.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise RunError(f"{path}: damaged ({' '.join(str(error).split())[:200]}). Begin the run again.") from error


def read(path: Path) -> dict[str, Any] | None:
    """What such a file says; None where there is none, or it is damaged."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found
