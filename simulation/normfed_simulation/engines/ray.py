"""Flower's own simulation runtime on Ray: for a cluster or several GPUs."""

from __future__ import annotations

import importlib.util
import os
import warnings
from pathlib import Path

from normfed_client.answering.app import app as client_app
from normfed_client.hospital.simulated import SITES_VARIABLE
from normfed_common.foundation.errors import StudyError
from normfed_common.wording.installing import with_extra
from normfed_server.app import EXPECTED_VARIABLE, RUN_VARIABLE
from normfed_server.app import app as server_app


def run(folder: Path, sites: Path, count: int, workers: int, tamper: object = None) -> None:
    """Run the two apps on Ray with ``count`` virtual SuperNodes, ``workers`` of them at a time.

    Raises
    ------
    StudyError
        If Ray is not installed, or answers are to be tampered with: only the local engine can.
    """
    if tamper is not None:
        raise StudyError("--attack needs --engine local: on Ray nothing stands between the sites and the server.")
    if importlib.util.find_spec("ray") is None:
        raise StudyError(f"engine ray: Ray is not installed. Run: {with_extra('ray')}; or use --engine local.")
    os.environ[SITES_VARIABLE] = str(sites.resolve())
    os.environ[RUN_VARIABLE] = str(folder.resolve())
    os.environ[EXPECTED_VARIABLE] = str(count)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    from flwr.simulation import run_simulation

    cpus = os.cpu_count() or 1
    backend = {"client_resources": {"num_cpus": max(1, cpus // max(workers, 1)), "num_gpus": 0.0}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the replacement, `flwr run`, needs a server of its own
        run_simulation(server_app, client_app, num_supernodes=count, backend_config=backend)  # type: ignore[arg-type]
