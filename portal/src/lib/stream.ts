// Events and deliveries as they happen, by server-sent events. Not by EventSource, which cannot send the session's header.

import { sessionEnded, sessionHeaders, type Delivery, type WebhookEvent } from "./api";

export interface Listener {
  event?: (event: WebhookEvent) => void;
  delivery?: (delivery: Delivery) => void;
  connected?: (connected: boolean) => void;
}

const PAUSE_MIN_MS = 1000;
const PAUSE_MAX_MS = 30_000;

/** Follows the stream until the answer is called; comes again where it breaks, from the last event on. */
export function follow(listener: Listener): () => void {
  const end = new AbortController();
  void run(listener, end.signal);
  return () => end.abort();
}

async function run(listener: Listener, end: AbortSignal): Promise<void> {
  let last = "";
  let pause = PAUSE_MIN_MS;
  while (!end.aborted) {
    try {
      const headers: Record<string, string> = { ...sessionHeaders(), Accept: "text/event-stream" };
      if (last !== "") headers["Last-Event-ID"] = last;
      const response = await fetch("/v1/events/stream?deliveries=true", { headers, signal: end });
      if (response.status === 401) return sessionEnded();
      // The event was removed meanwhile: from now on, then.
      if (response.status === 404) last = "";
      if (!response.ok || !response.body) throw new Error(String(response.status));
      listener.connected?.(true);
      pause = PAUSE_MIN_MS;
      for await (const message of messages(response.body)) {
        if (message.id !== "") last = message.id;
        if (message.kind === "event") listener.event?.(JSON.parse(message.data));
        if (message.kind === "delivery") listener.delivery?.(JSON.parse(message.data));
      }
    } catch {
      pause = Math.min(pause * 2, PAUSE_MAX_MS);
    }
    if (end.aborted) return;
    listener.connected?.(false);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

interface Message {
  kind: string;
  id: string;
  data: string;
}

async function* messages(body: ReadableStream<Uint8Array>): AsyncGenerator<Message> {
  const reader = body.pipeThrough(new TextDecoderStream() as unknown as TransformStream<Uint8Array, string>).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    const parts = buffer.split("\n\n");
    buffer = parts.pop() ?? "";
    for (const part of parts) {
      const message: Message = { kind: "", id: "", data: "" };
      for (const line of part.split("\n")) {
        const [name, text] = [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).replace(/^ /, "")];
        if (name === "event") message.kind = text;
        if (name === "id") message.id = text;
        if (name === "data") message.data += message.data === "" ? text : `\n${text}`;
      }
      if (message.kind !== "") yield message;
    }
  }
}
