// Package webhooks verifies K-Payments webhooks and helps to process each event once. It needs the standard library
// alone.
//
//	event, err := webhooks.ConstructEvent(body, r.Header.Get(webhooks.SignatureHeader), secret)
//
// body is the raw bytes of the request, and secret all of the endpoint's signing secret. The rules of the signature
// and their order are in sdks/README.md.
package webhooks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// SignatureHeader is the name of the header that carries the signature.
const SignatureHeader = "K-Payments-Signature"

// DefaultTolerance is how far from now a signature may have been made.
const DefaultTolerance = 5 * time.Minute

// ErrorKind says why a signature does not hold. It is an error itself, so that errors.Is finds it.
type ErrorKind string

// The reasons, in the order in which they are looked for.
const (
	ErrMissingHeader       ErrorKind = "missing_header"
	ErrMalformedHeader     ErrorKind = "malformed_header"
	ErrNoMatchingSignature ErrorKind = "no_matching_signature"
	ErrTimestampTooOld     ErrorKind = "timestamp_too_old"
	ErrTimestampTooNew     ErrorKind = "timestamp_too_new"
)

var messages = map[ErrorKind]string{
	ErrMissingHeader:   "there is no K-Payments-Signature header",
	ErrMalformedHeader: "the header is not of the form t=<unix seconds>,v1=<hex>",
	ErrNoMatchingSignature: "no v1 fits: the secret is another endpoint's or an older one, " +
		"or these are not the raw bytes of the body",
	ErrTimestampTooOld: "the signature fits but was made too long ago; a replay, or this machine's clock is ahead",
	ErrTimestampTooNew: "the signature fits but was made in the future; this machine's clock is behind",
}

// Error says it in words.
func (kind ErrorKind) Error() string {
	return "webhooks: " + messages[kind]
}

// ErrNotASecret is a mistake of the program, not of the request.
var ErrNotASecret = errors.New(
	"webhooks: the secret must be the endpoint's signing secret: whsec_ and the base64 of 32 bytes")

// Option changes how a signature is checked.
type Option func(*options)

type options struct {
	tolerance time.Duration
	now       time.Time
}

// WithTolerance sets how far from now a signature may have been made, in whole seconds.
func WithTolerance(tolerance time.Duration) Option {
	return func(o *options) { o.tolerance = tolerance }
}

// WithNow sets what is taken for now; for tests.
func WithNow(now time.Time) Option {
	return func(o *options) { o.now = now }
}

// ConstructEvent verifies a request and reads its event. The error is one of the kinds, ErrNotASecret, or an
// *EventError if what was signed is no event.
func ConstructEvent(body []byte, header, secret string, opts ...Option) (*Event, error) {
	if err := VerifySignature(body, header, secret, opts...); err != nil {
		return nil, err
	}
	return ParseEvent(body)
}

// VerifySignature checks the value of K-Payments-Signature against the raw bytes of the body. The error is one of the
// kinds, or ErrNotASecret.
func VerifySignature(body []byte, header, secret string, opts ...Option) error {
	o := options{tolerance: DefaultTolerance}
	for _, option := range opts {
		option(&o)
	}
	if o.now.IsZero() {
		o.now = time.Now()
	}
	if !isSecret(secret) {
		return ErrNotASecret
	}
	if strings.Trim(header, whiteSpace) == "" {
		return ErrMissingHeader
	}
	parsed, err := parse(header)
	if err != nil {
		return err
	}
	expected := mac(secret, parsed.timestamp, body)
	fits := false
	for _, signature := range parsed.signatures {
		// Every one is compared, so that the time tells nothing of which one fits.
		fits = hmac.Equal(expected, signature) || fits
	}
	if !fits {
		return ErrNoMatchingSignature
	}
	tolerance := int64(o.tolerance / time.Second)
	// Neither is below zero, so the difference does not overflow.
	age := o.now.Unix() - parsed.seconds
	switch {
	case age > tolerance:
		return ErrTimestampTooOld
	case age < -tolerance:
		return ErrTimestampTooNew
	}
	return nil
}

// SignHeader makes the header that the service would send for this body: for the tests of receivers. Several secrets
// make several v1, as during a rotation.
func SignHeader(body []byte, at time.Time, secrets ...string) (string, error) {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	header := "t=" + timestamp
	for _, secret := range secrets {
		if !isSecret(secret) {
			return "", ErrNotASecret
		}
		header += ",v1=" + hex.EncodeToString(mac(secret, timestamp, body))
	}
	return header, nil
}

const whiteSpace = "\t\n\v\f\r "

type parsedHeader struct {
	timestamp  string
	seconds    int64
	signatures [][]byte
}

func parse(header string) (parsedHeader, error) {
	var parsed parsedHeader
	seen := false
	for _, part := range strings.Split(header, ",") {
		scheme, value, found := strings.Cut(strings.Trim(part, whiteSpace), "=")
		if !found || (scheme == "t" && seen) {
			return parsed, ErrMalformedHeader
		}
		switch scheme {
		case "t":
			parsed.timestamp, seen = value, true
		case "v1":
			signature, err := hex.DecodeString(value)
			if err != nil {
				return parsed, ErrMalformedHeader
			}
			parsed.signatures = append(parsed.signatures, signature)
		}
	}
	// ParseUint takes no sign, and no underscores in base 10.
	seconds, err := strconv.ParseUint(parsed.timestamp, 10, 63)
	if err != nil || len(parsed.signatures) == 0 {
		return parsed, ErrMalformedHeader
	}
	parsed.seconds = int64(seconds)
	return parsed, nil
}

func mac(secret, timestamp string, body []byte) []byte {
	hash := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(hash, "%s.", timestamp)
	hash.Write(body)
	return hash.Sum(nil)
}

func isSecret(secret string) bool {
	const prefix = "whsec_"
	// Go's decoder skips line breaks.
	if !strings.HasPrefix(secret, prefix) || strings.ContainsAny(secret, "\r\n") {
		return false
	}
	key, err := base64.StdEncoding.Strict().DecodeString(secret[len(prefix):])
	return err == nil && len(key) == 32
}
