//! Which of a merchant's events a body selects: a range of dates, and types.

use super::{fields::Fields, query::SECONDS_MAX};
use crate::{clock::UnixMs, endpoint::EnabledEvents};

/// `created_gte` and `created_lte`, both ends included.
pub(super) fn range(fields: &mut Fields<'_>) -> Option<(UnixMs, UnixMs)> {
    let mut instant = |name| {
        let seconds = fields.required::<i64>(name, "whole unix seconds")?;
        let fits = (0..=SECONDS_MAX).contains(&seconds);
        fields.check(name, fits.then_some(seconds).ok_or(format!("must be from 0 to {SECONDS_MAX}")))
    };
    let (from, to) = (instant("created_gte"), instant("created_lte"));
    let (from, to) = from.zip(to)?;
    if from > to {
        fields.error("created_lte", "must not be before created_gte");
    }
    Some((UnixMs(from * 1000), UnixMs(to * 1000 + 999)))
}

/// A list of event types, with every bad one named; `otherwise` where it is not given.
pub(super) fn types(
    fields: &mut Fields<'_>,
    name: &'static str,
    otherwise: Option<EnabledEvents>,
) -> Option<EnabledEvents> {
    let Some(names) = fields.optional::<Vec<String>>(name, "a list of strings") else { return otherwise };
    match EnabledEvents::parse(&names) {
        Ok(events) => Some(events),
        Err(errors) => {
            for (index, message) in errors {
                let place = index.map_or_else(|| name.to_owned(), |index| format!("{name}[{index}]"));
                fields.error(&place, message);
            }
            None
        }
    }
}
