"""Sums that a simulated site has made before: local training and a federation without another site ask for the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from normfed_client.hospital.site import Site
from normfed_common.foundation import arrays as named
from normfed_common.foundation import digests
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.damage import put_aside
from normfed_common.foundation.errors import DamagedError
from normfed_common.foundation.files import inside
from normfed_common.models.combined.pipeline import draws_anything

FOLDER = "sums"


def made_before(site: Site, entry: dict[str, Any], phase: str, received: Arrays, make: Callable[[], Arrays]) -> Arrays:
    """The sums of a phase over the site's training people, from its folder where they are there.

    Only of the study's own model, if it draws nothing: then its sums follow from what it received. A hospital keeps
    none: it answers a repeated request from its outbox, and puts every release on record.
    """
    study = site.study
    if site.custody is not None or entry != study.model or draws_anything(study, entry):
        return make()
    name = digests.of_arrays(digests.of_json({"model": entry, "phase": phase}), received)
    path = inside(site.config.output, FOLDER, f"{name}.safetensors")
    if path.exists():
        try:
            return named.load(path)
        except DamagedError as error:
            put_aside(path, error.why, "the sums are made again")
    found = make()
    named.save(path, found)
    return found
