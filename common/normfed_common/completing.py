"""What a shell completes beside commands and options: names of studies and strategies.

Everything is imported when the shell asks, so that it costs no other command anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def studies(incomplete: str) -> list[str]:
    """Studies that come with normfed, and files that may be one."""
    from normfed_common.shipped import names

    folder = Path(incomplete if incomplete.endswith("/") else Path(incomplete).parent)
    beside = folder.iterdir() if folder.is_dir() else ()
    files = [f"{path}/" if path.is_dir() else str(path) for path in beside if _may_be_study(path)]
    return _beginning(incomplete, [*names(), *sorted(files)])


def shipped_studies(incomplete: str) -> list[str]:
    """Studies that come with normfed."""
    from normfed_common.shipped import names

    return _beginning(incomplete, names())


def strategies(incomplete: str) -> list[str]:
    """Strategies by name."""
    from normfed_common.algorithms.table import ALGORITHMS

    return _beginning(incomplete, ALGORITHMS)


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _may_be_study(path: Path) -> bool:
    return not path.name.startswith(".") and (path.is_dir() or path.suffix in (".yaml", ".yml"))
