//! How deep a JSON text is nested.
//!
//! What passes through unread (`data.object`) is not bounded by the parser, which skips it without recursion; but receivers
//! will read it, many of them with recursion.

use std::fmt;

/// Objects and lists within each other, the body itself included.
pub(super) const LEVELS_MAX: usize = 64;

/// Where in a text, counted from 1; columns count bytes, as the parser's do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TextPosition {
    line: usize,
    column: usize,
}

impl fmt::Display for TextPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} column {}", self.line, self.column)
    }
}

/// Answers where the text is nested too deeply. Whether it is JSON at all is the parser's to say.
pub(super) fn check(text: &[u8]) -> Result<(), TextPosition> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (index, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > LEVELS_MAX {
                    return Err(position(&text[..=index]));
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Where the last byte of this text stands.
fn position(text: &[u8]) -> TextPosition {
    let line_start = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let line = text.split(|byte| *byte == b'\n').count();
    TextPosition { line, column: text.len() - line_start }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_levels_as_allowed_pass_and_one_more_does_not() {
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(check(nested(LEVELS_MAX).as_bytes()), Ok(()));
        assert_eq!(
            check(nested(LEVELS_MAX + 1).as_bytes()),
            Err(TextPosition { line: 1, column: LEVELS_MAX + 1 })
        );
        let wide = "[[]],".repeat(LEVELS_MAX * 2);
        assert_eq!(check(wide.as_bytes()), Ok(()), "what is closed does not count");
    }

    #[test]
    fn brackets_in_strings_do_not_count() {
        let text = format!(r#"{{"a":"{}\"{}\\"}}"#, "[".repeat(100), "{".repeat(100));
        assert_eq!(check(text.as_bytes()), Ok(()));
    }
}
