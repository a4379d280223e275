import { PGlite, type Transaction } from "@electric-sql/pglite";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { MemoryDeduplicator, SqlDeduplicator, type Deduplicator } from "../src/index.js";

const connection = new PGlite();

beforeAll(async () => {
  await connection.exec(SqlDeduplicator.TABLE);
  await connection.exec("CREATE TABLE orders (id TEXT)");
}, 60_000);

beforeEach(() => connection.exec("DELETE FROM processed_webhook_events; DELETE FROM orders"));

afterAll(() => connection.close());

describe.each<[string, () => Deduplicator<unknown>]>([
  ["in memory", () => new MemoryDeduplicator()],
  ["in a database", () => new SqlDeduplicator<Transaction>(connection)],
])("each event is processed once, %s", (_, make) => {
  it("does nothing at the second delivery", async () => {
    const deduplicator = make();
    const ran: string[] = [];
    expect(await deduplicator.processOnce("evt_1", () => ran.push("evt_1"))).toBe(true);
    expect(await deduplicator.processOnce("evt_1", () => ran.push("again"))).toBe(false);
    expect(await deduplicator.processOnce("evt_2", () => ran.push("evt_2"))).toBe(true);
    expect(ran).toEqual(["evt_1", "evt_2"]);
  });

  it("leaves work that failed to the next delivery", async () => {
    const deduplicator = make();
    const failing = deduplicator.processOnce("evt_1", () => Promise.reject(new Error("out of stock")));
    await expect(failing).rejects.toThrow("out of stock");
    expect(await deduplicator.processOnce("evt_1", () => undefined)).toBe(true);
  });

  it("lets one of two deliveries at the same time do the work", async () => {
    const deduplicator = make();
    let leave = (): void => {};
    const slow = new Promise<void>((resolve) => (leave = resolve));
    const first = deduplicator.processOnce("evt_1", () => slow);
    const second = deduplicator.processOnce("evt_1", () => undefined);
    leave();
    expect(await Promise.all([first, second])).toEqual([true, false]);
  });
});

it("commits effects with the mark or not at all", async () => {
  const deduplicator = new SqlDeduplicator<Transaction>(connection);
  const ship = (transaction: Transaction) => transaction.query("INSERT INTO orders VALUES ('o_1')");
  const failing = deduplicator.processOnce("evt_1", async (transaction) => {
    await ship(transaction);
    throw new Error("the power went out");
  });
  await expect(failing).rejects.toThrow("the power went out");
  expect((await connection.query("SELECT * FROM orders")).rows).toHaveLength(0);
  await deduplicator.processOnce("evt_1", ship);
  await deduplicator.processOnce("evt_1", ship);
  expect((await connection.query("SELECT * FROM orders")).rows).toHaveLength(1);
});

it("forgets the oldest when memory is full", async () => {
  const deduplicator = new MemoryDeduplicator({ capacity: 2 });
  for (const event of ["evt_1", "evt_2", "evt_3"]) await deduplicator.processOnce(event, () => undefined);
  expect(await deduplicator.processOnce("evt_1", () => undefined)).toBe(true);
  expect(await deduplicator.processOnce("evt_3", () => undefined)).toBe(false);
});
