// The merchant's endpoints: few, and wanted on every page, so they are kept for all.

import { get, type Endpoint, type List } from "./api";

class Endpoints {
  all = $state.raw<Endpoint[] | undefined>(undefined);

  async load(): Promise<void> {
    this.all = (await get<List<Endpoint>>("/v1/webhook_endpoints?limit=100")).data;
  }

  find(id: string): Endpoint | undefined {
    return this.all?.find((one) => one.id === id);
  }

  /** Takes over an endpoint as it is now. */
  put(endpoint: Endpoint): void {
    const known = this.find(endpoint.id) !== undefined;
    const others = this.all ?? [];
    this.all = known ? others.map((one) => (one.id === endpoint.id ? endpoint : one)) : [endpoint, ...others];
  }

  remove(id: string): void {
    this.all = this.all?.filter((one) => one.id !== id);
  }

  /** An endpoint as it is called in a line: its host and path. */
  name(id: string): string {
    const endpoint = this.find(id);
    return endpoint ? shortUrl(endpoint.url) : id;
  }
}

export const shortUrl = (url: string): string => url.replace(/^https?:\/\//, "").replace(/\/$/, "");

export const endpoints = new Endpoints();
