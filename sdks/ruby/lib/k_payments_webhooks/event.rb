# frozen_string_literal: true

require "json"

# Events: what the body of a verified request says.
module KPaymentsWebhooks
  # Every type that exists now. A receiver answers 2xx to one that it does not know, and passes over it.
  EVENT_TYPES = %w[
    charge.succeeded charge.failed charge.refunded refund.created refund.updated
    payout.created payout.paid payout.failed dispute.created dispute.updated dispute.closed
  ].freeze

  # What was signed is not an event.
  class EventError < StandardError; end

  # What an event is about. `object` is the charge, refund, payout or dispute, as a hash of strings; it has "id" and
  # "object", the rest is the publisher's. `previous_attributes` is what changed, with the values of before, or nil.
  EventData = Struct.new(:object, :previous_attributes, keyword_init: true)

  # An event of a merchant. `created` is in unix seconds; `type` may be one that came later than this library; `raw` is
  # the bytes that were signed.
  Event = Struct.new(:id, :type, :created, :livemode, :api_version, :data, :raw, keyword_init: true)

  # Reads events.
  module Reader
    BOOLEAN = [true, false].freeze

    module_function

    def read(body)
      document = parse(body)
      data = member(document, "data", Hash)
      Event.new(
        id: member(document, "id", String), type: member(document, "type", String),
        created: member(document, "created", Integer), livemode: boolean(document, "livemode"),
        api_version: member(document, "api_version", String), data: data_of(data), raw: body
      ).freeze
    end

    def parse(body)
      JSON.parse(body.dup.force_encoding(Encoding::UTF_8), create_additions: false)
    rescue JSON::ParserError, EncodingError
      raise EventError, "the body is not JSON"
    end

    def data_of(data)
      resource = member(data, "object", Hash)
      member(resource, "id", String)
      member(resource, "object", String)
      previous = data["previous_attributes"]
      raise EventError, "previous_attributes is not an object" unless previous.nil? || previous.is_a?(Hash)

      EventData.new(object: resource, previous_attributes: previous).freeze
    end

    def boolean(document, name)
      return document[name] if BOOLEAN.include?(document[name])

      raise EventError, "the body is not an event: #{name} is missing or of another kind"
    end

    def member(document, name, kind)
      value = document.is_a?(Hash) ? document[name] : nil
      return value if value.is_a?(kind)

      raise EventError, "the body is not an event: #{name} is missing or of another kind"
    end
  end
  private_constant :Reader

  # Reads an event. Verify first: this trusts what it is given. Raises EventError.
  def self.parse_event(body)
    Reader.read(body)
  end
end
