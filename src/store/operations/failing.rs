//! Endpoints as outcomes are recorded: how they fail, what operators are told of it, and their end where they are gone or
//! have failed for too long.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Database, Engine, Write, affected, audit::Note, batches, operational::Notice, query, query_as};
use crate::{
    audit::{Action, Author, Changes},
    clock::UnixMs,
    delivery::AttemptResult,
    endpoint::{DisabledReason, Endpoint},
    failing::{Failing, FailingRules, Step, to_tell},
    id::EndpointId,
    merchant::Tenant,
    operational::{EndpointReport, OperationalType, Report},
    store::{
        Result, StoreError,
        rows::{EndpointRow, FailingRow, expect_affected, read},
        sql,
    },
};

const TABLE: &str = "failing_endpoints";

/// How endpoints fail, those that do.
pub(super) type FailingEndpoints = HashMap<EndpointId, Failing>;

/// What followed from outcomes for their endpoints.
#[derive(Default)]
pub(super) struct Followed {
    /// Which were disabled.
    pub(super) disabled: BTreeMap<EndpointId, DisabledReason>,
    /// Whether operators are told of any.
    pub(super) told: bool,
}

/// What is told of an endpoint, and how it failed as it came to that.
type Steps = Vec<(OperationalType, Failing)>;

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
    /// those recorded `beside` ended.
    pub(super) async fn follow(
        &self,
        write: &mut Write,
        results: &[&AttemptResult],
        beside: &[&AttemptResult],
        failing: &FailingEndpoints,
        rules: FailingRules,
        now: UnixMs,
    ) -> Result<Followed> {
        let mut outcomes: BTreeMap<EndpointId, Vec<&AttemptResult>> = BTreeMap::new();
        for result in results {
            outcomes.entry(result.endpoint_id).or_default().push(result);
        }
        for result in beside {
            if let Some(outcomes) = outcomes.get_mut(&result.endpoint_id) {
                outcomes.push(result);
            }
        }
        let mut followed = Followed::default();
        for (endpoint, mut results) in outcomes {
            results.sort_by_key(|result| result.ended_at());
            let before = failing.get(&endpoint).copied();
            let (mut after, mut last, mut steps) = (before, before, Steps::new());
            for result in &results {
                let at = result.attempt.started_at;
                let goes_on = |failing: Failing| failing.after_failure(at, rules);
                let next = result.failed().then(|| after.map_or_else(|| Failing::begun(at), goes_on));
                last = next.or(last);
                steps.extend(to_tell(after, next).zip(last));
                after = next;
            }
            write_failing(write, endpoint, before, after).await?;
            let ends =
                |failing: Option<Failing>| failing.is_some_and(|failing| failing.step == Step::Disabled);
            let reason = if results.iter().any(|result| result.disables_endpoint()) {
                Some(DisabledReason::Gone)
            } else {
                (ends(after) && !ends(before)).then_some(DisabledReason::Failing)
            };
            if let Some(reason) = reason
                && self.disable(write, endpoint, reason, None, &Author::service(), now).await?
            {
                followed.disabled.insert(endpoint, reason);
                steps.extend(last.map(|failing| (OperationalType::EndpointDisabled, failing)));
            }
            followed.told |= self.tell_of(write, endpoint, steps, rules, now).await?;
        }
        Ok(followed)
    }

    /// Tells operators of an endpoint, as it is now. Answers whether there was anything to tell them.
    async fn tell_of(
        &self,
        write: &mut Write,
        endpoint: EndpointId,
        mut steps: Steps,
        rules: FailingRules,
        now: UnixMs,
    ) -> Result<bool> {
        steps.retain(|(kind, _)| rules.told.contains(*kind));
        if steps.is_empty() {
            return Ok(false);
        }
        let row = query_as!(EndpointRow, sql::operational::ENDPOINT_TO_TELL_OF, endpoint.to_string());
        let Some(row) = row.fetch_optional(&mut **write).await? else { return Ok(false) };
        let endpoint: Endpoint = row.try_into()?;
        let notices = steps.into_iter().map(|(kind, failing)| Notice {
            kind,
            livemode: endpoint.tenant.livemode,
            report: Report::Endpoint(EndpointReport::of(&endpoint, kind, failing, rules)),
        });
        self.tell(write, notices.collect(), now).await
    }

    /// Disables the endpoint, whose merchant did not, and notes why in words where there are any. Answers whether it was
    /// enabled, and a merchant's.
    pub(super) async fn disable(
        &self,
        write: &mut Write,
        endpoint: EndpointId,
        reason: DisabledReason,
        words: Option<&str>,
        by: &Author,
        now: UnixMs,
    ) -> Result<bool> {
        let id = endpoint.to_string();
        let (text, not_of) = (sql::DISABLE_ENDPOINT, Tenant::operators().merchant_id);
        let disabled = query_as!((String, bool), text, &id, reason.as_str(), now.0, not_of.as_str());
        let Some((merchant, livemode)) = disabled.fetch_optional(&mut **write).await? else {
            return Ok(false);
        };
        let merchant_id = read(&merchant, "webhook_endpoints", "merchant_id", &id)?;
        let tenant = Tenant { merchant_id, livemode };
        let changes = Changes::default()
            .with("status", "enabled", "disabled")
            .with("disabled_reason", None::<&str>, reason.as_str())
            .with("reason", None::<&str>, words);
        let note = Note { tenant: Some(&tenant), action: Action::EndpointDisabled, object_id: &id, changes };
        self.note(write, note, by, now).await?;
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
            let not_of = Tenant::operators().merchant_id;
            let insert = changed(sql::health::INSERT_FAILING, failing).bind(not_of.as_str());
            let inserted = insert.execute(&mut **write).await?;
            if affected(&inserted) == 1 {
                return Ok(());
            }
            let row = query_as!(FailingRow, sql::health::FAILING, &id);
            return match row.fetch_optional(&mut **write).await? {
                // Another process was first.
                Some(_) => Err(StoreError::Contended),
                // It was deleted, or is the operators'.
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
