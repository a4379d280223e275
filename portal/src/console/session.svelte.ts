// The operator's session of this page: opened by a service key, or found by the cookie.

import { ApiFailure, call, useSession } from "../lib/api";
import { setClock } from "../lib/time.svelte";
import { c } from "./text";

export interface ConsoleSession {
  id: string;
  service: string | null;
  expires_at: number;
  now_ms: number;
}

type State = { kind: "opening" } | { kind: "open"; session: ConsoleSession } | { kind: "closed"; why: string };

const PATH = "/console/session";

class Operator {
  state = $state<State>({ kind: "opening" });

  get session(): ConsoleSession | undefined {
    return this.state.kind === "open" ? this.state.session : undefined;
  }

  private take(session: ConsoleSession): void {
    setClock(session.now_ms);
    useSession(session.id, () => this.close(c.signIn.ended), "K-Webhooks-Console");
    this.state = { kind: "open", session };
  }

  close(why: string): void {
    this.state = { kind: "closed", why };
  }

  /** By the cookie, if there is one. */
  async find(): Promise<void> {
    try {
      this.take(await call<ConsoleSession>("GET", PATH));
    } catch (error) {
      this.close(error instanceof ApiFailure && error.status !== 401 ? error.message : "");
    }
  }

  /** By a service key, which is not kept. */
  async open(key: string): Promise<void> {
    try {
      this.take(await call<ConsoleSession>("POST", PATH, { key }));
    } catch (error) {
      if (!(error instanceof ApiFailure)) throw error;
      this.close(error.message);
    }
  }

  async leave(): Promise<void> {
    await call("DELETE", PATH).catch(() => undefined);
    this.close("");
  }
}

export const operator = new Operator();
