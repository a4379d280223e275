/**
 * The merchant API: endpoints, events, deliveries. Every method answers `[data, error]`.
 *
 *     const merchant = new MerchantClient("sk_test_…", { baseUrl: "https://webhooks.example.com" });
 *     const [endpoint, error] = await merchant.webhookEndpoints.create({ url: "https://example.com/hooks" });
 */
import type { EventType, WebhookEvent } from "./event.js";
import { Api, path, type ApiOptions, type Result } from "./http.js";

export { ApiError, type ApiErrorType, type ApiOptions, type Result } from "./http.js";

export interface WebhookEndpoint {
  id: string;
  object: "webhook_endpoint";
  url: string;
  /** Types, or `*` alone. */
  enabled_events: (EventType | "*")[];
  description: string | null;
  status: "enabled" | "disabled";
  disabled_reason: string | null;
  livemode: boolean;
  created: number;
  updated: number;
}

/** An endpoint in the answers that make a secret: the only time that it is shown. */
export interface WebhookEndpointWithSecret extends WebhookEndpoint {
  signing_secret: string;
}

/** An event, with the number of its deliveries that are pending or held. */
export type Event = WebhookEvent & { pending_webhooks: number };

export type DeliveryStatus = "pending" | "held" | "succeeded" | "abandoned";

/** One event to one endpoint. */
export interface Delivery {
  id: string;
  object: "delivery";
  event: string;
  event_type: EventType;
  webhook_endpoint: string;
  livemode: boolean;
  status: DeliveryStatus;
  abandoned_reason: "window_closed" | "gone" | "endpoint_deleted" | "endpoint_disabled" | null;
  attempt_count: number;
  next_attempt_at: number | null;
  created: number;
}

export interface DeliveryWithAttempts extends Delivery {
  attempts: Attempt[];
}

export interface Attempt {
  id: string;
  object: "attempt";
  number: number;
  started: number;
  duration_ms: number;
  response_status: number | null;
  failure_code:
    | "http_status"
    | "redirect"
    | "timeout"
    | "dns"
    | "connection"
    | "tls"
    | "address_forbidden"
    | "protocol"
    | null;
  failure_message: string | null;
  response_body: string | null;
  address: string | null;
}

/** A page, newest first. */
export interface List<Item> {
  object: "list";
  url: string;
  data: Item[];
  has_more: boolean;
}

export interface Page {
  /** 1 to 100; 20 if not given. */
  limit?: number;
  starting_after?: string;
  ending_before?: string;
}

/** The merchant API, with a merchant's secret key, which says whose and which mode. No request is repeated. */
export class MerchantClient {
  readonly webhookEndpoints: WebhookEndpoints;
  readonly events: Events;
  readonly deliveries: Deliveries;

  constructor(apiKey: string, options: ApiOptions) {
    const api = new Api(apiKey, options);
    this.webhookEndpoints = new WebhookEndpoints(api);
    this.events = new Events(api);
    this.deliveries = new Deliveries(api);
  }
}

class Resource {
  constructor(protected readonly api: Api) {}
}

class WebhookEndpoints extends Resource {
  /** Registers one. The answer has `signing_secret`, for the only time. */
  create(fields: {
    url: string;
    enabled_events?: (EventType | "*")[];
    description?: string | null;
  }): Promise<Result<WebhookEndpointWithSecret>> {
    return this.api.post(path("webhook_endpoints"), fields);
  }

  list(page: Page = {}): Promise<Result<List<WebhookEndpoint>>> {
    return this.api.get(path("webhook_endpoints"), page);
  }

  retrieve(id: string): Promise<Result<WebhookEndpoint>> {
    return this.api.get(path("webhook_endpoints", id));
  }

  /** Changes what is given; `null` clears the description. */
  update(
    id: string,
    fields: {
      url?: string;
      enabled_events?: (EventType | "*")[];
      description?: string | null;
      status?: "enabled" | "disabled";
    },
  ): Promise<Result<WebhookEndpoint>> {
    return this.api.request("PATCH", path("webhook_endpoints", id), JSON.stringify(fields));
  }

  delete(id: string): Promise<Result<{ id: string; object: "webhook_endpoint"; deleted: true }>> {
    return this.api.request("DELETE", path("webhook_endpoints", id));
  }

  /** Makes a new `signing_secret`; both sign until the old one expires, in 24h if not given. */
  rotateSecret(
    id: string,
    fields: { expire_previous_in?: string | number } = {},
  ): Promise<Result<WebhookEndpointWithSecret>> {
    return this.api.post(path("webhook_endpoints", id, "rotate_secret"), fields);
  }

  /** Sends a sample event of this type to this endpoint alone. */
  test(id: string, fields: { type: EventType }): Promise<Result<Event>> {
    return this.api.post(path("webhook_endpoints", id, "test"), fields);
  }

  listDeliveries(id: string, page: Page & { status?: DeliveryStatus } = {}): Promise<Result<List<Delivery>>> {
    return this.api.get(path("webhook_endpoints", id, "deliveries"), page);
  }
}

class Events extends Resource {
  list(
    page: Page & {
      type?: EventType;
      created_gte?: number;
      created_lte?: number;
      delivery_status?: DeliveryStatus;
    } = {},
  ): Promise<Result<List<Event>>> {
    return this.api.get(path("events"), page);
  }

  retrieve(id: string): Promise<Result<Event>> {
    return this.api.get(path("events", id));
  }

  listDeliveries(id: string, page: Page = {}): Promise<Result<List<Delivery>>> {
    return this.api.get(path("events", id, "deliveries"), page);
  }

  /** A new delivery of the same bytes. */
  resend(id: string, fields: { webhook_endpoint: string }): Promise<Result<Delivery>> {
    return this.api.post(path("events", id, "resend"), fields);
  }
}

class Deliveries extends Resource {
  /** The delivery with every attempt. */
  retrieve(id: string): Promise<Result<DeliveryWithAttempts>> {
    return this.api.get(path("deliveries", id));
  }

  /** Makes it due now, on a new ladder. */
  retry(id: string): Promise<Result<Delivery>> {
    return this.api.post(path("deliveries", id, "retry"), {});
  }
}
