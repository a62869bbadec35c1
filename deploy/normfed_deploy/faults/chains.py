"""Whether faults left the audits whole: what a disk, a clock or a kill did must not look like what a forger did.

Every site's chain is held against the server's as `normfed audit compare` does it, which verifies both. That an answer
never came is no difference: links are cut here, and processes killed between a record and what it is about.
"""

from __future__ import annotations

from normfed_client.hospital.folder import open_hospital
from normfed_client.recording.audit import Audit
from normfed_common.chain.comparing import Compared, compare
from normfed_common.chain.keys import VerifyingKey
from normfed_deploy.rehearsal import Rehearsal
from normfed_server.state.chain import chain_of


def compared(rehearsal: Rehearsal) -> dict[str, Compared]:
    """Site to what is found of its chain and the server's; of a federation that stands still, since both grow."""
    server = chain_of(rehearsal.home)
    lines, key = list(server.lines()), VerifyingKey(server.key_line())
    chains = {site: Audit(open_hospital(rehearsal.folder / site)).chain for site in rehearsal.sites}
    return {site: compare(own.lines(), VerifyingKey(own.key_line()), lines, key) for site, own in chains.items()}


def sentences(found: dict[str, Compared]) -> list[str]:
    """What was found, a line for each site and one for each problem."""
    said = []
    for site, one in found.items():
        word = "whole, and as the server's" if one.good else "NOT AS THE SERVER'S"
        said.append(f"audit of {site}: {len(one.records)} records, {word}; {len(one.remarks)} remarks")
        said += [f"  {problem}" for problem in one.problems]
    return said
