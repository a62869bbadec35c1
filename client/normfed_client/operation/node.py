"""Flower's node, in a process that ends when its work does.

`flower-supernode` calls the server in its main thread. An error that Flower does not try again (a TLS handshake that
times out while the server is stopped) ends that thread, and the thread of its local interface keeps the process alive:
it runs, is counted as running, and never calls again.
"""

from __future__ import annotations

import os
import sys
import traceback

from normfed_client.operation.flower import run_supernode


def main() -> None:
    """Run `flower-supernode` with its own command line."""
    code = 1
    try:
        run_supernode()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except Exception:  # noqa: BLE001  (whatever it is, it is said, and whoever supervises starts again)
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
