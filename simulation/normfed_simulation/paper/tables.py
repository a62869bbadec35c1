"""Tables of single patients: all digits as CSV, and one to print, a line a patient."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from normfed_common.algorithms.arms import FEDERATED
from normfed_server.paper.latex import Table, escaped
from normfed_server.paper.rounding import number, one_decimal
from normfed_server.paper.tables import write_csv, write_latex
from normfed_server.results.layout import RunResults
from normfed_server.results.paper_names import remove_stale
from normfed_server.runs.folder import PATIENTS, TABLES, Run
from normfed_simulation.paper.volumes import lesions, volumes
from normfed_simulation.people import patients


def write_tables(run: Run, results: RunResults) -> list[Path]:
    """Write patients.csv and .tex, volumes.csv and lesions.csv into the run's tables/patients/; returns the paths."""
    folder, everybody, volume = run.folder / TABLES / PATIENTS, patients(run), volumes(run)
    frames = {"patients": everybody, "volumes": volume, "lesions": lesions(run)}
    found = [write_csv(folder, name, frame) for name, frame in frames.items() if not frame.empty]
    ours = everybody[everybody["model"] == FEDERATED]
    if not ours.empty:
        found.append(write_latex(folder, table(results, ours, volume[volume["model"] == FEDERATED])))
    remove_stale(folder, TABLES, found)
    return found


def table(results: RunResults, ours: pd.DataFrame, volume: pd.DataFrame) -> Table:
    """The federated model's patients, a line each, with the figures that are shown of single patients."""
    metrics = [name for name, metric in results.metrics.items() if "patients" in metric.shown]
    ours = ours.assign(name=ours["subject"].where(ours["session"].isna(), ours["subject"] + "_ses-" + ours["session"]))
    wide = ours.pivot_table(index=["site", "name", "kind"], columns="metric", values="value", dropna=False)
    told = ours[["site", "name", "kind"]].drop_duplicates()
    by_name = volume.set_index(["site", "name"])
    rows = []
    for site, name, kind in told.itertuples(index=False):
        sizes = by_name.loc[(site, name)] if (site, name) in by_name.index else {"lesion_ml": None, "found_ml": None}
        figures = [wide.loc[(site, name, kind)].get(metric) for metric in metrics]
        rows.append(
            [
                *map(escaped, (site, name, kind)),
                *(one_decimal(sizes[key]) for key in ("lesion_ml", "found_ml")),
                *(number(value, results.metrics[metric]) for metric, value in zip(metrics, figures, strict=True)),
            ]
        )
    caption = (
        "Every patient under the federated model: volume of the lesions by their masks and of what is at or above "
        "the threshold, and the figures of the scan."
    )
    titles = [escaped(results.metrics[metric].title) for metric in metrics]
    columns = ["Site", "Patient", "Lesion", "ml", "found, ml", *titles]
    return Table("patients", caption, columns, f"lllrr{'r' * len(metrics)}", rows)
