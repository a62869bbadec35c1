"""What the monitor shows, as figures for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from normfed_server.state.ledger import State


def exposition(state: dict[str, Any]) -> str:
    """The state of `Views` in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(state))
    return generate_latest(registry).decode()


class _Figures(Collector):
    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def collect(self) -> Iterator[Metric]:
        services, sites, runs = self.state["services"], self.state["sites"], self.state["runs"]
        last = [(run["name"], run["history"][-1]) for run in runs if run["history"]]
        yield _gauge(
            "normfed_service_up",
            "Whether a process of the server runs.",
            ["service"],
            [((name,), float(bool(service["pid"]))) for name, service in services.items()],
        )
        restarts = CounterMetricFamily(
            "normfed_service_restarts", "How often a process was started again.", labels=["service"]
        )
        for name, service in services.items():
            restarts.add_metric([name], service["restarts"])
        yield restarts
        yield _gauge(
            "normfed_certificate_expires_days",
            "Days until the server's certificate expires.",
            [],
            [((), self.state["certificate_days"])],
        )
        yield _gauge(
            "normfed_site_connected",
            "Whether an accepted site is connected.",
            ["site"],
            [((site["name"],), float(site["online"])) for site in sites if site["state"] == "accepted"],
        )
        still = sum(run["state"] == str(State.OPEN) for run in runs)
        yield _gauge("normfed_runs_open", "Runs that are not ended.", [], [((), still)])
        yield _gauge("normfed_run_round", "Rounds finished.", ["run"], [((r["name"],), r["round"]) for r in runs])
        yield _gauge("normfed_run_rounds", "Rounds planned.", ["run"], [((r["name"],), r["rounds"]) for r in runs])
        yield _gauge("normfed_round_seconds", "Of the last round.", ["run"], [((r,), h["seconds"]) for r, h in last])
        yield _gauge(
            "normfed_round_megabytes",
            "Of the last round, out to the sites and back.",
            ["run", "way"],
            [((r, way), h["megabytes"][way]) for r, h in last for way in ("out", "back")],
        )
        yield _gauge(
            "normfed_round_energy_wh",
            "Estimated, of the sites' training in the last round.",
            ["run"],
            [((r,), h["energy_wh"]) for r, h in last if h["energy_wh"] is not None],
        )
        yield _gauge(
            "normfed_site_loss",
            "Of the last round.",
            ["run", "site"],
            [((r, site), loss) for r, h in last for site, loss in h["loss"].items() if loss is not None],
        )


def _gauge(name: str, text: str, labels: list[str], samples: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, figure in samples:
        family.add_metric(values, figure)
    return family
