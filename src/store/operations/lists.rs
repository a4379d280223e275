//! Lists of every kind, page by page.

use std::fmt::Display;

use futures_util::TryStreamExt as _;
use sqlx::{
    FromRow,
    query::{Query, QueryAs},
};

use super::{Arguments, Database, Engine, Row};
use crate::store::{
    Page, Paged, Result, StoreError,
    pages::{Bounds, Gathered, Listed},
};

/// How much a list may have to look at.
#[derive(Clone, Copy)]
pub(super) enum Reach {
    /// The rows that it answers.
    Page,
    /// Where few rows pass a filter, all that the tenant has.
    Everything,
}

impl Engine {
    /// A page of a list. `cursor` finds what the page lies beside, if that is of the list; asked first, so that a page
    /// says nothing about what is not.
    pub(super) async fn list<'q, I, R, T>(
        &self,
        reach: Reach,
        page: &Page<I>,
        cursor: impl Fn(String) -> Query<'q, Database, Arguments> + Send + Sync,
        query: impl Fn(&Bounds) -> QueryAs<'q, Database, R, Arguments> + Send + Sync,
    ) -> Result<Option<Paged<T>>>
    where
        I: Display + Sync,
        R: Listed + for<'r> FromRow<'r, Row> + Send + Unpin,
        T: TryFrom<R, Error = StoreError>,
    {
        let bounds = Bounds::of(page);
        let rows = || async {
            let mut connection = match reach {
                Reach::Page => self.read().await?,
                Reach::Everything => self.read_long().await?,
            };
            if let Some(id) = page.cursor()
                && cursor(id.to_string()).fetch_optional(&mut *connection).await?.is_none()
            {
                return Ok(None);
            }
            // One by one, so that what the page has no room for is not held.
            let mut gathered = bounds.begin();
            let mut found = query(&bounds).fetch(&mut *connection);
            while let Some(row) = found.try_next().await? {
                if !gathered.take(row) {
                    break;
                }
            }
            drop(found);
            Ok(Some(gathered))
        };
        self.run(rows).await?.map(Gathered::finish).transpose()
    }
}
