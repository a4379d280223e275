#!/usr/bin/env python3
"""Makes vectors.json, the cases that the server and every library must agree on.

The verdicts are written here by hand; only signatures are computed. `vectors.py` writes the file,
`vectors.py --check` fails if the file is not what this program makes. The format is in README.md.
"""

import base64
import hashlib
import hmac
import json
import sys
from pathlib import Path

FILE = Path(__file__).with_name("vectors.json")

NOW = 1_749_651_729
TOLERANCE = 300
I64_MAX = 2**63 - 1


def secret_of(first: int) -> str:
    """A signing secret whose 32 bytes count up from `first`."""
    return "whsec_" + base64.b64encode(bytes((first + i) % 256 for i in range(32))).decode()


SECRET = secret_of(0)
ROTATED = secret_of(32)
STRANGER = secret_of(200)
# Its base64 has `+` and `/`, which a library that rewrites the text of the secret would spoil.
SYMBOLS = "whsec_" + base64.b64encode(bytes([0xFB, 0xEF, 0xBE, 0xFF]) * 8).decode()

EVENT = (
    b'{"id":"evt_01jxf3k2v8e5m9q7r4t6w8y0za","object":"event","api_version":"v1","created":1749651729,'
    b'"livemode":false,"type":"charge.succeeded","data":{"object":{"id":"ch_1","object":"charge",'
    b'"amount":4999,"currency":"USD"}}}'
)


def mac(t: object, body: bytes = EVENT, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), str(t).encode() + b"." + body, hashlib.sha256).hexdigest()


cases: list[dict[str, object]] = []
signing: list[dict[str, object]] = []
standard_webhooks: list[dict[str, object]] = []


def case(
    name: str,
    header: str | None,
    reason: str | None = None,
    *,
    body: bytes = EVENT,
    secret: str = SECRET,
    time: int = NOW,
    tolerance: int = TOLERANCE,
) -> None:
    """A case; without a reason the signature holds."""
    cases.append({
        "name": name,
        "secret": secret,
        "time": time,
        "tolerance": tolerance,
        "header": header,
        "body": base64.b64encode(body).decode(),
        "verdict": "invalid" if reason else "valid",
        "reason": reason,
    })


MISSING = "missing_header"
MALFORMED = "malformed_header"
NO_MATCH = "no_matching_signature"
OLD = "timestamp_too_old"
NEW = "timestamp_too_new"


def signed(body: bytes = EVENT, t: object = NOW, *secrets: str) -> str:
    return f"t={t}" + "".join(f",v1={mac(t, body, secret)}" for secret in secrets or (SECRET,))


def plain_cases() -> None:
    case("a plain event", signed())
    case("a secret whose base64 has plus and slash", signed(EVENT, NOW, SYMBOLS), secret=SYMBOLS)
    case("v1 before t", f"v1={mac(NOW)},t={NOW}")
    case("the secret of another endpoint", signed(EVENT, NOW, STRANGER), NO_MATCH)
    case("the key is the bytes behind whsec_", "t={},v1={}".format(
        NOW, hmac.new(bytes(range(32)), f"{NOW}.".encode() + EVENT, hashlib.sha256).hexdigest()), NO_MATCH)
    case("the key is the secret without whsec_", f"t={NOW},v1={mac(NOW, EVENT, SECRET[6:])}", NO_MATCH)
    case("only the body was signed", "t={},v1={}".format(
        NOW, hmac.new(SECRET.encode(), EVENT, hashlib.sha256).hexdigest()), NO_MATCH)
    case("the time and the body were signed without the full stop", "t={},v1={}".format(
        NOW, hmac.new(SECRET.encode(), str(NOW).encode() + EVENT, hashlib.sha256).hexdigest()), NO_MATCH)
    case("signed with SHA-512, cut to 32 bytes", "t={},v1={}".format(
        NOW, hmac.new(SECRET.encode(), f"{NOW}.".encode() + EVENT, hashlib.sha512).hexdigest()[:64]), NO_MATCH)
    case("t was changed after signing", f"t={NOW + 1},v1={mac(NOW)}", NO_MATCH)
    case("the hash of no key at all", "t={},v1={}".format(
        NOW, hashlib.sha256(f"{NOW}.".encode() + EVENT).hexdigest()), NO_MATCH)


