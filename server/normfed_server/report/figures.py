"""The interactive figures of the report, drawn by plotly, which travels inside the page."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

COLOURS = ["#0b6e99", "#d9822b", "#6b7a8f", "#3a9a5b", "#a855a0", "#b94a48", "#8a6d3b"]
MOST_ABOVE = 8  # entries of a legend
LAYOUT = {
    "template": "plotly_white",
    "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#1f2933"},
    "margin": {"l": 60, "r": 20, "t": 30, "b": 50},
    "legend": {"orientation": "h", "y": 1.12},
    "height": 380,
}
LABELS = {
    "auroc": "AUROC",
    "auroc30": "AUROC30 (plain)",
    "auroc30_mcclish": "AUROC30 (McClish)",
    "auprc": "average precision",
    "aupro": "AUPRO",
    "aupro30": "AUPRO30",
    "best_dice": "best Dice",
    "dice": "Dice at threshold",
    "surface_dice": "surface Dice",
    "image_auroc": "image AUROC",
    "lesion_sensitivity": "lesions found",
    "cluster_rank": "rank of first hit",
    "false_clusters": "false clusters",
    "froc": "FROC",
    "conformal_p": "conformal p",
}


def _layout(entries: int, height: int = 380) -> dict[str, Any]:
    """The layout of a figure with so many entries in its legend: beside the plot where they do not fit above."""
    if entries <= MOST_ABOVE:
        return {**LAYOUT, "height": height}
    legend = {"orientation": "v", "x": 1.02, "y": 1, "font": {"size": 10}}
    return {**LAYOUT, "legend": legend, "height": max(height, 60 + 19 * entries)}


def loss_curves(metrics: dict[str, Any]) -> str:
    """Loss per round: every site of the federation, and pooled training."""
    figure = go.Figure()
    sites = sorted({site for entry in metrics["rounds"] for site in entry["loss"]})
    for number, site in enumerate(sites):
        values = [entry["loss"].get(site) for entry in metrics["rounds"]]
        rounds = [entry["round"] for entry in metrics["rounds"]]
        figure.add_scatter(x=rounds, y=values, name=site, mode="lines+markers", line={"color": COLOURS[number % 7]})
    pooled = metrics["rounds_of"].get("pooled", [])
    if pooled:
        values = [entry["loss"]["pooled"] for entry in pooled]
        figure.add_scatter(
            x=[e["round"] for e in pooled], y=values, name="pooled", line={"dash": "dot", "color": "#111"}
        )
    figure.update_layout(**_layout(len(sites)), xaxis_title="round", yaxis_title="training loss")
    return _html(figure)


def per_site(evaluation: dict[str, Any]) -> str:
    """Every model at every site, with a menu of metrics; bars of 95 % intervals."""
    shown = [m for m in LABELS if any(m in model["all"] for model in evaluation.values())]
    figure = go.Figure()
    for metric in shown:
        for number, (name, model) in enumerate(evaluation.items()):
            sites = ["all", *model["sites"]]
            found = [model["all"].get(metric)] + [model["sites"][s].get(metric) for s in model["sites"]]
            figure.add_bar(
                x=sites,
                y=[f["mean"] if f else None for f in found],
                error_y=_bars(found),
                name=name,
                visible=metric == shown[0],
                marker_color=COLOURS[number % 7],
            )
    count = len(evaluation)
    buttons = [
        {
            "label": LABELS[metric],
            "method": "update",
            "args": [
                {"visible": [i // count == k for i in range(count * len(shown))]},
                {"yaxis.title.text": LABELS[metric]},
            ],
        }
        for k, metric in enumerate(shown)
    ]
    menu = {"buttons": buttons, "x": 0, "y": 1.32, "xanchor": "left", "yanchor": "top"}
    figure.update_layout(**{**LAYOUT, "height": 440, "margin": {**LAYOUT["margin"], "t": 100}}, barmode="group")  # type: ignore[dict-item]
    figure.update_layout(updatemenus=[menu], yaxis_title=LABELS[shown[0]])
    return _html(figure)


def gains(differences: dict[str, Any], models: list[str], metric: str) -> str:
    """Federated minus each other model, over all patients and at every site, with paired 95 % intervals."""
    figure = go.Figure()
    for number, name in enumerate(name for name in differences if name in models):
        found = differences[name]
        rows = {"all": found["all"], **found["sites"]}
        values = {place: figures[metric] for place, figures in rows.items() if metric in figures}
        figure.add_scatter(
            x=[v["mean"] for v in values.values()],
            y=list(values),
            error_x=_bars(list(values.values())),
            name=f"minus {name}",
            mode="markers",
            marker={"size": 9, "color": COLOURS[(number + 1) % 7]},
        )
    figure.add_vline(x=0, line_color="#444", line_width=1)
    places = max((len(differences[name]["sites"]) for name in differences), default=0)
    layout = _layout(len(models), max(380, 130 + 26 * places))
    figure.update_layout(**layout, xaxis_title=f"federated minus the other, {LABELS[metric]}", scattermode="group")
    figure.update_yaxes(autorange="reversed")
    return _html(figure)


def matrix(metrics: dict[str, Any], metric: str) -> str:
    """Train site x test site of the local models, and the federated model's row below."""
    rows = metrics["matrix"].get(metric, {})
    if not rows:
        return ""
    tests = sorted({test for row in rows.values() for test in row})
    values = [[row.get(test) for test in tests] for row in rows.values()]
    names = list(rows)
    for model in ("pooled", "federated"):
        if model in metrics["evaluation"]:
            sites = metrics["evaluation"][model]["sites"]
            names.append(model)
            values.append([sites.get(test, {}).get(metric, {}).get("mean") for test in tests])
    text = [[f"{v:.3f}" if v is not None else "" for v in row] for row in values]
    figure = go.Figure(go.Heatmap(z=values, x=tests, y=names, text=text, texttemplate="%{text}", colorscale="Blues"))
    figure.update_layout(
        **{**LAYOUT, "height": 90 + 42 * len(names)}, xaxis_title="tested at", yaxis_title="trained at"
    )
    figure.update_yaxes(autorange="reversed")
    return _html(figure)


