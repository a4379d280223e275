# frozen_string_literal: true

require "base64"
require "json"
require "minitest/autorun"
require "sqlite3"
require_relative "../lib/k_payments_webhooks"

VECTORS = JSON.parse(File.read(File.expand_path("../../vectors.json", __dir__)))
PASSED = Hash.new(0)

Minitest.after_run do
  if (path = ENV.fetch("K_WEBHOOKS_VECTORS_REPORT", nil))
    File.write(path, "Ruby|#{RUBY_VERSION}|#{PASSED[:cases]}|#{PASSED[:signing]}\n", mode: "a")
  end
end

# The cases that every library and the server agree on.
class VectorsTest < Minitest::Test
  VECTORS["cases"].each do |entry|
    define_method("test_#{entry["name"]}") do
      found = nil
      begin
        KPaymentsWebhooks.verify_signature(
          Base64.strict_decode64(entry["body"]), entry["header"], entry["secret"],
          tolerance: entry["tolerance"], now: entry["time"]
        )
      rescue KPaymentsWebhooks::SignatureError => e
        found = e.kind.to_s
      end
      entry["reason"] ? assert_equal(entry["reason"], found) : assert_nil(found)
      PASSED[:cases] += 1
    end
  end

  VECTORS["signing"].each do |entry|
    define_method("test_signing_#{entry["name"]}") do
      body = Base64.strict_decode64(entry["body"])
      assert_equal entry["header"], KPaymentsWebhooks.sign_header(body, *entry["secrets"], at: entry["time"])
      PASSED[:signing] += 1
    end
  end
end

# What the cases in the file do not say.
class WebhooksTest < Minitest::Test
  SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
  BODY = '{"id":"evt_1","object":"event","api_version":"v1","created":1749651729,"livemode":false,' \
         '"type":"charge.refunded","data":{"object":{"id":"ch_1","object":"charge","amount":4999},' \
         '"previous_attributes":{"amount_refunded":0}}}'

  def construct(body)
    KPaymentsWebhooks.construct_event(body, KPaymentsWebhooks.sign_header(body, SECRET), SECRET)
  end

  def test_a_verified_body_comes_out_as_an_event
    event = construct(BODY.b)
    assert_equal ["evt_1", "charge.refunded", 1_749_651_729, false],
                 [event.id, event.type, event.created, event.livemode]
    assert_equal 4999, event.data.object["amount"]
    assert_equal({ "amount_refunded" => 0 }, event.data.previous_attributes)
    assert_equal 11, KPaymentsWebhooks::EVENT_TYPES.size
  end

  def test_the_tolerance_is_five_minutes_unless_said_otherwise
    header = KPaymentsWebhooks.sign_header(BODY, SECRET, at: 1000)
    KPaymentsWebhooks.verify_signature(BODY, header, SECRET, now: 1300)
    error = assert_raises(KPaymentsWebhooks::SignatureError) do
      KPaymentsWebhooks.verify_signature(BODY, header, SECRET, now: 1301)
    end
    assert_equal :timestamp_too_old, error.kind
    assert_match(/clock is ahead/, error.message)
  end

  def test_a_text_that_is_no_secret_or_a_body_that_is_no_string_is_a_mistake_of_the_program
    ["", "whsec_", "#{SECRET}\n", SECRET[6..], "whsec_c2hvcnQ=", nil].each do |secret|
      assert_raises(ArgumentError) { KPaymentsWebhooks.verify_signature(BODY, nil, secret) }
    end
    assert_raises(TypeError) { KPaymentsWebhooks.verify_signature({ "id" => "evt_1" }, nil, SECRET) }
  end

  def test_what_was_signed_and_is_no_event_is_refused_as_such
    ["", "\xFF", "[]", "1", "null", "{}", BODY.sub('"id":"ch_1",', ""), BODY.sub("1749651729", '"x"')].each do |body|
      assert_raises(KPaymentsWebhooks::EventError, body) { construct(body.b) }
    end
  end

  def test_a_type_that_is_not_known_yet_comes_out_all_the_same
    assert_equal "charge.captured", construct(BODY.sub("charge.refunded", "charge.captured")).type
  end
end

# Each event is processed once.
module ProcessesOnce
  def test_the_second_delivery_of_an_event_does_nothing
    ran = []
    assert deduplicator.process_once("evt_1") { ran << 1 }
    refute(deduplicator.process_once("evt_1") { ran << 2 })
    assert deduplicator.process_once("evt_2") { ran << 3 }
    assert_equal [1, 3], ran
  end

  def test_work_that_failed_is_done_by_the_next_delivery
    assert_raises(RuntimeError) { deduplicator.process_once("evt_1") { raise "out of stock" } }
    assert deduplicator.process_once("evt_1") { nil }
  end
end

class MemoryDeduplicatorTest < Minitest::Test
  include ProcessesOnce

  def deduplicator
    @deduplicator
  end

  def setup
    @deduplicator = KPaymentsWebhooks::MemoryDeduplicator.new(capacity: 2)
  end

  def test_of_two_deliveries_at_the_same_time_one_does_the_work
    entered = Queue.new
    leave = Queue.new
    first = Thread.new do
      deduplicator.process_once("evt_1") do
        entered << true
        leave.pop
      end
    end
    entered.pop
    second = Thread.new { deduplicator.process_once("evt_1") { flunk } }
    leave << true
    assert_equal [true, false], [first.value, second.value]
  end

  def test_the_oldest_is_forgotten_when_memory_is_full
    %w[evt_1 evt_2 evt_3].each { |event| deduplicator.process_once(event) { nil } }
    assert deduplicator.process_once("evt_1") { nil }
    refute(deduplicator.process_once("evt_3") { nil })
  end
end

class SqlDeduplicatorTest < Minitest::Test
  include ProcessesOnce

  def setup
    @database = SQLite3::Database.new(":memory:")
    @database.execute(KPaymentsWebhooks::SqlDeduplicator::TABLE)
    @database.execute("CREATE TABLE orders (id TEXT)")
  end

  def deduplicator
    @deduplicator ||= KPaymentsWebhooks::SqlDeduplicator.new(
      transaction: ->(&work) { @database.transaction { work.call(@database) } },
      insert: lambda { |database, statement, id|
        database.execute(statement, [id])
        database.changes
      }
    )
  end

  def test_effects_are_committed_with_the_mark_or_not_at_all
    orders = -> { @database.get_first_value("SELECT count(*) FROM orders") }
    assert_raises(RuntimeError) do
      deduplicator.process_once("evt_1") do |database|
        database.execute("INSERT INTO orders VALUES ('o_1')")
        raise "the power went out"
      end
    end
    assert_equal 0, orders.call
    2.times { deduplicator.process_once("evt_1") { |database| database.execute("INSERT INTO orders VALUES ('o_1')") } }
    assert_equal 1, orders.call
  end
end
