"""A run for MLflow, in a folder or at a server that a person names."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from normfed_server.tracking.telling import Parameter

NOT_IN_NAMES = re.compile(r"[^\w\-. :/]", re.ASCII)  # of parameters and metrics
RETRIES = "2"  # to reach a server, where the person says nothing else: by default it takes minutes
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
EXPERIMENT = "normfed"
MOST = 100  # parameters, and metrics, of one request
T = TypeVar("T")
LONGEST = 500  # letters of a parameter's value that every version takes


class Mlflow:
    """A `Tracker`; nothing is sent anywhere but to ``uri``.

    Parameters
    ----------
    uri
        A folder, or where an MLflow server listens.
    """

    def __init__(self, uri: str, name: str) -> None:
        os.environ.update(QUIET)
        if "://" not in uri:
            uri = Path(uri).resolve().as_uri()
        if uri.startswith("file:"):
            os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"  # newer releases ask whether that is meant
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", RETRIES)
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=uri)
        known = self._client.get_experiment_by_name(EXPERIMENT)
        experiment = known.experiment_id if known is not None else self._client.create_experiment(EXPERIMENT)
        self._run: str = self._client.create_run(experiment, run_name=name).info.run_id

    def parameters(self, told: Mapping[str, Parameter]) -> None:
        """See `Tracker`."""
        from mlflow.entities import Param

        for part in _parts(list(told.items())):
            params = [Param(_name(key), str(value)[:LONGEST]) for key, value in part]
            self._client.log_batch(self._run, params=params)

    def scalars(self, told: Mapping[str, float], step: int, time_s: float | None) -> None:
        """See `Tracker`."""
        from mlflow.entities import Metric

        milliseconds = round(1000 * (time.time() if time_s is None else time_s))
        for part in _parts(list(told.items())):
            metrics = [Metric(_name(name), value, milliseconds, step) for name, value in part]
            self._client.log_batch(self._run, metrics=metrics)

    def finals(self, told: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self.scalars(told, 0, None)

    def artefacts(self, root: Path, paths: list[Path]) -> None:
        """See `Tracker`."""
        for path in paths:
            folder = path.parent.relative_to(root).as_posix()
            self._client.log_artifact(self._run, str(path), None if folder == "." else folder)

    def close(self, whole: bool) -> None:
        """See `Tracker`."""
        self._client.set_terminated(self._run, "FINISHED" if whole else "FAILED")


def _name(told: str) -> str:
    """As MLflow takes it: a model may be called after what is done to its maps, with a plus."""
    return NOT_IN_NAMES.sub("_", told)


def _parts(told: Sequence[T]) -> Iterator[Sequence[T]]:
    for first in range(0, len(told), MOST):
        yield told[first : first + MOST]
