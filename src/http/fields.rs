//! Request bodies: the members of a JSON object, read one by one, with every bad one named at once.

use std::{borrow::Cow, fmt, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::{
    Deserialize,
    de::{DeserializeOwned, Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    error::{ApiError, FieldErrors},
    json_depth,
};
use crate::nearest::near;

/// How long a client may take to send a body.
const BODY_DEADLINE: Duration = Duration::from_secs(20);

/// Bodies that hold no event.
const SMALL_BODY_MAX: usize = 64 * 1024;

/// The bytes of a JSON body that holds no event.
pub(super) struct SmallBody(pub(super) Bytes);

impl<S: Sync> FromRequest<S> for SmallBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        read_json(&parts.headers, body, SMALL_BODY_MAX).await.map(Self)
    }
}

/// Collects a JSON body of at most `max` bytes. An empty one needs no content type.
pub(super) async fn read_json(headers: &HeaderMap, body: Body, max: usize) -> Result<Bytes, ApiError> {
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > max) {
        return Err(too_large(max));
    }
    let bytes = collect(body, max, BODY_DEADLINE).await?;
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !bytes.is_empty() && !essence.eq_ignore_ascii_case("application/json") {
        let message = "The body must be JSON, with Content-Type: application/json.";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    Ok(bytes)
}

fn too_large(max: usize) -> ApiError {
    ApiError::too_large(format!("The body is larger than {max} bytes."))
}

/// Reads a body to its end, within a deadline for all of it: a client that drips has no more time than another.
async fn collect(body: Body, max: usize, deadline: Duration) -> Result<Bytes, ApiError> {
    let collected = tokio::time::timeout(deadline, Limited::new(body, max).collect()).await;
    let collected = collected
        .map_err(|_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time."))?;
    let collected = collected.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => too_large(max),
        None => ApiError::bad_request("The body broke off."),
    })?;
    Ok(collected.to_bytes())
}

/// The members of an object that have not been read yet, and what was wrong with those that have.
pub(super) struct Fields<'a> {
    /// What stands before the names in messages: nothing, or `events[3].`.
    prefix: String,
    members: Vec<(Name<'a>, &'a RawValue)>,
    known: Vec<&'static str>,
    errors: FieldErrors,
}

/// A member's name. Nearly all are what stands in the body, which need not be copied.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The members of an object in order, duplicates included.
struct Members<'a>(Vec<(Name<'a>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

