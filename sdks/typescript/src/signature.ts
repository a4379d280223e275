/** `K-Payments-Signature`: checking it, and making it for tests. The rules and their order are in sdks/README.md. */

import { parseEvent, type WebhookEvent } from "./event.js";

export const SIGNATURE_HEADER = "K-Payments-Signature";

/** How many seconds from now a signature may have been made. */
export const DEFAULT_TOLERANCE = 300;

/** The bytes of a request's body, as they came. A `Buffer` is one too. */
export type RawBody = Uint8Array | ArrayBuffer;

export interface VerifyOptions {
  /** Seconds; 300 if not given. */
  tolerance?: number;
  /** Unix seconds; the system's clock if not given. */
  now?: number;
}

const MESSAGES = {
  missing_header: "there is no K-Payments-Signature header",
  malformed_header: "the header is not of the form t=<unix seconds>,v1=<hex>",
  no_matching_signature:
    "no v1 fits: the secret is another endpoint's or an older one, or these are not the raw bytes of the body",
  timestamp_too_old: "the signature fits but was made too long ago; a replay, or this machine's clock is ahead",
  timestamp_too_new: "the signature fits but was made in the future; this machine's clock is behind",
} as const;

/** Why a signature does not hold. */
export type ErrorKind = keyof typeof MESSAGES;

/** The request is not one that K-Payments signed, or not now. Answer 400 and do nothing. */
export class SignatureError extends Error {
  override readonly name = "SignatureError";

  constructor(readonly kind: ErrorKind) {
    super(MESSAGES[kind]);
  }
}

/**
 * Verifies a request and reads its event. Throws {@link SignatureError} as {@link verifySignature} does, and
 * `EventError` if what was signed is no event.
 */
export async function constructEvent(
  body: RawBody,
  header: string | null | undefined,
  secret: string,
  options: VerifyOptions = {},
): Promise<WebhookEvent> {
  await verifySignature(body, header, secret, options);
  return parseEvent(body);
}

/** The same for a `Request` of the Fetch API, whose body nobody has read yet. */
export async function constructEventFromRequest(
  request: Request,
  secret: string,
  options: VerifyOptions = {},
): Promise<WebhookEvent> {
  return constructEvent(await request.arrayBuffer(), request.headers.get(SIGNATURE_HEADER), secret, options);
}

/**
 * Checks the value of `K-Payments-Signature` against the raw bytes of the body. Throws {@link SignatureError} if the
 * signature does not hold, and `TypeError` if the body is not bytes or the secret is not one.
 */
export async function verifySignature(
  body: RawBody,
  header: string | null | undefined,
  secret: string,
  { tolerance = DEFAULT_TOLERANCE, now = unixSeconds() }: VerifyOptions = {},
): Promise<void> {
  const bytes = bytesOf(body);
  const key = keyOf(secret);
  if (header == null || trim(header) === "") {
    throw new SignatureError("missing_header");
  }
  const { timestamp, seconds, signatures } = parse(header);
  const expected = await mac(key, timestamp, bytes);
  let fits = false;
  for (const signature of signatures) {
    // Every one is compared, so that the time tells nothing of which one fits.
    fits = equal(expected, signature) || fits;
  }
  if (!fits) {
    throw new SignatureError("no_matching_signature");
  }
  const age = BigInt(Math.trunc(now)) - seconds;
  if (age > BigInt(Math.trunc(tolerance))) {
    throw new SignatureError("timestamp_too_old");
  }
  if (age < -BigInt(Math.trunc(tolerance))) {
    throw new SignatureError("timestamp_too_new");
  }
}

/**
 * The header that the service would send for this body: for the tests of receivers. Several secrets make several
 * `v1`, as during a rotation. `at` is in unix seconds; now, if not given.
 */
export async function signHeader(
  body: RawBody,
  secret: string | readonly string[],
  { at = unixSeconds() }: { at?: number } = {},
): Promise<string> {
  const bytes = bytesOf(body);
  let header = `t=${at}`;
  for (const each of typeof secret === "string" ? [secret] : secret) {
    const signature = await mac(keyOf(each), String(at), bytes);
    header += `,v1=${Array.from(signature, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  }
  return header;
}

// The last letter before the padding holds four bits only.
const SECRET = /^whsec_[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;
const SECONDS_MAX = 2n ** 63n - 1n;

const unixSeconds = (): number => Math.floor(Date.now() / 1000);

/** Not `String.trim`, which drops more than the service does. */
const trim = (text: string): string => {
  let [start, end] = [0, text.length];
  while (start < end && isSpace(text.charCodeAt(start))) start++;
  while (end > start && isSpace(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
};

const isSpace = (code: number): boolean => code === 0x20 || (code >= 0x09 && code <= 0x0d);

function bytesOf(body: RawBody): Uint8Array {
  // By name: a body can come from another realm, where its constructor is another.
  const kind = Object.prototype.toString.call(body);
  if (kind === "[object ArrayBuffer]") {
    return new Uint8Array(body as ArrayBuffer);
  }
  if (kind === "[object Uint8Array]") {
    return body as Uint8Array;
  }
  throw new TypeError("body must be the raw bytes of the request, a Uint8Array or an ArrayBuffer");
}

function keyOf(secret: string): Uint8Array {
  if (typeof secret !== "string" || !SECRET.test(secret)) {
    throw new TypeError("secret must be the endpoint's signing secret: whsec_ and the base64 of 32 bytes");
  }
  return new TextEncoder().encode(secret);
}

async function mac(key: Uint8Array, timestamp: string, body: Uint8Array): Promise<Uint8Array> {
  const prefix = new TextEncoder().encode(`${timestamp}.`);
  const signed = new Uint8Array(prefix.length + body.length);
  signed.set(prefix);
  signed.set(body, prefix.length);
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const imported = await crypto.subtle.importKey("raw", new Uint8Array(key), algorithm, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, signed));
}

/** Whether they are the same, in a time that depends on their lengths alone. */
function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) {
    return false;
  }
  let difference = 0;
  for (let index = 0; index < a.length; index++) {
    difference |= (a[index] ?? 0) ^ (b[index] ?? 0);
  }
  return difference === 0;
}

/** The text of `t`, its number, and the bytes of every `v1`. */
function parse(header: string): { timestamp: string; seconds: bigint; signatures: Uint8Array[] } {
  const malformed = new SignatureError("malformed_header");
  let timestamp: string | undefined;
  const signatures: Uint8Array[] = [];
  for (const raw of header.split(",")) {
    const part = trim(raw);
    const equals = part.indexOf("=");
    const [scheme, value] = [part.slice(0, equals), part.slice(equals + 1)];
    if (equals < 0 || (scheme === "t" && timestamp !== undefined)) {
      throw malformed;
    }
    if (scheme === "t") {
      timestamp = value;
    } else if (scheme === "v1") {
      if (!/^(?:[0-9A-Fa-f]{2})*$/.test(value)) {
        throw malformed;
      }
      signatures.push(Uint8Array.from(value.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16)));
    }
  }
  if (timestamp === undefined || !/^[0-9]+$/.test(timestamp) || signatures.length === 0) {
    throw malformed;
  }
  // Counted before it is read: reading a number of thousands of digits takes its time.
  const significant = timestamp.replace(/^0+/, "");
  if (significant.length > 19 || BigInt(significant) > SECONDS_MAX) {
    throw malformed;
  }
  return { timestamp, seconds: BigInt(significant), signatures };
}
