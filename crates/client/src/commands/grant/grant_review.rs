//! The review of a standing grant: what may happen without a further question.

use serde_json::Value;

use crate::home::trusted_rosters::ChosenTrust;
use crate::remote::client::Client;
use crate::remote::proposals::list;
use crate::review::gather::roster_in_force;
use crate::review::sources::RosterSource;
use crate::review::value_words::span;
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::printable_text::PrintableText;
use crate::terminal::screen::{LineTone, Screen};
use documents::crypto::canonical;
use documents::crypto::digest::{ContentDigest, StepDigest};
use documents::crypto::json;
use documents::record::authorization::PermissionReason;
use documents::record::document::Statement;
use documents::record::envelope::Base64;
use documents::record::grant::{Grant, GrantedStep};
use documents::record::profile::NetworkMode;
use documents::record::step_definition::{MAX_DEFINITION_BYTES, StepDefinition};
use documents::record::validity::Timestamp;
use judgement::shell::commands::comments;
use judgement::trust::trusted_roster::TrustedRoster;
use wire::api::grant_view::{GrantList, GrantStatus, GrantView};

/// Number of hex digits of the digest that a person must type.
const DIGITS: usize = 8;

/// A grant with everything that an approver must see.
#[derive(Debug)]
pub struct GrantReview {
    payload: Vec<u8>,
    digest: ContentDigest,
    grant: Grant,
    document: Value,
    /// The definitions of the steps, as the boundary gave them. Each has the signed digest.
    definitions: Vec<StepDefinition>,
    roster: RosterSource,
    /// Reasons not to sign.
    flaws: Vec<String>,
    /// What happened so far, by the word of the boundary.
    so_far: Vec<String>,
}

impl GrantReview {
    /// Reads the statement and the definitions of its steps.
    ///
    /// # Errors
    /// Returns an error if the statement can't be read, or if the boundary can't be reached.
    pub fn make(view: &GrantView, client: &Client, trust: &[ChosenTrust]) -> Result<Self, CommandFailure> {
        let odd = |what: String| CommandFailure::new(Exit::Refused, format!("nothing was signed: {what}"));
        let payload = Base64::Strict.decode("/payload", &view.payload).map_err(|error| odd(error.to_string()))?;
        let grant = Statement::<Grant>::from_payload(&payload).map_err(|error| odd(error.to_string()))?.predicate;
        if grant.grant != view.id {
            return Err(odd(format!("the boundary returned the statement of {}", grant.grant)));
        }
        let document = json::parse(&payload, payload.len()).map_err(|error| odd(error.to_string()))?;
        let (registry, roster) = roster_in_force(client, trust)?;
        let mut flaws = Vec::new();
        let here = (&registry.boundary.name, registry.boundary.id, &registry.boundary.epoch);
        if here != (&grant.boundary.name, grant.boundary.id, &grant.boundary.epoch) {
            flaws.push("the grant is for another boundary or another epoch".to_owned());
        }
        let mut definitions = Vec::new();
        for step in &grant.steps {
            let bytes = client.blob(step.digest.as_bytes())?;
            let definition = json::parse_as::<StepDefinition>(&bytes, MAX_DEFINITION_BYTES);
            match definition {
                Ok(definition) if StepDigest::of(&bytes) == step.digest && definition.reference == step.reference => {
                    definitions.push(definition);
                }
                _ => flaws.push(format!("the boundary does not have the signed definition of {}", step.reference)),
            }
        }
        if roster.roster().and_then(|roster| roster.proposer(&grant.grantee.name)).is_none() {
            flaws.push(format!("{} is no proposer of the roster", grant.grantee.name));
        }
        let so_far = so_far(&grant, view, client);
        let digest = ContentDigest::of(&payload);
        Ok(Self { digest, payload, grant, document, definitions, roster, flaws, so_far })
    }

    /// Returns the exact bytes of the statement.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Returns the terms in the statement.
    #[must_use]
    pub const fn terms(&self) -> &Grant {
        &self.grant
    }

    /// Returns the digest of the statement.
    #[must_use]
    pub const fn digest(&self) -> ContentDigest {
        self.digest
    }

    /// Returns the roster that the approver trusts.
    #[must_use]
    pub fn roster(&self) -> Option<&TrustedRoster> {
        self.roster.trusted()
    }

    /// Returns the text that a person must type: a run's answer is never a grant's answer.
    #[must_use]
    pub fn asked_text(&self) -> String {
        let hex = self.digest.hex();
        format!("{} {}", self.grant.max_uses, &hex[hex.len() - DIGITS..])
    }

