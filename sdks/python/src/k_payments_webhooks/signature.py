"""`K-Payments-Signature`: checking it, and making it for tests. The rules and their order are in sdks/README.md."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Sequence
from enum import Enum

from .event import Event, parse_event

SIGNATURE_HEADER = "K-Payments-Signature"

DEFAULT_TOLERANCE = 300
"""How many seconds from now a signature may have been made."""

# The last letter before the padding holds four bits only.
_SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})*")
_DIGITS = re.compile(r"[0-9]+")
_WHITE_SPACE = "\t\n\v\f\r "
_SECONDS_MAX = 2**63 - 1


class ErrorKind(str, Enum):
    """Why a signature does not hold."""

    MISSING_HEADER = "missing_header"
    MALFORMED_HEADER = "malformed_header"
    NO_MATCHING_SIGNATURE = "no_matching_signature"
    TIMESTAMP_TOO_OLD = "timestamp_too_old"
    TIMESTAMP_TOO_NEW = "timestamp_too_new"

    def __str__(self) -> str:
        return self.value


_MESSAGES = {
    ErrorKind.MISSING_HEADER: "there is no K-Payments-Signature header",
    ErrorKind.MALFORMED_HEADER: "the header is not of the form t=<unix seconds>,v1=<hex>",
    ErrorKind.NO_MATCHING_SIGNATURE: (
        "no v1 fits: the secret is another endpoint's or an older one, "
        "or these are not the raw bytes of the body"
    ),
    ErrorKind.TIMESTAMP_TOO_OLD: (
        "the signature fits but was made too long ago; a replay, or this machine's clock is ahead"
    ),
    ErrorKind.TIMESTAMP_TOO_NEW: (
        "the signature fits but was made in the future; this machine's clock is behind"
    ),
}


class SignatureError(Exception):
    """The request is not one that K-Payments signed, or not now. Answer 400 and do nothing."""

    def __init__(self, kind: ErrorKind) -> None:
        super().__init__(_MESSAGES[kind])
        self.kind = kind


def construct_event(
    body: bytes,
    header: str | None,
    secret: str,
    *,
    tolerance: int = DEFAULT_TOLERANCE,
    now: int | None = None,
) -> Event:
    """Verifies a request and reads its event.

    Raises `SignatureError` as `verify_signature` does, and `EventError` if what was signed is no event.
    """
    verify_signature(body, header, secret, tolerance=tolerance, now=now)
    return parse_event(bytes(body))


def verify_signature(
    body: bytes,
    header: str | None,
    secret: str,
    *,
    tolerance: int = DEFAULT_TOLERANCE,
    now: int | None = None,
) -> None:
    """Checks the value of `K-Payments-Signature` against the raw bytes of the body.

    `tolerance` is in seconds, `now` in unix seconds; without it the system's clock is asked. Raises `SignatureError`
    if the signature does not hold, `TypeError` if the body is not bytes, `ValueError` if the secret is not one.
    """
    if not isinstance(body, (bytes, bytearray, memoryview)):
        raise TypeError(f"body must be the raw bytes of the request, not {type(body).__name__}")
    key = _key(secret)
    if header is None or not header.strip(_WHITE_SPACE):
        raise SignatureError(ErrorKind.MISSING_HEADER)
    timestamp, seconds, signatures = _parse(header)
    expected = _mac(key, timestamp, body)
    fits = False
    for signature in signatures:
        # Every one is compared, so that the time tells nothing of which one fits.
        fits |= hmac.compare_digest(expected, signature)
    if not fits:
        raise SignatureError(ErrorKind.NO_MATCHING_SIGNATURE)
    age = (int(time.time()) if now is None else now) - seconds
    if age > tolerance:
        raise SignatureError(ErrorKind.TIMESTAMP_TOO_OLD)
    if age < -tolerance:
        raise SignatureError(ErrorKind.TIMESTAMP_TOO_NEW)


def sign_header(body: bytes, secret: str | Sequence[str], *, at: int | None = None) -> str:
    """The header that the service would send for this body: for the tests of receivers.

    Several secrets make several `v1`, as during a rotation. `at` is in unix seconds; now, if not given.
    """
    timestamp = str(int(time.time()) if at is None else at)
    secrets = [secret] if isinstance(secret, str) else secret
    signatures = (f",v1={_mac(_key(each), timestamp, body).hex()}" for each in secrets)
    return f"t={timestamp}" + "".join(signatures)


def _key(secret: str) -> bytes:
    if not isinstance(secret, str) or not _SECRET.fullmatch(secret):
        raise ValueError("secret must be the endpoint's signing secret: whsec_ and the base64 of 32 bytes")
    return secret.encode("ascii")


def _mac(key: bytes, timestamp: str, body: bytes | bytearray | memoryview) -> bytes:
    mac = hmac.new(key, timestamp.encode("ascii") + b".", hashlib.sha256)
    mac.update(body)
    return mac.digest()


def _parse(header: str) -> tuple[str, int, list[bytes]]:
    """The text of `t`, its number, and the bytes of every `v1`."""
    malformed = SignatureError(ErrorKind.MALFORMED_HEADER)
    timestamp: str | None = None
    signatures: list[bytes] = []
    for part in header.split(","):
        scheme, equals, value = part.strip(_WHITE_SPACE).partition("=")
        if not equals or (scheme == "t" and timestamp is not None):
            raise malformed
        if scheme == "t":
            timestamp = value
        elif scheme == "v1":
            if not _HEX.fullmatch(value):
                raise malformed
            signatures.append(bytes.fromhex(value))
    if timestamp is None or not _DIGITS.fullmatch(timestamp) or not signatures:
        raise malformed
    # Counted before it is read: Python refuses to read numbers of thousands of digits.
    significant = timestamp.lstrip("0")
    if len(significant) > 19 or int(significant or "0") > _SECONDS_MAX:
        raise malformed
    return timestamp, int(significant or "0"), signatures
