"""The merchant API: endpoints, events, deliveries. Every method raises `ApiError` where the API refuses.

    merchant = MerchantClient("sk_test_…", base_url="https://webhooks.example.com")
    endpoint = merchant.webhook_endpoints.create(url="https://example.com/hooks")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote

from ._http import Api, ApiError, encode

__all__ = ["ApiError", "Attempt", "Delivery", "Event", "List", "MerchantClient", "WebhookEndpoint", "iterate"]

_T = TypeVar("_T")

DeliveryStatus = Literal["pending", "held", "succeeded", "abandoned"]


class _Identified(TypedDict):
    id: str


class WebhookEndpoint(_Identified, total=False):
    object: str
    url: str
    enabled_events: list[str]
    description: str | None
    status: Literal["enabled", "disabled"]
    disabled_reason: str | None
    livemode: bool
    created: int
    updated: int
    signing_secret: str
    """Only in the answers that make one: to `create` and `rotate_secret`."""


class Event(_Identified):
    object: str
    api_version: str
    created: int
    livemode: bool
    type: str
    data: dict[str, Any]
    pending_webhooks: int


class Attempt(_Identified):
    object: str
    number: int
    started: int
    duration_ms: int
    response_status: int | None
    failure_code: str | None
    failure_message: str | None
    response_body: str | None
    address: str | None


class Delivery(_Identified, total=False):
    object: str
    event: str
    event_type: str
    webhook_endpoint: str
    livemode: bool
    status: DeliveryStatus
    abandoned_reason: str | None
    attempt_count: int
    next_attempt_at: int | None
    created: int
    attempts: list[Attempt]
    """Only where one delivery is retrieved."""


class Deleted(_Identified):
    object: str
    deleted: bool


# Not TypedDict and Generic at once: that is of Python 3.11.
class List(dict[str, Any], Generic[_T]):
    """A page, newest first."""

    @property
    def data(self) -> list[_T]:
        data: list[_T] = self["data"]
        return data

    @property
    def has_more(self) -> bool:
        return bool(self["has_more"])


class _Unset:
    """Tells a field that is not given from one that is cleared with None."""


_UNSET = _Unset()


def _fields(**fields: Any) -> bytes:
    return encode({name: value for name, value in fields.items() if value is not _UNSET})


def _path(*parts: str) -> str:
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


class MerchantClient:
    """The merchant API, with a merchant's secret key, which says whose and which mode. No request is repeated."""

    def __init__(self, api_key: str, *, base_url: str, timeout: float = 40) -> None:
        api = Api(base_url, api_key, timeout)
        self.webhook_endpoints = WebhookEndpoints(api)
        self.events = Events(api)
        self.deliveries = Deliveries(api)


class _Resource:
    def __init__(self, api: Api) -> None:
        self._api = api

    def _page(self, path: str, **query: Any) -> List[Any]:
        return List(self._api.request("GET", path, query=query))


