"""Publishing events, for internal services.

    publisher = Publisher("svc_…", base_url="http://k-webhooks.internal:8081")
    publisher.publish(NewEvent("m_1", livemode=True, type="charge.succeeded", object=charge))

Requests that fail with 429 or a 5xx, or get no answer, are repeated with pauses. That is safe because every event has
an idempotency key, made with the `NewEvent`: publishing the same `NewEvent` again within 24 hours publishes nothing.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ._http import Api, ApiError, encode
from .event import EventType
from .merchant import Event

__all__ = ["ApiError", "NewEvent", "Publisher"]

EVENTS_MAX = 1000
"""How many events the service takes in one batch."""

BATCH_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True)
class NewEvent:
    """An event to publish. Keep it until it is published: it holds its idempotency key."""

    merchant_id: str
    livemode: bool
    type: EventType
    object: Mapping[str, Any]
    """The charge, refund, payout or dispute: `id`, `object` and whatever else."""
    previous_attributes: Mapping[str, Any] | None = None
    created: int | None = None
    """Unix seconds; when it is accepted, if not given."""
    idempotency_key: str = field(default_factory=lambda: str(uuid.uuid4()))

    def encode(self) -> bytes:
        """What is sent."""
        data: dict[str, Any] = {"object": self.object}
        if self.previous_attributes is not None:
            data["previous_attributes"] = self.previous_attributes
        document = {
            "merchant_id": self.merchant_id,
            "livemode": self.livemode,
            "type": self.type,
            "data": data,
            "idempotency_key": self.idempotency_key,
        }
        if self.created is not None:
            document["created"] = self.created
        return encode(document)


class Publisher:
    """The internal API, with a service key."""

    def __init__(
        self,
        service_key: str,
        *,
        base_url: str,
        timeout: float = 40,
        retries: int = 5,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._api = Api(base_url, service_key, timeout)
        self._retries = retries
        self._sleep = sleep
        self._chance = chance

    def publish(self, event: NewEvent) -> Event:
        """Publishes one event. When this returns it is stored. Raises `ApiError`."""
        published: Event = self._post("/v1/events", event.encode())
        return published

    def publish_batch(self, events: Iterable[NewEvent]) -> list[Event]:
        """Publishes events, in as few requests as the limits allow, and returns them in the order given.

        Each request is all or nothing, the whole is not: after an error, publish the same `NewEvent`s again, and
        those that are stored already come back as they are.
        """
        published: list[Event] = []
        for body in _batches(events):
            published.extend(self._post("/v1/events/batch", body)["data"])
        return published

    def _post(self, path: str, body: bytes) -> Any:
        for attempt in range(self._retries + 1):
            try:
                return self._api.request("POST", path, body=body)
            except ApiError as error:
                passes = error.status in (0, 429) or error.status >= 500
                if not passes or attempt == self._retries:
                    raise
                self._sleep(self._pause(attempt, error.retry_after))
        raise AssertionError("the last attempt returns or raises")

    def _pause(self, attempt: int, retry_after: float | None) -> float:
        """Half a second, doubled each time, up to 30; half of it by chance, so that callers spread out."""
        pause: float = min(0.5 * 2**attempt, 30) * (0.5 + self._chance() / 2)
        return max(pause, min(retry_after or 0, 60))


def _batches(events: Iterable[NewEvent]) -> Iterator[bytes]:
    opening, closing = b'{"events":[', b"]}"
    batch: list[bytes] = []
    size = 0
    for event in events:
        encoded = event.encode()
        # Each brings a comma; the brackets are there once.
        if batch and (len(batch) == EVENTS_MAX or size + len(encoded) + 64 > BATCH_BYTES_MAX):
            yield opening + b",".join(batch) + closing
            batch, size = [], 0
        batch.append(encoded)
        size += len(encoded) + 1
    if batch:
        yield opening + b",".join(batch) + closing
