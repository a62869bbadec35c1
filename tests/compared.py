"""Made-up models beside each other, as metrics.json holds them."""

from __future__ import annotations

from typing import Any


def model(auroc: float, auprc: float = 0.2, n: int = 20) -> dict[str, Any]:
    both = {"auroc": {"mean": auroc, "sd": 0.1, "n": n}, "auprc": {"mean": auprc, "sd": 0.1, "n": n}}
    figures = {
        name: {**figure, "ci95": [figure["mean"] - 0.05, figure["mean"] + 0.05]} for name, figure in both.items()
    }
    worst = {name: {"mean": figure["mean"] - 0.1, "site": "b"} for name, figure in both.items()}
    return {"all": figures, "sites": {"a": figures}, "kinds": {}, "worst_site": worst}


def difference(mean: float, low: float | None, high: float | None, n: int = 20) -> dict[str, Any]:
    figure = {"mean": mean, "n": n, "ci95": [low, high]}
    return {"all": {"auroc": figure, "auprc": figure}, "kinds": {}, "sites": {"a": {"auroc": figure}}}


def metrics(**models: Any) -> dict[str, Any]:
    """Of a run with these models beside the federated one; what a name's value says is its difference to it."""
    return {
        "sites": [{"name": "a", "train": 9, "held_out": 2, "test": None, "kinds": ["MS"]}],
        "strategies": {"federated": {"name": "fedavg"}},
        "evaluation": {"federated": model(0.9)} | {name: model(0.8) for name in models},
        "differences": {name: found for name, found in models.items() if found},
    }


def row(name: str, auprc: float, gain: dict[str, Any] | None) -> dict[str, Any]:
    figures = {
        "mean": auprc,
        "ci95": [0, 1],
        "trainings": [auprc],
        "worst_site": {"site": "a", "mean": 0.1},
        "sd_over_sites": None,
        "sites": {"a": 0.1},
    }
    return {
        "name": name,
        "title": name,
        "strategy": {"name": name},
        "sites": ["a"],
        "not_served": {},
        "auprc": figures,
        "auroc": {**figures, "mean": 0.75},
        "gain_over_local": gain and {"auroc": gain, "auprc": gain},
        "megabytes_per_round": 1.0,
        "seconds_per_round": 2.0,
    }


def calibration(measured: float | None, low: float | None = None, **sites: int) -> dict[str, Any]:
    """Of thresholds at 2 %, by tissue; every site's people, with that share of false positives."""
    share = None if measured is None else {"value": measured, "low": measured if low is None else low, "high": measured}
    places = {"grey": 1.0, "rim": 3.0}
    of_site = {"used": {"value": 0.02, "low": 0.02, "high": 0.02}, "measured": share, "own": places, "gap": places}
    return {
        "promised": 0.02,
        "measured": share,
        "people": sum(sites.values()),
        "thresholds": places,
        "lacking": ["rim"],
        "sites": {site: {"people": people, **of_site} for site, people in sites.items()},
        "scans": 2 * sum(sites.values()),
        "unmeasured": "" if measured is not None else "nobody was there",
    }


GAIN = {
    "mean": 0.1,
    "ci95": [0.05, 0.15],
    "n": 27,
    "sites": {site: {"mean": 0.1, "ci95": [0.0, 0.2], "n": 9} for site in "abc"},
    "gain": ["a", "b"],
    "lose": ["c"],
}


def unseen(over_borrowed: dict[str, Any], over_best: dict[str, Any], n: int = 20) -> dict[str, Any]:
    """At hospitals that no model saw, with the same figures for both metrics; a `difference` says how they compare."""
    first, second = over_borrowed["all"]["auroc"], over_best["all"]["auroc"]
    found = {"n": n, "unseen": 0.8, "borrowed": 0.7, "best": 0.75, "over_borrowed": first, "over_best": second}
    of_all, of_site = ({**found, "best_site": site} for site in (None, "b"))
    both = dict.fromkeys(("auroc", "auprc"), of_all)
    return {"all": both, "kinds": {"MS": both}, "sites": {"a": dict.fromkeys(("auroc", "auprc"), of_site)}}
