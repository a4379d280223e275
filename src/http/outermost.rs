//! Around every handler: its request id, its limits, the body of its errors, and the headers of every answer.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    thread,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures_util::FutureExt as _;
use tokio::runtime::Handle;

use super::{Api, error::ApiError};
use crate::{
    clock::Clock,
    id::{IdSource, RequestId},
    metrics::{Listener, Refusal, Requests},
};

/// What every answer says to browsers: take it for what it is called, run nothing, frame nothing, keep nothing. An answer
/// that needs less of it says so itself.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// The outermost layer.
pub(super) struct Outermost {
    pub(super) ids: Arc<IdSource>,
    pub(super) clock: Clock,
    /// Bytes of a request's line and headers.
    pub(super) head_bytes_max: usize,
    pub(super) request_timeout: Option<Duration>,
    pub(super) strict_transport_security: Option<HeaderValue>,
    pub(super) requests: Requests,
}

impl Outermost {
    pub(super) fn of(api: &Api, listener: Listener) -> Self {
        let max_age = api.config.server.hsts_max_age.as_secs();
        let strict = HeaderValue::try_from(format!("max-age={max_age}")).ok().filter(|_| max_age > 0);
        Self {
            ids: Arc::clone(&api.foundation.ids),
            clock: api.foundation.clock.clone(),
            head_bytes_max: api.config.limits.head_bytes_max,
            // Moving the test clock takes as long as what falls due.
            request_timeout: api.test_clock.is_none().then_some(api.config.limits.request_timeout),
            strict_transport_security: strict,
            requests: api.metrics.listener(listener).requests.clone(),
        }
    }

    /// Answers a request, whatever happens to its handler.
    pub(super) async fn handle(&self, mut request: Request, next: Next) -> Response {
        let begun_at = Instant::now();
        let request_id: RequestId = self.ids.next(self.clock.now());
        request.extensions_mut().insert(request_id);
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let route = request.extensions().get::<MatchedPath>().cloned();
        let wants_problem =
            request.headers().get_all(header::ACCEPT).iter().any(|accept| {
                accept.to_str().is_ok_and(|accept| accept.contains("application/problem+json"))
            });
        let mut response = match self.too_large(&request) {
            Some(error) => error.into_response(),
            None => self.answer(request, next).await,
        };
        if response.status() == StatusCode::METHOD_NOT_ALLOWED
            && response.extensions().get::<ApiError>().is_none()
        {
            let error = ApiError::new(response.status(), format!("{path} does not answer {method}."));
            response.extensions_mut().insert(error);
        }
        if let Some(error) = response.extensions_mut().remove::<ApiError>() {
            if let Some(refusal) = error.refusal() {
                self.requests.refused(refusal);
            }
            if let Some(cause) = error.cause() {
                let status = response.status().as_u16();
                tracing::error!(%request_id, %method, path, cause, status, "request failed");
            }
            let mut rendered = error.render(request_id, &path, wants_problem);
            // Which methods a route answers, for example.
            for (name, value) in response.headers() {
                if *name != header::CONTENT_LENGTH && !rendered.headers().contains_key(name) {
                    rendered.headers_mut().append(name, value.clone());
                }
            }
            response = rendered;
        }
        self.add_headers(&mut response, request_id);
        let route = route.as_ref().map(MatchedPath::as_str);
        self.requests.answered(&method, route, response.status(), begun_at.elapsed());
        response
    }

    /// To its end, whatever happens: a client that hangs up, and a deadline that passes, cannot stop a transaction half-way;
    /// and a panic ends here.
    async fn answer(&self, request: Request, next: Next) -> Response {
        let handled = ToItsEnd::new(next.run(request));
        let handled = match self.request_timeout {
            Some(limit) => tokio::time::timeout(limit, handled).await,
            None => Ok(handled.await),
        };
        match handled {
            Ok(handled) => {
                handled.unwrap_or_else(|_| ApiError::internal("the handler panicked").into_response())
            }
            Err(_) => {
                ApiError::unavailable("the request took too long").because(Refusal::Timeout).into_response()
            }
        }
    }