def rotation_cases() -> None:
    both = signed(EVENT, NOW, ROTATED, SECRET)
    case("rotation: the older secret, which signed second", both)
    case("rotation: the newer secret, which signed first", both, secret=ROTATED)
    case("rotation: a third secret", both, NO_MATCH, secret=STRANGER)
    case("rotation: v1 before and after t", f"v1={mac(NOW, EVENT, ROTATED)},t={NOW},v1={mac(NOW)}")
    case("rotation: the same v1 twice", f"t={NOW},v1={mac(NOW)},v1={mac(NOW)}")
    case("rotation: three v1, the last fits", signed(EVENT, NOW, STRANGER, ROTATED, SECRET))
    case("rotation: the v1 of one with the body of another", signed(b"{}", NOW, ROTATED, SECRET), NO_MATCH)
    case("rotation: one v1 fits and the other is not hex", f"t={NOW},v1={mac(NOW)},v1=zz", MALFORMED)
    case("rotation: one v1 fits and the other is empty", f"t={NOW},v1=,v1={mac(NOW)}")
    case("rotation: one v1 fits and the other is short", f"t={NOW},v1=00,v1={mac(NOW)}")
    case("forty v1 of which the last fits", f"t={NOW}" + ",v1=" + ",v1=".join(["00" * 32] * 39 + [mac(NOW)]))


def scheme_cases() -> None:
    v1 = mac(NOW)
    case("an unknown scheme before", f"v0=zz,t={NOW},v1={v1}")
    case("an unknown scheme between", f"t={NOW},v2=not/hex==,v1={v1}")
    case("an unknown scheme after", f"t={NOW},v1={v1},v2=x")
    case("an unknown scheme twice", f"t={NOW},v2=a,v2=b,v1={v1}")
    case("an unknown scheme without a value", f"t={NOW},v2=,v1={v1}")
    case("a scheme without a name", f"t={NOW},=x,v1={v1}")
    case("only unknown schemes beside t", f"t={NOW},v0={v1},v2={v1}", MALFORMED)
    case("the fitting signature stands under v0", f"t={NOW},v0={v1},v1={'00' * 32}", NO_MATCH)
    case("V1 in upper case is an unknown scheme", f"t={NOW},V1={v1}", MALFORMED)
    case("T in upper case is an unknown scheme", f"T={NOW},v1={v1}", MALFORMED)
    case("T in upper case beside t", f"T=1,t={NOW},v1={v1}")
    case("v11 is an unknown scheme", f"t={NOW},v11={v1}", MALFORMED)
    case("v is an unknown scheme", f"t={NOW},v={v1}", MALFORMED)
    case("the form of Standard Webhooks", "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=", MALFORMED)
    case("the fitting signature stands inside the value of v2", f"t={NOW},v2=v1={v1},v1={'00' * 32}", NO_MATCH)
    case("a part with two equals signs beside a v1 that fits", f"t={NOW},v1={v1},v1=00=00", MALFORMED)
    case("__proto__ is an unknown scheme", f"__proto__=1,constructor=2,t={NOW},v1={v1}")


def duplicate_cases() -> None:
    v1 = mac(NOW)
    case("t twice", f"t={NOW},t={NOW},v1={v1}", MALFORMED)
    case("t twice, the second wrong", f"t={NOW},v1={v1},t=1", MALFORMED)
    case("t twice, the first empty", f"t=,t={NOW},v1={v1}", MALFORMED)
    case("two headers that were joined", signed() + ", " + signed(), MALFORMED)


