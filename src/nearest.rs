//! What somebody who misspelt a name most likely meant.

/// The longest text that is compared: the comparison costs the product of both lengths, and names are short.
const TEXT_BYTES_MAX: usize = 64;

/// Of these candidates the one that is nearest to `text`; none where that is too long to be a misspelling.
pub(crate) fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    candidates.into_iter().min_by_key(|candidate| strsim::damerau_levenshtein(candidate, text))
}

/// The same, if at most half of `text` would have to change.
pub(crate) fn near<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest(text, candidates)
        .filter(|candidate| strsim::damerau_levenshtein(candidate, text) * 2 <= text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_what_is_far_is_not_near() {
        assert_eq!(nearest("chrage", ["refund", "charge"]), Some("charge"));
        assert_eq!(near("chrage", ["refund", "charge"]), Some("charge"));
        assert_eq!(near("x", ["refund", "charge"]), None);
    }

    #[test]
    fn an_attackers_long_name_is_not_compared() {
        assert_eq!(nearest(&"x".repeat(TEXT_BYTES_MAX + 1), ["refund"]), None);
    }
}
