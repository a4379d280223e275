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

const STEPS: [number, string][] = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "m"],
  [1, "s"],
];

/** A span in its one or two largest units, such as `2h 5m`. */
export function span(seconds: number): string {
  let rest = Math.max(0, Math.round(seconds));
  const parts: string[] = [];
  for (const [size, unit] of STEPS) {
    const count = Math.floor(rest / size);
    if (count > 0 || (parts.length === 0 && size === 1)) parts.push(`${count}${unit}`);
    rest -= count * size;
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}

/** How long ago, or in how long. */
export function relative(seconds: number, from: number): string {
  const distance = seconds - from;
  if (Math.abs(distance) < 2) return "now";
  const largest = span(Math.abs(distance)).split(" ")[0] ?? "";
  return distance < 0 ? `${largest} ago` : `in ${largest}`;
}
