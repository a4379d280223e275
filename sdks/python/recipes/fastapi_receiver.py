"""FastAPI: take the request itself, not a model of its body."""

import os
from functools import lru_cache

from fastapi import FastAPI, Header, HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from k_payments_webhooks import Event, EventError, MemoryDeduplicator, SignatureError, construct_event

app = FastAPI()
# In production SqlDeduplicator, with the database that the work changes.
deduplicator = MemoryDeduplicator()


@lru_cache
def secret() -> str:
    return os.environ["K_PAYMENTS_SIGNING_SECRET"]


def process(event: Event) -> None:
    """The receiver's own work."""


@app.post("/hooks", status_code=204)
async def receive(request: Request, k_payments_signature: str | None = Header(default=None)) -> None:
    try:
        event = construct_event(await request.body(), k_payments_signature, secret())
    except SignatureError as error:
        raise HTTPException(400, error.kind.value) from error
    except EventError as error:
        raise HTTPException(400, "malformed_event") from error
    # Off the event loop, because it may wait for another delivery of the same event.
    await run_in_threadpool(deduplicator.process_once, event.id, lambda _: process(event))
