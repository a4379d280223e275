//! Stretches of a tenant's events in the order of their dates, looked at piece by piece: no statement looks at more than
//! some thousands.

use sqlx::{FromRow, query::QueryAs};

use super::{Arguments, Database, query_as};
use crate::{
    clock::UnixMs,
    event::EventPlace,
    id::EventId,
    merchant::Tenant,
    store::{Result, rows::read},
};

pub(super) type Connection = <Database as sqlx::Database>::Connection;

/// A place in the order of dates, be there an event at it or not.
#[derive(Clone, Debug, FromRow)]
pub(super) struct Place {
    pub(super) created_at: i64,
    pub(super) id: String,
}

impl Place {
    /// Before every event of this date.
    pub(super) fn before(at: UnixMs) -> Self {
        Self { created_at: at.0, id: String::new() }
    }

    /// Behind every event of this date.
    pub(super) fn behind(at: UnixMs) -> Self {
        // Sorts behind every id.
        Self { created_at: at.0, id: "~".to_owned() }
    }

    pub(super) fn event(&self) -> Result<EventPlace> {
        let id: EventId = read(&self.id, "events", "id", &self.id)?;
        Ok(EventPlace { created_at: UnixMs(self.created_at), id })
    }
}

impl From<EventPlace> for Place {
    fn from(place: EventPlace) -> Self {
        Self { created_at: place.created_at.0, id: place.id.to_string() }
    }
}

/// Events of a tenant behind one place, up to another.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    pub(super) merchant_id: String,
    pub(super) livemode: bool,
    pub(super) after: Place,
    pub(super) to: Place,
}

impl Stretch {
    /// Events dated from `from` to `to`, both included, behind `after`.
    pub(super) fn of(tenant: &Tenant, (from, to): (UnixMs, UnixMs), after: Option<EventPlace>) -> Self {
        Self {
            merchant_id: tenant.merchant_id.as_str().to_owned(),
            livemode: tenant.livemode,
            after: after.map_or_else(|| Place::before(from), Place::from),
            to: Place::behind(to),
        }
    }

    /// The piece that one look takes, which `end_of_look` finds the end of, and whether there is more behind it.
    pub(super) async fn piece(
        &self,
        connection: &mut Connection,
        end_of_look: &'static str,
    ) -> Result<(Self, bool)> {
        let end = self.bind(query_as!(Place, end_of_look));
        let end = end.fetch_optional(connection).await?;
        let more = end.is_some();
        Ok((Self { to: end.unwrap_or_else(|| self.to.clone()), ..self.clone() }, more))
    }

    /// Binds itself to the first six arguments of a query.
    pub(super) fn bind<'q, R>(
        &'q self,
        query: QueryAs<'q, Database, R, Arguments>,
    ) -> QueryAs<'q, Database, R, Arguments> {
        query
            .bind(self.merchant_id.as_str())
            .bind(self.livemode)
            .bind(self.after.created_at)
            .bind(self.after.id.as_str())
            .bind(self.to.created_at)
            .bind(self.to.id.as_str())
    }

    /// What is left behind a piece.
    pub(super) fn behind(&self, piece: &Self) -> Self {
        Self { after: piece.to.clone(), ..self.clone() }
    }
}
