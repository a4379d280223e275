<?php

declare(strict_types=1);

namespace KPayments\Webhooks;

/** The request is not one that K-Payments signed, or not now. Answer 400 and do nothing. */
final class SignatureException extends \RuntimeException
{
    public function __construct(public readonly ErrorKind $kind)
    {
        parent::__construct($kind->message());
    }
}
