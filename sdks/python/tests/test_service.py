"""Both clients and the library against the service itself, where `K_WEBHOOKS_BIN` names its program."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
import stripe

from k_payments_webhooks import construct_event
from k_payments_webhooks.merchant import ApiError, MerchantClient, iterate
from k_payments_webhooks.publisher import NewEvent, Publisher

BIN = os.environ.get("K_WEBHOOKS_BIN")

pytestmark = pytest.mark.skipif(BIN is None, reason="K_WEBHOOKS_BIN is not set")


class Receiver:
    """Keeps the deliveries that it gets, and answers 204."""

    def __init__(self) -> None:
        self.arrived = threading.Condition()
        self.requests: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver.arrived:
                    receiver.requests.append(({k.lower(): v for k, v in self.headers.items()}, body))
                    receiver.arrived.notify_all()
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/hooks"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def wait_for(self, count: int) -> list[tuple[dict[str, str], bytes]]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.requests) >= count, timeout=30)
            return self.requests[:count]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The addresses of the two listeners, and the keys for them."""
    assert BIN
    folder: Path = tmp_path_factory.mktemp("service")
    options = ["--set", "server.listen=127.0.0.1:0", "--set", "internal.listen=127.0.0.1:0"]
    process = subprocess.Popen(
        [str(Path(BIN).resolve()), "serve", *options],
        cwd=folder, env={**os.environ, "XDG_CONFIG_HOME": str(folder)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout
    found: dict[str, str] = {}
    patterns = {
        "service_key": r"(svc_\w+)", "merchant_key": r"(sk_test_\w+)",
        "public": r"(http://127\.0\.0\.1:\d+)/v1/webhook_endpoints", "internal": r"(http://127\.0\.0\.1:\d+)/v1/events",
    }  # fmt: skip
    for line in process.stdout:
        for name, pattern in patterns.items():
            if match := re.search(pattern, line):
                found.setdefault(name, match[1])
        if len(found) == len(patterns):
            break
    # Whoever writes into a pipe that nobody reads stops at some time.
    threading.Thread(target=process.stdout.read, daemon=True).start()
    yield found
    process.terminate()
    assert process.wait(timeout=30) == 0


def test_what_is_published_arrives_and_verifies_with_every_library(service: dict[str, str]) -> None:
    merchant = MerchantClient(service["merchant_key"], base_url=service["public"])
    publisher = Publisher(service["service_key"], base_url=service["internal"])
    receiver = Receiver()
    endpoint = merchant.webhook_endpoints.create(url=receiver.url, enabled_events=["charge.succeeded"])
    old = endpoint["signing_secret"]
    new = merchant.webhook_endpoints.rotate_secret(endpoint["id"])["signing_secret"]
    charge = {"id": "ch_1", "object": "charge", "amount": 4999, "name": "Zoë 東京"}
    event = NewEvent("m_demo", livemode=False, type="charge.succeeded", object=charge)
    published = publisher.publish(event)
    assert publisher.publish(event)["id"] == published["id"], "the same event again publishes nothing"
    batch = publisher.publish_batch([NewEvent("m_demo", False, "charge.succeeded", charge) for _ in range(3)])
    requests = receiver.wait_for(4)
    assert {construct_event(b, h["k-payments-signature"], new).id for h, b in requests} == {
        published["id"], *(each["id"] for each in batch),
    }  # fmt: skip
    for headers, body in requests:
        for secret in (old, new):
            assert construct_event(body, headers["k-payments-signature"], secret).data.object == charge
            assert stripe.WebhookSignature.verify_header(body.decode(), headers["k-payments-signature"], secret, 300)
            assert standardwebhooks.Webhook(secret).verify(body, headers)["type"] == "charge.succeeded"


def test_the_merchants_client_does_what_the_api_does(service: dict[str, str]) -> None:
    merchant = MerchantClient(service["merchant_key"], base_url=service["public"])
    receiver = Receiver()
    endpoints = merchant.webhook_endpoints
    endpoint = endpoints.create(url=receiver.url, description="one")
    assert endpoints.retrieve(endpoint["id"]).get("signing_secret") is None
    assert endpoints.update(endpoint["id"], description=None)["description"] is None
    event = endpoints.test(endpoint["id"], type="payout.paid")
    headers, _ = receiver.wait_for(1)[0]
    delivery = merchant.deliveries.retrieve(headers["k-payments-delivery-id"])
    assert delivery["event"] == event["id"] and delivery["webhook_endpoint"] == endpoint["id"]
    assert merchant.events.resend(event["id"], webhook_endpoint=endpoint["id"])["event"] == event["id"]
    assert len(receiver.wait_for(2)) == 2
    assert merchant.deliveries.retry(delivery["id"])["id"] == delivery["id"]
    assert len(merchant.events.list_deliveries(event["id"]).data) == 2
    assert len(endpoints.list_deliveries(endpoint["id"]).data) == 2
    listed = iterate(lambda after: merchant.events.list(limit=1, starting_after=after))
    assert event["id"] in [each["id"] for each in listed]
    with pytest.raises(ApiError) as caught:
        endpoints.create(url="ftp://example.com")
    assert caught.value.status == 400 and "url" in caught.value.field_errors
    assert endpoints.delete(endpoint["id"])["deleted"] is True