def space_cases() -> None:
    v1 = mac(NOW)
    case("a space after the comma", f"t={NOW}, v1={v1}")
    case("a space before the comma", f"t={NOW} ,v1={v1}")
    case("spaces and tabs around", f" \tt={NOW}\t , \tv1={v1} \t")
    case("a line break at the end", f"t={NOW},v1={v1}\r\n")
    case("a space before the equals sign of t", f"t ={NOW},v1={v1}", MALFORMED)
    case("a space after the equals sign of t", f"t= {NOW},v1={v1}", MALFORMED)
    case("a space before the equals sign of v1", f"t={NOW},v1 ={v1}", MALFORMED)
    case("a space after the equals sign of v1", f"t={NOW},v1= {v1}", MALFORMED)
    case("a space inside t", f"t={str(NOW)[:5]} {str(NOW)[5:]},v1={v1}", MALFORMED)
    case("a space inside v1", f"t={NOW},v1={v1[:32]} {v1[32:]}", MALFORMED)
    case("a byte order mark is no space", f"\ufefft={NOW},v1={v1}", MALFORMED)
    case("a unit separator is no space", f"t={NOW},v1={v1}\x1f", MALFORMED)
    case("a zero byte is no space", f"t={NOW},v1={v1}\x00", MALFORMED)


def hex_cases() -> None:
    v1 = mac(NOW)
    mixed = "".join(c.upper() if i % 2 else c for i, c in enumerate(v1))
    case("upper case hex", f"t={NOW},v1={v1.upper()}")
    case("mixed case hex", f"t={NOW},v1={mixed}")
    case("hex with 0x before it", f"t={NOW},v1=0x{v1}", MALFORMED)
    case("hex with one digit less", f"t={NOW},v1={v1[:-1]}", MALFORMED)
    case("hex with one byte less", f"t={NOW},v1={v1[:-2]}", NO_MATCH)
    case("hex with one byte more", f"t={NOW},v1={v1}00", NO_MATCH)
    case("hex with the signature twice", f"t={NOW},v1={v1}{v1}", NO_MATCH)
    case("an empty v1", f"t={NOW},v1=", NO_MATCH)
    case("the first bit is wrong", f"t={NOW},v1={int(v1[0], 16) ^ 8:x}{v1[1:]}", NO_MATCH)
    case("the last bit is wrong", f"t={NOW},v1={v1[:-1]}{int(v1[-1], 16) ^ 1:x}", NO_MATCH)
    case("all zeros", f"t={NOW},v1={'0' * 64}", NO_MATCH)
    case("a letter past f", f"t={NOW},v1={v1[:-1]}g", MALFORMED)
    case("base64 in place of hex", "t={},v1={}".format(
        NOW, base64.b64encode(bytes.fromhex(v1)).decode()), MALFORMED)
    case("hex with an equals sign after it", f"t={NOW},v1={v1}=", MALFORMED)
    case("v1 in quotation marks", f't={NOW},v1="{v1}"', MALFORMED)
    case("full-width digits in v1", f"t={NOW},v1={v1[:-2]}\uff10\uff10", MALFORMED)


def body_cases() -> None:
    def body(name: str, content: bytes) -> None:
        case(name, signed(content), body=content)

    body("an empty body", b"")
    body("a body of one full stop", b".")
    body("a body that is not ASCII", '{"name":"Zoë Müller","city":"東京","mark":"💶"}'.encode())
    body("a body that is not UTF-8", b'{"name":"\xff\xfe\x80"}')
    body("a body of every byte", bytes(range(256)))
    body("a body with zero bytes", b"\x00\x00{}\x00")
    body("a body with CRLF", b'{\r\n  "id": "evt_1"\r\n}\r\n')
    body("a body with CR alone", b'{\r"id": "evt_1"\r}')
    body("a body with a byte order mark", b'\xef\xbb\xbf{"id":"evt_1"}')
    body("a body with half of a surrogate pair", b'{"name":"\xed\xa0\x80"}')
    body("a body with decomposed letters", b'{"name":"Zoe\xcc\x88"}')
    body("a body with spaces around", b' \n\t{"id":"evt_1"} \n')
    body("a body with numbers that no double holds", b'{"big":12345678901234567890123,"one":1.10}')
    body("a body with the same key twice", b'{"id":"evt_1","id":"evt_2"}')
    body("a body with escapes", b'{"name":"\\u00e9\\/\\n"}')
    body("a body of 64 KiB", b"0123456789abcdef" * 4096)
    case("an empty body with the signature of another", signed(), NO_MATCH, body=b"")
    case("a body where one byte was changed", signed(), NO_MATCH, body=EVENT.replace(b"4999", b"4998"))
    case("a body with a line feed more", signed(), NO_MATCH, body=EVENT + b"\n")
    case("a body with its last byte cut off", signed(), NO_MATCH, body=EVENT[:-1])
    case("a body that was parsed and written again", signed(), NO_MATCH,
         body=json.dumps(json.loads(EVENT)).encode())
    crlf = b'{\r\n"id":"evt_1"\r\n}'
    case("a body whose CRLF became LF", signed(crlf), NO_MATCH, body=crlf.replace(b"\r\n", b"\n"))
    composed = '{"name":"Zoë"}'.encode()
    case("a body whose letters were decomposed", signed(composed), NO_MATCH, body=b'{"name":"Zoe\xcc\x88"}')
    case("a body that was read as Latin-1", signed(composed), NO_MATCH,
         body=composed.decode("latin-1").encode())
    case("a body whose bad bytes were replaced", signed(b'{"name":"\xff"}'), NO_MATCH,
         body='{"name":"\ufffd"}'.encode())
    case("a body that lost its byte order mark", signed(b"\xef\xbb\xbf{}"), NO_MATCH, body=b"{}")
    case("the full stop moved from the time to the body", signed(b"5.x", 17), NO_MATCH, body=b"x", time=17)


