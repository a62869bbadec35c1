"""The environment in which Flower and Ray tell nobody of a run: to be set before either is imported."""

from __future__ import annotations

# Flower reports usage to its makers and looks for updates unless told otherwise.
QUIET_FLOWER = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
