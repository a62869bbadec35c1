"""JSON schema of domain-shift.json: a file of the package. `make schemas` writes it anew from its model."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import JsonValue

from normfed_common.foundation.files import write_text
from normfed_server.results.schemas import DIALECT
from normfed_simulation.domain_shift.layout import SCHEMA, DomainShift

PATH = Path(__file__).parent / SCHEMA


def schema() -> dict[str, JsonValue]:
    """What belongs into the file."""
    return {"$schema": DIALECT, **DomainShift.model_json_schema()}


def write() -> None:
    """Write it."""
    write_text(PATH, json.dumps(schema(), indent=1) + "\n")


if __name__ == "__main__":
    write()
