"""The Flower ClientApp: the same object in simulation and in a hospital."""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from normfed_client import tasks
from normfed_client.gate import guarded
from normfed_client.tasks import Job
from normfed_common.arrays import Arrays
from normfed_common.wire.messages import Answer

Work = Callable[[Job], tuple[Answer, Arrays]]

app = ClientApp()


def _register(category: str, action: str, work: Work) -> None:
    def handle(message: Message, context: Context) -> Message:
        return guarded(message, context, work)

    getattr(app, category)(action)(handle)


@app.query("fence")
def _fence(message: Message, _context: Context) -> Message:
    """Says that whatever came before it is settled."""
    return Message(RecordDict(), reply_to=message)


_register("query", "describe", tasks.describe)
_register("train", "canary", tasks.canary)
_register("train", "round", tasks.train)
_register("train", "personal", tasks.fine_tune)
_register("train", "sums", tasks.sums)
_register("evaluate", "score", tasks.score)
_register("evaluate", "count", tasks.count)
_register("evaluate", "measure", tasks.measure)
