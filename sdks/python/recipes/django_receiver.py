"""Django: `request.body`, and no CSRF token, because the signature takes its place."""

import os

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from k_payments_webhooks import Event, EventError, MemoryDeduplicator, SignatureError, construct_event

# In production SqlDeduplicator, or a model whose primary key is the event's id, created in
# `transaction.atomic()` together with the work.
deduplicator = MemoryDeduplicator()


def process(event: Event) -> None:
    """The receiver's own work."""


@csrf_exempt
@require_POST
def receive(request: HttpRequest) -> HttpResponse:
    try:
        event = construct_event(
            request.body,
            request.headers.get("K-Payments-Signature"),
            os.environ["K_PAYMENTS_SIGNING_SECRET"],
        )
    except SignatureError as error:
        return HttpResponse(error.kind.value, status=400)
    except EventError:
        return HttpResponse("malformed_event", status=400)
    deduplicator.process_once(event.id, lambda _: process(event))
    return HttpResponse(status=204)


urlpatterns = [path("hooks", receive)]
