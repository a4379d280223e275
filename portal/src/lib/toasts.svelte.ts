// Short words on what was just done, which go by themselves; and on what failed, which stay until they are read.

import { ApiFailure } from "./api";

export interface Toast {
  id: number;
  text: string;
  bad: boolean;
}

const SHOWN_MS = 5000;

class Toasts {
  all = $state<Toast[]>([]);
  private next = 0;

  say(text: string, bad = false): void {
    // What fails again and again is said once.
    if (bad && this.all.some((one) => one.bad && one.text === text)) return;
    const id = this.next++;
    this.all.push({ id, text, bad });
    if (!bad) setTimeout(() => this.close(id), SHOWN_MS);
  }

  close(id: number): void {
    this.all = this.all.filter((one) => one.id !== id);
  }
}

export const toasts = new Toasts();

/** Does something, and says so where it fails. */
export async function attempt<T>(action: () => Promise<T>): Promise<T | undefined> {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof ApiFailure)) throw error;
    const fields = Object.entries(error.fields).map(([field, messages]) => `${field} ${messages.join("; ")}`);
    if (error.status !== 401) toasts.say(fields.length > 0 ? fields.join(". ") : error.message, true);
    return undefined;
  }
}
