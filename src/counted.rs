//! Numbers of things, in words.

/// `1 endpoint`, `2 endpoints`: for nouns whose plural is theirs with an `s`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_not_several() {
        assert_eq!(counted(0, "event"), "0 events");
        assert_eq!(counted(1, "signing secret"), "1 signing secret");
        assert_eq!(counted(12, "endpoint"), "12 endpoints");
    }
}