def time_cases() -> None:
    for name, age, reason in [
        ("300 seconds old", 300, None), ("301 seconds old", 301, OLD), ("a day old", 86_400, OLD),
        ("300 seconds ahead", -300, None), ("301 seconds ahead", -301, NEW), ("a day ahead", -86_400, NEW),
    ]:
        case(name, signed(EVENT, NOW - age), reason)
    case("old, and neither of two v1 fits", signed(EVENT, NOW - 301, STRANGER, ROTATED), NO_MATCH)
    case("ahead, with the wrong body", signed(b"{}", NOW + 301), NO_MATCH)
    case("old, and malformed", f"{signed(EVENT, NOW - 301)},v1=x", MALFORMED)
    case("tolerance 0, the same second", signed(), tolerance=0)
    case("tolerance 0, one second old", signed(EVENT, NOW - 1), OLD, tolerance=0)
    case("tolerance 0, one second ahead", signed(EVENT, NOW + 1), NEW, tolerance=0)
    case("tolerance 10 minutes, 600 seconds old", signed(EVENT, NOW - 600), tolerance=600)
    case("tolerance 10 minutes, 601 seconds old", signed(EVENT, NOW - 601), OLD, tolerance=600)
    case("t is 0", signed(EVENT, 0), OLD)
    case("t is 0 and so is the time", signed(EVENT, 0), time=0)
    case("t in milliseconds", signed(EVENT, NOW * 1000), NEW)
    case("t is past 32 bits", signed(EVENT, 2**32 + 5), time=2**32 + 5)
    case("t is past what a double holds", signed(EVENT, 2**53 + 1), NEW)
    case("t is the largest number of 64 bits", signed(EVENT, I64_MAX), NEW)
    case("t is one more than 64 bits hold", signed(EVENT, I64_MAX + 1), MALFORMED)
    case("t is what wraps around to now", signed(EVENT, 2**64 + NOW), MALFORMED)
    case("t has thirty digits", signed(EVENT, "9" * 30), MALFORMED)
    case("t has five thousand digits", signed(EVENT, "1" * 5000), MALFORMED)
    case("t has a zero before it, and was signed so", signed(EVENT, f"0{NOW}"))
    case("t has forty zeros before it, and was signed so", signed(EVENT, "0" * 40 + str(NOW)))
    case("t has a zero before it, and was signed without", f"t=0{NOW},v1={mac(NOW)}", NO_MATCH)


