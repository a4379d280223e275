package com.kpayments.webhooks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.sqlite.SQLiteDataSource;

@Timeout(60)
class DeduplicatorTest {
    @TempDir
    Path folder;

    private SQLiteDataSource database;

    @BeforeEach
    void makeTables() throws Exception {
        database = new SQLiteDataSource();
        database.setUrl("jdbc:sqlite:" + folder.resolve("receiver.db"));
        try (Connection connection = database.getConnection()) {
            execute(connection, SqlDeduplicator.TABLE);
            execute(connection, "CREATE TABLE orders (id TEXT)");
        }
    }

    private List<Deduplicator> both() {
        return List.of(new MemoryDeduplicator(), new SqlDeduplicator(database));
    }

    private static void execute(Connection connection, String text) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(text);
        }
    }

    private int orders() throws SQLException {
        try (Connection connection = database.getConnection();
                Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("SELECT count(*) FROM orders")) {
            return rows.getInt(1);
        }
    }

    @Test
    void theSecondDeliveryOfAnEventDoesNothing() throws Exception {
        for (Deduplicator deduplicator : both()) {
            assertTrue(deduplicator.processOnce("evt_1", connection -> { }));
            assertFalse(deduplicator.processOnce("evt_1", connection -> { }));
            assertTrue(deduplicator.processOnce("evt_2", connection -> { }));
        }
    }

    @Test
    void workThatFailedIsDoneByTheNextDelivery() throws Exception {
        for (Deduplicator deduplicator : both()) {
            assertThrows(ArithmeticException.class, () -> deduplicator.processOnce("evt_1", connection -> {
                throw new ArithmeticException("out of stock");
            }));
            assertTrue(deduplicator.processOnce("evt_1", connection -> { }));
        }
    }

    @Test
    void ofTwoDeliveriesAtTheSameTimeOneDoesTheWork() throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(2);
        for (Deduplicator deduplicator : both()) {
            CountDownLatch entered = new CountDownLatch(1);
            CountDownLatch leave = new CountDownLatch(1);
            Future<Boolean> first = threads.submit(() -> deduplicator.processOnce("evt_1", connection -> {
                entered.countDown();
                leave.await();
            }));
            entered.await();
            Future<Boolean> second = threads.submit(() -> deduplicator.processOnce("evt_1", connection -> { }));
            leave.countDown();
            assertTrue(first.get());
            assertFalse(second.get());
        }
        threads.shutdown();
    }

    @Test
    void effectsAreCommittedWithTheMarkOrNotAtAll() throws Exception {
        Deduplicator deduplicator = new SqlDeduplicator(database);
        assertThrows(ArithmeticException.class, () -> deduplicator.processOnce("evt_1", connection -> {
            execute(connection, "INSERT INTO orders VALUES ('o_1')");
            throw new ArithmeticException("the power went out");
        }));
        assertEquals(0, orders());
        for (int i = 0; i < 2; i++) {
            deduplicator.processOnce("evt_1", connection -> execute(connection, "INSERT INTO orders VALUES ('o_1')"));
        }
        assertEquals(1, orders());
    }
}
