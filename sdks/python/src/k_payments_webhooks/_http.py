"""One request to an API of k-webhooks, and its errors."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import urlencode


class ApiError(Exception):
    """A request that was refused, or that failed.

    `type` is the API's: `invalid_request_error`, `authentication_error`, `not_found`, `rate_limit_error` or
    `internal_error`; or `connection_error` where no answer came, with the status 0.
    """

    def __init__(
        self,
        type: str,
        message: str,
        *,
        status: int = 0,
        field_errors: Mapping[str, list[str]] | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.type = type
        self.message = message
        self.status = status
        self.field_errors = dict(field_errors or {})
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        fields = "".join(f" {name}: {'; '.join(errors)}." for name, errors in self.field_errors.items())
        request = f" ({self.request_id})" if self.request_id else ""
        return f"{self.message}{fields}{request}"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to wherever it points."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)


@dataclass(frozen=True)
class Api:
    """Where an API is, and the key for it."""

    base_url: str
    key: str
    timeout: float

    def __repr__(self) -> str:
        return f"Api({self.base_url!r})"

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON of the answer. Raises `ApiError`."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        url = self.base_url.rstrip("/") + path + ("?" + urlencode(given) if given else "")
        request = urllib.request.Request(url, data=body, method=method, headers=dict(headers or {}))
        request.add_header("Authorization", f"Bearer {self.key}")
        request.add_header("Accept", "application/json")
        if body is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with _OPENER.open(request, timeout=self.timeout) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                raise _refused(error) from None
        except (OSError, HTTPException, ValueError) as error:
            raise ApiError("connection_error", f"No answer could be read: {error}") from error


def encode(document: Mapping[str, Any]) -> bytes:
    """The bytes of a body: the same ones for the same document."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _refused(response: urllib.error.HTTPError) -> ApiError:
    try:
        error = json.loads(response.read())["error"]
        kind, message, fields = error["type"], error["message"], error.get("details", {}).get("fieldErrors")
    except (OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError):
        # What stands between here and the service answered for it.
        kind = "internal_error" if response.code >= 500 else "invalid_request_error"
        message, fields = f"The answer was {response.code}, without an error of the API.", None
    wait = response.headers.get("Retry-After", "")
    return ApiError(
        kind,
        message,
        status=response.code,
        field_errors=fields,
        request_id=response.headers.get("Request-Id"),
        retry_after=float(wait) if wait.isascii() and wait.isdigit() else None,
    )