impl<'a> Fields<'a> {
    /// Reads a whole body; an empty one is an object without members.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ApiError> {
        let bytes = if bytes.is_empty() { b"{}" } else { bytes };
        json_depth::check(bytes).map_err(|place| {
            let max = json_depth::LEVELS_MAX;
            ApiError::bad_request(format!("The body is nested more than {max} levels at {place}."))
        })?;
        let members: Members<'a> = serde_json::from_slice(bytes).map_err(|error| {
            let message = error.to_string();
            if error.is_data() {
                ApiError::bad_request("The body must be a JSON object.")
            } else {
                ApiError::bad_request(format!("The body is not JSON: {message}."))
            }
        })?;
        Ok(Self::of(members, String::new()))
    }

    fn of(members: Members<'a>, prefix: String) -> Self {
        let mut fields =
            Self { prefix, members: members.0, known: Vec::new(), errors: FieldErrors::default() };
        let mut names: Vec<&str> = fields.members.iter().map(|(name, _)| &*name.0).collect();
        names.sort_unstable();
        let twice = names.windows(2).filter(|pair| pair[0] == pair[1]);
        let twice: Vec<String> = twice.map(|pair| pair[0].to_owned()).collect();
        for name in twice {
            fields.error(&name, "is given twice");
        }
        fields
    }

    /// Reads the members of an object inside this one; not an object is an error of the member.
    pub(super) fn object(&mut self, name: &str, raw: &'a RawValue) -> Option<Self> {
        if let Ok(members) = serde_json::from_str::<Members<'a>>(raw.get()) {
            Some(Self::of(members, format!("{}{name}.", self.prefix)))
        } else {
            self.error(name, "must be an object");
            None
        }
    }

    pub(super) fn error(&mut self, name: &str, message: impl Into<String>) {
        self.errors.add(&format!("{}{name}", self.prefix), message);
    }

    /// Whether a member is given and not read yet.
    pub(super) fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(member, _)| member.0 == name)
    }

    /// The raw text of a member.
    pub(super) fn raw(&mut self, name: &'static str) -> Option<&'a RawValue> {
        self.known.push(name);
        let index = self.members.iter().position(|(member, _)| member.0 == name)?;
        let raw = self.members.remove(index).1;
        self.members.retain(|(member, _)| member.0 != name);
        Some(raw)
    }

    pub(super) fn required_raw(&mut self, name: &'static str) -> Option<&'a RawValue> {
        let raw = self.raw(name);
        if raw.is_none() {
            self.error(name, "is required");
        }
        raw
    }

    /// A member that need not be there; `wanted` says what it must be, as in "must be a string".
    pub(super) fn optional<T: DeserializeOwned>(&mut self, name: &'static str, wanted: &str) -> Option<T> {
        let raw = self.raw(name)?;
        self.read(name, raw, wanted)
    }

    pub(super) fn required<T: DeserializeOwned>(&mut self, name: &'static str, wanted: &str) -> Option<T> {
        let raw = self.required_raw(name)?;
        self.read(name, raw, wanted)
    }

    fn read<T: DeserializeOwned>(&mut self, name: &str, raw: &RawValue, wanted: &str) -> Option<T> {
        let value = serde_json::from_str(raw.get()).ok();
        if value.is_none() {
            self.error(name, format!("must be {wanted}"));
        }
        value
    }

    /// Reads a value further; its error is the member's.
    pub(super) fn check<T, E: fmt::Display>(&mut self, name: &str, value: Result<T, E>) -> Option<T> {
        value.map_err(|error| self.error(name, error.to_string())).ok()
    }

    /// The same object, whose further members are the publisher's.
    pub(super) fn open(mut self) -> Self {
        self.members.clear();
        self
    }

    /// Takes over what was wrong with an object inside this one, unknown members included.
    pub(super) fn absorb(&mut self, inner: Fields<'_>) {
        self.errors.absorb(inner.into_errors());
    }

    fn into_errors(mut self) -> FieldErrors {
        for (Name(name), _) in std::mem::take(&mut self.members) {
            let message = near(&name, self.known.iter().copied()).map_or_else(
                || "is not a known field".to_owned(),
                |nearest| format!("is not a known field; the nearest is {nearest}"),
            );
            self.error(&name, message);
        }
        self.errors
    }

    /// Ends reading: `value`, if nothing was wrong and nothing was left over.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, ApiError> {
        let errors = self.into_errors();
        match value {
            Some(value) if errors.is_empty() => Ok(value),
            _ => Err(ApiError::validation(errors)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_field_is_named_at_once() {
        let mut fields = Fields::parse(br#"{"url":1,"urll":2,"a":{"b":"c"},"x":1,"x":2}"#).unwrap();
        assert_eq!(fields.required::<String>("url", "a string"), None);
        assert_eq!(fields.required::<String>("name", "a string"), None);
        let raw = fields.raw("a").unwrap();
        let mut inner = fields.object("a", raw).unwrap();
        assert_eq!(inner.required::<i64>("b", "a number"), None);
        fields.absorb(inner);
        let errors = fields.into_errors();
        let errors = serde_json::to_value(&errors).unwrap();
        let names: Vec<&String> = errors.as_object().unwrap().keys().collect();
        assert_eq!(names, ["a.b", "name", "url", "urll", "x"]);
        assert_eq!(errors["urll"][0], "is not a known field; the nearest is url");
        assert!(errors["x"].as_array().unwrap().contains(&"is given twice".into()));
    }

    #[tokio::test]
    async fn a_body_that_drips_is_cut_off_at_its_deadline() {
        let drip = futures_util::stream::unfold((), async |()| {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Some((Ok::<_, std::convert::Infallible>(Bytes::from_static(b" ")), ()))
        });
        let refused = collect(Body::from_stream(drip), 1024, Duration::from_millis(50)).await.unwrap_err();
        assert!(format!("{refused:?}").contains("did not arrive in time"), "{refused:?}");
    }

    #[test]
    fn an_answer_is_not_much_larger_than_what_is_wrong_with_a_request() {
        let many: Vec<String> = (0..10_000).map(|number| format!("\"field_{number}\":1")).collect();
        let body = format!("{{\"{}\":1,{}}}", "x".repeat(60_000), many.join(","));
        let errors = Fields::parse(body.as_bytes()).unwrap().into_errors();
        let shown = serde_json::to_string(&errors).unwrap();
        assert!(shown.len() < 5_000, "{}", shown.len());
        assert_eq!(shown.matches("is not a known field").count(), 50);
    }

    #[test]
    fn json_that_is_nested_too_deeply_is_told_where() {
        let body = format!("{{\n\"a\":{}", "[".repeat(100_000));
        let error = Fields::parse(body.as_bytes()).err().unwrap();
        assert!(format!("{error:?}").contains("more than 64 levels at line 2 column 68"), "{error:?}");
    }

    #[test]
    fn malformed_json_is_told_by_line_and_column() {
        let error = Fields::parse(b"{\n  \"a\": ,\n}").err().unwrap();
        assert!(format!("{error:?}").contains("line 2 column 8"), "{error:?}");
        for bad in ["[]", "1", "null", "\"a\""] {
            assert!(
                format!("{:?}", Fields::parse(bad.as_bytes()).err().unwrap())
                    .contains("must be a JSON object")
            );
        }
        assert!(Fields::parse(b"").is_ok());
    }
}