    /// Checks that nothing speaks against a signature.
    ///
    /// # Errors
    /// Returns the first flaw, or that no roster is trusted.
    pub fn check_sound(&self) -> Result<(), CommandFailure> {
        if let Some(flaw) = self.flaws.first() {
            return Err(CommandFailure::new(Exit::Refused, format!("nothing was signed: {flaw}")));
        }
        if self.roster().is_none() {
            let words = "nothing was signed: you trust no roster for this boundary; give --roster sha256:...";
            return Err(CommandFailure::new(Exit::NoTrust, words));
        }
        Ok(())
    }

    /// Returns the exit code of a command that only shows the grant.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match (self.flaws.is_empty(), self.roster()) {
            (false, _) => Exit::Refused,
            (true, None) => Exit::NoTrust,
            (true, Some(_)) => Exit::Done,
        }
    }

    /// Returns the screen. Each signed field is on it.
    #[must_use]
    pub fn screen(&self, now: Timestamp) -> Screen {
        let mut screen = Screen::default();
        screen.push(LineTone::Bad, String::new(), PrintableText::words("== STANDING GRANT: nobody is asked again =="));
        let (grant, grantee) = (&self.grant, &self.grant.grantee);
        let owners = self.roster.roster().and_then(|roster| roster.proposer(&grantee.name));
        let owners = owners.map_or(String::new(), |proposer| {
            let names: Vec<&str> = proposer.owners.iter().map(|name| name.as_str()).collect();
            format!(" (owner {})", names.join(", "))
        });
        screen.say(LineTone::Bad, &format!("after this, \"{}\"{owners} may run WITHOUT ASKING", grantee.name));
        screen.field("with the key", &PrintableText::text(grantee.key.as_str()));
        for step in &grant.steps {
            screen.field_in(LineTone::Bad, "step", &PrintableText::text(step.reference.as_str()));
        }
        screen.field_in(LineTone::Bad, "how often", &PrintableText::text(&self.limits(now)));
        let mut unbounded = false;
        for step in &grant.steps {
            unbounded |= vary(step, &mut screen);
        }
        for (step, permission) in
            grant.steps.iter().flat_map(|step| step.permissions.iter().map(move |one| (step, one)))
        {
            if permission.why == PermissionReason::BuiltInDeny {
                let words = format!("{} {}: denied by a built-in list", step.reference, permission.what);
                screen.field_in(LineTone::Bad, "allows", &PrintableText::text(&words));
            }
        }
        if !grant.reason.is_empty() {
            let words = PrintableText::quoted_prose(&grant.reason)
                .and(" (")
                .then(&PrintableText::text(grant.proposer.as_str()));
            screen.field("reason", &words.and("'s words, not checked)"));
        }
        screen.field("worst case", &PrintableText::text(&self.worst_case(unbounded)));
        if let Some(reach) = self.reach().filter(|_| unbounded) {
            let words = format!("some values have no bounds, and the runs reach {reach}");
            screen.field_in(LineTone::Bad, "remark", &PrintableText::text(&words));
        }
        for words in &self.so_far {
            screen.field("so far", &PrintableText::text(words));
        }
        let stop =
            format!("countersign revoke {} (an approver of a step, {}, or an operator)", grant.grant, grantee.name);
        screen.field("to stop it", &PrintableText::text(&stop));
        let trust = match &self.roster {
            RosterSource::Trusted(roster, why) => format!("roster version {}, {why}", roster.version()),
            _ => "NO TRUSTED ROSTER".to_owned(),
        };
        screen.field("trust", &PrintableText::text(&trust));
        for flaw in &self.flaws {
            screen.field_in(LineTone::Bad, "problem", &PrintableText::text(flaw));
        }
        for definition in &self.definitions {
            screen.heading("script");
            screen.field("step", &PrintableText::text(definition.reference.as_str()));
            screen.numbered(&definition.source, &comments(&definition.interpreter, &definition.source));
        }
        screen.heading("every signed field");
        screen.exact(&self.document, &[]);
        screen.field("digest", &PrintableText::text(&self.digest.to_string()));
        screen
    }

    fn limits(&self, now: Timestamp) -> String {
        let grant = &self.grant;
        let rate = grant
            .rate
            .as_ref()
            .map_or(String::new(), |rate| format!(", at most {} in {}", rate.uses, span(rate.seconds as i64)));
        let left = grant.expires_at.unix() - now.unix();
        format!("up to {} times{rate}, until {} ({} left)", grant.max_uses, grant.expires_at, span(left))
    }

    fn worst_case(&self, unbounded: bool) -> String {
        let grant = &self.grant;
        // The first runs of a period can all be at its beginning.
        let periods = grant.rate.as_ref().map(|rate| (grant.max_uses.div_ceil(rate.uses) - 1, rate.seconds));
        let time = match periods {
            None | Some((0, _)) => "a moment".to_owned(),
            Some((periods, seconds)) => span((periods * seconds) as i64),
        };
        let values = if unbounded { "; some values have no bounds" } else { "" };
        format!("{} runs in {time}{values}", grant.max_uses)
    }

    /// Returns what the runs can reach outside of their sandbox.
    fn reach(&self) -> Option<String> {
        let mut found = Vec::new();
        for step in &self.grant.steps {
            let sandbox = &step.sandbox;
            if sandbox.off_reason.is_some() {
                found.push("everything: the sandbox is off");
            }
            if sandbox.network.mode != NetworkMode::None {
                found.push("a network");
            }
            if sandbox.read.iter().chain(&sandbox.write).any(|path| path.starts_with('/')) {
                found.push("files of the host");
            }
        }
        found.dedup();
        (!found.is_empty()).then(|| found.join(", "))
    }
}

