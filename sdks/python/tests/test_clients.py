"""The clients of the two APIs, against a server that answers as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from k_payments_webhooks.merchant import ApiError, MerchantClient, iterate
from k_payments_webhooks.publisher import EVENTS_MAX, NewEvent, Publisher

CHARGE = {"id": "ch_1", "object": "charge", "amount": 4999, "name": "Zoë"}


class Server:
    """Answers in the order told, the last answer again and again, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any, dict[str, str]]] = []
        self.answers: list[tuple[int, Any, dict[str, str]]] = [(200, {"id": "x"}, {})]
        server = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked = json.loads(body) if body else None
                server.asked.append((self.command, self.path, asked, dict(self.headers)))
                status, document, headers = server.answers.pop(0) if server.answers[1:] else server.answers[0]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(document if isinstance(document, bytes) else json.dumps(document).encode())

            do_GET = do_POST = do_PATCH = do_DELETE = answer

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=lambda: server.http.serve_forever(poll_interval=0.01))
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def test_each_method_calls_its_route_with_the_key(server: Server) -> None:
    merchant = MerchantClient("sk_test_1", base_url=server.url + "/")
    endpoints, events, deliveries = merchant.webhook_endpoints, merchant.events, merchant.deliveries
    page: dict[str, Any] = {"data": [], "has_more": False}
    server.answers = [(200, page, {})]
    endpoints.create(url="https://example.com/hooks", enabled_events=["charge.failed"], description=None)
    endpoints.list(limit=3)
    endpoints.retrieve("we_1/..")
    endpoints.update("we_1", description=None)
    endpoints.update("we_1", status="disabled")
    endpoints.delete("we_1")
    endpoints.rotate_secret("we_1")
    endpoints.rotate_secret("we_1", expire_previous_in="1h")
    endpoints.test("we_1", type="payout.paid")
    endpoints.list_deliveries("we_1", status="held", starting_after="dlv_1")
    events.list(type="payout.paid", created_gte=1, delivery_status="abandoned")
    events.retrieve("evt_1")
    events.list_deliveries("evt_1", ending_before="dlv_2")
    events.resend("evt_1", webhook_endpoint="we_1")
    deliveries.retrieve("dlv_1")
    deliveries.retry("dlv_1")
    assert [asked[:3] for asked in server.asked] == [
        ("POST", "/v1/webhook_endpoints", {"url": "https://example.com/hooks", "enabled_events": ["charge.failed"],
                                           "description": None}),
        ("GET", "/v1/webhook_endpoints?limit=3", None),
        ("GET", "/v1/webhook_endpoints/we_1%2F..", None),
        ("PATCH", "/v1/webhook_endpoints/we_1", {"description": None}),
        ("PATCH", "/v1/webhook_endpoints/we_1", {"status": "disabled"}),
        ("DELETE", "/v1/webhook_endpoints/we_1", None),
        ("POST", "/v1/webhook_endpoints/we_1/rotate_secret", {}),
        ("POST", "/v1/webhook_endpoints/we_1/rotate_secret", {"expire_previous_in": "1h"}),
        ("POST", "/v1/webhook_endpoints/we_1/test", {"type": "payout.paid"}),
        ("GET", "/v1/webhook_endpoints/we_1/deliveries?status=held&starting_after=dlv_1", None),
        ("GET", "/v1/events?type=payout.paid&created_gte=1&delivery_status=abandoned", None),
        ("GET", "/v1/events/evt_1", None),
        ("GET", "/v1/events/evt_1/deliveries?ending_before=dlv_2", None),
        ("POST", "/v1/events/evt_1/resend", {"webhook_endpoint": "we_1"}),
        ("GET", "/v1/deliveries/dlv_1", None),
        ("POST", "/v1/deliveries/dlv_1/retry", {}),
    ]  # fmt: skip
    assert all(asked[3]["Authorization"] == "Bearer sk_test_1" for asked in server.asked)


def test_a_refusal_is_an_exception_that_names_the_fields(server: Server) -> None:
    error = {"type": "invalid_request_error", "message": "Validation failed.",
             "details": {"fieldErrors": {"url": ["must be https"]}}, "request_id": "req_1"}  # fmt: skip
    server.answers = [(400, {"error": error}, {"Request-Id": "req_1"})]
    with pytest.raises(ApiError) as caught:
        MerchantClient("sk_test_1", base_url=server.url).webhook_endpoints.create(url="http://example.com")
    assert (caught.value.status, caught.value.type) == (400, "invalid_request_error")
    assert caught.value.field_errors == {"url": ["must be https"]}
    assert str(caught.value) == "Validation failed. url: must be https. (req_1)"


