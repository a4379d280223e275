//! Which span of which trace something belongs to, as callers and receivers write it in the header `traceparent`.
//! Source: W3C Trace Context, <https://www.w3.org/TR/trace-context/>. `tracestate` is not passed on: the service has
//! nothing to add to it, and it may leave it out.

use std::{fmt, str::FromStr};

/// A span of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
    /// Whether the trace is recorded.
    pub(super) sampled: bool,
}

/// The header that carries it.
pub const TRACEPARENT: &str = "traceparent";

/// The length in the only version there is; later ones may have more behind it.
const LENGTH: usize = 55;

const SAMPLED: u8 = 1;

impl FromStr for TraceContext {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes = text.as_bytes();
        let later_version = bytes.get(..2).is_some_and(|version| version != b"00");
        let ends = bytes.len() == LENGTH || (later_version && bytes.get(LENGTH) == Some(&b'-'));
        let dashes = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
        if !ends || !dashes {
            return Err(());
        }
        let [version] = hexadecimal(&bytes[..2])?;
        let (trace_id, span_id) = (hexadecimal(&bytes[3..35])?, hexadecimal(&bytes[36..52])?);
        let [flags] = hexadecimal(&bytes[53..55])?;
        if version == 0xff || trace_id == [0; 16] || span_id == [0; 8] {
            return Err(());
        }
        Ok(Self { trace_id, span_id, sampled: flags & SAMPLED != 0 })
    }
}

/// In lower case, as the header must be.
fn hexadecimal<const N: usize>(text: &[u8]) -> Result<[u8; N], ()> {
    let mut bytes = [0; N];
    if text.iter().any(u8::is_ascii_uppercase) {
        return Err(());
    }
    hex::decode_to_slice(text, &mut bytes).map_err(drop)?;
    Ok(bytes)
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace_id, span_id) = (hex::encode(self.trace_id), hex::encode(self.span_id));
        write!(f, "00-{trace_id}-{span_id}-{:02x}", u8::from(self.sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECIFIED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_specification_is_read_and_written_as_it_is() {
        let context: TraceContext = SPECIFIED.parse().unwrap();
        assert!(context.sampled);
        assert_eq!(context.to_string(), SPECIFIED);
        let other = SPECIFIED.replace("-01", "-00").parse::<TraceContext>().unwrap();
        assert!(!other.sampled);
    }

    #[test]
    fn what_is_no_traceparent_is_taken_for_none() {
        for text in [
            "",
            "00",
            &SPECIFIED[..54],
            &format!("{SPECIFIED}-more"),
            &SPECIFIED.replace("00-4b", "ff-4b"),
            &SPECIFIED.to_uppercase(),
            &SPECIFIED.replace("4bf92f3577b34da6a3ce929d0e0e4736", "00000000000000000000000000000000"),
            &SPECIFIED.replace("00f067aa0ba902b7", "0000000000000000"),
            &SPECIFIED.replace("00f067aa0ba902b7", "00f067aa0ba902bx"),
            &SPECIFIED.replace("-00f0", "_00f0"),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-é",
        ] {
            assert!(text.parse::<TraceContext>().is_err(), "{text}");
        }
        let later = SPECIFIED.replace("00-4b", "cc-4b");
        assert!(later.parse::<TraceContext>().is_ok());
        assert!(format!("{later}-what-the-future-will-be-like").parse::<TraceContext>().is_ok());
        assert!(format!("{later}.more").parse::<TraceContext>().is_err());
    }
}
