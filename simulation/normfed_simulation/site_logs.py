"""Why the sites of a simulation refused, from their own logs.

They are all on this machine, and whoever simulates may have written the plug-in at fault. A deployment's server knows
the code alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from normfed_client.answering.journal import LOG
from normfed_common.foundation.errors import NormfedError, RunError, SiteCode
from normfed_server.sites.asking import describe

REFUSAL = re.compile(r"^\S+ [a-z.]+ ([A-Z_]+) \(\d+\): (.*)$", re.MULTILINE)  # as `Journal.refused` writes it


@contextmanager
def quoted(folder: Path) -> Iterator[None]:
    """Within: an error of sites that refused ends with what the log of the first one says, for every code.

    Parameters
    ----------
    folder
        The run's.

    Raises
    ------
    RunError
        Such an error; others pass.
    """
    try:
        yield
    except NormfedError as error:
        quotations = _quotations(str(error), folder)
        if not quotations:
            raise
        raise RunError("\n".join([str(error), *quotations])) from error


def _quotations(text: str, folder: Path) -> list[str]:
    found: dict[SiteCode, str] = {}
    for log in sorted(folder.glob(f"sites/*/{LOG}")):
        site = log.parent.name
        for code, why in _refusals(log).items():
            said = rf"(?<![\w-]){re.escape(site)}( [^:;]*)?: {re.escape(describe(code))}"
            if code not in found and re.search(said, text):
                found[code] = f"Site {site}'s log ({log}): {why}"
    return list(found.values())


def _refusals(log: Path) -> dict[SiteCode, str]:
    """The last of every code."""
    return {SiteCode[name]: why for name, why in REFUSAL.findall(log.read_text(encoding="utf-8"))}
