"""The list of all commands, which imports none of them, says of each what its own help says."""

from __future__ import annotations

import subprocess
import sys
from inspect import cleandoc

import pytest

from normfed_common import listed
from normfed_common.cli import COMMANDS, LISTED, _command

OURS = [name for name in COMMANDS if COMMANDS.origin(name) is None]


@pytest.mark.parametrize("name", OURS)
def test_what_is_read_from_the_source_is_what_the_command_says_of_itself(name: str) -> None:
    said = listed.help_of(COMMANDS.reference(name))
    assert said is not None
    assert cleandoc(_command(name).help or "").replace("\f", "") == said


def test_every_command_of_ours_has_its_place_in_the_list() -> None:
    assert set(OURS) == LISTED


def test_the_list_imports_no_command() -> None:
    code = (
        "import sys; from normfed_common.cli import build, COMMANDS\n"
        "try: build()(['--help'])\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert not loaded & {COMMANDS.reference(name).partition(":")[0] for name in OURS}
    assert not loaded & {"pydantic", "numpy", "torch", "yaml", "cryptography"}


def test_what_says_nothing_by_its_source_is_none() -> None:
    assert listed.help_of("normfed_common.nowhere:x") is None
    assert listed.help_of("normfed_common.cli:COMMANDS") is None
    assert listed.help_of("math:sin") is None
