// The platform's colour, made fit to be read on the page's own backgrounds: the hue is kept, the lightness is what contrast
// asks for.

import type { Session } from "./api";

type Rgb = [number, number, number];

const channel = (value: number): number => {
  const part = value / 255;
  return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
};

const luminance = ([red, green, blue]: Rgb): number =>
  0.2126 * channel(red) + 0.7152 * channel(green) + 0.0722 * channel(blue);

/** WCAG's contrast of two colours, from 1 to 21. */
export function contrast(one: Rgb, other: Rgb): number {
  const [low = 0, high = 0] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

export function parseColor(text: string): Rgb {
  const part = (at: number): number => parseInt(text.slice(at, at + 2), 16);
  return [part(1), part(3), part(5)];
}

const toText = (color: Rgb): string => `#${color.map((part) => Math.round(part).toString(16).padStart(2, "0")).join("")}`;

const mix = (from: Rgb, to: Rgb, share: number): Rgb =>
  [0, 1, 2].map((index) => from[index]! + (to[index]! - from[index]!) * share) as Rgb;

/** The colour, moved towards black or white until it can be read on `background`. */
export function readable(color: Rgb, background: Rgb): Rgb {
  const goal: Rgb = luminance(background) > 0.4 ? [0, 0, 0] : [255, 255, 255];
  for (let share = 0; share < 1; share += 0.02) {
    const moved = mix(color, goal, share);
    if (contrast(moved, background) >= 5) return moved;
  }
  return goal;
}

// What stands behind text in the two appearances: the least favourable of the backgrounds in tokens.css.
const BACKGROUNDS = { light: parseColor("#eef0f4"), dark: parseColor("#242935") };

export function applyTheme({ accent, appearance }: Session["theme"]): void {
  const root = document.documentElement;
  if (appearance === "auto") delete root.dataset["theme"];
  else root.dataset["theme"] = appearance;
  if (!accent) return;
  const color = parseColor(accent);
  root.style.setProperty("--accent-on-light", toText(readable(color, BACKGROUNDS.light)));
  root.style.setProperty("--accent-on-dark", toText(readable(color, BACKGROUNDS.dark)));
}
