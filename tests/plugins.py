"""Tiny distributions with entry points, installed into a folder as pip would leave them."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from normfed_common.foundation import registry


class Plugins:
    """A folder on Python's path, for one test."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._monkeypatch = folder, monkeypatch
        folder.mkdir()
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setattr(registry, "_imported_versions", {})

    def install(
        self,
        name: str,
        version: str,
        points: Mapping[str, Mapping[str, str]],
        code: str = "",
        module: str = "",
        claims: str | None = None,
    ) -> None:
        """A distribution whose ``points`` are, by group, names to "module:attribute"; its module holds ``code``.
        Its metadata say that it is called ``claims``, if that is another name.

        Importing the module leaves `imported` beside it.
        """
        module = module or name.replace("-", "_")
        mark = "from pathlib import Path\nPath(__file__).with_name(__name__ + '-imported').touch()\n"
        (self.folder / f"{module}.py").write_text(mark + code)
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {claims or name}\nVersion: {version}\n")
        lines = []
        for group, entries in points.items():
            lines += [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        self.forget()

    def install_project(self, project: Path) -> None:
        """Build a project into a wheel and install that, as its users would; processes of the test find it as well."""
        pip = (sys.executable, "-m", "pip", "--isolated", "--quiet", "--disable-pip-version-check", "--no-input")
        alone = ("--no-deps", "--no-index")
        wheels = self.folder.with_name(f"{self.folder.name}-wheels")
        subprocess.run([*pip, "wheel", *alone, "--no-build-isolation", "--wheel-dir", wheels, project], check=True)
        subprocess.run([*pip, "install", *alone, "--target", self.folder, *wheels.glob("*.whl")], check=True)
        self._monkeypatch.setenv("PYTHONPATH", str(self.folder))
        self.forget()

    def uninstall(self, name: str) -> None:
        """The distribution's metadata go; its module stays."""
        for info in self.folder.glob(f"{name.replace('-', '_')}-*.dist-info"):
            for file in info.iterdir():
                file.unlink()
            info.rmdir()
        self.forget()

    def imported(self, module: str) -> bool:
        """Whether anything ever imported it."""
        return (self.folder / f"{module}-imported").exists()

    def forget(self) -> None:
        """As a new process would begin."""
        importlib.invalidate_caches()
        names = {path.stem for path in self.folder.glob("*.py")} | {p.parent.name for p in self.folder.glob("*/*.py")}
        for module in [module for module in sys.modules if module.partition(".")[0] in names]:
            del sys.modules[module]
