"""The recipes for web frameworks, each through its own test client."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import django_receiver
import fastapi_receiver
import flask_receiver
import pytest
from django.conf import settings
from django.test import Client
from fastapi.testclient import TestClient
from support import BODY, SECRET

from k_payments_webhooks import MemoryDeduplicator, sign_header

Post = Callable[[bytes, dict[str, str]], tuple[int, str]]


def post_to_fastapi(body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    response = TestClient(fastapi_receiver.app).post("/hooks", content=body, headers=headers)
    return response.status_code, response.text


def post_to_flask(body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    response = flask_receiver.app.test_client().post("/hooks", data=body, headers=headers)
    return response.status_code, response.text


def post_to_django(body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    client = Client(enforce_csrf_checks=True)
    environ = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()}
    response = client.post("/hooks", body, content_type="application/json", **environ)
    return response.status_code, response.content.decode()


@pytest.fixture(
    params=[(fastapi_receiver, post_to_fastapi), (flask_receiver, post_to_flask), (django_receiver, post_to_django)],
    ids=["FastAPI", "Flask", "Django"],
)
def receiver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Post, list[str]]:
    if not settings.configured:
        settings.configure(ROOT_URLCONF="django_receiver", ALLOWED_HOSTS=["testserver"])
        import django

        django.setup()
    recipe: ModuleType
    recipe, post = request.param
    processed: list[str] = []
    monkeypatch.setenv("K_PAYMENTS_SIGNING_SECRET", SECRET)
    monkeypatch.setattr(recipe, "deduplicator", MemoryDeduplicator())
    monkeypatch.setattr(recipe, "process", lambda event: processed.append(event.id))
    return post, processed


def test_a_delivery_is_processed_and_its_duplicate_is_not(receiver: tuple[Post, list[str]]) -> None:
    post, processed = receiver
    for _ in range(2):
        assert post(BODY, {"K-Payments-Signature": sign_header(BODY, SECRET)}) == (204, "")
    assert processed == ["evt_1"]


def test_a_body_that_was_altered_is_refused_with_the_reason(receiver: tuple[Post, list[str]]) -> None:
    post, processed = receiver
    status, text = post(BODY + b" ", {"K-Payments-Signature": sign_header(BODY, SECRET)})
    assert status == 400 and "no_matching_signature" in text
    assert processed == []


def test_a_request_without_the_header_is_refused_with_the_reason(receiver: tuple[Post, list[str]]) -> None:
    post, processed = receiver
    status, text = post(BODY, {})
    assert status == 400 and "missing_header" in text
    assert processed == []


def test_what_was_signed_and_is_no_event_is_refused(receiver: tuple[Post, list[str]]) -> None:
    post, _ = receiver
    status, text = post(b"\xff", {"K-Payments-Signature": sign_header(b"\xff", SECRET)})
    assert status == 400 and "malformed_event" in text
