//! Points about the parties: tokens of programs, and the people of the roster.

use crate::{
    DoctorFinding, InspectedBoundary, StoredState,
    cli::doctor::host::{fail, pass, unread, yours},
};
use client::now;
use documents::{Roster, Scope, SshKey, Timestamp, joined};
use reading::Pattern;
use store::Token;

/// Checks that each valid token expires, and that each valid token that proposes is limited to steps and has an owner.
pub fn tokens(boundary: &InspectedBoundary<'_>) -> Vec<DoctorFinding> {
    let ledger = match &boundary.stored {
        Err(problems) => return unread(boundary, problems.list()),
        Ok(StoredState { ledger: None, .. }) => {
            return vec![pass("there are no tokens: the log has not begun")];
        }
        Ok(StoredState {
            ledger: Some(ledger),
            ..
        }) => ledger,
    };
    let tokens = match ledger.reads().tokens() {
        Ok(tokens) => tokens,
        Err(fault) => {
            return vec![fail(
                format!("not checked: {fault}"),
                boundary.command("store check"),
            )];
        }
    };
    let now = now();
    let is_valid =
        |row: &&Token| row.revoked_at.is_none() && row.token.expires_at.is_none_or(|end| end > now);
    let valid: Vec<&Token> = tokens.iter().filter(is_valid).collect();
    let mut findings: Vec<DoctorFinding> = valid
        .iter()
        .filter_map(|row| flaws_of(row, boundary))
        .collect();
    if findings.is_empty() {
        findings.push(pass(match valid.len() {
            0 => "there are no valid tokens".to_owned(),
            count => format!(
                "valid tokens: {count}; each is valid for at most {MAX_DAYS} days, and each that proposes is limited to \
                 steps and has an owner"
            ),
        }));
    }
    findings
}

fn flaws_of(row: &Token, boundary: &InspectedBoundary<'_>) -> Option<DoctorFinding> {
    let token = &row.token;
    let proposes = token.scopes.contains(&Scope::Propose);
    let is_long = |end: Timestamp| end.unix() - row.created_at.unix() > MAX_DAYS * 86_400;
    // A reviewer and an auditor need to see all steps, so only a token that proposes must be limited.
    let long = format!("is valid for more than {MAX_DAYS} days");
    let flaws = [
        (
            proposes && is_for_all_steps(&token.patterns),
            "may propose every step",
        ),
        (token.expires_at.is_none(), "never expires"),
        (token.expires_at.is_some_and(is_long), &*long),
        (
            proposes && token.owners.is_empty(),
            "has no owner, so each approver may approve its proposals",
        ),
    ];
    let flaws = flaws.into_iter().filter(|(has, _)| *has);
    let flaws = joined(flaws.map(|(_, flaw)| flaw), " and ");
    (!flaws.is_empty()).then(|| {
        let name = &token.name;
        let scopes: String = token
            .scopes
            .iter()
            .map(|scope| format!(" --scope {scope}"))
            .collect();
        let limits = if proposes {
            " --owner NAME --step 'PATTERN'"
        } else {
            ""
        };
        let fix = format!(
            "{}, then {}",
            boundary.command(&format!(
                "token create NEW_NAME{scopes}{limits} --expires 90d"
            )),
            boundary.command(&format!("token revoke {name}"))
        );
        fail(format!("the token {name} {flaws}"), fix)
    })
}

/// Returns true if the patterns of a token match every step, as `**` does.
fn is_for_all_steps(patterns: &[String]) -> bool {
    let patterns: Vec<Pattern> = patterns
        .iter()
        .filter_map(|pattern| Pattern::parse(pattern).ok())
        .collect();
    let matches = |step: &str| patterns.iter().any(|pattern| pattern.matches(step));
    patterns.is_empty() || UNUSUAL_STEPS.into_iter().all(matches)
}

/// Maximum time for which a token should be valid, in days.
const MAX_DAYS: i64 = 365;
/// Steps that no boundary has. Only patterns for all steps match both.
const UNUSUAL_STEPS: [&str; 2] = [
    "zq-unusual:zq-unusual",
    "zq-unusual/zq/zq-unusual:zq-unusual",
];

/// Checks that no single person decides about the roster, and that a person with a security key must approve some runs.
pub fn roster(boundary: &InspectedBoundary<'_>) -> Vec<DoctorFinding> {
    let roster = match boundary.roster() {
        Ok(roster) => roster,
        Err(problems) => return unread(boundary, problems),
    };
    let (threshold, people) = (roster.threshold, roster.approvers.len());
    let guarded = match threshold {
        0 => fail(
            "the roster is not guarded: anyone who can write the file decides who may approve",
            boundary.roster_fix("set `threshold` to 2"),
        ),
        1 => fail(
            "one approver alone can change the roster",
            boundary.roster_fix("set `threshold` to 2"),
        ),
        _ => pass(format!(
            "the next version needs {threshold} of {people} approvers"
        )),
    };
    let enough = if people as u64 > threshold.max(1) {
        pass(format!(
            "{people} approvers, so the roster can change if one of them loses a key"
        ))
    } else {
        fail(
            format!(
                "approvers: {people}; if one of them loses the key, the roster can't change any more"
            ),
            boundary.command("roster add approver NAME --key KEY --group GROUP")
                + "; after the first start, let the approvers sign the version, then "
                + boundary.config.puts_in_force(),
        )
    };
    vec![guarded, enough, presence(boundary, roster)]
}

/// Looks for a group whose signatures need the touch of a security key, so that a program with stolen key files can't
/// sign.
fn presence(boundary: &InspectedBoundary<'_>, roster: &Roster) -> DoctorFinding {
    let with_touch = roster
        .groups
        .iter()
        .filter(|(_, group)| group.presence.is_some())
        .map(|(name, _)| name)
        .filter(|name| {
            let members = roster
                .approvers
                .values()
                .filter(|approver| approver.groups.contains(name));
            let mut keys = members.flat_map(|approver| &approver.keys);
            keys.any(|line| SshKey::parse(line).is_ok_and(|key| key.is_security_key()))
        });
    let with_touch = joined(with_touch, ", ");
    if with_touch.is_empty() {
        return fail(
            "no group requires a security key: a program that can read an approver's key file can sign",
            boundary.roster_fix(
                "add security keys (`ssh-keygen -t ed25519-sk`) to at least as many approvers of a group as its runs \
                 need approvals, because signatures of other keys of this group then no longer count; and add \
                 `\"presence\": \"required\"` to the group",
            ),
        );
    }
    yours(format!(
        "the group {with_touch} requires the touch of a security key: let policy ask this group for dangerous steps"
    ))
}
