/**
 * Publishing events, for internal services. Every method answers `[data, error]`.
 *
 *     const publisher = new Publisher("svc_…", { baseUrl: "http://k-webhooks.internal:8081" });
 *     const [event, error] = await publisher.publish(
 *       newEvent({ merchant_id: "m_1", livemode: true, type: "charge.succeeded", data: { object: charge } }),
 *     );
 *
 * Requests that fail with 429 or a 5xx, or get no answer, are repeated with pauses. That is safe because every event
 * has an idempotency key, made with it: publishing the same one again within 24 hours publishes nothing.
 */
import type { EventOf, EventType } from "./event.js";
import { Api, type ApiError, type ApiOptions, type Result } from "./http.js";
import type { Event, List } from "./merchant.js";

export { ApiError, type ApiErrorType, type ApiOptions, type Result } from "./http.js";

/** How many events the service takes in one batch. */
export const EVENTS_MAX = 1000;

const BATCH_BYTES_MAX = 16 * 1024 * 1024;

/** An event to publish, of one type. */
export interface EventInput<Type extends EventType> {
  merchant_id: string;
  livemode: boolean;
  type: Type;
  data: EventOf<Type>["data"];
  /** Unix seconds; when it is accepted, if not given. */
  created?: number;
  /** Made if not given. */
  idempotency_key?: string;
}

/** What {@link newEvent} makes. Keep it until it is published: it holds its idempotency key. */
export type NewEvent = Readonly<{ [Type in EventType]: EventInput<Type> }[EventType]> & {
  readonly idempotency_key: string;
};

/** Gives an event its idempotency key. */
export function newEvent<Type extends EventType>(event: EventInput<Type>): NewEvent {
  return Object.freeze({ ...event, idempotency_key: event.idempotency_key ?? crypto.randomUUID() }) as NewEvent;
}

export interface PublisherOptions extends ApiOptions {
  /** How often a request is repeated; 5 times if not given. */
  retries?: number;
  /** For tests. */
  sleep?: (ms: number) => Promise<void>;
  /** From 0 to 1; for tests. */
  chance?: () => number;
}

/** The internal API, with a service key. */
export class Publisher {
  readonly #api: Api;
  readonly #retries: number;
  readonly #sleep: (ms: number) => Promise<void>;
  readonly #chance: () => number;

  constructor(serviceKey: string, options: PublisherOptions) {
    this.#api = new Api(serviceKey, options);
    this.#retries = options.retries ?? 5;
    this.#sleep = options.sleep ?? ((ms) => new Promise((resolve) => setTimeout(resolve, ms)));
    this.#chance = options.chance ?? Math.random;
  }

  /** Publishes one event. Where there is no error it is stored. */
  publish(event: NewEvent): Promise<Result<Event>> {
    return this.#post("/v1/events", JSON.stringify(event));
  }

  /**
   * Publishes events, in as few requests as the limits allow, and answers with them in the order given. Each request is
   * all or nothing, the whole is not: after an error, publish the same events again, and those that are stored already
   * come back as they are.
   */
  async publishBatch(events: Iterable<NewEvent>): Promise<Result<Event[]>> {
    const published: Event[] = [];
    for (const body of batches(events)) {
      const [list, error] = await this.#post<List<Event>>("/v1/events/batch", body);
      if (error) return [null, error];
      for (const event of list.data) published.push(event);
    }
    return [published, null];
  }

  async #post<Data>(path: string, body: string): Promise<Result<Data>> {
    for (let attempt = 0; ; attempt++) {
      const result = await this.#api.request<Data>("POST", path, body);
      const [, error] = result;
      if (!error || !passes(error) || attempt >= this.#retries) return result;
      await this.#sleep(this.#pauseMs(attempt, error));
    }
  }

  /** Half a second, doubled each time, up to 30; half of it by chance, so that callers spread out. */
  #pauseMs(attempt: number, { retryAfter = 0 }: ApiError): number {
    const pause = Math.min(500 * 2 ** attempt, 30_000) * (0.5 + this.#chance() / 2);
    return Math.max(pause, Math.min(retryAfter, 60) * 1000);
  }
}

const passes = ({ status }: ApiError): boolean => status === 0 || status === 429 || status >= 500;

function* batches(events: Iterable<NewEvent>): Generator<string> {
  const encoder = new TextEncoder();
  let batch: string[] = [];
  let bytes = 0;
  for (const event of events) {
    const text = JSON.stringify(event);
    const more = encoder.encode(text).length;
    // Each brings a comma; the brackets are there once.
    if (batch.length > 0 && (batch.length === EVENTS_MAX || bytes + more + 64 > BATCH_BYTES_MAX)) {
      yield `{"events":[${batch.join(",")}]}`;
      [batch, bytes] = [[], 0];
    }
    batch.push(text);
    bytes += more + 1;
  }
  if (batch.length > 0) yield `{"events":[${batch.join(",")}]}`;
}
