"""Run normfed's commands as a person would, and look at what they leave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from typer.testing import CliRunner, Result

from normfed_common.cli import build
from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import NormfedError


def normfed(*arguments: object) -> Result:
    result = CliRunner().invoke(build(), [str(a) for a in arguments])
    if isinstance(result.exception, NormfedError):
        raise result.exception
    return result


def run_folder(out: Path) -> Path:
    (folder,) = out.iterdir()
    return folder


def weights(folder: Path) -> dict[str, np.ndarray]:
    return named.load(folder / "model.safetensors")


def assert_same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert set(first) == set(second)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
