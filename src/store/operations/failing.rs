//! Endpoints as outcomes are recorded: how they fail, and their end where they are gone or have failed for too long.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Database, Engine, Write, affected, audit::Note, batches, query, query_as};
use crate::{
    audit::{Action, Author, Changes},
    clock::UnixMs,
    delivery::AttemptResult,
    endpoint::DisabledReason,
    failing::{Failing, FailingRules, Step},
    id::EndpointId,
    merchant::Tenant,
    store::{
        Result, StoreError,
        rows::{FailingRow, expect_affected, read},
        sql,
    },
};

const TABLE: &str = "failing_endpoints";

/// How endpoints fail, those that do.
pub(super) type FailingEndpoints = HashMap<EndpointId, Failing>;

impl Engine {
    /// How the endpoints of these outcomes fail, which does not change until the transaction ends. Endpoints that the
    /// outcomes disable are locked too, before any delivery is.
    pub(super) async fn lock_to_follow(
        &self,
        write: &mut Write,
        results: &[&AttemptResult],
        rules: FailingRules,
    ) -> Result<FailingEndpoints> {
        let ids: BTreeSet<EndpointId> = results.iter().map(|result| result.endpoint_id).collect();
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let mut failing = FailingEndpoints::new();
        for row in batches::lock_failing(write, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await? {
            let id = &row.webhook_endpoint_id;
            failing.insert(read(id, TABLE, "webhook_endpoint_id", id)?, row.try_into()?);
        }
        let disables = |result: &&&AttemptResult| {
            let ends = |failing: &Failing| {
                failing.after_failure(result.attempt.started_at, rules).step == Step::Disabled
            };
            result.disables_endpoint()
                || result.failed() && failing.get(&result.endpoint_id).is_some_and(ends)
        };
        let disabled: BTreeSet<String> =
            results.iter().filter(disables).map(|result| result.endpoint_id.to_string()).collect();
        batches::lock_endpoints(write, &disabled.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        Ok(failing)
    }

    /// Writes what follows for the endpoints of these outcomes, which are recorded here, in the order in which they and
    /// those recorded `beside` ended. Answers which it disabled.
    pub(super) async fn follow(
        &self,
        write: &mut Write,
        results: &[&AttemptResult],
        beside: &[&AttemptResult],
        failing: &FailingEndpoints,
        rules: FailingRules,
        now: UnixMs,
    ) -> Result<HashMap<EndpointId, DisabledReason>> {
        let mut outcomes: BTreeMap<EndpointId, Vec<&AttemptResult>> = BTreeMap::new();
        for result in results {
            outcomes.entry(result.endpoint_id).or_default().push(result);
        }
        for result in beside {
            if let Some(outcomes) = outcomes.get_mut(&result.endpoint_id) {
                outcomes.push(result);
            }
        }
        let mut disabled = HashMap::new();
        for (endpoint, mut results) in outcomes {
            results.sort_by_key(|result| result.ended_at());
            let before = failing.get(&endpoint).copied();
            let after = results.iter().fold(before, |failing, result| {
                let at = result.attempt.started_at;
                let goes_on = |failing: Failing| failing.after_failure(at, rules);
                result.failed().then(|| failing.map_or_else(|| Failing::begun(at), goes_on))
            });
            write_failing(write, endpoint, before, after).await?;
            let ends =
                |failing: Option<Failing>| failing.is_some_and(|failing| failing.step == Step::Disabled);
            let reason = if results.iter().any(|result| result.disables_endpoint()) {
                DisabledReason::Gone
            } else if ends(after) && !ends(before) {
                DisabledReason::Failing
            } else {
                continue;
            };
            if self.disable(write, endpoint, reason, now).await? {
                disabled.insert(endpoint, reason);
            }
        }
        Ok(disabled)
    }

    /// Disables the endpoint in the service's own name. Answers whether it was enabled.
    async fn disable(
        &self,
        write: &mut Write,
        endpoint: EndpointId,
        reason: DisabledReason,
        now: UnixMs,
    ) -> Result<bool> {
        let id = endpoint.to_string();
        let disabled = query_as!((String, bool), sql::DISABLE_ENDPOINT, &id, reason.as_str(), now.0);
        let Some((merchant, livemode)) = disabled.fetch_optional(&mut **write).await? else {
            return Ok(false);
        };
        let merchant_id = read(&merchant, "webhook_endpoints", "merchant_id", &id)?;
        let tenant = Tenant { merchant_id, livemode };
        let changes = Changes::default().with("status", "enabled", "disabled").with(
            "disabled_reason",
            None::<&str>,
            reason.as_str(),
        );
        let note = Note { tenant: Some(&tenant), action: Action::EndpointDisabled, object_id: &id, changes };
        self.note(write, note, &Author::service(), now).await?;
        Ok(true)
    }
}

/// Has the row say how the endpoint fails, if that has changed.
async fn write_failing(
    write: &mut Write,
    endpoint: EndpointId,
    before: Option<Failing>,
    after: Option<Failing>,
) -> Result<()> {
    let id = endpoint.to_string();
    let changed = |text, failing: Failing| {
        let (since, from, step) = (failing.since.0, failing.counted_from.0, failing.step.as_str());
        query!(text, &id, since, from, step, failing.next_step_at.map(|at| at.0))
    };
    let written = match (before, after) {
        (before, after) if before == after => return Ok(()),
        (None, Some(failing)) => {
            let inserted = changed(sql::health::INSERT_FAILING, failing).execute(&mut **write).await?;
            if affected(&inserted) == 1 {
                return Ok(());
            }
            let row = query_as!(FailingRow, sql::health::FAILING, &id);
            return match row.fetch_optional(&mut **write).await? {
                // Another process was first.
                Some(_) => Err(StoreError::Contended),
                // It was deleted.
                None => Ok(()),
            };
        }
        (Some(_), Some(failing)) => {
            changed(sql::health::UPDATE_FAILING, failing).execute(&mut **write).await?
        }
        (_, None) => query!(sql::health::DELETE_FAILING, &id).execute(&mut **write).await?,
    };
    expect_affected(TABLE, affected(&written) as usize, 1)
}
