# frozen_string_literal: true

# Processing each event once, although it can be delivered more than once.
#
# An event counts as processed when its work has ended well, not when it came: if the work fails the next delivery runs
# it again. Two deliveries at the same time do not both run it. Only a mark and effects that are committed together make
# this hold through a crash, so in production use a database. A deduplicator has one method, process_once, which takes
# the event's id and a block and says whether the block ran.
module KPaymentsWebhooks
  # Remembers in this process: for tests, and where running twice after a restart does no harm.
  class MemoryDeduplicator
    def initialize(capacity: 100_000)
      @capacity = capacity
      @mutex = Mutex.new
      @changed = ConditionVariable.new
      @running = {}
      @processed = {}
    end

    def process_once(event_id)
      return false unless begin_work(event_id)

      done = false
      begin
        yield
        done = true
      ensure
        end_work(event_id, done)
      end
    end

    private

    def begin_work(event_id)
      @mutex.synchronize do
        @changed.wait(@mutex) while @running.key?(event_id)
        return false if @processed.key?(event_id)

        @running[event_id] = true
      end
    end

    def end_work(event_id, done)
      @mutex.synchronize do
        @running.delete(event_id)
        @processed[event_id] = true if done
        @processed.shift if @processed.size > @capacity
        @changed.broadcast
      end
    end
  end

  # Remembers in a table of the receiver's own database, in the transaction of the work.
  #
  # `transaction` runs a block in a transaction and gives it what makes statements; `insert` runs the statement with the
  # event's id and says how many rows it made. With Active Record:
  #
  #   SqlDeduplicator.new(
  #     transaction: ->(&work) { Order.transaction { work.call(Order.connection) } },
  #     insert: ->(db, sql, id) { db.exec_update(sql, "once", [id]) },
  #     placeholder: "$1",
  #   )
  #
  # A second delivery waits at the primary key until the first transaction has ended.
  class SqlDeduplicator
    TABLE = "CREATE TABLE IF NOT EXISTS processed_webhook_events " \
            "(event_id TEXT PRIMARY KEY, processed_at BIGINT NOT NULL)"

    def initialize(transaction:, insert:, placeholder: "?")
      @transaction = transaction
      @insert = insert
      @placeholder = placeholder
    end

    def process_once(event_id)
      ran = false
      @transaction.call do |database|
        ran = @insert.call(database, statement, event_id) == 1
        yield database if ran
      end
      ran
    end

    private

    def statement
      "INSERT INTO processed_webhook_events (event_id, processed_at) " \
        "VALUES (#{@placeholder}, #{Time.now.to_i}) ON CONFLICT (event_id) DO NOTHING"
    end
  end
end
