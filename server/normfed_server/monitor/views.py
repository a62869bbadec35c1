"""What the monitor shows, made of what the server wrote: events, the ledger, what the SuperLink says of sites."""

from __future__ import annotations

from collections import deque
from typing import Any

from normfed_common.foundation.versions import PROTOCOL, installed_version
from normfed_common.processes.supervision import read_services
from normfed_server.events import kinds
from normfed_server.events.kinds import Event, FitMachine, RoundDone
from normfed_server.runs.folder import PRIVACY, REPORT
from normfed_server.runs.following import Tail
from normfed_server.runs.steering import withdrawal
from normfed_server.runs.wording import worded
from normfed_server.state import certificates
from normfed_server.state.fleet_rows import fleet, shut_out_next
from normfed_server.state.folder import ServerHome
from normfed_server.state.ledger import Entry, State

SHOWN_RUNS, SHOWN_LINES, PACE_ROUNDS = 20, 12, 5
FEDERATED = "federated"
JOULES_PER_WH = 3600.0
SHOWN_OF_A_ROUND = {"round", "time", "loss", "outcomes", "seconds", "site_seconds", "megabytes"}


class RunView:
    """One run, from its events; new ones are added as they are written."""

    def __init__(self, home: ServerHome, name: str) -> None:
        self.name = name
        self._folder = home.runs / name
        self._tail = Tail(self._folder / "events.jsonl")
        self.rounds: list[dict[str, Any]] = []
        self.total = 0
        self.arms: dict[str, int] = {}
        self.planned: dict[str, int] = {}
        self.waiting: dict[str, bool] = {}
        self.missing: dict[str, str] = {}
        self.evaluated: list[str] = []
        self.machines: dict[str, FitMachine] = {}
        self.lines: deque[dict[str, Any]] = deque(maxlen=SHOWN_LINES)

    def look(self) -> None:
        """Take in what is new."""
        for event in self._tail.new():
            self._apply(event)

    def shown(self, entry: Entry) -> dict[str, Any]:
        """For the page."""
        return {
            "name": self.name,
            "state": str(entry.state),
            "why": entry.why,
            "created": entry.created,
            "round": len(self.rounds),
            "rounds": self.total,
            "models": {arm: [done, self.planned.get(arm, 0)] for arm, done in self.arms.items()},
            "evaluated": len(self.evaluated),
            "history": self.rounds[-200:],
            "waiting": self.waiting if entry.state is State.OPEN else {},
            "missing": self.missing,
            "ends": self._ends() if entry.state is State.OPEN else None,
            "lines": list(self.lines),
            "withdrawn": withdrawal(self._folder),
            "report": (self._folder / REPORT).is_file(),
            "privacy": (self._folder / PRIVACY).is_file(),
        }

    def _apply(self, event: Event) -> None:
        match event:
            case kinds.Planned():
                self.planned = {arm.name: arm.rounds for arm in event.arms}
                self.total = self.planned.get(FEDERATED, 0)
            case kinds.Fit():
                self.machines = event.sites
            case kinds.Waiting():
                self.waiting = event.sites
            case kinds.Missing():
                self.missing[event.site] = f"{event.outcome}: {event.why}"
            case kinds.Evaluated():
                self.evaluated.append(event.arm)
            case RoundDone():
                self.arms[event.arm] = event.round
                if event.arm == FEDERATED:
                    self._round(event)
            case _:
                pass  # for a person's eyes only
        for mark, text in worded(event):
            self.lines.appendleft({"time": event.time, "mark": mark, "text": text})

    def _round(self, event: RoundDone) -> None:
        self.waiting = {}
        watts = {site: machine.power_w for site, machine in self.machines.items()}
        joules = sum(seconds * watts.get(site, 0.0) for site, seconds in event.site_seconds.items())
        for site, outcome in event.outcomes.items():
            if outcome == "took part":
                self.missing.pop(site, None)
        self.rounds = [r for r in self.rounds if r["round"] < event.round]
        energy = joules / JOULES_PER_WH if event.site_seconds else None  # sites that protect people do not say
        self.rounds.append({**event.model_dump(include=SHOWN_OF_A_ROUND), "energy_wh": energy})

    def _ends(self) -> float | None:
        """When the last federated round would end at the pace of the latest."""
        if not self.rounds or len(self.rounds) >= self.total:
            return None
        latest = self.rounds[-PACE_ROUNDS:]
        pace = sum(r["seconds"] for r in latest) / len(latest)
        end: float = latest[-1]["time"] + pace * (self.total - len(self.rounds))
        return end


class Views:
    """Everything that the monitor shows."""

    def __init__(self, home: ServerHome) -> None:
        self.home = home
        self.ledger = home.ledger
        self._runs: dict[str, RunView] = {}

    def state(self) -> dict[str, Any]:
        """For the page, and for whoever asks for JSON."""
        shown = []
        for entry in self.ledger.all()[-SHOWN_RUNS:]:
            view = self._runs.setdefault(entry.name, RunView(self.home, entry.name))
            view.look()
            shown.append(view.shown(entry))
        return {
            "name": self.home.config.name,
            "address": self.home.config.address,
            "certificate_days": int(certificates.days_left(self.home.certificate)),
            "services": read_services(self.home.log),
            "version": installed_version(),
            "protocol": PROTOCOL,
            "sites": self._sites(shown),
            "runs": shown[::-1],
        }

    def _sites(self, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found = []
        rows = fleet(self.home)
        late_next = {row.site for row in shut_out_next(rows)}
        for row in rows:
            site = row.site
            reasons = [f"{run['name']}: {run['missing'][site]}" for run in runs if site in run["missing"]]
            late = [run["name"] for run in runs if site in run["waiting"]]
            found.append(
                {
                    "name": site,
                    "state": row.state if row.state in ("invited", "revoked") else "accepted",
                    "shown": row.state,
                    "online": row.online,
                    "since": row.since,
                    "working_on": late,
                    "reasons": reasons[-3:],
                    "people": row.people,
                    "machine": row.machine,
                    "heard": row.heard,
                    "fits": row.fits,
                    "unfit": row.unfit,
                    "server_up_to": row.server_up_to,
                    "shut_out_next": site in late_next,
                }
            )
        return found
