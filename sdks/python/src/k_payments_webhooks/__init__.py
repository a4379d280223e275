"""Verify K-Payments webhooks, and process each event once.

    event = construct_event(body, header, secret)

`body` is the raw bytes of the request, `header` the value of `K-Payments-Signature`, and `secret` the endpoint's
signing secret. `k_payments_webhooks.merchant` and `k_payments_webhooks.publisher` call the two APIs.
"""

from .deduplication import Deduplicator, MemoryDeduplicator, SqlDeduplicator
from .event import EVENT_TYPES, Event, EventData, EventError, EventType, parse_event
from .signature import (
    DEFAULT_TOLERANCE,
    SIGNATURE_HEADER,
    ErrorKind,
    SignatureError,
    construct_event,
    sign_header,
    verify_signature,
)

__all__ = [
    "DEFAULT_TOLERANCE",
    "EVENT_TYPES",
    "SIGNATURE_HEADER",
    "Deduplicator",
    "ErrorKind",
    "Event",
    "EventData",
    "EventError",
    "EventType",
    "MemoryDeduplicator",
    "SignatureError",
    "SqlDeduplicator",
    "construct_event",
    "parse_event",
    "sign_header",
    "verify_signature",
]
