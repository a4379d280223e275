/**
 * Verify K-Payments webhooks, and process each event once.
 *
 * Needs Web Crypto and nothing else, so it runs on Node, Deno, Bun, edge runtimes and in browsers.
 */
export {
  DEFAULT_TOLERANCE,
  SIGNATURE_HEADER,
  SignatureError,
  constructEvent,
  constructEventFromRequest,
  signHeader,
  verifySignature,
  type ErrorKind,
  type RawBody,
  type VerifyOptions,
} from "./signature.js";
export {
  EVENT_TYPES,
  EventError,
  isEventOf,
  parseEvent,
  type EventOf,
  type EventType,
  type Resource,
  type ResourceName,
  type WebhookEvent,
} from "./event.js";
export {
  MemoryDeduplicator,
  SqlDeduplicator,
  type Deduplicator,
  type SqlDatabase,
  type SqlTransaction,
} from "./deduplication.js";
