"""Flask: `request.get_data()`, not `request.json`."""

import os

from flask import Flask, Response, abort, make_response, request

from k_payments_webhooks import Event, EventError, MemoryDeduplicator, SignatureError, construct_event

app = Flask(__name__)
# In production SqlDeduplicator, with the database that the work changes.
deduplicator = MemoryDeduplicator()


def process(event: Event) -> None:
    """The receiver's own work."""


@app.post("/hooks")
def receive() -> Response:
    try:
        event = construct_event(
            request.get_data(),
            request.headers.get("K-Payments-Signature"),
            os.environ["K_PAYMENTS_SIGNING_SECRET"],
        )
    except SignatureError as error:
        abort(make_response(error.kind.value, 400))
    except EventError:
        abort(make_response("malformed_event", 400))
    deduplicator.process_once(event.id, lambda _: process(event))
    return Response(status=204)
