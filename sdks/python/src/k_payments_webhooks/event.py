"""Events: what the body of a verified request says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

EventType = Literal[
    "charge.succeeded",
    "charge.failed",
    "charge.refunded",
    "refund.created",
    "refund.updated",
    "payout.created",
    "payout.paid",
    "payout.failed",
    "dispute.created",
    "dispute.updated",
    "dispute.closed",
]

EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)
"""Every type that exists now. A receiver answers 2xx to one that it does not know, and passes over it."""


class EventError(ValueError):
    """What was signed is not an event."""


@dataclass(frozen=True)
class EventData:
    """What the event is about."""

    object: Mapping[str, Any]
    """The charge, refund, payout or dispute; it has `id` and `object`, the rest is the publisher's."""

    previous_attributes: Mapping[str, Any] | None = None
    """What changed, with the values of before."""


@dataclass(frozen=True)
class Event:
    """An event of a merchant."""

    id: str
    type: str
    """One of `EVENT_TYPES`, or one that came later than this library."""
    created: int
    """Unix seconds."""
    livemode: bool
    api_version: str
    data: EventData
    raw: bytes = field(repr=False, default=b"")
    """The bytes that were signed."""


def parse_event(body: bytes) -> Event:
    """Reads an event. Verify first: this trusts what it is given. Raises `EventError`."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise EventError("the body is not JSON") from error
    data = _member(document, "data", dict)
    resource = _member(data, "object", dict, "data.object")
    _member(resource, "id", str, "data.object.id")
    _member(resource, "object", str, "data.object.object")
    previous = data.get("previous_attributes")
    if previous is not None and not isinstance(previous, dict):
        raise EventError("previous_attributes is not an object")
    return Event(
        id=_member(document, "id", str),
        type=_member(document, "type", str),
        created=_member(document, "created", int),
        livemode=_member(document, "livemode", bool),
        api_version=_member(document, "api_version", str),
        data=EventData(object=resource, previous_attributes=previous),
        raw=body,
    )


def _member(document: Any, name: str, kind: type, shown: str | None = None) -> Any:
    value = document.get(name) if isinstance(document, dict) else None
    # True and False are integers to Python, but not in an event.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise EventError(f"the body is not an event: {shown or name} is missing or of another kind")
    return value
