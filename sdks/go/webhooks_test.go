package webhooks_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	webhooks "github.com/k-payments/webhooks-go"
)

const (
	secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	now    = 1_749_651_729
	text   = `{"id":"evt_1","object":"event","api_version":"v1","created":1749651729,"livemode":false,` +
		`"type":"charge.refunded","data":{"object":{"id":"ch_1","ID":"other","object":"charge","amount":4999},` +
		`"previous_attributes":{"amount_refunded":0}}}`
)

type vectors struct {
	Cases []struct {
		Name, Secret    string
		Time, Tolerance int64
		Header, Reason  *string
		Body            []byte
	}
	Signing []struct {
		Name, Header string
		Secrets      []string
		Time         int64
		Body         []byte
	}
}

func TestTheCasesThatEveryLibraryAndTheServerAgreeOn(t *testing.T) {
	file, err := os.ReadFile("../vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var all vectors
	if err := json.Unmarshal(file, &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Cases) < 80 {
		t.Fatal("cases are missing")
	}
	verified, signed := 0, 0
	for _, c := range all.Cases {
		t.Run(c.Name, func(t *testing.T) {
			header := ""
			if c.Header != nil {
				header = *c.Header
			}
			err := webhooks.VerifySignature(c.Body, header, c.Secret,
				webhooks.WithNow(time.Unix(c.Time, 0)), webhooks.WithTolerance(time.Duration(c.Tolerance)*time.Second))
			var want error
			if c.Reason != nil {
				want = webhooks.ErrorKind(*c.Reason)
			}
			if err != want {
				t.Fatalf("%v, not %v", err, want)
			}
			verified++
		})
	}
	for _, s := range all.Signing {
		t.Run("signing "+s.Name, func(t *testing.T) {
			header, err := webhooks.SignHeader(s.Body, time.Unix(s.Time, 0), s.Secrets...)
			if err != nil || header != s.Header {
				t.Fatalf("%s %v, not %s", header, err, s.Header)
			}
			signed++
		})
	}
	if path := os.Getenv("K_WEBHOOKS_VECTORS_REPORT"); path != "" {
		report, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer report.Close()
		fmt.Fprintf(report, "Go|%s|%d|%d\n", strings.TrimPrefix(runtime.Version(), "go"), verified, signed)
	}
}

func header(t *testing.T, body string, at time.Time) string {
	t.Helper()
	header, err := webhooks.SignHeader([]byte(body), at, secret)
	if err != nil {
		t.Fatal(err)
	}
	return header
}

func TestAVerifiedBodyComesOutAsAnEvent(t *testing.T) {
	event, err := webhooks.ConstructEvent([]byte(text), header(t, text, time.Now()), secret)
	if err != nil {
		t.Fatal(err)
	}
	if event.ID != "evt_1" || event.Type != webhooks.ChargeRefunded || event.Created != now || event.Livemode {
		t.Fatalf("%+v", event)
	}
	if event.Data.ID != "ch_1" || event.Data.Resource != "charge" {
		t.Fatalf("%+v", event.Data)
	}
	var charge struct{ Amount int64 }
	if err := json.Unmarshal(event.Data.Object, &charge); err != nil || charge.Amount != 4999 {
		t.Fatal(charge, err)
	}
	if string(event.Data.PreviousAttributes) != `{"amount_refunded":0}` {
		t.Fatal(string(event.Data.PreviousAttributes))
	}
}

func TestErrorsIsFindsTheKindAndItHasWords(t *testing.T) {
	_, err := webhooks.ConstructEvent([]byte(text), header(t, text, time.Now().Add(-301*time.Second)), secret)
	if !errors.Is(err, webhooks.ErrTimestampTooOld) || !strings.Contains(err.Error(), "clock is ahead") {
		t.Fatal(err)
	}
	var kind webhooks.ErrorKind
	if !errors.As(err, &kind) || kind != "timestamp_too_old" {
		t.Fatal(kind)
	}
}

func TestATextThatIsNoSecretIsAMistakeOfTheProgram(t *testing.T) {
	for _, bad := range []string{"", "whsec_", secret + "\n", secret[6:], "whsec_c2hvcnQ=", secret[:len(secret)-2] + "9="} {
		if err := webhooks.VerifySignature(nil, "", bad); err != webhooks.ErrNotASecret {
			t.Fatal(bad, err)
		}
		if _, err := webhooks.SignHeader(nil, time.Now(), bad); err != webhooks.ErrNotASecret {
			t.Fatal(bad, err)
		}
	}
}

func TestATypeThatIsNotKnownYetComesOutAllTheSame(t *testing.T) {
	event, err := webhooks.ParseEvent([]byte(strings.Replace(text, "charge.refunded", "charge.captured", 1)))
	if err != nil || event.Type != "charge.captured" {
		t.Fatal(event, err)
	}
}

func TestWhatWasSignedAndIsNoEventIsRefusedAsSuch(t *testing.T) {
	for _, body := range []string{
		"", "\xff", "[]", "1", "null", "{}",
		strings.Replace(text, `"id":"ch_1",`, "", 1),
		strings.Replace(text, `"livemode":false`, `"livemode":null`, 1),
		strings.Replace(text, `{"amount_refunded":0}`, "1", 1),
	} {
		_, err := webhooks.ConstructEvent([]byte(body), header(t, body, time.Now()), secret)
		var eventError *webhooks.EventError
		if !errors.As(err, &eventError) {
			t.Fatal(body, err)
		}
	}
}
