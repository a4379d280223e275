/** One request to an API of k-webhooks, and its errors. */

/** What an error is about; `connection_error` where no answer came. */
export type ApiErrorType =
  | "invalid_request_error"
  | "authentication_error"
  | "not_found"
  | "rate_limit_error"
  | "internal_error"
  | "connection_error";

/** A request that was refused, or that failed. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly type: ApiErrorType;
  /** 0 where no answer came. */
  readonly status: number;
  /** Messages by the field that they are about. */
  readonly fieldErrors: Readonly<Record<string, string[]>>;
  readonly requestId: string | undefined;
  /** Seconds. */
  readonly retryAfter: number | undefined;

  constructor(
    type: ApiErrorType,
    message: string,
    more: {
      status?: number;
      fieldErrors?: Record<string, string[]> | undefined;
      requestId?: string | undefined;
      retryAfter?: number | undefined;
      cause?: unknown;
    } = {},
  ) {
    super(message, { cause: more.cause });
    this.type = type;
    this.status = more.status ?? 0;
    this.fieldErrors = more.fieldErrors ?? {};
    this.requestId = more.requestId;
    this.retryAfter = more.retryAfter;
  }
}

/** What every method answers: the data, or why there is none. Nothing is thrown. */
export type Result<Data> = [data: Data, error: null] | [data: null, error: ApiError];

export interface ApiOptions {
  /** Where the API is, such as `https://webhooks.example.com`. */
  baseUrl: string;
  /** Milliseconds for one request; 40,000 if not given. */
  timeoutMs?: number;
  /** The global one if not given. */
  fetch?: typeof fetch;
}

type Query = Record<string, string | number | undefined>;

/** An API and the key for it. */
export class Api {
  readonly #key: string;
  readonly #baseUrl: string;
  readonly #timeoutMs: number;
  readonly #fetch: typeof fetch;

  constructor(key: string, { baseUrl, timeoutMs = 40_000, fetch: given = fetch }: ApiOptions) {
    this.#key = key;
    this.#baseUrl = baseUrl.replace(/\/$/, "");
    this.#timeoutMs = timeoutMs;
    // Bound, because browsers refuse a `fetch` that is called on something else.
    this.#fetch = given.bind(globalThis);
  }

  get<Data>(path: string, query: object = {}): Promise<Result<Data>> {
    const given = Object.entries(query as Query).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, String(value)]],
    );
    return this.request("GET", given.length > 0 ? `${path}?${new URLSearchParams(given)}` : path);
  }

  post<Data>(path: string, body: object): Promise<Result<Data>> {
    return this.request("POST", path, JSON.stringify(body));
  }

  async request<Data>(method: string, path: string, body?: string): Promise<Result<Data>> {
    const headers: Record<string, string> = { Authorization: `Bearer ${this.#key}`, Accept: "application/json" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    try {
      const response = await this.#fetch(this.#baseUrl + path, {
        method,
        headers,
        // A redirect would carry the key to wherever it points.
        redirect: "manual",
        signal: AbortSignal.timeout(this.#timeoutMs),
        ...(body === undefined ? {} : { body }),
      });
      const text = await response.text();
      return response.ok ? [JSON.parse(text) as Data, null] : [null, refused(response, text)];
    } catch (cause) {
      return [null, new ApiError("connection_error", `No answer could be read: ${cause}`, { cause })];
    }
  }
}

/** A path below /v1 whose parts are escaped. */
export const path = (...parts: string[]): string => ["/v1", ...parts.map(encodeURIComponent)].join("/");

function refused(response: Response, text: string): ApiError {
  const { status, headers } = response;
  const wait = headers.get("Retry-After") ?? "";
  const more = {
    status,
    requestId: headers.get("Request-Id") ?? undefined,
    retryAfter: /^[0-9]+$/.test(wait) ? Number(wait) : undefined,
  };
  try {
    const { type, message, details } = (JSON.parse(text) as { error: Record<string, unknown> }).error;
    if (typeof type === "string" && typeof message === "string") {
      const { fieldErrors } = (details ?? {}) as { fieldErrors?: Record<string, string[]> };
      return new ApiError(type as ApiErrorType, message, { ...more, fieldErrors });
    }
  } catch {
    // What stands between here and the service answered for it.
  }
  const type = status >= 500 ? "internal_error" : "invalid_request_error";
  return new ApiError(type, `The answer was ${status}, without an error of the API.`, more);
}
