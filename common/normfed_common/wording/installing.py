"""How what is not installed is installed here: from a clone in place, else by name; and how its programs are run."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlparse

DISTRIBUTION = "normfed"


def with_extra(extra: str) -> str:
    """The command that installs an extra: ``pip install 'normfed[export]'``, or ``pip install -e '.[export]'`` where
    normfed is installed from a clone, in place."""
    clone = cloned()
    if clone is None:
        return f"{program('pip')} install '{DISTRIBUTION}[{extra}]'"
    where = "." if clone == Path.cwd() else str(clone)
    return f"{program('pip')} install -e '{where}[{extra}]'"


def program(name: str) -> str:
    """What a person types to run a program of this environment: its name where the shell finds that very file by it,
    else where it is, from here."""
    beside = Path(sys.executable).parent / name
    found = shutil.which(name)
    if not beside.exists() or (found is not None and Path(found).samefile(beside)):
        return name
    here = Path.cwd()
    return shlex.quote(str(beside.relative_to(here) if beside.is_relative_to(here) else beside))


def cloned() -> Path | None:
    """The source tree from which normfed is installed, in place; None of a wheel (PEP 610)."""
    try:
        said = distribution(DISTRIBUTION).read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    origin = json.loads(said) if said else {}
    if not origin.get("dir_info", {}).get("editable", False):
        return None
    return Path(unquote(urlparse(origin["url"]).path))
