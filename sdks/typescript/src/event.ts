/** Events: what the body of a verified request says. */

const RESOURCES = {
  "charge.succeeded": "charge",
  "charge.failed": "charge",
  "charge.refunded": "charge",
  "refund.created": "refund",
  "refund.updated": "refund",
  "payout.created": "payout",
  "payout.paid": "payout",
  "payout.failed": "payout",
  "dispute.created": "dispute",
  "dispute.updated": "dispute",
  "dispute.closed": "dispute",
} as const;

/** A type of event that this library knows. */
export type EventType = keyof typeof RESOURCES;

/** What an event can be about. */
export type ResourceName = (typeof RESOURCES)[EventType];

/** Every type that exists now. A receiver answers 2xx to one that it does not know, and passes over it. */
export const EVENT_TYPES = Object.keys(RESOURCES) as readonly EventType[];

/** A charge, refund, payout or dispute; all but `id` and `object` is the publisher's. */
export interface Resource<Name extends string = string> {
  id: string;
  object: Name;
  [field: string]: unknown;
}

/** An event of one type. */
export interface EventOf<Type extends EventType> {
  id: string;
  object: "event";
  api_version: string;
  /** Unix seconds. */
  created: number;
  livemode: boolean;
  type: Type;
  data: {
    object: Resource<(typeof RESOURCES)[Type]>;
    /** What changed, with the values of before. */
    previous_attributes?: Record<string, unknown>;
  };
}

/**
 * An event of a merchant; `switch (event.type)` narrows it. Types that come later than this library take the
 * `default` branch.
 */
export type WebhookEvent = { [Type in EventType]: EventOf<Type> }[EventType];

/** Whether the event is of this type. */
export function isEventOf<Type extends EventType>(event: WebhookEvent, type: Type): event is EventOf<Type> & WebhookEvent {
  return event.type === type;
}

/** What was signed is not an event. */
export class EventError extends Error {
  override readonly name = "EventError";
}

/** Reads an event. Verify first: this trusts what it is given. Throws {@link EventError}. */
export function parseEvent(body: Uint8Array | ArrayBuffer): WebhookEvent {
  let event: unknown;
  try {
    event = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch (cause) {
    throw new EventError("the body is not JSON", { cause });
  }
  expect(event, "id", "string");
  expect(event, "type", "string");
  expect(event, "api_version", "string");
  expect(event, "created", "number");
  expect(event, "livemode", "boolean");
  const data = expect(event, "data", "object");
  const resource = expect(data, "object", "object", "data.object");
  expect(resource, "id", "string", "data.object.id");
  expect(resource, "object", "string", "data.object.object");
  return event as WebhookEvent;
}

function expect(holder: unknown, name: string, kind: string, shown = name): unknown {
  const value = typeof holder === "object" && holder !== null ? (holder as Record<string, unknown>)[name] : undefined;
  if (typeof value !== kind || value === null || Array.isArray(value)) {
    throw new EventError(`the body is not an event: ${shown} is missing or of another kind`);
  }
  return value;
}
