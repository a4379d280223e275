/** What the tests share. */

import { readFileSync } from "node:fs";

export interface Vectors {
  cases: {
    name: string;
    secret: string;
    time: number;
    tolerance: number;
    header: string | null;
    body: string;
    reason: string | null;
  }[];
  signing: { name: string; secrets: string[]; time: number; body: string; header: string }[];
  standard_webhooks: {
    name: string;
    secrets: string[];
    id: string;
    time: number;
    body: string;
    signature: string;
  }[];
}

export const VECTORS = JSON.parse(readFileSync(new URL("../../vectors.json", import.meta.url), "utf8")) as Vectors;

export const SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
export const NOW = 1_749_651_729;
export const TEXT =
  '{"id":"evt_1","object":"event","api_version":"v1","created":1749651729,"livemode":false,' +
  '"type":"charge.refunded","data":{"object":{"id":"ch_1","object":"charge","amount":4999},' +
  '"previous_attributes":{"amount_refunded":0}}}';

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
export const BODY = bytes(TEXT);
