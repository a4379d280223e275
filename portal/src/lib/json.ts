// JSON as it is shown: cut into pieces that say what they are, so that each has its colour.

export interface Piece {
  kind: "key" | "string" | "number" | "word" | "plain";
  text: string;
}

const TOKENS = /("(?:\\.|[^"\\])*")(\s*:)?|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|\b(true|false|null)\b/g;

/** Beyond it, colouring would cost more than it helps. */
const COLOURED_MAX = 200_000;

export function pieces(text: string): Piece[] {
  if (text.length > COLOURED_MAX) return [{ kind: "plain", text }];
  const found: Piece[] = [];
  let at = 0;
  for (const match of text.matchAll(TOKENS)) {
    if (match.index > at) found.push({ kind: "plain", text: text.slice(at, match.index) });
    const [all, string, colon, number] = match;
    if (string !== undefined) {
      found.push({ kind: colon === undefined ? "string" : "key", text: string });
      if (colon !== undefined) found.push({ kind: "plain", text: colon });
    } else {
      found.push({ kind: number === undefined ? "word" : "number", text: all });
    }
    at = match.index + all.length;
  }
  if (at < text.length) found.push({ kind: "plain", text: text.slice(at) });
  return found;
}

/** Indented, if it is JSON whose numbers survive it; else as it came. */
export function indented(text: string): string {
  try {
    const value: unknown = JSON.parse(text);
    const same = text.replace(/\s/g, "").length === JSON.stringify(value).replace(/\s/g, "").length;
    return same && typeof value === "object" ? JSON.stringify(value, null, 2) : text;
  } catch {
    return text;
  }
}
