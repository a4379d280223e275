// Where the page is: a path below that of the portal or of the console, and a query, both kept in the address.

const BASE = location.pathname.startsWith("/console") ? "/console" : "/portal";

class Router {
  path = $state("/");
  query = $state(new URLSearchParams());

  constructor() {
    this.read();
    addEventListener("popstate", () => this.read());
    addEventListener("click", (event) => this.follow(event));
  }

  private read(): void {
    this.path = location.pathname.slice(BASE.length) || "/";
    this.query = new URLSearchParams(location.search);
  }

  /** Follows a link to another page, unless the reader wants it in another tab. */
  private follow(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (!link || link.target || link.origin !== location.origin || !link.pathname.startsWith(BASE)) return;
    event.preventDefault();
    this.go(link.pathname.slice(BASE.length) + link.search);
  }

  go(to: string, replace = false): void {
    const before = this.path;
    history[replace ? "replaceState" : "pushState"](null, "", BASE + to);
    this.read();
    if (this.path !== before) {
      scrollTo(0, 0);
      // What reads the page aloud begins at its heading.
      requestAnimationFrame(() => document.querySelector<HTMLElement>("main h1")?.focus({ preventScroll: true }));
    }
  }

  /** Changes parameters of the query in place; what is empty is removed. */
  set(parameters: Record<string, string>): void {
    const query = new URLSearchParams(this.query);
    for (const [name, value] of Object.entries(parameters)) {
      if (value === "") query.delete(name);
      else query.set(name, value);
    }
    const text = query.toString();
    this.go(this.path + (text === "" ? "" : `?${text}`), true);
  }

  get(name: string): string {
    return this.query.get(name) ?? "";
  }
}

export const router = new Router();

/** The address of a page, for a link. */
export const href = (path: string): string => BASE + (path === "/" ? "" : path);