def test_answers_that_are_not_the_apis_are_errors_too(server: Server) -> None:
    merchant = MerchantClient("sk_test_1", base_url=server.url)
    server.answers = [
        (502, b"<html>", {}),
        (302, {}, {"Location": server.url + "/elsewhere"}),
        (404, ["error"], {}),
        (200, b"not JSON", {}),
    ]
    found = []
    for _ in range(4):
        with pytest.raises(ApiError) as caught:
            merchant.events.list()
        found.append((caught.value.status, caught.value.type))
    assert found == [
        (502, "internal_error"), (302, "invalid_request_error"), (404, "invalid_request_error"), (0, "connection_error"),
    ]  # fmt: skip
    assert len(server.asked) == 4, "a redirect is not followed"


def test_a_list_is_walked_page_by_page(server: Server) -> None:
    merchant = MerchantClient("sk_test_1", base_url=server.url)
    server.answers = [
        (200, {"data": [{"id": "evt_3"}, {"id": "evt_2"}], "has_more": True}, {}),
        (200, {"data": [{"id": "evt_1"}], "has_more": False}, {}),
    ]
    walked = iterate(lambda after: merchant.events.list(starting_after=after))
    assert [event["id"] for event in walked] == ["evt_3", "evt_2", "evt_1"]
    assert [asked[1] for asked in server.asked] == ["/v1/events", "/v1/events?starting_after=evt_2"]


def publisher(server: Server, pauses: list[float], retries: int = 5) -> Publisher:
    return Publisher("svc_1", base_url=server.url, retries=retries, sleep=pauses.append, chance=lambda: 1.0)


def charge(**more: Any) -> NewEvent:
    return NewEvent("m_1", livemode=False, type="charge.succeeded", object=CHARGE, **more)


def test_publishing_is_repeated_with_the_same_key_until_it_is_accepted(server: Server) -> None:
    server.answers = [
        (503, {"error": {"type": "internal_error", "message": "Later."}}, {"Retry-After": "7"}),
        (429, {"error": {"type": "rate_limit_error", "message": "Slower."}}, {}),
        (500, b"", {}),
        (201, {"id": "evt_1"}, {}),
    ]
    pauses: list[float] = []
    assert publisher(server, pauses).publish(charge(created=5, previous_attributes={"a": 1}))["id"] == "evt_1"
    assert pauses == [7, 1, 2]
    bodies = [asked[2] for asked in server.asked]
    assert bodies == [bodies[0]] * 4
    key = bodies[0].pop("idempotency_key")
    assert len(key) == 36
    assert bodies[0] == {
        "merchant_id": "m_1", "livemode": False, "type": "charge.succeeded", "created": 5,
        "data": {"object": CHARGE, "previous_attributes": {"a": 1}},
    }  # fmt: skip


def test_each_event_has_a_key_of_its_own_and_keeps_it(server: Server) -> None:
    event = charge()
    assert event.idempotency_key != charge().idempotency_key
    assert event.encode() == event.encode()
    assert charge(idempotency_key="order-1").idempotency_key == "order-1"


def test_a_refusal_is_not_repeated_and_patience_ends(server: Server) -> None:
    pauses: list[float] = []
    server.answers = [(400, {"error": {"type": "invalid_request_error", "message": "No."}}, {})]
    with pytest.raises(ApiError, match="No."):
        publisher(server, pauses).publish(charge())
    assert (len(server.asked), pauses) == (1, [])
    server.answers = [(500, b"", {})]
    with pytest.raises(ApiError):
        publisher(server, pauses, retries=2).publish(charge())
    assert (len(server.asked), pauses) == (4, [0.5, 1])


def test_no_answer_is_repeated_too() -> None:
    pauses: list[float] = []
    nobody = Publisher("svc_1", base_url="http://127.0.0.1:1", retries=1, sleep=pauses.append, chance=lambda: 0.0)
    with pytest.raises(ApiError) as caught:
        nobody.publish(charge())
    assert caught.value.type == "connection_error"
    assert pauses == [0.25]


def test_many_events_go_in_as_few_requests_as_the_limits_allow(server: Server) -> None:
    server.answers = [(201, {"data": [{"id": "evt"}]}, {})]
    assert publisher(server, []).publish_batch([]) == []
    assert len(publisher(server, []).publish_batch(charge() for _ in range(EVENTS_MAX + 1))) == 2
    assert [(path, len(body["events"])) for _, path, body, _ in server.asked] == [
        ("/v1/events/batch", EVENTS_MAX),
        ("/v1/events/batch", 1),
    ]
    server.asked.clear()
    large = NewEvent("m_1", livemode=False, type="charge.failed", object={**CHARGE, "text": "x" * 250_000})
    publisher(server, []).publish_batch([large] * 100)
    assert [len(body["events"]) for _, _, body, _ in server.asked] == [67, 33]
    assert max(int(headers["Content-Length"]) for *_, headers in server.asked) <= 16 * 1024 * 1024
