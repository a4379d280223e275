//! A receiver that is being built, called as the service calls one: a deadline, no redirects, the answer cut.

use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Request, Uri};
use http_body_util::{BodyExt as _, Full};

use super::http::{Client, cause, client};

/// As long as an attempt takes unless `delivery.timeout` says otherwise.
const DEADLINE: Duration = Duration::from_secs(15);

/// As much of an answer as is kept of an attempt's.
const ANSWER_BYTES_MAX: usize = 4096;

pub(super) struct Receiver {
    client: Client,
    url: Uri,
}

/// What it answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The beginning of its body.
    pub(super) text: String,
}

impl Receiver {
    pub(super) fn at(url: Uri) -> Result<Self> {
        if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none() {
            bail!("must be a URL such as http://localhost:3000/hooks");
        }
        Ok(Self { client: client()?, url })
    }

    pub(super) fn url(&self) -> String {
        self.url.to_string()
    }

    /// Sends one request. Why there is no answer is said in words.
    pub(super) async fn send(&self, headers: HeaderMap, body: Bytes) -> Result<Answer, String> {
        let mut request =
            Request::post(self.url.clone()).body(Full::new(body)).map_err(|error| error.to_string())?;
        *request.headers_mut() = headers;
        let exchange = async {
            let mut answer = self.client.request(request).await.map_err(|error| cause(&error))?;
            let mut text = Vec::new();
            while text.len() < ANSWER_BYTES_MAX
                && let Some(frame) = answer.frame().await
            {
                let frame = frame.map_err(|error| cause(&error))?;
                text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            }
            text.truncate(ANSWER_BYTES_MAX);
            let text = String::from_utf8_lossy(&text).into_owned();
            Ok(Answer { status: answer.status().as_u16(), text })
        };
        tokio::time::timeout(DEADLINE, exchange)
            .await
            .unwrap_or_else(|_| Err(format!("nothing came within {} seconds", DEADLINE.as_secs())))
    }
}
