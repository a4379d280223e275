# frozen_string_literal: true

require "openssl"

# K-Payments-Signature: checking it, and making it for tests. The rules and their order are in sdks/README.md.
module KPaymentsWebhooks
  SIGNATURE_HEADER = "K-Payments-Signature"

  # How many seconds from now a signature may have been made.
  DEFAULT_TOLERANCE = 300

  # The request is not one that K-Payments signed, or not now. Answer 400 and do nothing.
  class SignatureError < StandardError
    MESSAGES = {
      missing_header: "there is no K-Payments-Signature header",
      malformed_header: "the header is not of the form t=<unix seconds>,v1=<hex>",
      no_matching_signature: "no v1 fits: the secret is another endpoint's or an older one, " \
                             "or these are not the raw bytes of the body",
      timestamp_too_old: "the signature fits but was made too long ago; a replay, or this machine's clock is ahead",
      timestamp_too_new: "the signature fits but was made in the future; this machine's clock is behind"
    }.freeze

    # Why: one of the keys of MESSAGES.
    attr_reader :kind

    def initialize(kind)
      super(MESSAGES.fetch(kind))
      @kind = kind
    end
  end

  class << self
    # Verifies a request and reads its event. Raises SignatureError as verify_signature does, and EventError if what
    # was signed is no event.
    def construct_event(body, header, secret, tolerance: DEFAULT_TOLERANCE, now: Time.now)
      verify_signature(body, header, secret, tolerance: tolerance, now: now)
      parse_event(body)
    end

    # Checks the value of K-Payments-Signature against the raw bytes of the body. `tolerance` is in seconds, `now` a
    # time or unix seconds. Raises SignatureError if the signature does not hold, ArgumentError if the secret is not
    # one, TypeError if the body is not a string of bytes.
    def verify_signature(body, header, secret, tolerance: DEFAULT_TOLERANCE, now: Time.now)
      check_arguments(body, secret)
      header = header.to_s.b
      raise SignatureError, :missing_header if trim(header).empty?

      timestamp, signatures = parse(header)
      expected = mac(secret, timestamp, body)
      # Every one is compared, so that the time tells nothing of which one fits.
      fits = signatures.map { |signature| same?(expected, signature) }.any?
      raise SignatureError, :no_matching_signature unless fits

      age = now.to_i - timestamp.to_i
      raise SignatureError, :timestamp_too_old if age > tolerance
      raise SignatureError, :timestamp_too_new if age < -tolerance
    end

    # The header that the service would send for this body: for the tests of receivers. Several secrets make several
    # v1, as during a rotation.
    def sign_header(body, *secrets, at: Time.now)
      timestamp = at.to_i.to_s
      signatures = secrets.flatten.map do |secret|
        check_arguments(body, secret)
        ",v1=#{mac(secret, timestamp, body).unpack1("H*")}"
      end
      "t=#{timestamp}#{signatures.join}"
    end

    private

    # The last letter before the padding holds four bits only.
    SECRET = %r{\Awhsec_[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=\z}.freeze
    SECONDS_MAX = (2**63) - 1
    private_constant :SECRET, :SECONDS_MAX

    def check_arguments(body, secret)
      raise TypeError, "body must be the raw bytes of the request, a String" unless body.is_a?(String)
      return if secret.is_a?(String) && SECRET.match?(secret)

      raise ArgumentError, "secret must be the endpoint's signing secret: whsec_ and the base64 of 32 bytes"
    end

    # Not String#strip, which drops other characters than the service does.
    def trim(text)
      first = text.index(/[^\t-\r ]/n)
      first ? text[first..text.rindex(/[^\t-\r ]/n)] : ""
    end

    def mac(secret, timestamp, body)
      OpenSSL::HMAC.digest("SHA256", secret, "#{timestamp}.".b << body.b)
    end

    def same?(expected, signature)
      expected.bytesize == signature.bytesize && OpenSSL.fixed_length_secure_compare(expected, signature)
    end

    # The text of `t` and the bytes of every `v1`.
    def parse(header)
      timestamp = nil
      signatures = []
      header.split(",", -1).each do |part|
        scheme, equals, value = trim(part).partition("=")
        malformed! if equals.empty? || (scheme == "t" && timestamp)
        timestamp = value if scheme == "t"
        signatures << bytes_of(value) if scheme == "v1"
      end
      malformed! unless timestamp&.match?(/\A[0-9]+\z/) && seconds_fit?(timestamp) && signatures.any?
      [timestamp, signatures]
    end

    def bytes_of(hex)
      malformed! unless hex.match?(/\A(?:[0-9A-Fa-f]{2})*\z/)
      [hex].pack("H*")
    end

    # Counted before it is read: reading a number of thousands of digits takes its time.
    def seconds_fit?(timestamp)
      significant = timestamp.sub(/\A0+/, "")
      significant.length <= 19 && significant.to_i <= SECONDS_MAX
    end

    def malformed!
      raise SignatureError, :malformed_header
    end
  end
end
