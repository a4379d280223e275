// Fastify: a content type parser that gives the bytes as they are, in a plugin of its own so that other routes keep
// theirs.
import fastify, { type FastifyInstance } from "fastify";
import { EventError, MemoryDeduplicator, SignatureError, constructEvent, type WebhookEvent } from "@k-payments/webhooks";

export function receiver(secret: string, process: (event: WebhookEvent) => unknown): FastifyInstance {
  const app = fastify();
  // In production SqlDeduplicator, with the database that the work changes.
  const deduplicator = new MemoryDeduplicator();

  app.register(async (hooks) => {
    hooks.removeAllContentTypeParsers();
    hooks.addContentTypeParser("*", { parseAs: "buffer" }, async (_request: unknown, body: Buffer | string) => body);
    hooks.post<{ Body: Buffer | undefined }>("/hooks", async (request, reply) => {
      const header = request.headers["k-payments-signature"];
      try {
        const event = await constructEvent(request.body ?? Buffer.alloc(0), header?.toString(), secret);
        await deduplicator.processOnce(event.id, () => process(event));
        return reply.code(204).send();
      } catch (error) {
        if (error instanceof SignatureError) return reply.code(400).send(error.kind);
        if (error instanceof EventError) return reply.code(400).send("malformed_event");
        throw error;
      }
    });
  });
  return app;
}
