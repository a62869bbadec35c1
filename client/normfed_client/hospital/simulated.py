"""The sites of a simulation: where it is written which there are, and which one a process plays."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from normfed_client.hospital.config import SiteConfig
from normfed_common.foundation.errors import DatasetError, SiteCode, SiteError

SITES_VARIABLE = "NORMFED_SITES"  # a JSON file with the configurations of all sites on this machine
_SITES = TypeAdapter(tuple[SiteConfig, ...])


def read_sites(path: Path) -> tuple[SiteConfig, ...]:
    """Read the configurations of all sites on this machine.

    Raises
    ------
    DatasetError
        If the file cannot be read, or holds none.
    """
    try:
        return _SITES.validate_json(path.read_bytes())
    except OSError as error:
        why = str(error.strerror)
    except ValidationError as error:
        first = error.errors()[0]
        why = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
    raise DatasetError(f"{path}: not a list of sites ({why}). Copy the run folder again.")


def write_sites(path: Path, sites: tuple[SiteConfig, ...]) -> None:
    """Write what `read_sites` reads."""
    path.write_bytes(_SITES.dump_json(sites, indent=1))


def playing(partition: int) -> SiteConfig:
    """The site that this process plays in a simulation.

    Raises
    ------
    SiteError
        If nothing says which sites there are.
    """
    sites = os.environ.get(SITES_VARIABLE)
    if sites is None:
        raise SiteError(SiteCode.INTERNAL, f"the environment has no {SITES_VARIABLE}")
    return read_sites(Path(sites))[partition]
