//! Points about the parties: tokens of programs, and the people of the roster.

use crate::cli::hardening::point_finding::{PointFinding, fail, pass, unread, yours};
use crate::cli::inspected_boundary::InspectedBoundary;
use crate::crypto::ssh_key::SshKey;
use crate::node::start;
use crate::node::stored_state::StoredState;
use crate::record::roster::Roster;
use crate::record::token::Scope;
use crate::store::stored_token::Token;

/// Checks that each valid token is limited to steps, expires, and has an owner.
pub(super) fn tokens(boundary: &InspectedBoundary<'_>) -> Vec<PointFinding> {
    let ledger = match &boundary.stored {
        Err(problems) => return unread(problems.list()),
        Ok(StoredState { ledger: None, .. }) => return vec![pass("there are no tokens: the log has not begun")],
        Ok(StoredState { ledger: Some(ledger), .. }) => ledger,
    };
    let tokens = match ledger.tokens() {
        Ok(tokens) => tokens,
        Err(fault) => return vec![fail(format!("not checked: {fault}"), "countersign store check")],
    };
    let now = (start::surroundings().now)();
    let is_valid = |token: &&Token| token.revoked_at.is_none() && token.expires_at.is_none_or(|end| end > now);
    let valid: Vec<&Token> = tokens.iter().filter(is_valid).collect();
    let mut findings: Vec<PointFinding> = valid.iter().filter_map(|token| flaws_of(token)).collect();
    if findings.is_empty() {
        findings.push(pass(match valid.len() {
            0 => "there are no valid tokens".to_owned(),
            1 => "the valid token is limited to steps, expires, and has an owner".to_owned(),
            count => format!("the {count} valid tokens are limited to steps, expire, and have owners"),
        }));
    }
    findings
}

fn flaws_of(token: &Token) -> Option<PointFinding> {
    let proposes = token.scopes.contains(&Scope::Propose);
    let flaws = [
        // A reviewer and an auditor need to see all steps, so only a token that proposes must be limited.
        (proposes && token.patterns.is_empty()).then_some("may propose every step"),
        token.expires_at.is_none().then_some("never expires"),
        (proposes && token.owners.is_empty()).then_some("has no owner, so each approver may approve its proposals"),
    ];
    let flaws: Vec<&str> = flaws.into_iter().flatten().collect();
    (!flaws.is_empty()).then(|| {
        let name = &token.name;
        let fix = format!(
            "countersign token create NEW_NAME --scope {} --owner NAME --step 'PATTERN' --expires 90d, then \
             countersign token revoke {name}",
            token.scopes.iter().map(|scope| scope.word()).collect::<Vec<_>>().join(",")
        );
        fail(format!("the token {name} {}", flaws.join(" and ")), fix)
    })
}

/// Checks that no single person decides about the roster, and that a person with a security key must approve some runs.
pub(super) fn roster(boundary: &InspectedBoundary<'_>) -> Vec<PointFinding> {
    let roster = match boundary.roster() {
        Ok(roster) => roster,
        Err(problems) => return unread(problems),
    };
    let (threshold, people) = (roster.threshold, roster.approver.len());
    let guarded = match threshold {
        0 => fail(
            "the roster is not guarded: anyone who can write the file decides who may approve",
            "set `threshold = 2` in roster.toml, then countersign roster draft",
        ),
        1 => fail(
            "one approver alone can change the roster",
            "set `threshold = 2` in roster.toml, then countersign roster draft",
        ),
        _ => pass(format!("the next version needs {threshold} of {people} approvers")),
    };
    let enough = if people as u64 > threshold.max(1) {
        pass(format!("{people} approvers, so the roster can change if one of them loses a key"))
    } else {
        fail(
            format!("{people} approvers: if one of them loses the key, the roster can't change any more"),
            "countersign roster add approver NAME KEY",
        )
    };
    vec![guarded, enough, presence(roster)]
}

/// Looks for a group whose signatures need the touch of a security key, so that a program with stolen key files can't
/// sign.
fn presence(roster: &Roster) -> PointFinding {
    let with_touch: Vec<&str> = roster
        .group
        .iter()
        .filter(|group| group.presence.is_some())
        .filter(|group| {
            let members = roster.approver.iter().filter(|approver| approver.groups.contains(&group.name));
            let mut keys = members.flat_map(|approver| &approver.keys);
            keys.any(|line| SshKey::parse(line).is_ok_and(|key| key.is_security_key()))
        })
        .map(|group| group.name.as_str())
        .collect();
    if with_touch.is_empty() {
        return fail(
            "no group requires a security key: a program that can read an approver's key file can sign",
            "add a security key (ssh-keygen -t ed25519-sk) to some approvers, and `presence = \"required\"` to their \
             [[group]] in roster.toml",
        );
    }
    yours(format!(
        "the group {} requires the touch of a security key: let policy ask this group for dangerous steps",
        with_touch.join(", ")
    ))
}