class WebhookEndpoints(_Resource):
    """`/v1/webhook_endpoints`"""

    def create(
        self,
        *,
        url: str,
        enabled_events: Sequence[str] | _Unset = _UNSET,
        description: str | None | _Unset = _UNSET,
    ) -> WebhookEndpoint:
        """Registers one. The answer has `signing_secret`, for the only time."""
        body = _fields(url=url, enabled_events=enabled_events, description=description)
        endpoint: WebhookEndpoint = self._api.request("POST", _path("webhook_endpoints"), body=body)
        return endpoint

    def list(
        self, *, limit: int | None = None, starting_after: str | None = None, ending_before: str | None = None
    ) -> List[WebhookEndpoint]:
        return self._page(
            _path("webhook_endpoints"), limit=limit, starting_after=starting_after, ending_before=ending_before
        )

    def retrieve(self, id: str) -> WebhookEndpoint:
        endpoint: WebhookEndpoint = self._api.request("GET", _path("webhook_endpoints", id))
        return endpoint

    def update(
        self,
        id: str,
        *,
        url: str | _Unset = _UNSET,
        enabled_events: Sequence[str] | _Unset = _UNSET,
        description: str | None | _Unset = _UNSET,
        status: Literal["enabled", "disabled"] | _Unset = _UNSET,
    ) -> WebhookEndpoint:
        """Changes what is given; None clears the description."""
        body = _fields(url=url, enabled_events=enabled_events, description=description, status=status)
        endpoint: WebhookEndpoint = self._api.request("PATCH", _path("webhook_endpoints", id), body=body)
        return endpoint

    def delete(self, id: str) -> Deleted:
        deleted: Deleted = self._api.request("DELETE", _path("webhook_endpoints", id))
        return deleted

    def rotate_secret(self, id: str, *, expire_previous_in: str | int | _Unset = _UNSET) -> WebhookEndpoint:
        """Makes a new `signing_secret`; both sign until the old one expires, in 24h if not given."""
        body = _fields(expire_previous_in=expire_previous_in)
        path = _path("webhook_endpoints", id, "rotate_secret")
        endpoint: WebhookEndpoint = self._api.request("POST", path, body=body)
        return endpoint

    def test(self, id: str, *, type: str) -> Event:
        """Sends a sample event of this type to this endpoint alone."""
        event: Event = self._api.request("POST", _path("webhook_endpoints", id, "test"), body=_fields(type=type))
        return event

    def list_deliveries(
        self,
        id: str,
        *,
        status: DeliveryStatus | None = None,
        limit: int | None = None,
        starting_after: str | None = None,
        ending_before: str | None = None,
    ) -> List[Delivery]:
        return self._page(
            _path("webhook_endpoints", id, "deliveries"),
            status=status, limit=limit, starting_after=starting_after, ending_before=ending_before,
        )  # fmt: skip


class Events(_Resource):
    """`/v1/events`"""

    def list(
        self,
        *,
        type: str | None = None,
        created_gte: int | None = None,
        created_lte: int | None = None,
        delivery_status: DeliveryStatus | None = None,
        limit: int | None = None,
        starting_after: str | None = None,
        ending_before: str | None = None,
    ) -> List[Event]:
        return self._page(
            _path("events"),
            type=type, created_gte=created_gte, created_lte=created_lte, delivery_status=delivery_status,
            limit=limit, starting_after=starting_after, ending_before=ending_before,
        )  # fmt: skip

    def retrieve(self, id: str) -> Event:
        event: Event = self._api.request("GET", _path("events", id))
        return event

    def list_deliveries(
        self,
        id: str,
        *,
        limit: int | None = None,
        starting_after: str | None = None,
        ending_before: str | None = None,
    ) -> List[Delivery]:
        return self._page(
            _path("events", id, "deliveries"),
            limit=limit, starting_after=starting_after, ending_before=ending_before,
        )  # fmt: skip

    def resend(self, id: str, *, webhook_endpoint: str) -> Delivery:
        """A new delivery of the same bytes."""
        body = _fields(webhook_endpoint=webhook_endpoint)
        delivery: Delivery = self._api.request("POST", _path("events", id, "resend"), body=body)
        return delivery


class Deliveries(_Resource):
    """`/v1/deliveries`"""

    def retrieve(self, id: str) -> Delivery:
        """The delivery with every attempt."""
        delivery: Delivery = self._api.request("GET", _path("deliveries", id))
        return delivery

    def retry(self, id: str) -> Delivery:
        """Makes it due now, on a new ladder."""
        delivery: Delivery = self._api.request("POST", _path("deliveries", id, "retry"), body=b"{}")
        return delivery


def iterate(page_after: Callable[[str | None], List[_T]]) -> Iterator[_T]:
    """Everything in a list, page by page: `iterate(lambda after: merchant.events.list(starting_after=after))`."""
    after: str | None = None
    while True:
        page = page_after(after)
        yield from page.data
        if not page.has_more or not page.data:
            return
        last: Any = page.data[-1]
        after = last["id"]
