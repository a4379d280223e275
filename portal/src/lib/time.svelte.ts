// Time as the viewer reads it: in the viewer's zone, with UTC at hand, and by the service's clock, which may not be the
// browser's.

let offset = 0;

export function setClock(nowMs: number): void {
  offset = nowMs - Date.now();
  ticker.now = now();
}

/** The service's time, in seconds. */
export const now = (): number => (Date.now() + offset) / 1000;

/** The same, told anew every second to whoever shows it. */
class Ticker {
  now = $state(now());

  constructor() {
    setInterval(() => {
      if (!document.hidden) this.now = now();
    }, 1000);
  }
}

export const ticker = new Ticker();

const absolute = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const short = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const local = (seconds: number): string => absolute.format(seconds * 1000);
export const dayAndTime = (seconds: number): string => short.format(seconds * 1000);
export const timeOfDay = (seconds: number): string => clock.format(seconds * 1000);
export const utc = (seconds: number): string =>
  `${new Date(seconds * 1000).toISOString().replace("T", " ").slice(0, 19)} UTC`;

/** As an input of `datetime-local` writes it, in the viewer's zone. */
export function written(seconds: number): string {
  const date = new Date(seconds * 1000);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

const STEPS: [number, string][] = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "m"],
  [1, "s"],
];

/** A span in its largest unit and, where there is any, the next one, such as `2h 5m`. */
export function span(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const largest = STEPS.findIndex(([size]) => whole >= size);
  if (largest < 0) return "0s";
  let rest = whole;
  const parts = STEPS.slice(largest, largest + 2).map(([size, unit]) => {
    const count = Math.floor(rest / size);
    rest -= count * size;
    return count > 0 ? `${count}${unit}` : "";
  });
  return parts.join(" ").trim();
}

/** How long ago, or in how long. */
export function relative(seconds: number, from: number): string {
  const distance = seconds - from;
  if (Math.abs(distance) < 2) return "now";
  const largest = span(Math.abs(distance)).split(" ")[0] ?? "";
  return distance < 0 ? `${largest} ago` : `in ${largest}`;
}
