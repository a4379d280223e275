package webhooks

import (
	"context"
	"database/sql"
	"sync"
	"time"
)

// Deduplicator remembers which events were processed, so that each is processed once although it can be delivered more
// than once.
//
// An event counts as processed when its work has ended well, not when it came: if the work fails the next delivery
// runs it again. Two deliveries at the same time do not both run it. Only a mark and effects that are committed
// together make this hold through a crash, so in production use a database.
type Deduplicator interface {
	// ProcessOnce runs work, unless the event was processed before, and says whether it ran. If work fails, the event
	// stays unprocessed and the error is returned. tx is the transaction of the mark, or nil in memory.
	ProcessOnce(ctx context.Context, eventID string, work func(ctx context.Context, tx *sql.Tx) error) (bool, error)
}

// MemoryDeduplicator remembers in this process: for tests, and where running twice after a restart does no harm. It
// grows with every event. The zero value is ready.
type MemoryDeduplicator struct {
	mutex     sync.Mutex
	running   map[string]chan struct{}
	processed map[string]struct{}
}

// ProcessOnce implements Deduplicator.
func (m *MemoryDeduplicator) ProcessOnce(
	ctx context.Context, eventID string, work func(context.Context, *sql.Tx) error,
) (ran bool, err error) {
	ended, err := m.begin(ctx, eventID)
	if ended == nil || err != nil {
		return false, err
	}
	done := false
	// Deferred, so that work that panics leaves nobody waiting.
	defer func() {
		m.mutex.Lock()
		defer m.mutex.Unlock()
		delete(m.running, eventID)
		if done {
			m.processed[eventID] = struct{}{}
		}
		close(ended)
	}()
	if err := work(ctx, nil); err != nil {
		return true, err
	}
	done = true
	return true, nil
}

// begin waits for whoever processes the event. It returns no channel if that has been done.
func (m *MemoryDeduplicator) begin(ctx context.Context, eventID string) (chan struct{}, error) {
	for {
		m.mutex.Lock()
		if m.running == nil {
			m.running, m.processed = map[string]chan struct{}{}, map[string]struct{}{}
		}
		other, busy := m.running[eventID]
		if !busy {
			defer m.mutex.Unlock()
			if _, done := m.processed[eventID]; done {
				return nil, nil
			}
			ended := make(chan struct{})
			m.running[eventID] = ended
			return ended, nil
		}
		m.mutex.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// CreateTable is the table of SQLDeduplicator.
const CreateTable = `CREATE TABLE IF NOT EXISTS processed_webhook_events (
	event_id TEXT PRIMARY KEY, processed_at BIGINT NOT NULL)`

// SQLDeduplicator remembers in a table of the receiver's own PostgreSQL or SQLite, in the transaction of the work. A
// second delivery waits at the primary key until the first transaction has ended.
type SQLDeduplicator struct {
	DB *sql.DB
}

// ProcessOnce implements Deduplicator. work makes its changes with tx, and does not commit.
func (s SQLDeduplicator) ProcessOnce(
	ctx context.Context, eventID string, work func(context.Context, *sql.Tx) error,
) (bool, error) {
	tx, err := s.DB.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	// After a commit this does nothing.
	defer func() { _ = tx.Rollback() }()
	result, err := tx.ExecContext(ctx,
		"INSERT INTO processed_webhook_events (event_id, processed_at) VALUES ($1, $2) ON CONFLICT (event_id) DO NOTHING",
		eventID, time.Now().Unix())
	if err != nil {
		return false, err
	}
	if inserted, err := result.RowsAffected(); err != nil || inserted == 0 {
		return false, err
	}
	if err := work(ctx, tx); err != nil {
		return true, err
	}
	return true, tx.Commit()
}
