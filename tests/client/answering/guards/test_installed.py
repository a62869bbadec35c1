"""The code that runs is the installed distribution's, of a version that works with the server's."""

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
from normfed_common.foundation.versions import PROTOCOL
from normfed_common.wire.requests import Describe

Distribution = Callable[[dict[str, str]], None]


def check(version: str, protocol: int = PROTOCOL) -> None:
    folder = Path("nowhere")  # which this guard does not look at
    guard = installed.Installed(hospital(folder))
    guard.inbound(job(folder, Describe(), new=True, version=version, protocol=protocol))


def refusal(asked: str, protocol: int = PROTOCOL) -> SiteError:
    with pytest.raises(SiteError) as caught:
        check(asked, protocol)
    return caught.value


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distribution]:
    """A distribution of given files, as if it were the installed one of version 4.2.0."""

    def make(files: dict[str, str]) -> None:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        found = SimpleNamespace(files=list(files), locate_file=lambda file: tmp_path / file)
        monkeypatch.setattr(installed, "distribution", lambda _name: found)
        monkeypatch.setattr(installed, "installed_version", lambda: "4.2.0")
        installed._files.cache_clear()

    yield make
    monkeypatch.undo()
    installed._files.cache_clear()


def client_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    monkeypatch.setattr(normfed_client, "__file__", str(path))


def test_the_installed_client_works_for_servers_at_most_one_minor_version_away(distribution: Distribution) -> None:
    distribution({})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(installed, "_files", lambda: {Path(normfed_client.__file__).resolve()})
        for other in ("4.2.0", "4.1.9", "4.3.0rc1", "4.2.0.post1"):
            check(other)
        for other in ("", "nonsense", "4.0.9", "4.4.0", "3.2.0", "5.2.0"):
            error = refusal(other)
            assert error.code is SiteCode.VERSION_DIFFERS
            assert error.detail.startswith(f"this site has normfed 4.2.0, the server {other or 'says none'}: ")


def test_the_installed_client_works_for_a_server_of_its_protocol_only() -> None:
    error = refusal(version("normfed"), PROTOCOL + 1)
    assert error.code is SiteCode.PROTOCOL_DIFFERS
    assert error.detail == f"the server speaks {PROTOCOL + 1}, this site {PROTOCOL}"


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
    distribution({"normfed_client/__init__.py": "", "normfed-4.2.0.dist-info/METADATA": ""})
    client_at(tmp_path / "normfed_client" / "__init__.py", monkeypatch)
    check("4.2.1")


def test_an_editable_installation_has_the_packages_in_its_source_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distribution: Distribution
) -> None:
    source = tmp_path / "source" / "client"
    client_at(source / "normfed_client" / "__init__.py", monkeypatch)
    distribution({"normfed.pth": f"import sys\n\n{tmp_path / 'gone'}\n{source}\n"})
    check("4.2.1")
    client_at(source / "another" / "__init__.py", monkeypatch)
    assert refusal("4.2.1").code is SiteCode.NOT_INSTALLED


def test_a_blank_line_in_a_pth_file_does_not_stand_for_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distribution: Distribution
) -> None:
    client_at(tmp_path / "here" / "normfed_client" / "__init__.py", monkeypatch)
    monkeypatch.chdir(tmp_path / "here")
    distribution({"normfed.pth": "\n  \n"})
    assert refusal("4.2.1").code is SiteCode.NOT_INSTALLED
