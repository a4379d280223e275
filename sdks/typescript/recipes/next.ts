// Next, as app/hooks/route.ts: `export const POST = receiver(process.env.K_PAYMENTS_SIGNING_SECRET!, work)`. It runs on
// the Node and on the edge runtime, and as it is in whatever else answers a Request with a Response.
import { NextResponse } from "next/server.js";
import {
  EventError,
  MemoryDeduplicator,
  SignatureError,
  constructEventFromRequest,
  type WebhookEvent,
} from "@k-payments/webhooks";

export function receiver(secret: string, process: (event: WebhookEvent) => unknown) {
  // In production SqlDeduplicator, with the database that the work changes.
  const deduplicator = new MemoryDeduplicator();

  return async function POST(request: Request): Promise<NextResponse> {
    try {
      const event = await constructEventFromRequest(request, secret);
      await deduplicator.processOnce(event.id, () => process(event));
      return new NextResponse(null, { status: 204 });
    } catch (error) {
      if (error instanceof SignatureError) return new NextResponse(error.kind, { status: 400 });
      if (error instanceof EventError) return new NextResponse("malformed_event", { status: 400 });
      throw error;
    }
  };
}
