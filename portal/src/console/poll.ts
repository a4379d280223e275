// What a page shows is asked for again and again, while somebody may look at it.

/** Asks now and every so often; what is answered ends it. */
export function poll(ms: number, ask: () => void): () => void {
  ask();
  const again = setInterval(() => document.hidden || ask(), ms);
  return () => clearInterval(again);
}

/** How often a page about one object asks. */
export const OBJECT_MS = 5_000;
