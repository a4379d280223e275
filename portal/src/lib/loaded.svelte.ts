// Something that is asked of the service: what came last stays shown while it is asked for again.

import { ApiFailure } from "./api";

export class Loaded<T> {
  value = $state.raw<T | undefined>(undefined);
  failure = $state<ApiFailure | undefined>(undefined);
  busy = $state(false);
  private under: AbortController | undefined;

  constructor(private readonly ask: (signal: AbortSignal) => Promise<T>) {}

  async load(): Promise<void> {
    this.under?.abort();
    const under = new AbortController();
    this.under = under;
    this.busy = true;
    try {
      const value = await this.ask(under.signal);
      if (under.signal.aborted) return;
      this.value = value;
      this.failure = undefined;
    } catch (error) {
      if (under.signal.aborted) return;
      if (!(error instanceof ApiFailure)) throw error;
      this.failure = error;
    } finally {
      if (this.under === under) this.busy = false;
    }
  }

  stop(): void {
    this.under?.abort();
  }
}
