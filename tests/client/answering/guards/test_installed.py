"""The code that runs is the installed distribution's, of the server's version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
from jobs import hospital, job

import normfed_client
from normfed_client.answering.guards import installed
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.wire.requests import Describe

Distribution = Callable[[dict[str, str]], None]


def check(version: str) -> None:
    folder = Path("nowhere")  # which this guard does not look at
    guard = installed.Installed(hospital(folder))
    guard.inbound(job(folder, Describe(), new=True, version=version))


def refusal(asked: str) -> SiteError:
    with pytest.raises(SiteError) as caught:
        check(asked)
    return caught.value


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distribution]:
    """A distribution of given files, as if it were the installed one of version 9."""

    def make(files: dict[str, str]) -> None:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        found = SimpleNamespace(files=list(files), locate_file=lambda file: tmp_path / file, version="9")
        monkeypatch.setattr(installed, "distribution", lambda _name: found)
        forget()

    def forget() -> None:
        installed._files.cache_clear()
        installed._distribution.cache_clear()

    yield make
    monkeypatch.undo()
    forget()


def client_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    monkeypatch.setattr(normfed_client, "__file__", str(path))


def test_the_installed_client_works_for_a_server_of_its_own_version_only() -> None:
    check(version("normfed"))
    for other in ("", "0.0.0", version("normfed") + ".post1"):
        error = refusal(other)
        assert error.code is SiteCode.VERSION_DIFFERS
        assert error.detail == f"the server has {other}, this site {version('normfed')}"


def test_a_client_of_a_bundle_is_refused_whatever_version_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bundle" / "normfed_client" / "__init__.py"
    client_at(path, monkeypatch)
    for asked in (version("normfed"), "0.0.0"):
        error = refusal(asked)
        assert error.code is SiteCode.NOT_INSTALLED
        assert error.detail == f"the client runs from {path}, which is not the installed normfed"


def test_a_client_that_was_installed_from_a_wheel_is_among_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distribution: Distribution
) -> None:
    distribution({"normfed_client/__init__.py": "", "normfed-9.dist-info/METADATA": ""})
    client_at(tmp_path / "normfed_client" / "__init__.py", monkeypatch)
    check("9")


def test_an_editable_installation_has_the_packages_in_its_source_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distribution: Distribution
) -> None:
    source = tmp_path / "source" / "client"
    client_at(source / "normfed_client" / "__init__.py", monkeypatch)
    distribution({"normfed.pth": f"import sys\n\n{tmp_path / 'gone'}\n{source}\n"})
    check("9")
    client_at(source / "another" / "__init__.py", monkeypatch)
    assert refusal("9").code is SiteCode.NOT_INSTALLED


def test_a_blank_line_in_a_pth_file_does_not_stand_for_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distribution: Distribution
) -> None:
    client_at(tmp_path / "here" / "normfed_client" / "__init__.py", monkeypatch)
    monkeypatch.chdir(tmp_path / "here")
    distribution({"normfed.pth": "\n  \n"})
    assert refusal("9").code is SiteCode.NOT_INSTALLED
