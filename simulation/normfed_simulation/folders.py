"""`normfed inspect` and `normfed preprocess`, of a folder that may be a public dataset as it came."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from normfed_client import cli


def _as_it_came(command: Callable[..., None]) -> Callable[..., None]:
    """The same command, told where the folder's BIDS dataset is."""

    @wraps(command)
    def run(folder: Path, **options: Any) -> None:
        from normfed_common.studies import load_study
        from normfed_simulation.datasets.recognition import as_bids

        study = options.get("study")
        command(as_bids(folder, None if study is None else load_study(study)), **options)

    return run


inspect = _as_it_came(cli.inspect)
preprocess = _as_it_came(cli.preprocess)
