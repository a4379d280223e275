//! Query parameters, with every bad one named at once.

use std::{fmt::Display, marker::PhantomData, str::FromStr};

use utoipa::{
    IntoParams, PartialSchema,
    openapi::{
        ObjectBuilder, RefOr, Type,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::Schema,
    },
};

use super::error::{ApiError, FieldErrors};
use crate::{
    clock::UnixMs,
    id::{Id, Kind},
    store::{Page, Paged, Position},
};

/// The last second of the year 9999: later ones are milliseconds by mistake.
pub(super) const SECONDS_MAX: i64 = 253_402_300_799;

/// The page, or the answer that there is no `what` beside which it could lie: one of another tenant's is not told from
/// one that is nowhere.
pub(super) fn beside<K: Kind, T>(
    what: &str,
    page: &Page<Id<K>>,
    found: Option<Paged<T>>,
) -> Result<Paged<T>, ApiError> {
    let no_such = || match page.cursor() {
        Some(id) => ApiError::no_such(what, id),
        None => ApiError::internal("a first page lies beside nothing"),
    };
    found.ok_or_else(no_such)
}

/// How many items a page has at most, and unless said otherwise.
const LIMIT_MAX: u32 = 100;
const LIMIT_DEFAULT: u32 = 20;

fn parameter(name: &str, description: &str, schema: RefOr<Schema>) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

/// The parameter that [`Query::limit`] reads.
pub(super) struct Limit;

impl IntoParams for Limit {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let limit = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(LIMIT_MAX))
            .default(Some(LIMIT_DEFAULT.into()));
        vec![parameter("limit", "How many items a page has at most.", limit.build().into())]
    }
}

/// The parameters of a list of these, as [`Query::page`] reads them.
pub(super) struct PageOf<K>(PhantomData<K>);

impl<K: Kind> IntoParams for PageOf<K> {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let mut parameters = Limit::into_params(place);
        parameters.extend([
            parameter(
                "starting_after",
                "What follows this one in the list: what is older.",
                Id::<K>::schema(),
            ),
            parameter(
                "ending_before",
                "What precedes this one in the list: what is newer.",
                Id::<K>::schema(),
            ),
        ]);
        parameters
    }
}

/// The parameters that have not been read yet.
pub(super) struct Query {
    parameters: Vec<(String, String)>,
    errors: FieldErrors,
}

impl Query {
    pub(super) fn parse(query: Option<&str>) -> Self {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self { parameters: pairs.into_owned().collect(), errors: FieldErrors::default() }
    }

    pub(super) fn error(&mut self, name: &str, message: impl Into<String>) {
        self.errors.add(name, message);
    }

    /// A parameter that need not be there.
    pub(super) fn optional<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let index = self.parameters.iter().position(|(parameter, _)| parameter == name)?;
        let (_, text) = self.parameters.remove(index);
        if self.parameters.iter().any(|(parameter, _)| parameter == name) {
            self.parameters.retain(|(parameter, _)| parameter != name);
            self.error(name, "is given twice");
        }
        text.parse().map_err(|error: T::Err| self.error(name, error.to_string())).ok()
    }

    /// An instant in unix seconds that need not be there.
    pub(super) fn seconds(&mut self, name: &str) -> Option<UnixMs> {
        let seconds = self.optional::<i64>(name)?;
        if !(0..=SECONDS_MAX).contains(&seconds) {
            self.error(name, format!("must be from 0 to {SECONDS_MAX}"));
            return None;
        }
        Some(UnixMs(seconds * 1000))
    }

    /// How many items a page has at most.
    pub(super) fn limit(&mut self) -> u32 {
        let limit = self.optional::<u32>("limit").unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            self.error("limit", format!("must be from 1 to {LIMIT_MAX}"));
        }
        limit
    }

    /// `limit`, `starting_after` and `ending_before`.
    pub(super) fn page<K: Kind>(&mut self) -> Page<Id<K>> {
        let limit = self.limit();
        let after: Option<Id<K>> = self.optional("starting_after");
        let before: Option<Id<K>> = self.optional("ending_before");
        let position = match (after, before) {
            (Some(after), None) => Position::After(after),
            (None, Some(before)) => Position::Before(before),
            (None, None) => Position::First,
            (Some(_), Some(_)) => {
                self.error("ending_before", "must not be given beside starting_after");
                Position::First
            }
        };
        Page { limit, position }
    }

    /// Ends reading: an error if anything was wrong or left over.
    pub(super) fn finish(mut self) -> Result<(), ApiError> {
        for (name, _) in std::mem::take(&mut self.parameters) {
            self.error(&name, "is not a known parameter");
        }
        if self.errors.is_empty() { Ok(()) } else { Err(ApiError::validation(self.errors)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::EventKind;

    fn page(query: &str) -> Result<Page<Id<EventKind>>, ApiError> {
        let mut parameters = Query::parse(Some(query));
        let page = parameters.page();
        parameters.finish().map(|()| page)
    }

    #[test]
    fn the_default_page_has_20_items_from_the_newest() {
        let page = page("").unwrap();
        assert_eq!(page.limit, 20);
        assert!(matches!(page.position, Position::First));
    }

    #[test]
    fn bad_repeated_and_unknown_parameters_are_refused() {
        let id = "evt_01h455vb4pex5vsknk084sn02q";
        assert!(page(&format!("limit=100&starting_after={id}")).is_ok());
        for (query, field) in [
            ("limit=0".to_owned(), "limit"),
            ("limit=101".to_owned(), "limit"),
            ("limit=x".to_owned(), "limit"),
            ("limit=1&limit=2".to_owned(), "limit"),
            ("offset=1".to_owned(), "offset"),
            ("starting_after=we_1".to_owned(), "starting_after"),
            (format!("starting_after={id}&ending_before={id}"), "ending_before"),
        ] {
            assert!(format!("{:?}", page(&query).unwrap_err()).contains(&format!("{field:?}")), "{query}");
        }
    }
}
