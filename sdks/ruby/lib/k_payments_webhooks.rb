# frozen_string_literal: true

# Verify K-Payments webhooks, and process each event once, with the standard library alone.
#
#   event = KPaymentsWebhooks.construct_event(body, header, secret)
#
# The body is the raw bytes of the request, the header the value of K-Payments-Signature, and the secret the endpoint's
# signing secret.
module KPaymentsWebhooks
end

require_relative "k_payments_webhooks/event"
require_relative "k_payments_webhooks/signature"
require_relative "k_payments_webhooks/deduplication"
