/**
 * Processing each event once, although it can be delivered more than once.
 *
 * An event counts as processed when its work has ended well, not when it came: if the work fails the next delivery
 * runs it again. Two deliveries at the same time do not both run it. Only a mark and effects that are committed
 * together make this hold through a crash, so in production use a database.
 */

/** Remembers which events were processed. */
export interface Deduplicator<Context> {
  /**
   * Runs `work`, unless the event was processed before; says whether it ran. If `work` throws, the event stays
   * unprocessed and the error goes on to the caller.
   */
  processOnce(eventId: string, work: (context: Context) => unknown): Promise<boolean>;
}

/** Remembers in this process: for tests, and where running twice after a restart does no harm. */
export class MemoryDeduplicator implements Deduplicator<undefined> {
  readonly #capacity: number;
  readonly #running = new Map<string, Promise<void>>();
  readonly #processed = new Set<string>();

  constructor({ capacity = 100_000 }: { capacity?: number } = {}) {
    this.#capacity = capacity;
  }

  async processOnce(eventId: string, work: (context: undefined) => unknown): Promise<boolean> {
    for (let running; (running = this.#running.get(eventId)); ) {
      await running;
    }
    if (this.#processed.has(eventId)) {
      return false;
    }
    let end = (): void => {};
    this.#running.set(eventId, new Promise((resolve) => (end = resolve)));
    try {
      await work(undefined);
      this.#remember(eventId);
      return true;
    } finally {
      this.#running.delete(eventId);
      end();
    }
  }

  #remember(eventId: string): void {
    this.#processed.add(eventId);
    if (this.#processed.size > this.#capacity) {
      for (const oldest of this.#processed) {
        this.#processed.delete(oldest);
        break;
      }
    }
  }
}

/** One transaction of a database: the `query` of `pg`, of PGlite, or of what wraps another driver. */
export interface SqlTransaction {
  query(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>;
}

/** A database that commits what `run` did when it has ended, and undoes it when it throws. */
export interface SqlDatabase<Transaction extends SqlTransaction> {
  transaction<Result>(run: (transaction: Transaction) => Promise<Result>): Promise<Result>;
}

/**
 * Remembers in a table of the receiver's own database, in the transaction of the work: `work` gets the transaction and
 * makes its changes with it. A second delivery waits at the primary key until the first transaction has ended. The
 * statements are PostgreSQL's and SQLite's; the table is {@link SqlDeduplicator.TABLE}.
 */
export class SqlDeduplicator<Transaction extends SqlTransaction> implements Deduplicator<Transaction> {
  static readonly TABLE =
    "CREATE TABLE IF NOT EXISTS processed_webhook_events (event_id TEXT PRIMARY KEY, processed_at BIGINT NOT NULL)";

  readonly #database: SqlDatabase<Transaction>;

  constructor(database: SqlDatabase<Transaction>) {
    this.#database = database;
  }

  processOnce(eventId: string, work: (transaction: Transaction) => unknown): Promise<boolean> {
    return this.#database.transaction(async (transaction) => {
      const { rows } = await transaction.query(
        "INSERT INTO processed_webhook_events (event_id, processed_at) VALUES ($1, $2) " +
          "ON CONFLICT (event_id) DO NOTHING RETURNING event_id",
        [eventId, Math.floor(Date.now() / 1000)],
      );
      if (rows.length === 0) {
        return false;
      }
      await work(transaction);
      return true;
    });
  }
}
