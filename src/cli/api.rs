//! A listener of a running service, called with a key; and what it answers, for people or as JSON.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Collected, Full};
use hyper::body::Incoming;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::http::{Client, cause, client};

/// One listener.
pub(super) struct Api {
    client: Client,
    base: String,
    authorization: HeaderValue,
    live: bool,
    /// The flag that names another address, and the variable with another key.
    hints: (&'static str, &'static str),
}

/// Why there is no answer, in words that say what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The service refused.
    #[error("{0}")]
    Refused(String),
    /// It could not be asked, or it failed: trying again may help.
    #[error("{0}")]
    Passes(String),
}

impl Api {
    pub(super) fn new(
        base: &str,
        key: &SecretString,
        flag: &'static str,
        variable: &'static str,
    ) -> Result<Self> {
        let uri: Uri = base.parse().with_context(|| format!("{flag}: {base:?} is not a URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            bail!("{flag}: must be a URL such as http://127.0.0.1:8080");
        }
        let key = key.expose_secret();
        let mut authorization = HeaderValue::try_from(format!("Bearer {key}"))
            .with_context(|| format!("{variable}: is not a key"))?;
        authorization.set_sensitive(true);
        Ok(Self {
            client: client()?,
            base: base.trim_end_matches('/').to_owned(),
            authorization,
            live: key.starts_with("sk_live_"),
            hints: (flag, variable),
        })
    }

    /// Whether the key is for live data.
    pub(super) fn is_live(&self) -> bool {
        self.live
    }

    /// The answer's head, which says that the service agrees; its body is yet to be read.
    pub(super) async fn begin(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Option<&Value>,
    ) -> Result<Response<Incoming>, CallError> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        request = request.header(header::AUTHORIZATION, self.authorization.clone());
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(body)));
        let request = request.map_err(|error| CallError::Refused(format!("{path}: {error}")))?;
        let answer = self.client.request(request).await.map_err(|error| self.unreachable(&error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body = answer.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
        let message = self.refusal(status.as_u16(), &body);
        let passes = status.is_server_error() || status.as_u16() == 429;
        Err(if passes { CallError::Passes(message) } else { CallError::Refused(message) })
    }

    /// The JSON of the answer.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, CallError> {
        let answer = self.begin(method, path, &[], body).await?;
        let body = answer.into_body().collect().await.map_err(|error| self.unreachable(&error))?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| {
            CallError::Refused(format!(
                "{} does not answer as k-webhooks does ({error}); see {}",
                self.base, self.hints.0
            ))
        })
    }

    fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> CallError {
        let (base, flag, cause) = (&self.base, self.hints.0, cause(error));
        CallError::Passes(format!(
            "{base} does not answer ({cause}). Start the service with `k-webhooks serve`, or name another address with {flag}"
        ))
    }

    /// What the service said, with every field it named.
    fn refusal(&self, status: u16, body: &[u8]) -> String {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = &body["error"];
        let Some(message) = error["message"].as_str() else {
            return format!(
                "{} answered {status}, and not as k-webhooks does; see {}",
                self.base, self.hints.0
            );
        };
        let mut text = message.to_owned();
        for (field, messages) in error["details"]["fieldErrors"].as_object().into_iter().flatten() {
            let messages: Vec<&str> =
                messages.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let _ = write!(text, " {field}: {}.", messages.join("; "));
        }
        if status == 401 {
            let _ = write!(text, " The key comes from {}, or from the profile.", self.hints.1);
        }
        if let Some(id) = error["request_id"].as_str().filter(|_| status >= 500) {
            let _ = write!(text, " The service's log has it under {id}.");
        }
        text
    }
}

/// A path with an id from the command line in it: nothing in the id leads elsewhere.
pub(super) fn path(before: &str, id: &str, after: &str) -> String {
    let id: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
    format!("{before}{}{after}", id.replace('+', "%20"))
}

/// A path with those of the parameters that are given.
pub(super) fn query<'a>(
    path: &str,
    parameters: impl IntoIterator<Item = (&'a str, Option<String>)>,
) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// Lines whose columns stand below each other.
pub(super) fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    rows.iter()
        .map(|row| {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_from_the_command_line_leads_nowhere_else() {
        assert_eq!(path("/v1/events/", "evt_1", "/resend"), "/v1/events/evt_1/resend");
        assert_eq!(path("/v1/events/", "../x y?z", ""), "/v1/events/..%2Fx%20y%3Fz");
    }

    #[test]
    fn a_query_has_what_is_given() {
        let parameters = [("type", Some("a b".to_owned())), ("limit", None)];
        assert_eq!(query("/v1/events", parameters), "/v1/events?type=a+b");
        assert_eq!(query("/v1/events", [("limit", None)]), "/v1/events");
    }

    #[test]
    fn columns_stand_below_each_other() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        assert_eq!(aligned(&[row(["a", "b"]), row(["äöü", ""])]), ["a    b", "äöü"]);
    }
}
