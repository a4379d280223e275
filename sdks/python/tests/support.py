"""What the tests share."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

SDKS = Path(__file__).resolve().parents[2]
VECTORS: dict[str, Any] = json.loads((SDKS / "vectors.json").read_text())

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
NOW = 1_749_651_729
BODY = (
    b'{"id":"evt_1","object":"event","api_version":"v1","created":1749651729,"livemode":false,'
    b'"type":"charge.refunded","data":{"object":{"id":"ch_1","object":"charge","amount":4999},'
    b'"previous_attributes":{"amount_refunded":0}}}'
)


def body_of(entry: dict[str, Any]) -> bytes:
    return base64.b64decode(entry["body"], validate=True)
