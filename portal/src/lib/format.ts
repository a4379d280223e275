// Numbers, sizes and money as they are read.

const whole = new Intl.NumberFormat();
const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });

export const count = (value: number): string => whole.format(value);
export const short = (value: number): string => (value < 10_000 ? whole.format(value) : compact.format(value));

/** A share in per cent. What is not all is never shown as all, nor what is not nothing as nothing. */
export function percent(part: number, all: number): string {
  if (all === 0) return "–";
  const share = (100 * part) / all;
  if (part < all && share > 99.9) return "99.9%";
  if (part > 0 && share < 0.1) return "0.1%";
  return `${share.toFixed(share === 100 || share === 0 ? 0 : 1)}%`;
}

export function milliseconds(value: number): string {
  if (value < 1000) return `${Math.round(value)} ms`;
  return `${(value / 1000).toFixed(value < 10_000 ? 2 : 1)} s`;
}

export function bytes(value: number): string {
  return value < 1024 ? `${value} B` : `${(value / 1024).toFixed(1)} KiB`;
}

/** A sentence of the service's, which begins small. */
export const sentence = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** The amount of an object, as far as it has one. */
export function amount(object: Record<string, unknown>): string {
  const { amount, currency } = object;
  if (typeof amount !== "number") return "";
  if (typeof currency !== "string" || !/^[a-z]{3}$/i.test(currency)) return whole.format(amount);
  const style = new Intl.NumberFormat(undefined, { style: "currency", currency: currency.toUpperCase() });
  const digits = style.resolvedOptions().maximumFractionDigits ?? 2;
  return style.format(amount / 10 ** digits);
}
