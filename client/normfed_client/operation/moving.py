"""The server has another address: is it the same federation's there? Then, and only then, it is written down."""

from __future__ import annotations

import re

from normfed_client.hospital.folder import Hospital, HospitalConfig
from normfed_client.operation.link import link
from normfed_common.deployment import settings
from normfed_common.deployment.enrolment import ADDRESS
from normfed_common.foundation.errors import UserError
from normfed_common.processes.supervision import is_running


def move(hospital: Hospital, address: str) -> None:
    """Call the server under another address from now on; what else site.yaml says stays.

    Raises
    ------
    UserError
        If the client is running, or there is no server at the address whose certificate the federation's authority
        signed for it. Then nothing is written.
    """
    if not re.fullmatch(ADDRESS, address):
        raise UserError(f"{address!r} is not an address. Give host:port, such as fed.example.org:8000.")
    if is_running(hospital.log):
        raise UserError(f"{hospital.folder}: the client is running. Stop it first, and start it again afterwards.")
    moved = Hospital(hospital.folder, hospital.config.model_copy(update={"server": address}))
    wrong = [finding for finding in link(moved) if finding.severity == 2]
    if wrong:
        found = " ".join(f"{finding.what}: {finding.found}. {finding.cure}" for finding in wrong)
        raise UserError(f"{address}: not written to site.yaml. {found}")
    settings.change(hospital.folder / "site.yaml", HospitalConfig, {"server": address})
