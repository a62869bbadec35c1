"""JSON schemas of what a run leaves for programs: metrics, privacy audit and statistics, and a line of events.jsonl.

They are files of the package. `make schemas` writes them anew from the models after a change.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import JsonValue

from normfed_common.foundation.files import write_text
from normfed_server.events.kinds import KNOWN
from normfed_server.results.audit import PrivacyAudit
from normfed_server.results.cohorts import Statistics
from normfed_server.results.layout import RunResults

PACKAGE = Path(__file__).parents[1]
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[Path, dict[str, JsonValue]]:
    """File to the schema that belongs into it."""
    return {
        PACKAGE / "results" / "metrics.schema.json": {"$schema": DIALECT, **RunResults.model_json_schema()},
        PACKAGE / "results" / "privacy-audit.schema.json": {"$schema": DIALECT, **PrivacyAudit.model_json_schema()},
        PACKAGE / "results" / "statistics.schema.json": {"$schema": DIALECT, **Statistics.model_json_schema()},
        PACKAGE / "events" / "events.schema.json": {"$schema": DIALECT, "title": "RunEvent", **KNOWN.json_schema()},
    }


def write() -> None:
    """Write every schema into its file."""
    for path, schema in schemas().items():
        write_text(path, json.dumps(schema, indent=1) + "\n")


if __name__ == "__main__":
    write()
