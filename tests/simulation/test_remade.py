"""Which of a run's models a site is served."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from normfed_common.foundation.errors import RunError
from normfed_common.study.config import StudyConfig
from normfed_server.runs import folder as runs
from normfed_simulation import remade


def test_where_a_site_trains_no_model_others_that_can_be_named_are_said(study: StudyConfig, tmp_path: Path) -> None:
    """Once it was said to have no model called local-clinic, though tables have `local` there: others' mean."""
    run = runs.begin(study, tmp_path)
    for arm in ("federated", "local-a", "local-b"):
        (run.folder / "arms" / arm).mkdir(parents=True)
        (run.folder / "arms" / arm / "model.safetensors").touch()
    clinic = cast(Any, SimpleNamespace(config=SimpleNamespace(name="clinic")))
    with pytest.raises(RunError, match=r"clinic trains no model of its own; .*Name one of these: local-a, local-b\.$"):
        remade.served(run, clinic, "local")
