// The service's API as its pages call it. The cookie says who asks; the header with the session's id says that this page
// asks, and for which session.

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

export type Access = "read_only" | "full";
export type Appearance = "light" | "dark" | "auto";

export interface Session {
  id: string;
  merchant_id: string;
  livemode: boolean;
  access: Access;
  theme: { accent: string | null; appearance: Appearance };
  expires_at: number;
  now_ms: number;
}

export interface List<T> {
  data: T[];
  has_more: boolean;
}

export interface Endpoint {
  id: string;
  url: string;
  enabled_events: string[];
  description: string | null;
  status: "enabled" | "disabled";
  disabled_reason: string | null;
  livemode: boolean;
  created: number;
  updated: number;
}

export interface EndpointWithSecret extends Endpoint {
  signing_secret: string;
}

export interface DeliveryCounts {
  pending: number;
  retrying: number;
  held: number;
  succeeded: number;
  abandoned: number;
}

export interface WebhookEvent {
  id: string;
  type: string;
  created: number;
  livemode: boolean;
  data: { object: Record<string, unknown>; previous_attributes?: Record<string, unknown> };
  pending_webhooks: number;
  delivery_counts?: DeliveryCounts;
}

export type DeliveryStatus = "pending" | "held" | "succeeded" | "abandoned";

export interface Delivery {
  id: string;
  event: string;
  event_type: string;
  webhook_endpoint: string;
  status: DeliveryStatus;
  abandoned_reason: string | null;
  attempt_count: number;
  next_attempt_at: number | null;
  created: number;
}

export interface Attempt {
  id: string;
  number: number;
  started: number;
  duration_ms: number;
  response_status: number | null;
  failure_code: string | null;
  failure_message: string | null;
  response_body: string | null;
  address: string | null;
}

export interface DeliveryWithAttempts extends Delivery {
  attempts: Attempt[];
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
    throw new ApiFailure(0, "The service cannot be reached. Check your connection.", {}, undefined);
  }
  const answer = await response.json().catch(() => undefined);
  if (response.ok) return answer as T;
  const error = answer?.error ?? {};
  if (response.status === 401 && !path.endsWith("/session")) onEnd();
  throw new ApiFailure(
    response.status,
    error.message ?? `The service answered ${response.status}.`,
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

export const EVENT_TYPES = [
  "charge.succeeded",
  "charge.failed",
  "charge.refunded",
  "refund.created",
  "refund.updated",
  "payout.created",
  "payout.paid",
  "payout.failed",
  "dispute.created",
  "dispute.updated",
  "dispute.closed",
] as const;
