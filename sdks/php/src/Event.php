<?php

declare(strict_types=1);

namespace KPayments\Webhooks;

/** An event of a merchant. */
final class Event
{
    /** Every type that exists now. A receiver answers 2xx to one that it does not know, and passes over it. */
    public const TYPES = [
        'charge.succeeded', 'charge.failed', 'charge.refunded', 'refund.created', 'refund.updated',
        'payout.created', 'payout.paid', 'payout.failed', 'dispute.created', 'dispute.updated', 'dispute.closed',
    ];

    /**
     * @param string $type one of TYPES, or one that came later than this library
     * @param int $created unix seconds
     * @param array<string, mixed> $object the charge, refund, payout or dispute; it has `id` and `object`, the rest is
     *     the publisher's
     * @param array<string, mixed>|null $previousAttributes what changed, with the values of before
     * @param string $raw the bytes that were signed
     */
    private function __construct(
        public readonly string $id,
        public readonly string $type,
        public readonly int $created,
        public readonly bool $livemode,
        public readonly string $apiVersion,
        public readonly array $object,
        public readonly ?array $previousAttributes,
        public readonly string $raw,
    ) {
    }

    /**
     * Reads an event. Verify first: this trusts what it is given.
     *
     * @throws EventException
     */
    public static function parse(string $body): self
    {
        try {
            $document = json_decode($body, false, 128, JSON_THROW_ON_ERROR | JSON_BIGINT_AS_STRING);
        } catch (\JsonException $cause) {
            throw new EventException('the body is not JSON', 0, $cause);
        }
        $data = self::member($document, 'data', 'object');
        $resource = self::member($data, 'object', 'object');
        self::member($resource, 'id', 'string');
        self::member($resource, 'object', 'string');
        $previous = isset($data->previous_attributes) ? self::member($data, 'previous_attributes', 'object') : null;
        return new self(
            self::member($document, 'id', 'string'),
            self::member($document, 'type', 'string'),
            self::member($document, 'created', 'integer'),
            self::member($document, 'livemode', 'boolean'),
            self::member($document, 'api_version', 'string'),
            self::toArray($resource),
            $previous === null ? null : self::toArray($previous),
            $body,
        );
    }

    private static function member(mixed $holder, string $name, string $kind): mixed
    {
        $value = $holder instanceof \stdClass ? ($holder->{$name} ?? null) : null;
        if (gettype($value) !== $kind) {
            throw new EventException("the body is not an event: $name is missing or of another kind");
        }
        return $value;
    }

    /** @return array<string, mixed> */
    private static function toArray(\stdClass $object): array
    {
        return array_map(self::plain(...), get_object_vars($object));
    }

    private static function plain(mixed $value): mixed
    {
        return match (true) {
            $value instanceof \stdClass => self::toArray($value),
            is_array($value) => array_map(self::plain(...), $value),
            default => $value,
        };
    }
}
