//! When an endpoint fails, and what follows: it comes by steps to being disabled, of which operators are told ([`to_tell`]).
//! Pure rules; the store keeps where each endpoint stands, and writes it, and what is told, only where that changes.
//!
//! ```text
//!   a failure      5 minutes       half of the time      a day before        the time, and a day
//!   (quiet) ─────────► told ────────────► warned ───────────► warned_last ────────────► disabled
//! ```
//!
//! Each step is taken by an attempt that fails, one at a time, so nothing happens to an endpoint that nobody calls. A
//! success ends it all.

use std::time::Duration;

use crate::{
    clock::UnixMs,
    operational::{OperationalType, Told},
    words::words,
};

/// How long an endpoint fails before anybody is told: a failure now and again is nothing to speak of.
const TELL_AFTER: Duration = Duration::from_secs(5 * 60);

/// How long before it is disabled an endpoint's last warning comes, at least.
const NOTICE: Duration = Duration::from_secs(24 * 3600);

/// How late the attempt may come that takes a step after the first. Where none was made for so long, nobody knows how the
/// endpoint did meanwhile, and the time begins anew. The longest delay between two attempts at one delivery is shorter.
const PAUSE_MAX: Duration = Duration::from_secs(36 * 3600);

words! {
    /// How far it has come with an endpoint that fails.
    Step {
        /// It has just begun.
        Quiet "quiet",
        /// The operators are told that it fails.
        Told "told",
        /// They are warned that it will be disabled.
        Warned "warned",
        /// The same for the last time.
        WarnedLast "warned_last",
        /// It is disabled.
        Disabled "disabled",
    }
}

/// For how long an endpoint may fail, and what the operators are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailingRules {
    /// It is disabled after so long without any success, unless this is none.
    pub disable_after: Option<Duration>,
    /// What is told.
    pub told: Told,
}

/// An endpoint that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failing {
    /// When the first attempt was made that failed, after the last one that succeeded.
    pub since: UnixMs,
    /// Since when attempts were made all along: from here on the time counts.
    pub counted_from: UnixMs,
    /// How far it has come.
    pub step: Step,
    /// The first attempt from then on that fails takes the next step.
    pub next_step_at: Option<UnixMs>,
}

impl Failing {
    /// An endpoint of which an attempt made at this instant is the first that failed.
    #[must_use]
    pub fn begun(at: UnixMs) -> Self {
        Self { since: at, counted_from: at, step: Step::Quiet, next_step_at: Some(at.plus(TELL_AFTER)) }
    }

    /// How it stands after another attempt, made at this instant, that failed too.
    #[must_use]
    pub fn after_failure(self, at: UnixMs, rules: FailingRules) -> Self {
        let Some(due) = self.next_step_at.filter(|due| *due <= at) else { return self };
        if at > due.plus(PAUSE_MAX) {
            return Self { counted_from: at, ..self }.at_step(Step::Told, at, rules);
        }
        let next = match self.step {
            Step::Quiet => Step::Told,
            // Where half of the time leaves no more than the notice, one warning is enough.
            Step::Told if rules.disable_after.is_some_and(|time| time / 2 > notice(time)) => Step::Warned,
            Step::Told | Step::Warned => Step::WarnedLast,
            Step::WarnedLast | Step::Disabled => Step::Disabled,
        };
        self.at_step(next, at, rules)
    }

    fn at_step(self, step: Step, at: UnixMs, rules: FailingRules) -> Self {
        let next_step_at = rules.disable_after.and_then(|time| {
            let ends = self.counted_from.plus(time);
            match step {
                Step::Told => Some(self.counted_from.plus(time / 2)),
                Step::Warned => Some(ends.minus(notice(time))),
                Step::WarnedLast => Some(ends.max(at.plus(notice(time)))),
                // The first is where it begins.
                Step::Quiet | Step::Disabled => None,
            }
        });
        Self { step, next_step_at, ..self }
    }

    /// From when on an attempt that fails disables the endpoint, if one does and as far as that is known.
    #[must_use]
    pub fn disables_at(self, rules: FailingRules) -> Option<UnixMs> {
        match self.step {
            Step::Disabled => None,
            Step::WarnedLast => self.next_step_at,
            Step::Quiet | Step::Told | Step::Warned => {
                rules.disable_after.map(|time| self.counted_from.plus(time))
            }
        }
    }
}

