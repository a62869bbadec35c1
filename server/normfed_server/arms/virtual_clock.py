"""Hospital time on a virtual clock: how long real hospitals would take for what a simulation does at once.

The simulation draws each site's pace (`normfed simulate --hospital-times`); the server lets answers arrive by it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from normfed_common.foundation import seeds
from normfed_common.foundation.errors import RunError
from normfed_common.foundation.files import write_text
from normfed_common.study.base import Frozen
from normfed_common.study.config import StudyConfig
from normfed_server.sites.closing import Closing
from normfed_server.sites.description import SiteDescription

# Share of the sites that must answer, seconds of patience: everybody, then less and less waiting.
RULES = ((1.0, 0.0), *((share, patience) for share in (0.9, 0.75, 0.5) for patience in (900.0, 300.0, 0.0)))
FILE = "hospital-times.json"


class SitePace(Frozen):
    """One site's computing and its link.

    Parameters
    ----------
    train_s, validate_s
        Seconds per person: one local epoch, one evaluation.
    download_s, upload_s
        Seconds a model.
    """

    train_s: float = Field(gt=0)
    validate_s: float = Field(gt=0)
    download_s: float = Field(gt=0)
    upload_s: float = Field(gt=0)


class Pace(Frozen):
    """All sites' paces, and what varies from round to round."""

    seed: int
    sites: dict[str, SitePace]
    spread_s: float = Field(90.0, ge=0, description="a transfer takes up to so much longer, drawn anew each time")
    drop: float = Field(0.02, ge=0, lt=1, description="chance that a transfer breaks off half-way and begins again")
    back_s: float = Field(360.0, ge=0, description="until a broken link is back")

    def arrivals(self, round: int, people: Mapping[str, int], epochs: int) -> dict[str, float]:
        """Seconds from a round's beginning until each site's answer is there; a site that has no pace is at once."""
        found = {}
        for site, count in people.items():
            pace = self.sites.get(site)
            if pace is None:
                found[site] = 0.0
                continue
            rng = seeds.generator(self.seed, "hospital time", site, round)
            time = pace.train_s * count * epochs
            for transfer in (pace.download_s, pace.upload_s):
                lasts = transfer + rng.uniform(0, self.spread_s)
                time += lasts
                while rng.random() < self.drop:
                    time += lasts / 2 + self.back_s
            found[site] = time
        return found


def load(folder: Path) -> Pace | None:
    """The paces of a run folder; None where the run has none.

    Raises
    ------
    RunError
        If the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        return Pace.model_validate_json(path.read_text())
    except (OSError, ValidationError) as error:
        raise RunError(f"{path}: not hospital times ({' '.join(str(error).split())}).") from error


def save(folder: Path, pace: Pace) -> None:
    """Write what `load` reads."""
    write_text(folder / FILE, pace.model_dump_json(indent=1) + "\n")


def hospital_time(
    study: StudyConfig, sites: Mapping[str, SiteDescription], history: Sequence[Mapping[str, Any]], pace: Pace | None
) -> dict[str, Any] | None:
    """How long the study would take in hospitals, who holds whom up, and what other rules of waiting would change.

    Every row of ``rules`` lets the same arrivals meet another quorum and patience: hours in all, and the share of the
    training people's updates that would come too late, in all and by site.
    """
    rounds = [entry["hospital_time"] for entry in history if "hospital_time" in entry]
    if pace is None or not rounds:
        return None
    people = {site: description.train for site, description in sites.items()}
    last = [max(entry["arrivals"], key=lambda site: entry["arrivals"][site]) for entry in rounds]
    validation = {
        site: p.download_s + p.validate_s * max(sites[site].test, 0) + p.upload_s
        for site, p in pace.sites.items()
        if site in sites
    }
    return {
        "rounds_h": sum(entry["end"] for entry in rounds) / 3600,
        "evaluation_h": max(validation.values(), default=0.0) / 3600,
        "last": {site: last.count(site) for site in sorted(set(last), key=lambda site: -last.count(site))},
        "median_s": {site: _median(rounds, site) for site in pace.sites},
        "rules": [_rule(rounds, people, share, patience) for share, patience in RULES],
        "patience_s": study.federation.patience_s,
    }


def _rule(rounds: list[dict[str, Any]], people: Mapping[str, int], share: float, patience_s: float) -> dict[str, Any]:
    total, asked, lost = 0.0, 0, dict[str, int]()
    for entry in rounds:
        arrivals = entry["arrivals"]
        here = {site: people[site] for site in arrivals}
        closing = Closing(here, math.ceil(share * len(here)), 0.0, patience_s)
        end = closing.at(arrivals)
        total += end
        asked += sum(here.values())
        for site, time in arrivals.items():
            if time > end:
                lost[site] = lost.get(site, 0) + here[site]
    return {
        "quorum": share,
        "patience_s": patience_s,
        "hours": total / 3600,
        "lost": sum(lost.values()) / asked,
        "lost_by_site": {site: count / asked for site, count in sorted(lost.items(), key=lambda item: -item[1])},
    }


def _median(rounds: Sequence[Mapping[str, Any]], site: str) -> float | None:
    values = [entry["arrivals"][site] for entry in rounds if site in entry["arrivals"]]
    return statistics.median(values) if values else None
