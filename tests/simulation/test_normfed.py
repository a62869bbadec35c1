"""The package that a notebook imports."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.metadata import version

import pytest

import normfed

OURS = ("normfed_common", "normfed_client", "normfed_server", "normfed_simulation")
SCRIPT = "import sys; before = set(sys.modules); import normfed; {}; print(*set(sys.modules) - before)"


@pytest.mark.parametrize("used", ["pass", "dir(normfed)", "normfed.__version__"])
def test_nothing_is_imported_until_it_is_used(used: str) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(used)], capture_output=True, text=True, check=True)
    imported = {name.partition(".")[0] for name in done.stdout.split()}
    assert "normfed" in imported
    assert imported.isdisjoint([*OURS, "torch", "numpy", "pandas", "flwr", "rich", "pydantic"])


def test_flower_is_kept_from_telling_its_makers_before_it_is_imported() -> None:
    said = "normfed.simulate; import os; print(os.environ['FLWR_TELEMETRY_ENABLED'], 'flwr' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, normfed; {said}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", "True"]


def test_every_name_is_there_and_says_what_it_is() -> None:
    assert dir(normfed) == sorted(normfed.__all__)
    for name in normfed.__all__:
        found = getattr(normfed, name)
        assert isinstance(found, str) or inspect.getdoc(found), name
    assert normfed.__version__ == version("normfed")


def test_a_name_that_is_none_is_said() -> None:
    with pytest.raises(AttributeError, match="module 'normfed' has no attribute 'simulat'"):
        _ = normfed.simulat
