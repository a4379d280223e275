package webhooks_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"sync"
	"testing"

	webhooks "github.com/k-payments/webhooks-go"
)

// table is a database of one table whose transactions follow one another, as SQLite's do when they write.
type table struct {
	writing   sync.Mutex
	committed map[string]bool
}

func (t *table) Open(string) (driver.Conn, error)              { return &connection{table: t}, nil }
func (t *table) Connect(context.Context) (driver.Conn, error)  { return t.Open("") }
func (t *table) Driver() driver.Driver                         { return t }
func (c *connection) Prepare(text string) (driver.Stmt, error) { return &statement{c, text}, nil }
func (c *connection) Close() error                             { return nil }
func (s *statement) Close() error                              { return nil }
func (s *statement) NumInput() int                             { return strings.Count(s.text, "$") }
func (s *statement) Query([]driver.Value) (driver.Rows, error) {
	return nil, errors.New("has no queries")
}

type connection struct {
	table *table
	added []string
}

type statement struct {
	*connection
	text string
}

func (c *connection) Begin() (driver.Tx, error) {
	c.table.writing.Lock()
	c.added = nil
	return c, nil
}

func (c *connection) Commit() error {
	for _, key := range c.added {
		c.table.committed[key] = true
	}
	return c.Rollback()
}

func (c *connection) Rollback() error {
	c.table.writing.Unlock()
	return nil
}

func (s *statement) Exec(values []driver.Value) (driver.Result, error) {
	key := s.text
	if strings.Contains(s.text, "ON CONFLICT (event_id) DO NOTHING") {
		key = values[0].(string)
		if s.table.committed[key] {
			return driver.RowsAffected(0), nil
		}
	}
	s.added = append(s.added, key)
	return driver.RowsAffected(1), nil
}

func each(t *testing.T, test func(*testing.T, webhooks.Deduplicator)) {
	t.Run("in memory", func(t *testing.T) { test(t, &webhooks.MemoryDeduplicator{}) })
	t.Run("in a database", func(t *testing.T) {
		test(t, webhooks.SQLDeduplicator{DB: sql.OpenDB(&table{committed: map[string]bool{}})})
	})
}

func nothing(context.Context, *sql.Tx) error { return nil }

func process(t *testing.T, d webhooks.Deduplicator, event string, want bool) {
	t.Helper()
	if ran, err := d.ProcessOnce(context.Background(), event, nothing); ran != want || err != nil {
		t.Fatal(event, ran, err)
	}
}

func TestTheSecondDeliveryOfAnEventDoesNothing(t *testing.T) {
	each(t, func(t *testing.T, d webhooks.Deduplicator) {
		process(t, d, "evt_1", true)
		process(t, d, "evt_1", false)
		process(t, d, "evt_2", true)
	})
}

func TestWorkThatFailedOrPanickedIsDoneByTheNextDelivery(t *testing.T) {
	each(t, func(t *testing.T, d webhooks.Deduplicator) {
		failure := errors.New("out of stock")
		_, err := d.ProcessOnce(context.Background(), "evt_1", func(context.Context, *sql.Tx) error { return failure })
		if err != failure {
			t.Fatal(err)
		}
		func() {
			defer func() { _ = recover() }()
			_, _ = d.ProcessOnce(context.Background(), "evt_1", func(context.Context, *sql.Tx) error { panic("again") })
		}()
		process(t, d, "evt_1", true)
	})
}

func TestOfManyDeliveriesAtTheSameTimeOneDoesTheWork(t *testing.T) {
	each(t, func(t *testing.T, d webhooks.Deduplicator) {
		var group sync.WaitGroup
		var mutex sync.Mutex
		ran := 0
		for i := 0; i < 8; i++ {
			group.Add(1)
			go func() {
				defer group.Done()
				_, err := d.ProcessOnce(context.Background(), "evt_1", func(context.Context, *sql.Tx) error {
					mutex.Lock()
					defer mutex.Unlock()
					ran++
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}()
		}
		group.Wait()
		if ran != 1 {
			t.Fatal(ran)
		}
	})
}

func TestEffectsAreCommittedWithTheMarkOrNotAtAll(t *testing.T) {
	database := &table{committed: map[string]bool{}}
	d := webhooks.SQLDeduplicator{DB: sql.OpenDB(database)}
	const ship = "INSERT INTO orders"
	_, err := d.ProcessOnce(context.Background(), "evt_1", func(ctx context.Context, tx *sql.Tx) error {
		_, _ = tx.ExecContext(ctx, ship)
		return errors.New("the power went out")
	})
	if err == nil || database.committed[ship] || database.committed["evt_1"] {
		t.Fatal(err, database.committed)
	}
	_, err = d.ProcessOnce(context.Background(), "evt_1", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, ship)
		return err
	})
	if err != nil || !database.committed[ship] || !database.committed["evt_1"] {
		t.Fatal(err, database.committed)
	}
}
