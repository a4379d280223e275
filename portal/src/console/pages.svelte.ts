// A list that is asked for page by page, as far as somebody reads on.

import { ApiFailure, get, query, type List } from "../lib/api";

type Parameters = Record<string, string | number | boolean | undefined>;

export class Pages<T> {
  items = $state.raw<T[] | undefined>(undefined);
  more = $state(false);
  busy = $state(false);
  failure = $state<ApiFailure | undefined>(undefined);
  private under = 0;
  private readOn = false;

  constructor(
    private readonly asked: () => { path: string; parameters?: Parameters },
    private readonly id: (item: T) => string,
  ) {}

  /** From the beginning. */
  load = (): Promise<void> => this.page(undefined);

  /** From the beginning again, unless somebody has read on. */
  refresh = (): Promise<void> => (this.readOn || this.busy ? Promise.resolve() : this.load());

  /** What follows. */
  next = (): Promise<void> => this.page(this.items?.at(-1));

  private async page(last: T | undefined): Promise<void> {
    const turn = ++this.under;
    const { path, parameters = {} } = this.asked();
    this.busy = true;
    try {
      const beside = last === undefined ? undefined : this.id(last);
      const list = await get<List<T>>(path + query({ limit: 20, ...parameters, starting_after: beside }));
      if (turn !== this.under) return;
      this.items = last === undefined ? list.data : [...(this.items ?? []), ...list.data];
      this.readOn = last !== undefined;
      this.more = list.has_more;
      this.failure = undefined;
    } catch (error) {
      if (turn !== this.under) return;
      if (!(error instanceof ApiFailure)) throw error;
      this.failure = error;
    } finally {
      if (turn === this.under) this.busy = false;
    }
  }
}
