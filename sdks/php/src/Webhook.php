<?php

declare(strict_types=1);

namespace KPayments\Webhooks;

/** `K-Payments-Signature`: checking it, and making it for tests. The rules and their order are in sdks/README.md. */
final class Webhook
{
    public const SIGNATURE_HEADER = 'K-Payments-Signature';

    /** How many seconds from now a signature may have been made. */
    public const DEFAULT_TOLERANCE = 300;

    private const WHITE_SPACE = "\t\n\v\f\r ";

    /**
     * Verifies a request and reads its event.
     *
     * @param string $body the raw bytes, from `file_get_contents('php://input')`
     * @param string|null $header from `$_SERVER['HTTP_K_PAYMENTS_SIGNATURE'] ?? null`
     * @param string $secret all of the endpoint's signing secret
     * @throws SignatureException as verifySignature does
     * @throws EventException if what was signed is no event
     */
    public static function constructEvent(
        string $body,
        ?string $header,
        #[\SensitiveParameter] string $secret,
        int $tolerance = self::DEFAULT_TOLERANCE,
        ?int $now = null,
    ): Event {
        self::verifySignature($body, $header, $secret, $tolerance, $now);
        return Event::parse($body);
    }

    /**
     * Checks the value of the header against the raw bytes of the body.
     *
     * @param int $tolerance in seconds
     * @param int|null $now unix seconds; the system's clock if not given
     * @throws SignatureException if the signature does not hold
     * @throws \InvalidArgumentException if the secret is not one
     */
    public static function verifySignature(
        string $body,
        ?string $header,
        #[\SensitiveParameter] string $secret,
        int $tolerance = self::DEFAULT_TOLERANCE,
        ?int $now = null,
    ): void {
        self::checkSecret($secret);
        if ($header === null || trim($header, self::WHITE_SPACE) === '') {
            throw new SignatureException(ErrorKind::MissingHeader);
        }
        [$timestamp, $signatures] = self::parse($header);
        $expected = hash_hmac('sha256', "$timestamp.$body", $secret, true);
        $fits = false;
        foreach ($signatures as $signature) {
            // Every one is compared, so that the time tells nothing of which one fits.
            $fits = hash_equals($expected, $signature) || $fits;
        }
        if (!$fits) {
            throw new SignatureException(ErrorKind::NoMatchingSignature);
        }
        $age = ($now ?? time()) - (int) $timestamp;
        if ($age > $tolerance) {
            throw new SignatureException(ErrorKind::TimestampTooOld);
        }
        if ($age < -$tolerance) {
            throw new SignatureException(ErrorKind::TimestampTooNew);
        }
    }

    /**
     * The header that the service would send for this body: for the tests of receivers. Several secrets make several
     * `v1`, as during a rotation.
     *
     * @param string|list<string> $secrets
     * @param int|null $at unix seconds; now, if not given
     */
    public static function signHeader(
        string $body,
        #[\SensitiveParameter] string|array $secrets,
        ?int $at = null,
    ): string {
        $at ??= time();
        $header = "t=$at";
        foreach ((array) $secrets as $secret) {
            self::checkSecret($secret);
            $header .= ',v1=' . hash_hmac('sha256', "$at.$body", $secret);
        }
        return $header;
    }

    private static function checkSecret(#[\SensitiveParameter] string $secret): void
    {
        // The last letter before the padding holds four bits only. D: a line feed at the end is no secret's.
        if (preg_match('~^whsec_[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$~D', $secret) !== 1) {
            throw new \InvalidArgumentException(
                "The secret must be the endpoint's signing secret: whsec_ and the base64 of 32 bytes.",
            );
        }
    }

    /** @return array{string, list<string>} the text of `t` and the bytes of every `v1` */
    private static function parse(string $header): array
    {
        $timestamp = null;
        $signatures = [];
        foreach (explode(',', $header) as $part) {
            [$scheme, $value] = explode('=', trim($part, self::WHITE_SPACE), 2) + [1 => null];
            if ($value === null || ($scheme === 't' && $timestamp !== null)) {
                throw new SignatureException(ErrorKind::MalformedHeader);
            }
            if ($scheme === 't') {
                $timestamp = $value;
            } elseif ($scheme === 'v1') {
                $signatures[] = self::bytesOf($value);
            }
        }
        if ($timestamp === null || $signatures === [] || !self::areSeconds($timestamp)) {
            throw new SignatureException(ErrorKind::MalformedHeader);
        }
        return [$timestamp, $signatures];
    }

    private static function bytesOf(string $hex): string
    {
        if ($hex !== '' && (strlen($hex) % 2 !== 0 || !ctype_xdigit($hex))) {
            throw new SignatureException(ErrorKind::MalformedHeader);
        }
        return pack('H*', $hex);
    }

    private static function areSeconds(string $text): bool
    {
        // Compared as text, because PHP turns what does not fit into a float, or into the largest integer.
        $significant = ltrim($text, '0');
        return ctype_digit($text)
            && (strlen($significant) < 19
                || (strlen($significant) === 19 && strcmp($significant, '9223372036854775807') <= 0));
    }
}