def missing_cases() -> None:
    v1 = mac(NOW)
    case("no header", None, MISSING)
    case("an empty header", "", MISSING)
    case("a header of spaces", " \t ", MISSING)
    case("no header, and an empty body", None, MISSING, body=b"")
    case("no t", f"v1={v1}", MALFORMED)
    case("no v1", f"t={NOW}", MALFORMED)
    case("an empty t", f"t=,v1={v1}", MALFORMED)
    case("t with a plus sign", f"t=+{NOW},v1={v1}", MALFORMED)
    case("t below zero", signed(EVENT, -1), MALFORMED)
    case("t with decimals", signed(EVENT, f"{NOW}.0"), MALFORMED)
    case("t in hex", signed(EVENT, hex(NOW)), MALFORMED)
    case("t with an exponent", signed(EVENT, "17e8"), MALFORMED)
    case("t with underscores", signed(EVENT, "1_749_651_729"), MALFORMED)
    case("t in Arabic-Indic digits", signed(EVENT, "١٧٤٩٦٥١٧٢٩"), MALFORMED)
    case("t as a date", signed(EVENT, "2025-06-11T14:22:09Z"), MALFORMED)
    case("a comma at the end", f"t={NOW},v1={v1},", MALFORMED)
    case("a comma at the start", f",t={NOW},v1={v1}", MALFORMED)
    case("two commas", f"t={NOW},,v1={v1}", MALFORMED)
    case("a comma alone", ",", MALFORMED)
    case("a part without an equals sign", f"t={NOW},v1={v1},x", MALFORMED)
    case("semicolons in place of commas", f"t={NOW};v1={v1}", MALFORMED)
    case("a bare signature", v1, MALFORMED)
    case("a word", "nonsense", MALFORMED)
    case("the header with its name", f"K-Payments-Signature: t={NOW},v1={v1}", MALFORMED)


def sign(name: str, body: bytes, time: int = NOW, secrets: tuple[str, ...] = (SECRET,)) -> None:
    signing.append({
        "name": name,
        "secrets": list(secrets),
        "time": time,
        "body": base64.b64encode(body).decode(),
        "header": signed(body, time, *secrets),
    })


def signing_cases() -> None:
    sign("a plain event", EVENT)
    sign("a secret whose base64 has plus and slash", EVENT, secrets=(SYMBOLS,))
    sign("rotation: one v1 for each secret, in the order given", EVENT, secrets=(ROTATED, SECRET))
    sign("an empty body", b"")
    sign("a body that is not UTF-8", b'{"name":"\xff\xfe\x80"}')
    sign("a body of every byte", bytes(range(256)))
    sign("a body with CRLF", b'{\r\n"id":"evt_1"\r\n}')
    sign("t is 0", EVENT, time=0)
    sign("t is past 32 bits", EVENT, time=2**32 + 5)


def standard(name: str, body: bytes, secrets: tuple[str, ...] = (SECRET,)) -> None:
    """The `webhook-signature` of Standard Webhooks, whose key is the bytes behind `whsec_`."""
    event = "evt_01jxf3k2v8e5m9q7r4t6w8y0za"
    signatures = []
    for secret in secrets:
        key = base64.b64decode(secret[len("whsec_"):])
        signature = hmac.new(key, f"{event}.{NOW}.".encode() + body, hashlib.sha256).digest()
        signatures.append("v1," + base64.b64encode(signature).decode())
    standard_webhooks.append({
        "name": name,
        "secrets": list(secrets),
        "id": event,
        "time": NOW,
        "body": base64.b64encode(body).decode(),
        "signature": " ".join(signatures),
    })


def standard_webhooks_cases() -> None:
    standard("a plain event", EVENT)
    standard("a secret whose base64 has plus and slash", EVENT, (SYMBOLS,))
    standard("rotation: one v1 for each secret, in the order given", EVENT, (ROTATED, SECRET))
    standard("a body that is not ASCII", '{"name":"Zoë Müller","city":"東京","mark":"💶"}'.encode())
    standard("a body with CRLF", b'{\r\n"id":"evt_1"\r\n}')


def render() -> str:
    plain_cases()
    rotation_cases()
    scheme_cases()
    duplicate_cases()
    space_cases()
    hex_cases()
    body_cases()
    time_cases()
    missing_cases()
    signing_cases()
    standard_webhooks_cases()
    for group in (cases, signing, standard_webhooks):
        names = [entry["name"] for entry in group]
        assert len(set(names)) == len(names), "a name stands for one case"
    document = {"version": 1, "cases": cases, "signing": signing, "standard_webhooks": standard_webhooks}
    return json.dumps(document, indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    text = render()
    if sys.argv[1:] == ["--check"]:
        if FILE.read_text() != text:
            sys.exit("vectors.json is not what vectors.py makes; run vectors.py")
    else:
        FILE.write_text(text)
    print(f"{len(cases)} cases to verify, {len(signing)} to sign")
