// A receiver in each language, as the libraries' documentation has it.

export interface Receiver {
  language: string;
  code: string;
}

export const RECEIVERS: Receiver[] = [
  {
    language: "Python",
    code: `@app.post("/webhooks")
def receive():
    try:
        event = construct_event(
            request.get_data(),                       # the raw bytes, before any parsing
            request.headers.get("K-Payments-Signature"),
            os.environ["K_PAYMENTS_SIGNING_SECRET"],
        )
    except SignatureError as error:
        return error.kind.value, 400
    process(event)
    return "", 204`,
  },
  {
    language: "TypeScript",
    code: `app.post("/webhooks", express.raw({ type: "*/*" }), async (request, response) => {
  try {
    const event = await constructEvent(
      request.body, // the raw bytes, before any parsing
      request.header("K-Payments-Signature"),
      process.env.K_PAYMENTS_SIGNING_SECRET!,
    );
    await handle(event);
    response.sendStatus(204);
  } catch (error) {
    response.status(error instanceof SignatureError ? 400 : 500).end();
  }
});`,
  },
  {
    language: "Go",
    code: `func receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20)) // the raw bytes
	if err != nil {
		http.Error(w, "too large", http.StatusBadRequest)
		return
	}
	secret := os.Getenv("K_PAYMENTS_SIGNING_SECRET")
	event, err := webhooks.ConstructEvent(body, r.Header.Get(webhooks.SignatureHeader), secret)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	process(event)
	w.WriteHeader(http.StatusNoContent)
}`,
  },
  {
    language: "Ruby",
    code: `def create
  event = KPaymentsWebhooks.construct_event(
    request.raw_post,                                 # the raw bytes, before any parsing
    request.headers["K-Payments-Signature"],
    ENV.fetch("K_PAYMENTS_SIGNING_SECRET")
  )
  process_event(event)
  head :no_content
rescue KPaymentsWebhooks::SignatureError
  head :bad_request
end`,
  },
  {
    language: "PHP",
    code: `try {
    $event = Webhook::constructEvent(
        file_get_contents('php://input'),             // the raw bytes, before any parsing
        $_SERVER['HTTP_K_PAYMENTS_SIGNATURE'] ?? null,
        getenv('K_PAYMENTS_SIGNING_SECRET'),
    );
} catch (SignatureException $exception) {
    http_response_code(400);
    exit($exception->kind->value);
}
process($event);
http_response_code(204);`,
  },
  {
    language: "Java",
    code: `try {
    Event event = Webhook.constructEvent(
            request.getInputStream().readAllBytes(),  // the raw bytes, before any parsing
            request.getHeader(Webhook.SIGNATURE_HEADER),
            System.getenv("K_PAYMENTS_SIGNING_SECRET"));
    process(event);
    response.setStatus(204);
} catch (SignatureException e) {
    response.sendError(400, e.kind().code());
}`,
  },
];
