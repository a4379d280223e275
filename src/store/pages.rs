//! Pages of lists: how they are asked of the database, and where they end.

use std::fmt::Display;

use super::{
    Page, Paged, Position, Result, StoreError,
    rows::{
        ApiKeyRow, DeliveryRow, EndpointRow, EventRow, audit::AuditRow, backfills::BackfillRow,
        console::FailingEndpointRow, portal::PortalSessionRow,
    },
};

/// A page ends with the item that takes it past so many bytes, however many were asked for.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A row of a list.
pub(super) trait Listed {
    /// The bytes in it that its own limits leave large.
    fn bytes(&self) -> usize {
        0
    }
}

impl Listed for ApiKeyRow {}
impl Listed for AuditRow {}
impl Listed for BackfillRow {}
impl Listed for DeliveryRow {}
impl Listed for EndpointRow {}
impl Listed for FailingEndpointRow {}
impl Listed for PortalSessionRow {}
impl Listed for EventRow {
    fn bytes(&self) -> usize {
        self.body.len()
    }
}

/// How a page is asked of the database: from which cursor, in which direction, and one row more than wanted, which
/// tells whether there are more.
pub(super) struct Bounds {
    pub(super) newest_first: bool,
    pub(super) cursor: String,
    pub(super) rows: i64,
    limit: usize,
}

impl Bounds {
    pub(super) fn of<I: Display>(page: &Page<I>) -> Self {
        let (newest_first, cursor) = match &page.position {
            // Sorts behind every id.
            Position::First => (true, "~".to_owned()),
            Position::After(id) => (true, id.to_string()),
            Position::Before(id) => (false, id.to_string()),
        };
        Self { newest_first, cursor, rows: i64::from(page.limit) + 1, limit: page.limit as usize }
    }

    pub(super) fn begin<R: Listed>(&self) -> Gathered<R> {
        Gathered {
            rows: Vec::new(),
            bytes: 0,
            limit: self.limit,
            newest_first: self.newest_first,
            has_more: false,
        }
    }
}

/// The rows of a page, as they come.
pub(super) struct Gathered<R> {
    rows: Vec<R>,
    bytes: usize,
    limit: usize,
    newest_first: bool,
    has_more: bool,
}

impl<R: Listed> Gathered<R> {
    /// Takes one more row, unless the page is full. Answers whether to go on: where rows are small, the statement ends by
    /// itself.
    pub(super) fn take(&mut self, row: R) -> bool {
        let filled = self.bytes >= PAGE_BYTES_MAX;
        if filled || self.rows.len() >= self.limit {
            self.has_more = true;
        } else {
            self.bytes += row.bytes();
            self.rows.push(row);
        }
        !filled
    }

    pub(super) fn finish<T: TryFrom<R, Error = StoreError>>(self) -> Result<Paged<T>> {
        let mut items = self.rows.into_iter().map(T::try_from).collect::<Result<Vec<_>>>()?;
        if !self.newest_first {
            items.reverse();
        }
        Ok(Paged { items, has_more: self.has_more })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Item(usize);

    impl Listed for Item {
        fn bytes(&self) -> usize {
            self.0
        }
    }

    fn taken(limit: usize, sizes: &[usize]) -> (usize, bool) {
        let bounds = Bounds { newest_first: true, cursor: String::new(), rows: 0, limit };
        let mut gathered = bounds.begin();
        let _ = sizes.iter().all(|size| gathered.take(Item(*size)));
        (gathered.rows.len(), gathered.has_more)
    }

    #[test]
    fn a_page_ends_at_its_limit_or_with_the_item_that_fills_it() {
        let half = PAGE_BYTES_MAX / 2;
        for (limit, sizes, wanted) in [
            (2, &[1, 1, 1][..], (2, true)),
            (3, &[1, 1, 1], (3, false)),
            (9, &[half, half, 1], (2, true)),
            (9, &[half, half], (2, false)),
            (9, &[PAGE_BYTES_MAX + 1, 1], (1, true)),
            (9, &[], (0, false)),
        ] {
            assert_eq!(taken(limit, sizes), wanted, "{sizes:?}");
        }
    }
}
