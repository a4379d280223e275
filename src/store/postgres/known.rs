//! Accepting by one statement: a tenant's endpoints are remembered as they were read, and events are stored where they
//! still stand so.
//!
//! Asking first takes four answers of the server one after the other, and while they are waited for nothing else is
//! accepted. Where an endpoint was changed, added or removed meanwhile, or a key was used before, nothing is stored, and
//! the long way is taken, which remembers anew.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use sqlx::error::DatabaseError;

use super::{
    PostgresStore, batches,
    operations::accept::{Endpoints, Outcomes},
};
use crate::{
    clock::UnixMs,
    event::NewEvent,
    kill_point::{KillPoint, reached},
    merchant::Tenant,
    store::{LeaseOffer, Result, StoreError, rows::Candidate},
};

/// Of how many tenants the endpoints are remembered, some kilobytes each.
const TENANTS_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct KnownEndpoints(Mutex<Endpoints>);

impl KnownEndpoints {
    /// The endpoints of all these tenants, if those of each are known.
    fn of(&self, tenants: &[&Tenant]) -> Option<Endpoints> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.iter().map(|tenant| Some(((*tenant).clone(), Arc::clone(known.get(*tenant)?)))).collect()
    }

    fn remember(&self, endpoints: Endpoints) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (tenant, candidates) in endpoints {
            if known.len() >= TENANTS_MAX && !known.contains_key(&tenant) {
                known.clear();
            }
            known.insert(tenant, candidates);
        }
    }
}

impl PostgresStore {
    pub(super) fn remember(&self, mut endpoints: Endpoints) {
        endpoints.retain(|_, candidates| candidates.iter().all(|candidate| candidate.version.is_some()));
        self.known.remember(endpoints);
    }

    /// Accepts the groups if the tenants' endpoints stand as they are remembered, and every key is new.
    pub(super) async fn accept_as_remembered(
        &self,
        tenants: &[&Tenant],
        groups: &[Vec<NewEvent>],
        offer: Option<&LeaseOffer>,
        idempotency_ends_at: UnixMs,
        now: UnixMs,
    ) -> Result<Option<Outcomes>> {
        let Some(endpoints) = self.known.of(tenants) else { return Ok(None) };
        let (rows, outcomes) = self.make_rows(groups, &mut HashMap::new(), &endpoints, offer, now);
        let all_new = outcomes.iter().all(|outcome| {
            outcome.as_ref().is_ok_and(|accepted| accepted.iter().all(|accepted| !accepted.replayed))
        });
        if !all_new {
            return Ok(None);
        }
        let versions: Vec<_> =
            endpoints.values().flat_map(|candidates| candidates.iter()).map(version).collect();
        reached(KillPoint::AcceptBeforeCommit);
        let mut write = self.write_once().await?;
        let inserted =
            batches::insert_where_unchanged(&mut write, &rows, tenants, &versions, idempotency_ends_at, now);
        match inserted.await {
            Ok(true) => {
                write.commit().await?;
                reached(KillPoint::AcceptAfterCommit);
                Ok(Some(outcomes))
            }
            Ok(false) => Ok(None),
            // Another process has used a key since the statement began.
            Err(StoreError::Refused(error))
                if error.as_database_error().is_some_and(DatabaseError::is_unique_violation) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn version(candidate: &Candidate) -> (String, &str) {
    (candidate.destination.endpoint_id.to_string(), candidate.version.as_deref().unwrap_or_default())
}
