"""A command in a hint can be copied: it begins as the person began the one that runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from normfed_common.wording import commands
from normfed_common.wording.commands import Typed, as_typed, begin, program

KNOWN = {"simulate", "site", "server", "audit-privacy"}


@pytest.fixture(autouse=True)
def _from_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_typed", Typed())


def test_from_python_nothing_is_put_in() -> None:
    assert as_typed("Finish it: normfed simulate --resume runs/a") == "Finish it: normfed simulate --resume runs/a"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("normfed simulate STUDY", ".venv/bin/normfed simulate STUDY"),
        ("`normfed simulate x` makes one; normfed audit-privacy RUN.", "`.venv/bin/normfed simulate x` makes one; "
         ".venv/bin/normfed audit-privacy RUN."),
        ("normfed is not a command; normfed simulated", "normfed is not a command; normfed simulated"),
        ("/opt/normfed simulate", "/opt/normfed simulate"),
        ("my-normfed simulate", "my-normfed simulate"),
        ("There: normfed site check", "There: normfed site check"),
        ("Here: normfed server resume a", "Here: .venv/bin/normfed server resume a"),
    ],
)  # fmt: skip
def test_commands_begin_as_typed_but_those_of_another_machine(text: str, found: str) -> None:
    begin([".venv/bin/normfed", "server", "run"], [], None, KNOWN)
    assert as_typed(text) == found


def test_at_a_hospital_its_own_commands_begin_as_typed_and_the_servers_do_not() -> None:
    begin(["env/bin/normfed", "site", "leave"], [], None, KNOWN)
    assert as_typed("normfed site check; there normfed server accept") == (
        "env/bin/normfed site check; there normfed server accept"
    )


def test_the_name_alone_where_the_shell_finds_this_very_file_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("a", "b c"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "normfed").write_text("#!/bin/sh\n")
        (tmp_path / folder / "normfed").chmod(0o755)
    here, other = (str(tmp_path / folder / "normfed") for folder in ("a", "b c"))
    monkeypatch.setenv("PATH", str(tmp_path / "a"))
    assert program(here, [], None) == "normfed"
    assert program(other, [], None) == f"'{other}'"
    monkeypatch.setenv("PATH", "")
    assert program(here, [], None) == here
    assert program("a/normfed", [], None) == "a/normfed"


def test_a_module_that_python_runs_is_named_with_its_python() -> None:
    began = ["python3", "-X", "utf8", "-m", "normfed_common.cli", "simulate"]
    assert program("/x/cli.py", began, "normfed_common.cli") == "python3 -X utf8 -m normfed_common.cli"
    assert program("/x/pytest", ["pytest"], None) == "normfed"
