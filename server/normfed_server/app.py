"""The Flower ServerApp: the same object in simulation and on a central server."""

from __future__ import annotations

import os
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from normfed_common.deployment.bundle import RUN_KEY
from normfed_common.foundation.errors import RunError
from normfed_server import deployment as serving
from normfed_server.coordinator import Coordinator
from normfed_server.sites.participants import Simulated
from normfed_server.state.folder import HOME_VARIABLE

RUN_VARIABLE = "NORMFED_RUN"  # the run folder of a simulation, with its study.yaml
EXPECTED_VARIABLE = "NORMFED_EXPECTED_SITES"  # how many of its sites to wait for before the start

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the study of the run folder that the environment names; on a server, the one that the run's bundle names."""
    if HOME_VARIABLE in os.environ:
        serving.run(grid, str(context.run_config[RUN_KEY]), context.run_id, Path(os.environ[HOME_VARIABLE]))
        return
    folder = os.environ.get(RUN_VARIABLE)
    if folder is None:
        raise RunError(f"The environment has no {RUN_VARIABLE}; start a run with `normfed simulate`.")
    expected = int(os.environ.get(EXPECTED_VARIABLE, "1"))
    Coordinator(grid, Path(folder), Simulated(expected)).run()
