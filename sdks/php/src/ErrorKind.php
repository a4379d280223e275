<?php

declare(strict_types=1);

namespace KPayments\Webhooks;

/** Why a signature does not hold. */
enum ErrorKind: string
{
    case MissingHeader = 'missing_header';
    case MalformedHeader = 'malformed_header';
    case NoMatchingSignature = 'no_matching_signature';
    case TimestampTooOld = 'timestamp_too_old';
    case TimestampTooNew = 'timestamp_too_new';

    /** It in words. */
    public function message(): string
    {
        return match ($this) {
            self::MissingHeader => 'there is no K-Payments-Signature header',
            self::MalformedHeader => 'the header is not of the form t=<unix seconds>,v1=<hex>',
            self::NoMatchingSignature => "no v1 fits: the secret is another endpoint's or an older one, "
                . 'or these are not the raw bytes of the body',
            self::TimestampTooOld => 'the signature fits but was made too long ago; '
                . "a replay, or this machine's clock is ahead",
            self::TimestampTooNew => "the signature fits but was made in the future; this machine's clock is behind",
        };
    }
}