/// Adds what may vary in a step. Returns true if a value is unbounded.
fn vary(step: &GrantedStep, screen: &mut Screen) -> bool {
    let mut unbounded = false;
    let none = serde_json::Map::new();
    let properties = step.params["properties"].as_object().unwrap_or(&none);
    if properties.is_empty() {
        screen.field("what varies", &PrintableText::text(&format!("{}: nothing", step.reference)));
    }
    for (name, schema) in properties {
        let (words, free) = value_words(schema);
        unbounded |= free;
        let tone = if free { LineTone::Bad } else { LineTone::Plain };
        screen.field_in(tone, "what varies", &PrintableText::text(&format!("{} {name}: {words}", step.reference)));
    }
    unbounded
}

/// Describes the values of a schema. The second value is true if there are unboundedly many.
fn value_words(schema: &Value) -> (String, bool) {
    let text = |value: &Value| String::from_utf8_lossy(&canonical::to_canonical(value)).into_owned();
    if let Some(only) = schema.get("const") {
        return (format!("always {}", text(only)), false);
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let shown: Vec<String> = values.iter().map(text).collect();
        return (format!("one of {} values: {}", values.len(), shown.join(", ")), false);
    }
    let map = schema.as_object();
    let only_type = map.is_some_and(|map| map.keys().all(|key| key == "type"));
    match schema["type"].as_str().unwrap_or("") {
        "boolean" => ("true or false".to_owned(), false),
        kind if only_type => (format!("ANY VALUE ({kind})"), true),
        "integer" if schema.get("minimum").is_some() && schema.get("maximum").is_some() => {
            (format!("a number from {} to {}", text(&schema["minimum"]), text(&schema["maximum"])), false)
        }
        _ => (format!("each value of {}", text(schema)), true),
    }
}

/// Returns what the boundary says about earlier runs and other grants. A failed request only leaves out a line.
fn so_far(grant: &Grant, view: &GrantView, client: &Client) -> Vec<String> {
    let mut found = Vec::new();
    for step in &grant.steps {
        let Ok(runs) = list(client, &[("status", "finished"), ("step", step.reference.as_str())]) else { continue };
        let succeeded =
            runs.iter().filter(|run| run.outcome.as_ref().is_some_and(|end| end.status.word() == "succeeded"));
        let words = format!("{} runs of {}, {} succeeded", runs.len(), step.reference, succeeded.count());
        found.push(format!("{words} (the boundary's word)"));
    }
    if let Ok(all) = client.get::<GrantList>("/v1/grants") {
        let covers = |other: &&GrantView| {
            let shares =
                other.grant.steps.iter().any(|one| grant.steps.iter().any(|step| step.reference == one.reference));
            other.id != view.id && other.status == GrantStatus::Active && shares
        };
        let active = all.grants.iter().filter(covers).count();
        if active > 0 {
            found.push(format!("{active} other active grants name a step of this one"));
        }
    }
    if view.uses > 0 {
        found.push(format!("{} of {} uses are spent", view.uses, grant.max_uses));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_value_without_a_bound_is_called_unbounded() {
        for (schema, words, unbounded) in [
            (json!({"type": "string", "const": "web-1"}), "always \"web-1\"", false),
            (json!({"type": "string", "enum": ["a", "b"]}), "one of 2 values: \"a\", \"b\"", false),
            (json!({"type": "boolean"}), "true or false", false),
            (json!({"type": "string"}), "ANY VALUE (string)", true),
            (json!({"type": "integer", "minimum": 1, "maximum": 3}), "a number from 1 to 3", false),
            (json!({"type": "integer", "minimum": 1}), "each value of {\"minimum\":1,\"type\":\"integer\"}", true),
            (
                json!({"type": "string", "pattern": "^a$"}),
                "each value of {\"pattern\":\"^a$\",\"type\":\"string\"}",
                true,
            ),
        ] {
            assert_eq!(value_words(&schema), (words.to_owned(), unbounded));
        }
    }
}
