// The session of this page: opened by the link's token, or found by the cookie.

import { ApiFailure, call, useSession, type Session } from "./api";
import { setClock } from "./time.svelte";
import { applyTheme } from "./theme";

type State = { kind: "opening" } | { kind: "open"; session: Session } | { kind: "closed"; why: string };

class Holder {
  state = $state<State>({ kind: "opening" });

  get session(): Session | undefined {
    return this.state.kind === "open" ? this.state.session : undefined;
  }

  get canChange(): boolean {
    return this.session?.access === "full";
  }

  async open(): Promise<void> {
    const token = location.hash.startsWith("#plink_") ? location.hash.slice(1) : undefined;
    // Gone from the address before anything else can see it.
    if (token) history.replaceState(null, "", location.pathname + location.search);
    try {
      const embedded = window.self !== window.top;
      const session = token
        ? await call<Session>("POST", "/portal/session", { token, embedded })
        : await call<Session>("GET", "/portal/session");
      setClock(session.now_ms);
      applyTheme(session.theme);
      useSession(session.id, () => this.close(""));
      this.state = { kind: "open", session };
    } catch (error) {
      this.close(token && error instanceof ApiFailure ? error.message : "");
    }
  }

  close(why: string): void {
    this.state = { kind: "closed", why };
  }

  async leave(): Promise<void> {
    await call("DELETE", "/portal/session").catch(() => undefined);
    this.close("");
  }
}

export const holder = new Holder();
