// Numbers over time, as the service counts them.

import { get, query, type Health, type Numbers, type Statistics } from "./api";
import { now } from "./time.svelte";

export const RANGES = { "1h": 3_600, "24h": 86_400, "7d": 7 * 86_400, "30d": 30 * 86_400 } as const;
export type Range = keyof typeof RANGES;

export const isRange = (text: string): text is Range => text in RANGES;

export function statistics(range: Range, endpoint: string, signal?: AbortSignal): Promise<Statistics> {
  const to = Math.floor(now());
  return get(`/v1/statistics${query({ from: to - RANGES[range], to, webhook_endpoint: endpoint })}`, signal);
}

export const health = (endpoint: string, signal?: AbortSignal): Promise<Health> =>
  get(`/v1/webhook_endpoints/${endpoint}/health`, signal);

export const attempts = (counts: Numbers): number => counts.attempts.succeeded + counts.attempts.failed;

/** A day by hours, whatever the buckets are. */
export interface Hourly {
  good: number[];
  bad: number[];
}

export function hourly(day: Statistics): Hourly {
  const hours: Hourly = { good: new Array<number>(24).fill(0), bad: new Array<number>(24).fill(0) };
  for (const bucket of day.data) {
    const hour = Math.min(23, Math.max(0, Math.floor((bucket.start - (day.to - 86_400)) / 3_600)));
    hours.good[hour]! += bucket.attempts.succeeded;
    hours.bad[hour]! += bucket.attempts.failed;
  }
  return hours;
}
