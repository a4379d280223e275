//! What `check` prints: a line for each case, and what to change.

use serde_json::{Value, json};

use super::{
    Judged, Verdict,
    cases::{Case, Should},
};
use crate::cli::say;

/// Where the advice is explained.
const DOCUMENT: &str = "docs/receiving.md";

#[derive(Default)]
pub(super) struct Report {
    cases: Vec<Value>,
    passed: usize,
    failed: usize,
    unreachable: bool,
}

impl Report {
    /// Takes a case, and prints it unless all is printed in the end.
    pub(super) fn add(&mut self, case: &Case, judged: &Judged, json: bool) {
        let (word, advice) = match judged.verdict {
            Verdict::Passed => ("ok", None),
            Verdict::Noted(note) => ("note", Some(note)),
            Verdict::Failed | Verdict::Unreached => ("FAILED", Some(case.advice)),
        };
        let failed = word == "FAILED";
        self.unreachable = self.cases.is_empty() && judged.verdict == Verdict::Unreached;
        self.passed += usize::from(!failed);
        self.failed += usize::from(failed);
        let (should, section) = (should(case.should), format!("{DOCUMENT}#{}", case.section));
        if !json {
            say(&format!("{word:<6}  {:<34} {}", case.name, judged.answer));
            if failed {
                say(&format!("        It should {should}."));
            }
            if let Some(advice) = advice {
                say(&format!("        {advice}"));
                say(&format!("        {section}"));
            }
        }
        self.cases.push(json!({
            "name": case.name,
            "verdict": word.to_lowercase(),
            "should": should,
            "answer": judged.answer,
            "advice": advice,
            "documentation": section,
        }));
    }

    /// Whether nobody answered the very first request.
    pub(super) fn is_unreachable(&self) -> bool {
        self.unreachable
    }

    /// Prints the end; answers whether all is well.
    pub(super) fn finish(self, json: bool) -> bool {
        let fine = self.failed == 0 && self.passed > 0;
        if json {
            let report = json!({ "passed": self.passed, "failed": self.failed, "cases": self.cases });
            say(&format!("{report:#}"));
        } else if self.unreachable {
            say("\nThe receiver does not answer: is it running, and is this its address?");
        } else if self.cases.is_empty() {
            say("No case has such a name.");
        } else {
            say(&format!("\n{} of {} as they should be.", self.passed, self.passed + self.failed));
        }
        fine
    }
}

fn should(should: Should) -> &'static str {
    match should {
        Should::Take => "answer 2xx",
        Should::Refuse => "answer 400",
    }
}
