// How events and deliveries stand, in a sign, a word and a tone.

import type { IconName } from "../components/Icon.svelte";
import type { Tone } from "../components/Status.svelte";
import type { Attempt, Delivery, DeliveryCounts, Endpoint, Health } from "./api";
import { t } from "./text";
import { now, span } from "./time.svelte";

export interface Shown {
  tone: Tone;
  icon: IconName;
  label: string;
}

export function ofDelivery(delivery: Pick<Delivery, "status" | "attempt_count">): Shown {
  switch (delivery.status) {
    case "succeeded":
      return { tone: "good", icon: "good", label: t.states.delivered };
    case "abandoned":
      return { tone: "bad", icon: "bad", label: t.states.abandoned };
    case "held":
      return { tone: "idle", icon: "held", label: t.states.held };
    case "pending":
      return delivery.attempt_count > 0
        ? { tone: "warn", icon: "retry", label: t.states.retrying }
        : { tone: "idle", icon: "waiting", label: t.states.waiting };
  }
}

export function ofAttempt(attempt: Attempt): Shown {
  if (attempt.failure_code === null) {
    return { tone: "good", icon: "good", label: String(attempt.response_status ?? "") };
  }
  const label = attempt.response_status === null ? t.codes[attempt.failure_code]?.short : String(attempt.response_status);
  return { tone: "bad", icon: "bad", label: label ?? attempt.failure_code };
}

/** An event's deliveries in one word: the worst that is so of any. */
export function ofEvent(counts: DeliveryCounts | undefined): Shown {
  if (!counts) return { tone: "idle", icon: "waiting", label: t.states.recorded };
  const all = counts.pending + counts.held + counts.succeeded + counts.abandoned;
  const among = (part: number, label: string): string => (all > 1 ? t.states.among(part, all, label) : label);
  if (all === 0) return { tone: "idle", icon: "dot", label: t.states.nobody };
  if (counts.abandoned > 0) return { tone: "bad", icon: "bad", label: among(counts.abandoned, t.states.abandoned) };
  if (counts.retrying > 0) return { tone: "warn", icon: "retry", label: among(counts.retrying, t.states.retrying) };
  if (counts.held > 0) return { tone: "idle", icon: "held", label: among(counts.held, t.states.held) };
  if (counts.pending > 0) return { tone: "idle", icon: "waiting", label: among(counts.pending, t.states.waiting) };
  return { tone: "good", icon: "good", label: among(counts.succeeded, t.states.delivered) };
}

export function ofEndpoint(
  endpoint: Pick<Endpoint, "status" | "disabled_reason">,
  health: Pick<Health, "failing_since"> | undefined,
): Shown {
  if (endpoint.status === "disabled") {
    const reason = endpoint.disabled_reason === null ? undefined : t.endpoints.reasons[endpoint.disabled_reason];
    return { tone: reason ? "bad" : "idle", icon: "held", label: reason ?? t.endpoints.disabled };
  }
  if (health?.failing_since != null) {
    return { tone: "bad", icon: "warn", label: t.endpoints.failingFor(span(now() - health.failing_since)) };
  }
  return { tone: "good", icon: "good", label: t.endpoints.enabled };
}
