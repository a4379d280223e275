<?php

declare(strict_types=1);

namespace KPayments\Webhooks;

/** What was signed is not an event. */
final class EventException extends \RuntimeException
{
}
