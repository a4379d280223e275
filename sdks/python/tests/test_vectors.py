"""The cases that every library and the server agree on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from typing import Any

import pytest
from support import SDKS, VECTORS, body_of

from k_payments_webhooks import ErrorKind, SignatureError, sign_header, verify_signature

passed = {"cases": 0, "signing": 0}


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_each_case_has_its_verdict(case: dict[str, Any]) -> None:
    reason = None
    try:
        verify_signature(
            body_of(case), case["header"], case["secret"], tolerance=case["tolerance"], now=case["time"]
        )
    except SignatureError as error:
        reason = error.kind
    assert reason == (ErrorKind(case["reason"]) if case["reason"] else None)
    passed["cases"] += 1


@pytest.mark.parametrize("entry", VECTORS["signing"], ids=lambda entry: entry["name"])
def test_signing_makes_the_header_of_the_service(entry: dict[str, Any]) -> None:
    assert sign_header(body_of(entry), entry["secrets"], at=entry["time"]) == entry["header"]
    passed["signing"] += 1


def test_the_file_is_what_its_program_makes() -> None:
    subprocess.run([sys.executable, SDKS / "vectors.py", "--check"], check=True)
    assert len(VECTORS["cases"]) >= 80


@pytest.fixture(scope="module", autouse=True)
def report() -> Any:
    """One line for the table of `make sdks`."""
    yield
    if path := os.environ.get("K_WEBHOOKS_VECTORS_REPORT"):
        with open(path, "a") as file:
            file.write(f"Python|CPython {platform.python_version()}|{passed['cases']}|{passed['signing']}\n")
