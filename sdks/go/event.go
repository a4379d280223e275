package webhooks

import (
	"encoding/json"
	"fmt"
)

// EventType is what kind of event it is.
type EventType string

// Every type that exists now. A receiver answers 2xx to one that it does not know, and passes over it.
const (
	ChargeSucceeded EventType = "charge.succeeded"
	ChargeFailed    EventType = "charge.failed"
	ChargeRefunded  EventType = "charge.refunded"
	RefundCreated   EventType = "refund.created"
	RefundUpdated   EventType = "refund.updated"
	PayoutCreated   EventType = "payout.created"
	PayoutPaid      EventType = "payout.paid"
	PayoutFailed    EventType = "payout.failed"
	DisputeCreated  EventType = "dispute.created"
	DisputeUpdated  EventType = "dispute.updated"
	DisputeClosed   EventType = "dispute.closed"
)

// Event is an event of a merchant.
type Event struct {
	ID         string
	APIVersion string
	Created    int64 // unix seconds
	Livemode   bool
	Type       EventType
	Data       EventData
	// Raw is the bytes that were signed.
	Raw []byte
}

// EventData is what the event is about.
type EventData struct {
	// Object is the charge, refund, payout or dispute, to be decoded into a type of the receiver's own.
	Object json.RawMessage
	// PreviousAttributes is what changed, with the values of before; empty if nothing is said of it.
	PreviousAttributes json.RawMessage
	// ID and Resource are the id and the object of Object.
	ID       string
	Resource string
}

// EventError says that what was signed is not an event.
type EventError struct{ Err error }

func (e *EventError) Error() string {
	return fmt.Sprintf("webhooks: the body is not an event: %v", e.Err)
}

// Unwrap gives what reading it said.
func (e *EventError) Unwrap() error { return e.Err }

// ParseEvent reads an event. Verify first: this trusts what it is given. The error is an *EventError.
func ParseEvent(body []byte) (*Event, error) {
	event := &Event{Raw: body}
	// Maps, because the members of structs are found whatever the case of their names.
	var members, data, resource, previous map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, &EventError{err}
	}
	read := reader{}
	read.member(members, "id", &event.ID)
	read.member(members, "type", &event.Type)
	read.member(members, "api_version", &event.APIVersion)
	read.member(members, "created", &event.Created)
	read.member(members, "livemode", &event.Livemode)
	read.member(members, "data", &data)
	read.member(data, "object", &resource)
	read.member(resource, "id", &event.Data.ID)
	read.member(resource, "object", &event.Data.Resource)
	if raw := data["previous_attributes"]; raw != nil {
		read.member(data, "previous_attributes", &previous)
		event.Data.PreviousAttributes = raw
	}
	if read.err != nil {
		return nil, &EventError{read.err}
	}
	event.Data.Object = data["object"]
	return event, nil
}

// reader keeps the first error.
type reader struct{ err error }

func (r *reader) member(members map[string]json.RawMessage, name string, into any) {
	raw := members[name]
	switch {
	case r.err != nil:
	case raw == nil || string(raw) == "null":
		r.err = fmt.Errorf("%s is missing", name)
	default:
		if err := json.Unmarshal(raw, into); err != nil {
			r.err = fmt.Errorf("%s is of another kind: %w", name, err)
		}
	}
}
