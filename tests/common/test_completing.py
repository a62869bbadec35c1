"""A shell completes names of what there is, and files that may be a study."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from normfed_common import completing
from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.shipped import names


def test_names_that_begin_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine.yaml", "notes.txt", ".hidden.yaml"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "other.yml").touch()
    assert completing.studies("") == [*names(), "mine.yaml", "more/"]
    assert completing.studies("m") == ["mine.yaml", "more/"]
    assert completing.studies("more/") == ["more/other.yml"]
    assert completing.studies("nowhere/") == []
    assert completing.shipped_studies("real-f") == ["real-flair", "real-flair-network"]
    assert completing.strategies("fed") == [name for name in ALGORITHMS if name.startswith("fed")]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("normfed si", {"simulate", "site"}),
        ("normfed simulate sia", {"siamese"}),
        ("normfed simulate --set federation.ro", {"federation.rounds="}),
        ("normfed simulate --strategy di", {"ditto"}),
        ("normfed models atl", {"atlas"}),
        ("normfed server cert", set()),
        ("normfed server oper", {"operator"}),
        ("normfed cache pr", {"prune"}),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shells_are_told_what_completes_a_command_line(words: str, found: set[str], shell: str) -> None:
    """As the scripts of `normfed --show-completion` ask for it."""
    asked = {"_NORMFED_COMPLETE": f"complete_{shell}"}
    if shell == "bash":
        asked |= {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    else:
        asked |= {"_TYPER_COMPLETE_ARGS": words}
    code = "import sys; sys.argv[0] = 'normfed'; from normfed_common.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **asked})
    assert done.stderr == ""
    said = set(done.stdout.split()) if shell == "bash" else {w.split('"')[1] for w in done.stdout.split() if '"' in w}
    assert found <= said
    if shell == "bash":  # zsh is told what each of them means, too
        assert [word for word in said if not word.startswith(words.split()[-1])] == []
