<?php

declare(strict_types=1);

use KPayments\Webhooks\Event;
use KPayments\Webhooks\EventException;
use KPayments\Webhooks\SignatureException;
use KPayments\Webhooks\Webhook;
use PHPUnit\Framework\TestCase;

final class WebhookTest extends TestCase
{
    private const SECRET = 'whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=';
    private const BODY = '{"id":"evt_1","object":"event","api_version":"v1","created":1749651729,"livemode":false,'
        . '"type":"charge.refunded","data":{"object":{"id":"ch_1","object":"charge","amount":4999,"lines":[{"n":1}]},'
        . '"previous_attributes":{"amount_refunded":0}}}';

    private static int $cases = 0;
    private static int $signing = 0;

    public static function tearDownAfterClass(): void
    {
        $path = getenv('K_WEBHOOKS_VECTORS_REPORT');
        if ($path !== false) {
            $line = sprintf("PHP|%s|%d|%d\n", PHP_VERSION, self::$cases, self::$signing);
            file_put_contents($path, $line, FILE_APPEND);
        }
    }

    /** @return iterable<string, array{array<string, mixed>}> */
    private static function vectors(string $group): iterable
    {
        $text = file_get_contents(__DIR__ . '/../../vectors.json');
        foreach (json_decode($text, true, flags: JSON_THROW_ON_ERROR)[$group] as $entry) {
            yield $entry['name'] => [$entry];
        }
    }

    public static function cases(): iterable
    {
        return self::vectors('cases');
    }

    public static function signing(): iterable
    {
        return self::vectors('signing');
    }

    /** @dataProvider cases */
    public function testEachCaseHasItsVerdict(array $case): void
    {
        $found = null;
        try {
            Webhook::verifySignature(
                base64_decode($case['body'], true),
                $case['header'],
                $case['secret'],
                $case['tolerance'],
                $case['time'],
            );
        } catch (SignatureException $exception) {
            $found = $exception->kind->value;
        }
        self::assertSame($case['reason'], $found);
        self::$cases++;
    }

    /** @dataProvider signing */
    public function testSigningMakesTheHeaderOfTheService(array $entry): void
    {
        $header = Webhook::signHeader(base64_decode($entry['body'], true), $entry['secrets'], $entry['time']);
        self::assertSame($entry['header'], $header);
        self::$signing++;
    }

    private static function construct(string $body): Event
    {
        return Webhook::constructEvent($body, Webhook::signHeader($body, self::SECRET), self::SECRET);
    }

    public function testAVerifiedBodyComesOutAsAnEvent(): void
    {
        $event = self::construct(self::BODY);
        self::assertSame(['evt_1', 'charge.refunded', 1749651729, false],
            [$event->id, $event->type, $event->created, $event->livemode]);
        self::assertSame(4999, $event->object['amount']);
        self::assertSame([['n' => 1]], $event->object['lines']);
        self::assertSame(['amount_refunded' => 0], $event->previousAttributes);
        self::assertSame(self::BODY, $event->raw);
        self::assertCount(11, Event::TYPES);
    }

    public function testTheToleranceIsFiveMinutesUnlessSaidOtherwise(): void
    {
        $header = Webhook::signHeader(self::BODY, self::SECRET, 1000);
        Webhook::verifySignature(self::BODY, $header, self::SECRET, now: 1300);
        $this->expectExceptionMessage('clock is ahead');
        Webhook::verifySignature(self::BODY, $header, self::SECRET, now: 1301);
    }

    /** @return iterable<array{string}> */
    public static function noSecrets(): iterable
    {
        yield from [[''], ['whsec_'], ['whsec_c2hvcnQ='], [substr(self::SECRET, 6)], [self::SECRET . "\n"]];
    }

    /** @dataProvider noSecrets */
    public function testATextThatIsNoSecretIsAMistakeOfTheProgram(string $secret): void
    {
        $this->expectException(InvalidArgumentException::class);
        Webhook::verifySignature(self::BODY, null, $secret);
    }

    /** @return iterable<array{string}> */
    public static function noEvents(): iterable
    {
        yield from [[''], ["\xff"], ['[]'], ['1'], ['null'], ['{}'], ['{"data":{"object":[]}}']];
        yield [str_replace('"id":"ch_1",', '', self::BODY)];
    }

    /** @dataProvider noEvents */
    public function testWhatWasSignedAndIsNoEventIsRefusedAsSuch(string $body): void
    {
        $this->expectException(EventException::class);
        self::construct($body);
    }

    public function testATypeThatIsNotKnownYetComesOutAllTheSame(): void
    {
        $event = self::construct(str_replace('charge.refunded', 'charge.captured', self::BODY));
        self::assertSame('charge.captured', $event->type);
    }
}
