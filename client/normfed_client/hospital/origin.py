"""What the noise of a site comes from: its secret, and the scans that it learns from."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from normfed_client.hospital.device import kernels
from normfed_client.hospital.people import PeopleSecret
from normfed_client.hospital.site import Case, Site
from normfed_common.foundation import digests
from normfed_common.foundation.files import inside

NOISE = "noise.secret"  # of a simulated site, in its own folder


def content(site: Site, cases: Sequence[Case]) -> str:
    """A digest of all scans that an answer is made of, of whose they are, and of what computes.

    Elsewhere the last digits of a gradient are others, which a model that a server made up can blow up: of two
    answers with the same noise the difference would be without.
    """
    scans = [[case.visit.participant.subject, case.entry.content()] for case in cases]
    return digests.of_json([str(torch.__version__), kernels(site.device), scans])


def noise_key(site: Site, *names: str) -> bytes:
    """A key for noise that nobody else can draw: of the hospital's secret, or the simulated site's."""
    if site.custody is not None:
        return site.custody.noise_key(*names)
    return PeopleSecret.made(inside(site.config.output, NOISE)).noise_key(*names)
