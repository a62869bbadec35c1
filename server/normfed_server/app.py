"""The Flower ServerApp: the same object in simulation and on a central server."""

from __future__ import annotations

import os
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from normfed_common.errors import RunError
from normfed_server.coordinator import Coordinator

RUN_VARIABLE = "NORMFED_RUN"  # the run folder, with its study.yaml
EXPECTED_VARIABLE = "NORMFED_EXPECTED_SITES"  # how many sites to wait for before the start
SIMULATED_VARIABLE = "NORMFED_SIMULATED"  # set where no site can be late by the clock on the wall

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the study of the run folder that the environment names."""
    folder = os.environ.get(RUN_VARIABLE)
    if folder is None:
        raise RunError(f"The environment has no {RUN_VARIABLE}; start a run with `normfed simulate`.")
    expected, simulated = int(os.environ.get(EXPECTED_VARIABLE, "1")), SIMULATED_VARIABLE in os.environ
    Coordinator(grid, Path(folder), expected, wall_clock=not simulated).run()
