"""The Flower ClientApp: the same object in simulation and in a hospital."""

from __future__ import annotations

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from normfed_client.answering import secure, tasks
from normfed_client.answering.gate import Work, guarded, turned_away
from normfed_common.foundation.errors import SiteCode
from normfed_common.wire.messages import FENCE
from normfed_common.wire.tasks import Task

WORK: dict[Task, Work] = {
    "query.describe": tasks.describe,
    "query.keys": secure.keys,
    "query.shares": secure.shares,
    "query.survivors": secure.survivors,
    "query.unmask": secure.unmask,
    "train.canary": tasks.canary,
    "train.round": tasks.train,
    "train.personal": tasks.fine_tune,
    "train.sums": tasks.sums,
    "evaluate.score": tasks.score,
    "evaluate.count": tasks.count,
    "evaluate.measure": tasks.measure,
}


class _Answering(ClientApp):
    """Refuses a type of message that nobody registered: Flower's own raises, and what it raises ends a worker."""

    def __call__(self, message: Message, context: Context) -> Message:
        """The answer to a message, or a code."""
        if message.metadata.message_type not in (*WORK, FENCE):
            return turned_away(message, SiteCode.BAD_REQUEST)
        return super().__call__(message, context)


app = _Answering()


def _register(kind: Task, work: Work) -> None:
    def handle(message: Message, context: Context) -> Message:
        return guarded(message, context, work)

    category, _, action = kind.partition(".")
    getattr(app, category)(action)(handle)


@app.query("fence")
def _fence(message: Message, _context: Context) -> Message:
    """Says that whatever came before it is settled."""
    return Message(RecordDict(), reply_to=message)


for _kind, _work in WORK.items():
    _register(_kind, _work)