    fn too_large(&self, request: &Request) -> Option<ApiError> {
        let max = self.head_bytes_max;
        // As bytes of text: what HTTP/2 sends of it is compressed.
        let line = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        let headers: usize =
            request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if line > max {
            let message = format!("The request's URL is larger than {max} bytes.");
            Some(ApiError::new(StatusCode::URI_TOO_LONG, message))
        } else if line + headers > max {
            let message = format!("The request's headers are larger than {max} bytes.");
            Some(ApiError::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, message))
        } else {
            None
        }
    }

    fn add_headers(&self, response: &mut Response, request_id: RequestId) {
        let headers = response.headers_mut();
        for (name, value) in HEADERS {
            headers.entry(name).or_insert(value);
        }
        if let Some(strict) = &self.strict_transport_security {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, strict.clone());
        }
        if let Ok(id) = HeaderValue::try_from(request_id.to_string()) {
            headers.insert("request-id", id);
        }
    }
}

/// Work that goes on by itself once nobody waits for it. Only then does it take a task of its own.
struct ToItsEnd<T: Send + 'static>(Option<Pin<Box<dyn Future<Output = thread::Result<T>> + Send>>>);

impl<T: Send + 'static> ToItsEnd<T> {
    fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Some(Box::pin(AssertUnwindSafe(work).catch_unwind())))
    }
}

impl<T: Send + 'static> Future for ToItsEnd<T> {
    type Output = thread::Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.0 else { return Poll::Pending };
        let done = ready!(work.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(done)
    }
}

impl<T: Send + 'static> Drop for ToItsEnd<T> {
    fn drop(&mut self) {
        // Without a runtime the process is ending.
        if let Some((work, runtime)) = self.0.take().zip(Handle::try_current().ok()) {
            drop(runtime.spawn(work));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::{Router, body::Body, http::Method, middleware, routing::get};
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::{clock::UnixMs, entropy::Entropy, metrics::Metrics};

    /// Asks a router with one handler that panics, one that never ends, and one that is fine.
    async fn ask(path: &str) -> (StatusCode, String) {
        let metrics = Metrics::new([&[], &[]], &[], UnixMs(0));
        let outermost = Arc::new(Outermost {
            ids: Arc::new(IdSource::new(Entropy::os())),
            clock: Clock::system(),
            head_bytes_max: 32 * 1024,
            request_timeout: Some(Duration::from_millis(50)),
            strict_transport_security: None,
            requests: metrics.listener(Listener::Public).requests.clone(),
        });
        let boom = || async {
            assert!(std::hint::black_box(false), "a secret of the inside");
        };
        let router = Router::new()
            .route("/boom", get(boom))
            .route("/never", get(std::future::pending::<()>))
            .route("/fine", get(async || "fine"))
            .layer(middleware::from_fn(move |request, next| {
                let outermost = Arc::clone(&outermost);
                async move { outermost.handle(request, next).await }
            }));
        let request = Request::builder().method(Method::GET).uri(path).body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert!(response.headers()["request-id"].to_str().unwrap().starts_with("req_"));
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_panic_is_a_500_in_the_envelope_that_tells_nothing_of_the_inside() {
        let (status, body) = ask("/boom").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(body.contains("internal_error") && !body.contains("a secret of the inside"), "{body}");
        assert_eq!(ask("/fine").await, (StatusCode::OK, "fine".to_owned()));
    }

    #[tokio::test]
    async fn work_goes_on_when_nobody_waits_for_it_any_more() {
        let (go, going) = tokio::sync::oneshot::channel();
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut work = ToItsEnd::new(async { tell.send(going.await) });
        assert!((&mut work).now_or_never().is_none());
        drop(work);
        go.send(()).unwrap();
        told.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_a_503_that_may_be_tried_again() {
        let started = Instant::now();
        let (status, body) = ask("/never").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("internal_error") && started.elapsed() >= Duration::from_millis(50), "{body}");
    }
}
