"""How large patients' lesions are and how much is called abnormal, as the sites keep it, as data frames."""

from __future__ import annotations

import pandas as pd

from normfed_server.runs.folder import Run
from normfed_simulation.people import models_of, rows

VOLUMES = {
    "site": str,
    "name": str,
    "kind": str,
    "model": str,
    "lesion_ml": float,  # of all lesions, by their masks
    "found_ml": float,  # of all voxels at or above the run's threshold
}
LESIONS = {
    "site": str,
    "name": str,
    "kind": str,
    "model": str,
    "ml": float,
    "found": bool,  # whether one of the ten most suspicious clusters hits it
}


def volumes(run: Run) -> pd.DataFrame:
    """A row a patient's visit and model that was tested in full, the columns of `VOLUMES`; none of runs of before."""
    found = [
        {**{key: row[key] for key in VOLUMES if key != "model"}, "model": model}
        for model in models_of(run)
        for row in rows(run, model)
        if "lesion_ml" in row
    ]
    return pd.DataFrame(found, columns=list(VOLUMES)).astype({"lesion_ml": float, "found_ml": float})


def lesions(run: Run) -> pd.DataFrame:
    """A row a lesion and model that was tested in full, the columns of `LESIONS`."""
    found = [
        {"site": row["site"], "name": row["name"], "kind": row["kind"], "model": model, **lesion}
        for model in models_of(run)
        for row in rows(run, model)
        for lesion in row.get("lesions", ())
    ]
    return pd.DataFrame(found, columns=list(LESIONS)).astype({"ml": float, "found": bool})
