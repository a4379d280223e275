package webhooks_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	webhooks "github.com/k-payments/webhooks-go"
)

// Receiver is a handler for net/http: it verifies, processes once, and answers.
type Receiver struct {
	Secret string
	// In production SQLDeduplicator, with the database that the work changes.
	Deduplicator webhooks.Deduplicator
	Work         func(ctx context.Context, tx *sql.Tx, event *webhooks.Event) error
}

func (receiver *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	event, err := webhooks.ConstructEvent(body, r.Header.Get(webhooks.SignatureHeader), receiver.Secret)
	if errors.Is(err, webhooks.ErrNotASecret) {
		// A mistake of ours, so the service shall try again.
		http.Error(w, "misconfigured", http.StatusInternalServerError)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, err = receiver.Deduplicator.ProcessOnce(r.Context(), event.ID, func(ctx context.Context, tx *sql.Tx) error {
		return receiver.Work(ctx, tx, event)
	})
	if err != nil {
		http.Error(w, "not processed", http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func Example() {
	receiver := &Receiver{
		Secret:       secret,
		Deduplicator: &webhooks.MemoryDeduplicator{},
		Work: func(_ context.Context, _ *sql.Tx, event *webhooks.Event) error {
			fmt.Println(event.Type, event.Data.ID)
			return nil
		},
	}
	header, _ := webhooks.SignHeader([]byte(text), time.Now(), secret)
	for i := 0; i < 2; i++ {
		request := httptest.NewRequest(http.MethodPost, "/hooks", strings.NewReader(text))
		request.Header.Set(webhooks.SignatureHeader, header)
		answer := httptest.NewRecorder()
		receiver.ServeHTTP(answer, request)
		fmt.Println(answer.Code)
	}
	// Output:
	// charge.refunded ch_1
	// 204
	// 204
}

func TestTheReceiverRefusesWhatDoesNotVerifyAndFailsWhereItsWorkFails(t *testing.T) {
	work := func(context.Context, *sql.Tx, *webhooks.Event) error { return errors.New("out of stock") }
	for _, c := range []struct {
		secret, body, header string
		status               int
	}{
		{secret, text, "", 400},
		{secret, text + " ", header(t, text, time.Now()), 400},
		{secret, "{}", header(t, "{}", time.Now()), 400},
		{secret, strings.Repeat(" ", 1<<20+1), header(t, "{}", time.Now()), 400},
		{secret, text, header(t, text, time.Now()), 500},
		{"", text, header(t, text, time.Now()), 500},
	} {
		receiver := &Receiver{Secret: c.secret, Deduplicator: &webhooks.MemoryDeduplicator{}, Work: work}
		request := httptest.NewRequest(http.MethodPost, "/hooks", strings.NewReader(c.body))
		request.Header.Set(webhooks.SignatureHeader, c.header)
		answer := httptest.NewRecorder()
		receiver.ServeHTTP(answer, request)
		if answer.Code != c.status {
			t.Fatal(answer.Code, answer.Body, c.status)
		}
	}
}
