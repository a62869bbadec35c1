"""What the page shows, made of what lies in the hospital's folder; each part by itself, so that one that cannot be read
hides no other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from normfed_client.consent.approvals import Approvals
from normfed_client.consent.asked import AskedStudy
from normfed_client.consent.deciding import LONGEST_NAME, LONGEST_REASON, obstacle
from normfed_client.consent.decisions import MOST_RUNS, Decision
from normfed_client.consent.making import manifest_of
from normfed_client.consent.manifest import Manifest
from normfed_client.consent.sheet import beside_of, facts_of, lines_of, size
from normfed_client.consent.standing import standing_of
from normfed_client.hospital.folder import Hospital, open_hospital
from normfed_client.page.cards import Client, budget_of, of_audit, of_client, of_quality, or_why_not
from normfed_client.page.records import SIDES, Kept, Run, page_of, runs, shown_time
from normfed_common.foundation.errors import SiteError, UserError
from normfed_common.study.config import StudyConfig

WAITS = "waits"  # so begins how a study stands on which a person has to decide
SHOWN_RUNS = 10
UNDER_WAY = timedelta(hours=1)


@dataclass(frozen=True)
class StudyRow:
    """A study that was asked for."""

    digest: str
    name: str
    asked: str
    how: str
    waits: bool


class Views:
    """Everything that the page shows of a hospital's folder, which is opened anew each time.

    Parameters
    ----------
    status
        Says how the client's processes stand.
    """

    def __init__(self, folder: Path, status: Callable[[Hospital], Client]) -> None:
        self._folder, self._status = folder, status
        self._kept = Kept()
        self._lock = threading.Lock()
        self._studies: dict[str, tuple[int, AskedStudy, StudyConfig]] = {}

    def hospital(self) -> Hospital:
        """As it is now.

        Raises
        ------
        UserError
            If site.yaml is wrong.
        """
        return open_hospital(self._folder)

    def overview(self) -> dict[str, object]:
        """For the first page."""
        hospital = self.hospital()
        rows = self._rows(hospital)
        return {
            "site": hospital.config.site,
            "server": hospital.config.server,
            "waiting": [row for row in rows if row.waits],
            "decided": [row for row in rows if not row.waits],
            "client": of_client(self._status(hospital)),
            "quality": or_why_not(lambda: of_quality(hospital)),
            "audit": or_why_not(lambda: of_audit(hospital, self._kept.verified(hospital))),
            "budget": budget_of(hospital),
            "runs": self._runs(hospital, {row.digest: row.name for row in rows}),
        }

    def asked(self, hospital: Hospital, digest: str) -> tuple[AskedStudy, StudyConfig]:
        """A study that was asked for, by its digest.

        Raises
        ------
        UserError
            If it is damaged, or gone.
        """
        approvals = Approvals(hospital.folder)
        time = approvals.studies.changed(digest)
        before = self._studies.get(digest)
        if before is not None and before[0] == time:
            return before[1:]
        found = approvals.studies.read(digest)
        study = found.config()
        self._studies[digest] = (time, found, study)
        return found, study

    def study(self, digest: str) -> dict[str, object]:
        """For the page of one study.

        Raises
        ------
        UserError
            See `asked`.
        """
        hospital = self.hospital()
        asked, study = self.asked(hospital, digest)
        manifest, unknown = self.manifest(hospital, study)
        decisions, damaged = _decisions(hospital, digest)
        found: dict[str, object] = {
            "site": hospital.config.site,
            "server": hospital.config.server,
            "asked": shown_time(asked.at),
            "run": asked.run,
            "study": study,
            "how": _how(hospital, study),
            "obstacle": _obstacle(hospital, study),
            "facts": [(name, text) for name, text in facts_of(study) if name not in ("study", "description")],
            "decisions": [(shown_time(one.at), one) for one in reversed(decisions)],
            "manifest": manifest,
            "unknown": unknown or damaged,
            "today": date.today().isoformat(),
            "longest": (LONGEST_NAME, LONGEST_REASON),
            "most_runs": MOST_RUNS,
        }
        if manifest is not None:
            others = sum(one.bytes * one.times_per_other_site for one in manifest.leaving)
            found |= {
                "total": size(manifest.total_bytes),
                "per_other": size(others) if others else "",
                "lines": lines_of(manifest),
                "beside": beside_of(manifest),
            }
        return found

    def manifest(self, hospital: Hospital, study: StudyConfig) -> tuple[Manifest | None, str]:
        """What would leave for a study; or why that is not known."""
        with self._lock:  # one at a time: it may make a network to see what it sends
            try:
                return manifest_of(hospital, study), ""
            except SiteError as error:
                return None, error.detail or error.code.sentence
            except UserError as error:
                return None, str(error)
            except Exception as error:  # noqa: BLE001  (a study may be made to break it, and must be refusable here)
                return None, f"it cannot be worked out ({type(error).__name__})"

    def sent(self, side: str, end: int | None) -> dict[str, object]:
        """For the page of what the audit says; see `page_of`."""
        hospital = self.hospital()
        verified = self._kept.verified(hospital)
        many = len(verified.records)
        records, older = page_of(verified.records, side, many if end is None else end)
        return {
            "site": hospital.config.site,
            "audit": of_audit(hospital, verified),
            "records": records,
            "side": side,
            "sides": SIDES,
            "older": older,
            "newest": end is None or end >= many,
        }

    def _rows(self, hospital: Hospital) -> list[StudyRow]:
        """The newest first."""
        found = []
        for digest in Approvals(hospital.folder).studies.digests():
            try:
                asked, study = self.asked(hospital, digest)
            except UserError:
                continue
            how = _how(hospital, study)
            found.append((asked.at, StudyRow(digest, asked.name, shown_time(asked.at), how, how.startswith(WAITS))))
        return [row for _, row in sorted(found, key=lambda one: (one[0], one[1].digest), reverse=True)]

    def _runs(self, hospital: Hospital, names: dict[str, str]) -> list[tuple[Run, str, str, bool]]:
        """The latest, with the names of their studies, when something was asked last, and whether something left
        just now."""
        try:
            found = runs(self._kept.verified(hospital).records)[:SHOWN_RUNS]
        except UserError:
            return []
        return [(run, names.get(run.study, run.study), shown_time(run.last), _recent(run.answered)) for run in found]


def _how(hospital: Hospital, study: StudyConfig) -> str:
    try:
        return standing_of(hospital, study, date.today()).words
    except UserError as error:
        return f"{WAITS}: {error}"


def _obstacle(hospital: Hospital, study: StudyConfig) -> str:
    try:
        return obstacle(hospital, study)
    except Exception as error:  # noqa: BLE001  (a study may be made to break it, and must be refusable here)
        return f"it cannot be made a model of ({type(error).__name__})"


def _decisions(hospital: Hospital, digest: str) -> tuple[tuple[Decision, ...], str]:
    try:
        return Approvals(hospital.folder).of(digest), ""
    except UserError as error:
        return (), str(error)


def _recent(time: str) -> bool:
    """Whether a time, UTC, is there and within `UNDER_WAY` of now."""
    return time != "" and datetime.now(UTC) - datetime.fromisoformat(time) < UNDER_WAY
