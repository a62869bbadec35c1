"""One run on an operator's server: inside Flower's ServerApp process, between Flower's grid and the coordinator."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import traceback
from pathlib import Path
from typing import Any

import psutil
from flwr.app import Context
from flwr.serverapp import Grid

from normfed_common.errors import NormfedError, RunError
from normfed_common.files import is_full, write_json
from normfed_common.operation.bundle import RUN_KEY
from normfed_server.asking import Interrupted
from normfed_server.coordinator import Coordinator, Deployment
from normfed_server.delivery import Delivery
from normfed_server.operation import admission
from normfed_server.operation.home import ServerHome, open_home, run_folder

COORDINATOR = "coordinator.json"  # which process works on the run
OUTCOME = "outcome.json"  # how it ended, once it did
EXCUSED = "excused.json"  # sites that the operator said may be left out
OPTIONS = "options.json"  # how the operator started the run
CONCURRENT_ARMS = 16  # models trained at the same time: local models need one site each


def run(grid: Grid, context: Context, home_folder: Path) -> None:
    """Run or resume the study of the run that the bundle's configuration names.

    How it ended is written to the run's folder; an error that nobody can mend by words is left to whoever looks
    after open runs, who tries again.
    """
    home = open_home(home_folder)
    folder = run_folder(home, str(context.run_config[RUN_KEY]))
    with open(folder / "lock", "a", encoding="utf-8") as lock:
        # A coordinator whose SuperLink gave it up may live a little longer: never two on one folder.
        fcntl.flock(lock, fcntl.LOCK_EX)
        _log_to(folder / "server.log")
        write_json(folder / COORDINATOR, _myself(context.run_id))
        try:
            _coordinate(grid, folder, home)
        except Interrupted:
            return
        except NormfedError as error:
            write_json(folder / OUTCOME, {"state": "failed", "why": str(error)})
            raise
        except OSError as error:
            if is_full(error):
                why = f"{folder}: the disk is full. Free some space, then: normfed server resume {folder.name}"
                write_json(folder / OUTCOME, {"state": "failed", "why": why})
            raise
        except Exception:
            logging.getLogger("normfed_server").error("crashed\n%s", traceback.format_exc())
            raise
        write_json(folder / OUTCOME, {"state": "finished", "why": ""})


def _myself(flower_run: int) -> dict[str, Any]:
    """This process, so that nobody takes another with its number for it."""
    return {"pid": os.getpid(), "began": psutil.Process().create_time(), "flower_run": flower_run}


def _coordinate(grid: Grid, folder: Path, home: ServerHome) -> None:
    options = _read(folder / OPTIONS, {})
    deployment = Deployment(
        members=lambda: admission.nodes(home),
        excused=lambda: frozenset(_read(folder / EXCUSED, [])),
        enrolled=lambda: admission.enrolled(home),
        canary=bool(options.get("canary", True)),
    )
    delivery = Delivery(grid, CONCURRENT_ARMS, lambda node, why: _again(coordinator, node, why))
    coordinator = Coordinator(delivery, folder, deployment)
    try:
        coordinator.run()
    finally:
        delivery.close()


def _again(coordinator: Coordinator, node: int, why: str) -> None:
    members = coordinator.deployment.members() if coordinator.deployment else {}
    site = next((name for name, number in members.items() if number == node), "?")
    coordinator.events.say("asked again", site=site, why=why)


def _read(path: Path, default: Any) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except ValueError as error:
        raise RunError(f"{path}: damaged ({error}). Remove it, and resume.") from error


def _log_to(path: Path) -> None:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger("normfed_server").addHandler(handler)
