// What the console asks of the internal listener.

import { get, query, type Delivery, type Endpoint, type Health, type List } from "../lib/api";
import { now } from "../lib/time.svelte";

export interface Status {
  version: string;
  now_ms: number;
  queue: { pending: number; leased: number; due: number; held: number; oldest_due_at: number | null } | null;
  processes: Process[];
  upkeep: { part: string; last_success: number | null; every_seconds: number }[];
}

export interface Process {
  id: string;
  role: string;
  version: string;
  host: string;
  started: number;
  seen: number;
  alive: boolean;
  load: {
    in_flight: number;
    in_flight_max: number;
    waiting: number;
    lanes: number;
    lanes_troubled: number;
    accept_queue: number;
    streams: number;
  };
}

interface Times {
  p50: number;
  p95: number;
  p99: number;
}

export interface Done {
  events_accepted: number;
  attempts_succeeded: number;
  attempts_failed: number;
  deliveries_succeeded: number;
  deliveries_abandoned: number;
  accept_ms: Times | null;
  delivery_ms: Times | null;
}

export interface Throughput {
  from: number;
  to: number;
  bucket_seconds: number;
  total: Done;
  data: (Done & { start: number })[];
}

export interface FailingEndpoint {
  webhook_endpoint: string;
  merchant_id: string;
  livemode: boolean;
  url: string;
  status: "enabled" | "disabled";
  disabled_reason: Endpoint["disabled_reason"];
  failing_since: number;
  disables_at: number | null;
  last_failure: Health["last_failure"];
  pending: number;
  held: number;
}

export interface AbandonedDelivery extends Delivery {
  merchant_id: string;
  livemode: boolean;
  abandoned_at: number | null;
  position: number;
}

export interface Found {
  id: string;
  kind: "merchant" | "event" | "delivery" | "webhook_endpoint" | "backfill" | "api_key" | "portal_session";
  merchant_id: string | null;
  livemode: boolean | null;
}

export interface EventOfMerchant {
  id: string;
  merchant_id: string;
  livemode: boolean;
  type: string;
  created: number;
  accepted: number;
  body_bytes: number;
  pending_webhooks: number;
}

export interface Key {
  id: string;
  merchant_id: string | null;
  livemode: boolean | null;
  service: string | null;
  last4: string;
  created: number;
  expires_at: number | null;
}

export interface AuditEntry {
  id: string;
  created: number;
  merchant_id: string | null;
  livemode: boolean | null;
  actor: { kind: string; id: string | null; name: string | null };
  action: string;
  object_id: string;
  changes: Record<string, { old: unknown; new: unknown }>;
}

export const status = (signal?: AbortSignal): Promise<Status> => get("/v1/status", signal);

export function throughput(seconds: number, signal?: AbortSignal): Promise<Throughput> {
  const to = Math.floor(now());
  return get(`/v1/throughput${query({ from: to - seconds, to })}`, signal);
}

export const failing = (limit: number, signal?: AbortSignal): Promise<List<FailingEndpoint>> =>
  get(`/v1/failing_endpoints${query({ limit })}`, signal);

export const find = (id: string, signal?: AbortSignal): Promise<Found> =>
  get(`/v1/objects/${encodeURIComponent(id)}`, signal);

/** The page about an object. */
export function place({ kind, id }: Pick<Found, "kind" | "id">): string {
  switch (kind) {
    case "merchant":
      return `/merchants/${id}`;
    case "event":
      return `/events/${id}`;
    case "delivery":
      return `/deliveries/${id}`;
    case "webhook_endpoint":
      return `/endpoints/${id}`;
    default:
      return `/objects/${id}`;
  }
}
