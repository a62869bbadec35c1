"""A site that lies: the real node and runner, with a worker that changes what it answers to rounds of training."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from normfed_client.answering.serving import from_bytes, serve_message, to_bytes
from normfed_client.hospital.folder import HOME_VARIABLE, open_hospital
from normfed_client.operation.runner import Runner
from normfed_client.operation.services import services
from normfed_common.foundation.arrays import Arrays
from normfed_common.processes.supervision import Service, Supervisor, stop_on_signals
from normfed_common.wire import packing
from normfed_common.wire.messages import decode_answer

LIE_VARIABLE = "NORMFED_LIE"

LIES: dict[str, Callable[[Arrays], Arrays]] = {
    "nan": lambda arrays: {name: np.full_like(array, np.nan) for name, array in arrays.items()},
    "shapes": lambda arrays: {name: array[..., None] for name, array in arrays.items()},
    "large": lambda arrays: {name: np.repeat(array.reshape(-1), 10) for name, array in arrays.items()},
    "names": lambda arrays: {"strange/" + name: array for name, array in arrays.items()},
}


def lying(payload: bytes) -> bytes:
    """A worker's function: the honest answer, and then the lie."""
    answered = serve_message(payload)
    if not payload or from_bytes(payload).metadata.message_type != "train.round":
        return answered
    message = from_bytes(answered)
    if message.has_error():
        return answered
    _, arrays = decode_answer(message)
    message.content["arrays"] = packing.pack(LIES[os.environ[LIE_VARIABLE]](arrays))
    return to_bytes(message)


def main() -> None:
    """`python -m normfed_deploy.tampering start LIE HOME`: a site's client that lies."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    if sys.argv[1] == "run":
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
        hospital = open_hospital(Path(os.environ[HOME_VARIABLE]))
        Runner(hospital, sys.argv[2], "normfed_deploy.tampering:lying").run(stop_on_signals())
        return
    hospital = open_hospital(Path(sys.argv[3]))
    node, runner = services(hospital)
    command = [sys.executable, "-m", "normfed_deploy.tampering", "run", runner.command[-1]]
    liar = Service("runner", command, {**runner.environment, LIE_VARIABLE: sys.argv[2]})
    Supervisor([node, liar], hospital.log, print_line).run(stop_on_signals())


def print_line(text: str) -> None:
    """To the log of whoever started this."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