/// What operators are told of an outcome that changed how an endpoint fails. That it is disabled is told where that is done,
/// which is not by its step alone.
#[must_use]
pub fn to_tell(before: Option<Failing>, after: Option<Failing>) -> Option<OperationalType> {
    let (before, after) = (before.map(|failing| failing.step), after.map(|failing| failing.step));
    match (before, after) {
        (Some(Step::Told | Step::Warned | Step::WarnedLast), None) => {
            Some(OperationalType::EndpointRecovered)
        }
        (before, after) if before == after => None,
        (_, Some(Step::Told)) => Some(OperationalType::EndpointFailing),
        (_, Some(Step::Warned | Step::WarnedLast)) => Some(OperationalType::EndpointDisablingSoon),
        (_, None | Some(Step::Quiet | Step::Disabled)) => None,
    }
}

fn notice(time: Duration) -> Duration {
    NOTICE.min(time / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn rules(hours: u32) -> FailingRules {
        FailingRules { disable_after: Some(HOUR * hours), told: Told::NOTHING }
    }

    /// The steps that failures at these hours take, and at which hour each was taken.
    fn steps(rules: FailingRules, hours: impl IntoIterator<Item = u32>) -> Vec<(Step, u32)> {
        let mut failing = Failing::begun(UnixMs(0));
        let mut steps = Vec::new();
        for hour in hours {
            let after = failing.after_failure(UnixMs(0).plus(HOUR * hour), rules);
            if after.step != failing.step {
                steps.push((after.step, hour));
            }
            assert_eq!(after.since, UnixMs(0));
            failing = after;
        }
        steps
    }

    #[test]
    fn those_who_operate_it_are_told_and_warned_twice_before_an_endpoint_is_disabled() {
        let expected = [(Step::Told, 1), (Step::Warned, 60), (Step::WarnedLast, 96), (Step::Disabled, 120)];
        assert_eq!(steps(rules(120), 0..200), expected);
    }

    #[test]
    fn a_short_time_has_one_warning_at_its_half() {
        let expected = [(Step::Told, 1), (Step::WarnedLast, 12), (Step::Disabled, 24)];
        assert_eq!(steps(rules(24), 0..48), expected);
    }

    #[test]
    fn a_day_passes_between_the_last_warning_and_the_end_however_late_the_warning_came() {
        let expected = [(Step::Told, 20), (Step::Warned, 70), (Step::WarnedLast, 110), (Step::Disabled, 134)];
        assert_eq!(steps(rules(120), [20, 70, 110, 120, 133, 134]), expected);
    }

    #[test]
    fn an_endpoint_that_was_not_called_for_long_begins_anew() {
        let expected = [(Step::Told, 1), (Step::Warned, 68), (Step::Told, 400), (Step::Warned, 460)];
        assert_eq!(steps(rules(120), [1, 68, 400, 401, 460]), expected);
        let anew = Failing::begun(UnixMs(0)).after_failure(UnixMs(0).plus(HOUR * 900), rules(120));
        assert_eq!(anew.disables_at(rules(120)), Some(UnixMs(0).plus(HOUR * 1020)));
    }

    #[test]
    fn an_endpoint_that_is_never_disabled_is_told_of_and_no_more() {
        let never = FailingRules { disable_after: None, told: Told::NOTHING };
        assert_eq!(steps(never, 0..2000), [(Step::Told, 1)]);
        assert_eq!(Failing::begun(UnixMs(0)).disables_at(never), None);
    }
    #[test]
    fn operators_hear_of_each_step_once_and_of_a_recovery_where_they_heard_of_the_failure() {
        let at = |step| Some(Failing { step, ..Failing::begun(UnixMs(0)) });
        let (quiet, told, warned, last) =
            (at(Step::Quiet), at(Step::Told), at(Step::Warned), at(Step::WarnedLast));
        for (before, after, expected) in [
            (None, quiet, None),
            (quiet, None, None),
            (quiet, told, Some(OperationalType::EndpointFailing)),
            (told, told, None),
            (told, warned, Some(OperationalType::EndpointDisablingSoon)),
            (warned, last, Some(OperationalType::EndpointDisablingSoon)),
            (last, at(Step::Disabled), None),
            (warned, told, Some(OperationalType::EndpointFailing)),
            (told, None, Some(OperationalType::EndpointRecovered)),
            (last, None, Some(OperationalType::EndpointRecovered)),
            (at(Step::Disabled), None, None),
        ] {
            assert_eq!(to_tell(before, after), expected, "{before:?} {after:?}");
        }
    }
}
