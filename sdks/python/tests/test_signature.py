"""What the cases in the file do not say: types, secrets, defaults, messages."""

from __future__ import annotations

import time
from typing import Any

import pytest
from support import BODY, NOW, SECRET

from k_payments_webhooks import (
    EVENT_TYPES,
    ErrorKind,
    EventError,
    SignatureError,
    construct_event,
    parse_event,
    sign_header,
    verify_signature,
)


def test_a_verified_body_comes_out_as_an_event() -> None:
    event = construct_event(BODY, sign_header(BODY, SECRET, at=NOW), SECRET, now=NOW)
    assert (event.id, event.type, event.created, event.livemode) == ("evt_1", "charge.refunded", NOW, False)
    assert event.data.object["amount"] == 4999
    assert event.data.previous_attributes == {"amount_refunded": 0}
    assert event.raw == BODY
    assert event.type in EVENT_TYPES and len(EVENT_TYPES) == 11


def test_the_clock_is_asked_where_no_time_is_given() -> None:
    verify_signature(BODY, sign_header(BODY, SECRET), SECRET)
    with pytest.raises(SignatureError) as caught:
        verify_signature(BODY, sign_header(BODY, SECRET, at=int(time.time()) - 310), SECRET)
    assert caught.value.kind is ErrorKind.TIMESTAMP_TOO_OLD


def test_the_tolerance_is_five_minutes_unless_said_otherwise() -> None:
    header = sign_header(BODY, SECRET, at=NOW)
    verify_signature(BODY, header, SECRET, now=NOW + 300)
    with pytest.raises(SignatureError):
        verify_signature(BODY, header, SECRET, now=NOW + 301)


@pytest.mark.parametrize("body", ["{}", {"id": "evt_1"}, None])
def test_a_body_that_is_not_bytes_is_a_mistake_of_the_program(body: Any) -> None:
    with pytest.raises(TypeError, match="raw bytes"):
        verify_signature(body, sign_header(BODY, SECRET), SECRET)


@pytest.mark.parametrize("secret", ["", "whsec_", SECRET + "\n", SECRET[6:], "whsec_c2hvcnQ=", None])
def test_a_text_that_is_no_secret_is_a_mistake_of_the_program(secret: Any) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        verify_signature(BODY, None, secret)


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_every_kind_of_error_has_words(kind: ErrorKind) -> None:
    assert len(str(SignatureError(kind))) > 20
    assert str(kind) == kind.value


def test_a_type_that_is_not_known_yet_comes_out_all_the_same() -> None:
    assert parse_event(BODY.replace(b"charge.refunded", b"charge.captured")).type == "charge.captured"


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b"[]", b"1", b"{}", BODY.replace(b"1749651729", b"true"), BODY.replace(b'"id":"ch_1",', b""),
     BODY.replace(b'{"amount_refunded":0}', b"1"), b"[" * 100_000],
)  # fmt: skip
def test_what_was_signed_and_is_no_event_is_refused_as_such(body: bytes) -> None:
    with pytest.raises(EventError):
        construct_event(body, sign_header(body, SECRET), SECRET)
