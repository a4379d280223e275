// Checks a signature in the browser, step by step, as a receiver does. The secret goes nowhere.

export type Check = "header" | "secret" | "time" | "signature";

export interface Step {
  check: Check;
  passed: boolean;
  /** Which of the explanations in text.ts fits. */
  reason: string;
  detail: string;
}

export interface Verdict {
  steps: Step[];
  valid: boolean;
  /** What the signature would be with this secret and body. */
  expected: string;
}

const encoder = new TextEncoder();

const hex = (bytes: ArrayBuffer): string =>
  [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** Whether this page can compute signatures: browsers do not let one that came over plain http. */
export const canVerify = globalThis.isSecureContext;

/** `v1` for a body: the hexadecimal HMAC-SHA256 over `{t}.{body}` under the whole text of the secret. */
export async function sign(secret: string, t: string, body: string): Promise<string> {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", encoder.encode(secret), algorithm, false, ["sign"]);
  return hex(await crypto.subtle.sign("HMAC", key, encoder.encode(`${t}.${body}`)));
}

export interface Parsed {
  t: string | undefined;
  v1: string[];
}

export function parseHeader(header: string): Parsed {
  const value = header.replace(/^\s*k-payments-signature\s*:/i, "");
  const parsed: Parsed = { t: undefined, v1: [] };
  for (const part of value.split(",")) {
    const at = part.indexOf("=");
    if (at < 0) continue;
    const [name, text] = [part.slice(0, at).trim(), part.slice(at + 1).trim()];
    if (name === "t") parsed.t ??= text;
    if (name === "v1") parsed.v1.push(text.toLowerCase());
  }
  return parsed;
}

export interface Given {
  header: string;
  body: string;
  secret: string;
  tolerance: number;
  now: number;
}

export async function verify({ header, body, secret, tolerance, now }: Given): Promise<Verdict> {
  const { t, v1 } = parseHeader(header);
  const steps: Step[] = [];
  const step = (check: Check, passed: boolean, reason: string, detail = ""): void => {
    steps.push({ check, passed, reason, detail });
  };

  if (header.trim() === "") step("header", false, "missing");
  else if (t === undefined || !/^\d{1,12}$/.test(t)) step("header", false, "noTime");
  else if (v1.length === 0) step("header", false, "noSignature");
  else if (!v1.every((value) => /^[0-9a-f]{64}$/.test(value))) step("header", false, "notHex");
  else step("header", true, "read", String(v1.length));

  if (/\s/.test(secret) && secret.trim() !== secret) step("secret", false, "spaces");
  else if (!secret.startsWith("whsec_")) step("secret", false, "prefix");
  else if (!/^whsec_[A-Za-z0-9+/]{43}=$/.test(secret)) step("secret", false, "cut");
  else step("secret", true, "whole");

  const age = t === undefined ? 0 : now - Number(t);
  if (!steps[0]!.passed) step("time", false, "unread");
  else if (tolerance === Infinity) step("time", true, "any", String(Math.round(Math.abs(age))));
  else if (age > tolerance) step("time", false, "old", String(Math.round(age)));
  else if (-age > tolerance) step("time", false, "new", String(Math.round(-age)));
  else step("time", true, "near", String(Math.round(Math.abs(age))));

  if (!steps[0]!.passed || !steps[1]!.passed || t === undefined) {
    step("signature", false, "unread");
    return { steps, valid: false, expected: "" };
  }
  const expected = await sign(secret, t, body);
  if (v1.includes(expected)) step("signature", true, "fits");
  else step("signature", false, (await nearMiss(secret, t, body, v1)) ?? "other");
  return { steps, valid: steps.every((one) => one.passed), expected };
}

/** What is commonly done to a body on its way, tried out: the first under which the signature would fit. */
async function nearMiss(secret: string, t: string, body: string, v1: string[]): Promise<string | undefined> {
  const compact = (): string => JSON.stringify(JSON.parse(body));
  const tries: [string, () => string][] = [
    ["trailing", () => body.replace(/\s+$/, "")],
    ["newline", () => `${body}\n`],
    ["formatted", compact],
    ["lineEnds", () => body.replaceAll("\r\n", "\n")],
  ];
  for (const [reason, change] of tries) {
    let changed: string;
    try {
      changed = change();
    } catch {
      continue;
    }
    if (changed !== body && v1.includes(await sign(secret, t, changed))) return reason;
  }
  const withoutPrefix = await sign(secret.slice("whsec_".length), t, body);
  return v1.includes(withoutPrefix) ? "withoutPrefix" : undefined;
}
