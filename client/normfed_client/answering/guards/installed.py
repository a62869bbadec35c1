"""Is the code that runs the code that was installed? A bundle that brings its own would come first on Python's path."""

from __future__ import annotations

from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import normfed_client
from normfed_client.answering.guards.base import HospitalGuard
from normfed_client.answering.job import Job
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.foundation.versions import PROTOCOL, apart, installed_version


class Installed(HospitalGuard):
    """Refuses to work with other code than the installed distribution's, or for a server of another protocol, or of a
    version that is too far away."""

    def inbound(self, job: Job[Any]) -> None:
        """See `Guard`."""
        here, asked = Path(normfed_client.__file__).resolve(), job.request
        if here not in _files():
            detail = f"the client runs from {here}, which is not the installed normfed"
            raise SiteError(SiteCode.NOT_INSTALLED, detail)
        if asked.protocol != PROTOCOL:
            raise SiteError(SiteCode.PROTOCOL_DIFFERS, f"the server speaks {asked.protocol}, this site {PROTOCOL}")
        if why := apart(installed_version(), asked.version):
            raise SiteError(SiteCode.VERSION_DIFFERS, f"this site {why}")


@cache
def _files() -> frozenset[Path]:
    """Every file of the installed distribution; of an editable one the files in its source folders."""
    found = distribution("normfed")
    files = {Path(str(found.locate_file(file))).resolve() for file in found.files or ()}
    for path in [file for file in files if file.suffix == ".pth"]:
        for line in path.read_text().splitlines():
            folder = Path(line.strip())
            if line.strip() and folder.is_dir():
                files |= {file.resolve() for file in folder.glob("normfed_*/__init__.py")}
    return frozenset(files)
