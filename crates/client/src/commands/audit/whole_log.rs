//! Audits a whole log for a table: every decision, every denial, every run without a receipt.

use std::collections::BTreeMap;

use crate::{
    ChosenTrust, CommandFailure, CommandResult, LogSource, Screen,
    commands::audit::{
        audit_output::{MOST_SHOWN, log_screen, verdict},
        beginning::{begin, size_of},
    },
    each_entry, expect_kept_heads, no_log, now,
};
use verdict::{AuditEvent, Expected, Finding, Summary};

/// Result of the audit of a whole log.
#[derive(Debug)]
pub struct AuditedLog {
    /// Summary of the audit.
    pub summary: Summary,
    /// The first findings, at most as many as the command prints.
    pub findings: Vec<Finding>,
    /// Number of runs with each outcome.
    outcomes: BTreeMap<String, u64>,
}

impl AuditedLog {
    /// Audits the log as the command does, and passes each decision and each denial to `take`.
    ///
    /// # Errors
    /// Returns an error if the log can't be read, or if no trusted roster is connected with the log.
    pub fn of(
        place: &LogSource,
        named: &str,
        trust: &[ChosenTrust],
        mut take: impl FnMut(AuditEvent),
    ) -> CommandResult<Self> {
        let head = place.head()?.ok_or_else(|| no_log(named))?;
        let size = size_of(&head)?;
        let mut expected = Expected {
            now: Some(now()),
            ..Expected::default()
        };
        let damaged = expect_kept_heads(place, &mut expected)?;
        let mut auditor = match begin(place, trust, &expected, size)? {
            Ok(auditor) => auditor,
            Err(not_begun) => {
                return Err(CommandFailure::new(not_begun.exit(), not_begun.words()));
            }
        };
        let (mut findings, mut outcomes) = (Vec::new(), BTreeMap::new());
        let mut said = |events: Vec<AuditEvent>| {
            for event in events {
                match event {
                    AuditEvent::Finding(finding) if findings.len() < MOST_SHOWN => {
                        findings.push(*finding)
                    }
                    AuditEvent::Finding(_) => {}
                    other => {
                        if let AuditEvent::Decision(line) = &other {
                            *outcomes.entry(line.outcome.status.to_string()).or_default() += 1;
                        }
                        take(other);
                    }
                }
            }
        };
        each_entry(place, 0, size, |entry| {
            said(
                auditor
                    .entry(entry, place)
                    .map_err(|error| place.unreadable(error))?,
            );
            Ok(())
        })?;
        let (last, mut summary) = auditor
            .finish(&head, place)
            .map_err(|error| place.unreadable(error))?;
        said(last);
        for finding in damaged {
            summary.clean = false;
            summary.failures += 1;
            said(vec![AuditEvent::Finding(Box::new(finding))]);
        }
        Ok(Self {
            summary,
            findings,
            outcomes,
        })
    }

    /// Returns the lines that the command prints about the log.
    pub fn screen(&self) -> Screen {
        log_screen(&self.findings, &self.summary, &self.outcomes, None)
    }

    /// Returns the sentence that states the result.
    pub fn verdict(&self) -> String {
        verdict(&self.summary, None)
    }
}