def league_gains(metrics: dict[str, Any], metric: str = "auroc") -> str:
    """Every strategy's gain over local-only training: over all patients with its 95 % interval, and at every site."""
    rows = [row for row in metrics["league"] if row["gain_over_local"]]
    figure = go.Figure()
    sites = sorted({site for row in rows for site in row["gain_over_local"][metric]["sites"]})
    few = len(sites) <= min(MOST_ABOVE, len(COLOURS))
    for number, site in enumerate(sites):
        here = [(r["name"], r["gain_over_local"][metric]["sites"].get(site)) for r in rows]
        figure.add_scatter(
            x=[gain["mean"] if gain else None for _, gain in here],
            y=[name for name, _ in here],
            name=site,
            mode="markers",
            showlegend=few,
            marker={"size": 7, "color": COLOURS[number] if few else "#9aa5b1"},
        )
    gain = [row["gain_over_local"][metric] for row in rows]
    figure.add_scatter(
        x=[g["mean"] for g in gain],
        y=[row["name"] for row in rows],
        error_x=_bars(gain),
        name="all patients",
        mode="markers",
        marker={"size": 12, "color": "#111", "symbol": "line-ns-open"},
    )
    figure.add_vline(x=0, line_color="#444", line_width=1)
    figure.update_layout(
        **{**LAYOUT, "height": 150 + 26 * len(rows)}, xaxis_title=f"gain in {LABELS[metric]} over local"
    )
    figure.update_yaxes(autorange="reversed")
    return _html(figure)


def league_sites(metrics: dict[str, Any], metric: str = "auroc") -> str:
    """Strategy x site: the gain over local-only training, starred where its 95 % interval excludes nothing."""
    rows = [row for row in metrics["league"] if row["gain_over_local"]]
    sites = sorted({site for row in rows for site in row["gain_over_local"][metric]["sites"]})
    found = [[row["gain_over_local"][metric]["sites"].get(site) for site in sites] for row in rows]
    values = [[gain["mean"] if gain else None for gain in line] for line in found]
    text = [[_starred(gain) for gain in line] for line in found]
    largest = max((abs(v) for line in values for v in line if v is not None), default=1.0)
    heat = go.Heatmap(
        z=values,
        x=sites,
        y=[row["name"] for row in rows],
        text=text,
        texttemplate="%{text}",
        colorscale="RdBu",
        zmin=-largest,
        zmax=largest,
    )
    figure = go.Figure(heat)
    figure.update_layout(**{**LAYOUT, "height": 110 + 26 * len(rows)}, xaxis_title="tested at")
    figure.update_yaxes(autorange="reversed")
    return _html(figure)


def _starred(gain: dict[str, Any] | None) -> str:
    if gain is None or gain["mean"] is None:
        return ""
    low, high = gain["ci95"]
    sure = low is not None and (low > 0 or high < 0)
    return f"{gain['mean']:+.3f}{'*' if sure else ''}"


def hospital_times(metrics: dict[str, Any]) -> str:
    """When each site's answers arrive, the slowest site at the top, a point a round; late ones apart."""
    history = [entry for entry in metrics["rounds"] if "hospital_time" in entry]
    median = metrics["hospital_time"]["median_s"]
    sites = sorted((site for site in median if median[site] is not None), key=lambda site: median[site])
    figure = go.Figure()
    for late, name, colour in ((False, "in time", COLOURS[0]), (True, "late", COLOURS[1])):
        points = [
            (time / 60, site, entry["round"])
            for entry in history
            for site, time in entry["hospital_time"]["arrivals"].items()
            if (entry["outcomes"].get(site) == "late") == late
        ]
        figure.add_scatter(
            x=[time for time, _, _ in points],
            y=[site for _, site, _ in points],
            text=[f"round {number}" for _, _, number in points],
            name=name,
            mode="markers",
            marker={"color": colour, "size": 7, "opacity": 0.6},
        )
    figure.update_layout(**_layout(2, 130 + 22 * len(sites)), xaxis_title="minutes from the round's beginning")
    figure.update_yaxes(categoryorder="array", categoryarray=sites)
    return _html(figure)


def _bars(figures: list[dict[str, Any] | None]) -> dict[str, Any]:
    def reach(figure: dict[str, Any] | None, end: int) -> float:
        if figure is None or not figure.get("ci95") or figure["ci95"][end] is None:
            return 0.0
        return abs(float(figure["ci95"][end] - figure["mean"]))

    return {
        "type": "data",
        "symmetric": False,
        "array": [reach(f, 1) for f in figures],
        "arrayminus": [reach(f, 0) for f in figures],
        "thickness": 1,
        "width": 3,
    }


def _html(figure: go.Figure) -> str:
    config = {"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": ["lasso2d", "select2d"]}
    html: str = figure.to_html(full_html=False, include_plotlyjs=False, config=config)
    return html
