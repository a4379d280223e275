"""The libraries of others accept what the service sends: Stripe's, whose header has the same form, and that of
Standard Webhooks, for which the other three headers are."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import standardwebhooks
import stripe
from standardwebhooks import webhooks as standard
from support import BODY, SECRET, VECTORS, body_of

from k_payments_webhooks import sign_header

# Stripe's library takes UTF-8 alone, and knows only signatures that are too old.
STRIPE_CASES = [
    case
    for case in VECTORS["cases"]
    if case["verdict"] == "valid" and case["name"].startswith(("a plain", "a secret", "rotation: the", "a body with"))
]


def is_text(entry: dict[str, Any]) -> bool:
    try:
        body_of(entry).decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize("case", list(filter(is_text, STRIPE_CASES)), ids=lambda case: case["name"])
def test_stripe_verifies_our_header_and_body_with_our_secret(case: dict[str, Any]) -> None:
    body = body_of(case).decode()
    assert stripe.WebhookSignature.verify_header(body, case["header"], case["secret"])
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.WebhookSignature.verify_header(body + " ", case["header"], case["secret"])


def test_stripe_constructs_an_event_of_a_header_made_now() -> None:
    event = stripe.Webhook.construct_event(BODY, sign_header(BODY, SECRET), SECRET)
    assert event["id"] == "evt_1"


@pytest.fixture
def at_the_time_of_the_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    class Then(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.datetime.fromtimestamp(VECTORS["standard_webhooks"][0]["time"], tz)

    monkeypatch.setattr(standard, "datetime", Then)


@pytest.mark.usefixtures("at_the_time_of_the_cases")
@pytest.mark.parametrize("entry", VECTORS["standard_webhooks"], ids=lambda entry: entry["name"])
def test_standard_webhooks_verifies_the_other_three_headers(entry: dict[str, Any]) -> None:
    headers = {
        "webhook-id": entry["id"],
        "webhook-timestamp": str(entry["time"]),
        "webhook-signature": entry["signature"],
    }
    for secret in entry["secrets"]:
        library = standardwebhooks.Webhook(secret)
        library.verify(body_of(entry), headers)
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            library.verify(body_of(entry) + b" ", headers)
