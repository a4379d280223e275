package com.kpayments.webhooks;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.time.Instant;
import javax.sql.DataSource;

/**
 * Remembers in a table of the receiver's own PostgreSQL or SQLite, in the transaction of the work. The work makes its
 * changes with the connection that it is given, and does not commit. A second delivery waits at the primary key until
 * the first transaction has ended.
 */
public final class SqlDeduplicator implements Deduplicator {
    /** The table. */
    public static final String TABLE = "CREATE TABLE IF NOT EXISTS processed_webhook_events "
            + "(event_id TEXT PRIMARY KEY, processed_at BIGINT NOT NULL)";

    private final DataSource database;

    /** Remembers there. */
    public SqlDeduplicator(DataSource database) {
        this.database = database;
    }

    @Override
    public boolean processOnce(String eventId, Work work) throws Exception {
        try (Connection connection = database.getConnection()) {
            connection.setAutoCommit(false);
            boolean committed = false;
            try {
                boolean first = mark(connection, eventId);
                if (first) {
                    work.run(connection);
                }
                connection.commit();
                committed = true;
                return first;
            } finally {
                if (!committed) {
                    connection.rollback();
                }
            }
        }
    }

    private static boolean mark(Connection connection, String eventId) throws SQLException {
        String insert = "INSERT INTO processed_webhook_events (event_id, processed_at) VALUES (?, ?) "
                + "ON CONFLICT (event_id) DO NOTHING";
        try (PreparedStatement statement = connection.prepareStatement(insert)) {
            statement.setString(1, eventId);
            statement.setLong(2, Instant.now().getEpochSecond());
            return statement.executeUpdate() == 1;
        }
    }
}
