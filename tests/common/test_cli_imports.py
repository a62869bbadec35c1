"""What a command imports: nothing that computes, where nothing is computed. By modules, since time says little."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from normfed_client.operation import joining
from normfed_common.cli import COMMANDS, PANELS
from normfed_common.deployment import enrolment
from normfed_server.state import admission
from normfed_server.state.folder import ServerConfig, create
from normfed_server.state.ledger import State

HEAVY = {
    *("torch", "monai", "opacus", "ray", "flwr", "grpc", "starlette", "uvicorn"),
    *("numpy", "scipy", "sklearn", "nibabel", "nilearn", "SimpleITK", "plotly", "PIL", "jinja2"),
}
RUN = "brains-1"
SCRIPT = """\
import sys
from normfed_common.cli import main
try:
    main()
finally:
    print(*sys.modules, file=open({listed!r}, "w"))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server with a run, a site that joined it, and two studies that are none."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "data").mkdir()
    (folder / "misspelt.yaml").write_text("{name: s, fedration: {rounds: 3}, data: {modalities: [T1w]}}")
    (folder / "broken.yaml").write_text("{name: [s")
    home = create(folder / "server", ServerConfig(name="F", address="fed.example.org:8000"))
    invitation = enrolment.load(admission.enrol(home, "a"))
    joined = joining.join(invitation, folder / "site", folder / "data", ())
    joined.public_key.rename(folder / "a.pub")
    ledger = home.ledger
    ledger.add(RUN)
    (home.runs / RUN).mkdir()
    (home.runs / RUN / "study.yaml").touch()
    ledger.set(RUN, State.PARTIAL, "Partial.")
    return folder


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "--version",
        "nonsense",
        *(f"{name} --help" for name in ("site", "server", "simulate", "compare", "report", "score", "rehearse")),
        *(
            "reproduce --help",
            "reproduce",
            "study --help",
            "study domain-shift --help",
            "inspect --help",
            "preprocess --help",
            "models --help",
            "strategies",
            "strategies ditto",
        ),
        *(
            f"{name} misspelt.yaml"
            for name in ("simulate", "compare", "statistics", "study domain-shift", "init --like")
        ),
        *(f"{name} data --study misspelt.yaml" for name in ("inspect", "preprocess")),
        *("simulate broken.yaml", "simulate demo --set federation.round=3", "simulate nowhere.yaml"),
        *(f"server {name} --home server" for name in ("status", "runs", "renew")),
        *(
            f"server {name} {RUN}{' a' * (name == 'excuse')} --home server"
            for name in ("stop", "resume", "follow", "excuse")
        ),
        *("server accept a.pub --yes --home server", "server revoke a --home server", "server runs --home nowhere"),
        *("server start --help", "server run --help"),
        *("site status --home site", "site start --help", "site check --help", "site leave --yes --help"),
    ],
)
def test_a_command_imports_nothing_that_computes(command: str, place: Path) -> None:
    listed = place / "modules"
    script = SCRIPT.format(listed=str(listed))
    done = subprocess.run([sys.executable, "-c", script, *command.split()], cwd=place, capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
    modules = {name.partition(".")[0] for name in listed.read_text().split()}
    assert "normfed_common" in modules
    assert modules & HEAVY == set()


def test_a_sub_command_does_not_import_the_others(place: Path) -> None:
    listed = place / "modules"
    script = SCRIPT.format(listed=str(listed))
    subprocess.run([sys.executable, "-c", script, "site", "--help"], cwd=place, capture_output=True, check=False)
    modules = listed.read_text().split()
    assert "normfed_client.operation.cli" in modules
    assert not any(name.startswith(("normfed_server", "normfed_simulation", "normfed_deploy")) for name in modules)


def test_the_help_puts_every_command_of_ours_in_one_place() -> None:
    ours = sorted(name for name in COMMANDS if COMMANDS.origin(name) is None)
    assert sorted(name for names in PANELS.values() for name in names) == ours
