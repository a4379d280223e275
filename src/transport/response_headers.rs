//! The headers of a receiver's response, as far as they are kept: a receiver's words, so they are bounded and cleaned.

use http::{HeaderMap, header};

use super::failure::showable;

/// What is kept of one response's headers, names included.
const BYTES_MAX: usize = 2 * 1024;

/// What stands in place of what is not kept.
const LEFT_OUT: &str = "…";

/// The headers of a response, a line for each: the name, a colon, the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHeaders(String);

impl ResponseHeaders {
    /// Takes over what is kept: no values of cookies, which open the receiver's own sessions, and 2 KiB in all, after which
    /// `…` stands in place of the rest. What would not be shown as it stands is replaced.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut text = String::new();
        for (name, value) in headers {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(name.as_str());
            text.push_str(": ");
            if name == header::SET_COOKIE {
                text.push_str(LEFT_OUT);
            } else {
                text.extend(String::from_utf8_lossy(value.as_bytes()).chars().map(showable));
            }
            if text.len() > BYTES_MAX {
                text.truncate(text.floor_char_boundary(BYTES_MAX - LEFT_OUT.len()));
                text.push_str(LEFT_OUT);
                break;
            }
        }
        Self(text)
    }

    /// As they were stored.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// As they are stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Names and values, in the response's order. Where the last one is cut, it may be within its name.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.lines().map(|line| line.split_once(": ").unwrap_or((line, "")))
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn kept(headers: &[(&'static str, &[u8])]) -> ResponseHeaders {
        let mut map = HeaderMap::new();
        for &(name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        ResponseHeaders::of(&map)
    }

    #[test]
    fn every_header_is_kept_with_each_of_its_values_but_no_value_of_a_cookie() {
        let headers: &[(&str, &[u8])] = &[
            ("content-type", b"text/html; charset=utf-8"),
            ("via", b"a: b"),
            ("via", b""),
            ("set-cookie", b"session=open-sesame; HttpOnly"),
        ];
        let kept = kept(headers);
        let pairs: Vec<_> = kept.pairs().collect();
        let expected =
            [("content-type", "text/html; charset=utf-8"), ("via", "a: b"), ("via", ""), ("set-cookie", "…")];
        assert_eq!(pairs, expected);
        assert_eq!(ResponseHeaders::from_stored(kept.as_str().to_owned()), kept);
        assert_eq!(ResponseHeaders::of(&HeaderMap::new()).pairs().count(), 0);
    }

    #[test]
    fn what_is_not_text_or_would_not_be_shown_as_it_stands_is_replaced() {
        let kept = kept(&[("x-a", b"caf\xc3\xa9 \xff"), ("x-b", b"1\t2 \xe2\x80\xae3")]);
        let pairs: Vec<_> = kept.pairs().collect();
        assert_eq!(pairs, [("x-a", "café \u{fffd}"), ("x-b", "1\u{fffd}2 \u{fffd}3")]);
    }

    #[test]
    fn no_more_than_two_kibibytes_are_kept_and_what_is_cut_says_so() {
        let value = vec![b'v'; BYTES_MAX - "x-a: ".len()];
        assert_eq!(kept(&[("x-a", &value)]).as_str().len(), BYTES_MAX);
        for (left, last) in [(10, ("x-b", "0…")), (6, ("x-…", ""))] {
            let value = vec![b'v'; BYTES_MAX - "x-a: ".len() - left];
            let cut = kept(&[("x-a", &value), ("x-b", b"0123456789"), ("x-c", b"")]);
            assert_eq!((cut.as_str().len(), cut.pairs().last()), (BYTES_MAX, Some(last)));
        }
        // Two bytes each, of which the bound splits one.
        let wide = "é".repeat(BYTES_MAX);
        let cut = kept(&[("x-ab", wide.as_bytes())]);
        assert!(cut.as_str().len() <= BYTES_MAX && cut.as_str().ends_with("é…"));
    }
}
