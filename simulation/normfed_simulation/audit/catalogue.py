"""Every attack on privacy by its name. A new one is a file of its own and one line here."""

from __future__ import annotations

from collections.abc import Callable

from normfed_common.foundation.registry import Registry
from normfed_server.results.audit import Finding
from normfed_simulation.audit.target import Target

Attack = Callable[[Target], tuple[Finding, ...]]
"""Attacks a run; says how far it got, or why it could not be tried, in one finding at least."""

ATTACKS: Registry[Attack] = Registry("attack", instance_of="collections.abc:Callable")

ATTACKS.add("membership", "normfed_simulation.audit.membership:attack")
ATTACKS.add("lira", "normfed_simulation.audit.lira:attack")
ATTACKS.add("inversion", "normfed_simulation.audit.inversion:attack")
ATTACKS.add("attributes", "normfed_simulation.audit.attributes:attack")
ATTACKS.add("differencing", "normfed_simulation.audit.differencing:attack")
ATTACKS.add("canaries", "normfed_simulation.audit.canaries:attack")
