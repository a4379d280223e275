// Express: `express.raw` on this route, before any `express.json` that would parse the body.
import express from "express";
import { EventError, MemoryDeduplicator, SignatureError, constructEvent, type WebhookEvent } from "@k-payments/webhooks";

export function receiver(secret: string, process: (event: WebhookEvent) => unknown): express.Express {
  const app = express();
  // In production SqlDeduplicator, with the database that the work changes.
  const deduplicator = new MemoryDeduplicator();

  app.post("/hooks", express.raw({ type: "*/*", limit: "1mb" }), async (request, response) => {
    // Without a body `express.raw` leaves something else.
    const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
    try {
      const event = await constructEvent(body, request.get("K-Payments-Signature"), secret);
      await deduplicator.processOnce(event.id, () => process(event));
      response.status(204).end();
    } catch (error) {
      if (error instanceof SignatureError) response.status(400).send(error.kind);
      else if (error instanceof EventError) response.status(400).send("malformed_event");
      else throw error;
    }
  });

  app.use(express.json());
  return app;
}
