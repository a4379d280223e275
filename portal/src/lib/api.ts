// The service's API as its pages call it, in the types of its documents. The cookie says who asks; the header with the
// session's id says that this page asks, and for which session.

import type { components } from "./openapi";
import type { components as internal } from "./openapi-internal";
import { t } from "./text";

/** A failed call, with what the service says of it. */
export class ApiFailure extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly fields: Record<string, string[]>,
    readonly requestId: string | undefined,
  ) {
    super(message);
  }

  /** What is wrong with a field, if anything. */
  of(field: string): string | undefined {
    return this.fields[field]?.join("; ");
  }
}

type Schemas = components["schemas"];

/** The session as its page sees it, with the service's time. */
export type Session = internal["schemas"]["PortalSession"] & { now_ms: number };
export type Endpoint = Schemas["WebhookEndpoint"];
export type EndpointWithSecret = Schemas["WebhookEndpointWithSecret"];
export type Health = Schemas["WebhookEndpointHealth"];
export type EventType = Schemas["EventType"];
export type WebhookEvent = Schemas["Event"];
export type DeliveryCounts = Schemas["EventDeliveryCounts"];
export type Delivery = Schemas["Delivery"];
export type DeliveryStatus = Schemas["DeliveryStatus"];
export type DeliveryWithAttempts = Schemas["DeliveryWithAttempts"];
export type Attempt = Schemas["Attempt"];
export type WholeAttempt = Schemas["WholeAttempt"];
export type Backfill = Schemas["BackfillWithDeliveries"];
export type BackfillBegun = Schemas["BackfillBegun"];
export type Timeline = Schemas["Timeline"];
export type TimelineEntry = Schemas["TimelineEntry"];
export type Numbers = Schemas["Numbers"];
export type Statistics = Schemas["Statistics"];

export interface List<T> {
  data: T[];
  has_more: boolean;
}

/** Where the page's session stands; the id goes with every call. */
let sessionId = "";
let header = "K-Webhooks-Portal";
let onEnd: () => void = () => {};

export function useSession(id: string, ended: () => void, named = header): void {
  sessionId = id;
  header = named;
  onEnd = ended;
}

export function sessionHeaders(): Record<string, string> {
  return { [header]: sessionId };
}

/** Tells that the session has ended, by whatever call came first to know. */
export function sessionEnded(): void {
  onEnd();
}

export async function call<T>(
  method: "GET" | "POST" | "PATCH" | "DELETE",
  path: string,
  body?: unknown,
  signal?: AbortSignal,
): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers: {
        ...sessionHeaders(),
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      },
      body: body === undefined ? null : JSON.stringify(body),
      signal: signal ?? null,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiFailure(0, t.unreachable, {}, undefined);
  }
  const answer = await response.json().catch(() => undefined);
  if (response.ok) return answer as T;
  const error = answer?.error ?? {};
  if (response.status === 401 && !path.endsWith("/session")) onEnd();
  throw new ApiFailure(
    response.status,
    error.message ?? t.answered(response.status),
    error.details?.fieldErrors ?? {},
    error.request_id,
  );
}

export const get = <T>(path: string, signal?: AbortSignal): Promise<T> => call<T>("GET", path, undefined, signal);
export const post = <T>(path: string, body: unknown = {}): Promise<T> => call<T>("POST", path, body);

/** A query string of what is given, with its question mark. */
export function query(parameters: Record<string, string | number | boolean | undefined>): string {
  const pairs = Object.entries(parameters).filter((pair): pair is [string, string | number] => {
    return pair[1] !== undefined && pair[1] !== "";
  });
  const text = new URLSearchParams(pairs.map(([name, value]) => [name, String(value)])).toString();
  return text === "" ? "" : `?${text}`;
}

// Keys, so that the compiler misses none.
const TYPES: Record<EventType, true> = {
  "charge.succeeded": true,
  "charge.failed": true,
  "charge.refunded": true,
  "refund.created": true,
  "refund.updated": true,
  "payout.created": true,
  "payout.paid": true,
  "payout.failed": true,
  "dispute.created": true,
  "dispute.updated": true,
  "dispute.closed": true,
};

export const EVENT_TYPES = Object.keys(TYPES) as EventType[];
