"""Columns of the data frames of a run, and keys of its metrics.json, from the code that makes them."""

from __future__ import annotations

from normfed_common.wording.keys import keys_of
from normfed_deploy.documentation.markdown import code, prose, table
from normfed_server.paper.gains import GAINS
from normfed_server.results import frames
from normfed_server.results.layout import RunResults
from normfed_simulation.people import PATIENTS

FRAMES: dict[str, frames.Columns] = {
    "patients": PATIENTS,
    "models": frames.MODELS,
    "sites": frames.SITES,
    "kinds": frames.KINDS,
    "rounds": frames.ROUNDS,
    "gains": GAINS,
    "matrix": frames.MATRIX,
    "calibration": frames.CALIBRATION,
    "cohorts": frames.COHORTS,
    "league": {**frames.LEAGUE, **{f"METRIC{end}": said for end, said in frames.RANKED.items()}},
}
NAMES = {float: "number", int: "whole number", str: "text", bool: "true or false"}


def columns() -> str:
    """A table for every frame."""
    return "\n".join(
        f"### {name}\n\n{table(('column', 'type', 'meaning'), _rows(described))}" for name, described in FRAMES.items()
    )


def keys_of_metrics() -> str:
    """The keys of metrics.json."""
    rows = ([code(key.path), prose(key.description)] for key in keys_of(RunResults) if "." not in key.path)
    return table(("key", "meaning"), rows)


def _rows(described: frames.Columns) -> list[list[str]]:
    return [[code(name), NAMES[kind], prose(said)] for name, (kind, said) in described.items()]
