// The list of events, or of one endpoint's deliveries: filtered, paged, and kept up to date while it is looked at.

import { get, query, type Delivery, type List, type WebhookEvent } from "./api";
import { amount } from "./format";
import { ofDelivery, ofEvent, type Shown } from "./states";
import { attempt } from "./toasts.svelte";

export interface Filter {
  type: string;
  status: string;
  endpoint: string;
  from: number | undefined;
  to: number | undefined;
}

export interface Row {
  id: string;
  event: string;
  type: string;
  shown: Shown;
  subject: string;
  amount: string;
  created: number;
}

interface Page {
  rows: Row[];
  /** How many there were, whether they passed or not. */
  looked: number;
  /** Behind which the next page begins. */
  last: string | undefined;
  more: boolean;
}

/** The first page, which is shown at once, and each of the others. */
const FIRST = 50;
const PAGE = 100;

/** Where few of an endpoint's deliveries pass the filter, so many are looked at before one is asked whether to go on. */
const LOOKED_MAX = 500;

export class Feed {
  rows = $state.raw<Row[]>([]);
  more = $state(false);
  busy = $state(false);
  loaded = $state(false);
  /** Whether many were looked at and few passed: one is asked whether to go on. */
  scarce = $state(false);
  /** Whether the last page could not be had. */
  failed = $state(false);
  /** How many were looked at, whether they passed or not. */
  looked = $state(0);
  private last: string | undefined;

  constructor(private readonly filter: Filter) {}

  /** The next page; of an endpoint's deliveries as many as it takes to find some that pass. */
  async next(): Promise<void> {
    if (this.busy || (this.loaded && !this.more && !this.failed)) return;
    this.busy = true;
    this.scarce = false;
    const done = await attempt(async () => {
      const [looked, shown] = [this.looked, this.rows.length];
      const few = (): boolean => this.more && this.rows.length - shown < FIRST / 2;
      do {
        const page = await this.page(this.last);
        this.rows = [...this.rows, ...page.rows];
        [this.last, this.more] = [page.last, page.more];
        this.looked += page.looked;
      } while (few() && this.looked - looked < LOOKED_MAX);
      this.scarce = few();
      return true;
    });
    this.failed = done !== true;
    this.loaded = true;
    this.busy = false;
  }

  /** Takes over what is new or has changed among the newest. */
  async refresh(): Promise<void> {
    if (this.busy) return;
    const page = await attempt(() => this.page(undefined));
    if (!page) return;
    const fresh = new Map(page.rows.map((row) => [row.id, row]));
    const oldest = page.rows.at(-1)?.id ?? "";
    // What no longer passes the filter leaves; what is older than the page stays as it is.
    const kept = this.rows.filter((row) => !fresh.has(row.id) && row.id < oldest);
    this.rows = [...page.rows, ...kept];
    if (kept.length === 0) [this.last, this.more] = [page.last, page.more];
  }

  /** Whether the list goes on by itself as its end comes near. */
  get flows(): boolean {
    return this.more && !this.scarce && !this.failed;
  }

  private page(after: string | undefined): Promise<Page> {
    return this.filter.endpoint === "" ? this.events(after) : this.deliveries(after);
  }

  private async events(after: string | undefined): Promise<Page> {
    const { type, status, from, to } = this.filter;
    const filter = { type, delivery_status: status, created_gte: from, created_lte: to };
    const path = `/v1/events${query({ limit: size(after), starting_after: after, ...filter, expand: "delivery_counts" })}`;
    const { data, has_more } = await get<List<WebhookEvent>>(path);
    return { rows: data.map(ofOneEvent), looked: data.length, last: data.at(-1)?.id, more: has_more };
  }

  private async deliveries(after: string | undefined): Promise<Page> {
    const { type, status, endpoint, from, to } = this.filter;
    const path = `/v1/webhook_endpoints/${endpoint}/deliveries${query({ limit: size(after), starting_after: after, status })}`;
    const { data, has_more } = await get<List<Delivery>>(path);
    const passes = (one: Delivery): boolean =>
      (type === "" || one.event_type === type) &&
      (from === undefined || one.created >= from) &&
      (to === undefined || one.created <= to);
    const past = from !== undefined && (data.at(-1)?.created ?? 0) < from;
    const rows = data.filter(passes).map(ofOneDelivery);
    return { rows, looked: data.length, last: data.at(-1)?.id, more: has_more && !past };
  }
}

const size = (after: string | undefined): number => (after === undefined ? FIRST : PAGE);

function ofOneEvent(event: WebhookEvent): Row {
  const { object } = event.data;
  return {
    id: event.id,
    event: event.id,
    type: event.type,
    shown: ofEvent(event.delivery_counts),
    subject: object.id,
    amount: amount(object),
    created: event.created,
  };
}

function ofOneDelivery(delivery: Delivery): Row {
  return {
    id: delivery.id,
    event: delivery.event,
    type: delivery.event_type,
    shown: ofDelivery(delivery),
    subject: delivery.id,
    amount: "",
    created: delivery.created,
  };
}
