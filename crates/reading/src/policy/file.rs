//! The policy file, with its schema.
//!
//! A policy contains approvals, lists for commands, paths and variables, overrides for runbooks, grants, and limits.
//!
//! A policy also contains rules for standing grants, emergencies, runs with an unknown end, freezes and passkeys.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ListSide, ListedPattern, Pattern, SandboxRule, YamlFlaw, YamlKind, YamlNode, approvals_among,
    choice, refuse,
};
use documents::{
    Approvals, GrantedSession, GroupName, GroupSource, MAX_GRANT_S, MAX_SIGNATURES, MAX_USES,
    PermissionKind, PolicyDigest,
};

/// A parsed policy, with its rules and the canonical JSON of the file.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(super) file: PolicyFile,
    pub(super) compiled: Compiled,
    pub(super) canonical: Arc<[u8]>,
    pub(super) digest: PolicyDigest,
}

/// The compiled patterns of a policy.
#[derive(Debug, Clone, Default)]
pub(super) struct Compiled {
    pub(super) default: Vec<CompiledPattern>,
    pub(super) overrides: Vec<(Pattern, Vec<CompiledPattern>)>,
    /// Line of each override in the file, or 0 without a file.
    pub(super) override_lines: Vec<usize>,
    /// Grants, each with the pattern for its runbooks (if there is one) and the granted pattern.
    pub(super) grants: Vec<(Option<Pattern>, [CompiledPattern; 1])>,
}

/// A compiled pattern of one list.
#[derive(Debug, Clone)]
pub struct CompiledPattern {
    /// Kind of the rule.
    pub kind: PermissionKind,
    /// List that contains the pattern.
    pub side: ListSide,
    /// The pattern.
    pub listed: ListedPattern,
}

/// The policy file: which approvals a step needs, and what its runs may do. A person writes the file in YAML or JSON.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// Version of the format: 1.
    pub version: u64,
    /// `none`: only the lists of this file apply. If the field is absent, the built-in lists apply too.
    pub extends: Option<BasePolicy>,
    /// The first rule, which applies to every step.
    #[serde(default)]
    #[schemars(extend("default" = {}))]
    pub default: PolicyRule,
    /// Rules for some runbooks. Every override that matches the runbook applies, in the order of the file. A later rule
    /// replaces the single values of earlier rules. Lists of all rules are joined.
    #[serde(default)]
    #[schemars(length(max = MAX_OVERRIDES), extend("default" = []))]
    pub overrides: Vec<Override>,
    /// Commands, paths and variables that a person allowed permanently, in addition to the lists.
    #[serde(default)]
    #[schemars(length(max = MAX_GRANTS))]
    pub grants: Vec<PolicyGrant>,
    /// The people who must state how a run ended whose end the boundary did not see. If the field is absent, one person
    /// of the groups in the step's rules.
    pub settle: Option<PeopleRule>,
    /// What a freeze does. If the field is absent, a freeze cancels the running steps.
    pub freeze: Option<FreezeRule>,
    /// The passkeys that count. If the field is absent, none.
    pub passkeys: Option<PasskeysRule>,
}

/// The lists that a policy extends.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Extends")]
pub enum BasePolicy {
    /// The built-in lists do not apply.
    None,
}

/// The fields of a rule that are not lists of patterns.
pub(super) struct RuleValues<'a> {
    pub(super) mode: Option<Mode>,
    pub(super) approvals: Option<&'a Approvals>,
    pub(super) sandbox: Option<&'a SandboxRule>,
    pub(super) standing: Option<&'a StandingRule>,
    pub(super) emergency: Option<&'a EmergencyRule>,
}

/// Defines a type with the fields of a rule, after the fields of its own.
macro_rules! rule {
    ($(#[$about:meta])* $name:ident { $($(#[$own_about:meta])* $own:ident: $type:ty,)? } $sandbox:literal) => {
        $(#[$about])*
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$own_about])* pub $own: $type,)?
            /// What policy does with commands, paths and variables that no list names. By default `prompted`.
            pub mode: Option<Mode>,
            /// Patterns of commands: a name such as `git`, or a path.
            pub run: Option<AllowDeny>,
            /// Patterns of paths that a step may read. A pattern begins with `/`, `{repo}/`, `{tmp}/` or `**/`.
            pub read: Option<AllowDeny>,
            /// Patterns of paths that a step may write. A pattern begins with `/`, `{repo}/`, `{tmp}/` or `**/`.
            pub write: Option<AllowDeny>,
            /// Patterns of names of environment variables that a step may use or inherit.
            pub env: Option<AllowDeny>,
            /// The approvals that a run needs.
            pub approvals: Option<Approvals>,
            #[doc = $sandbox]
            pub sandbox: Option<SandboxRule>,
            /// The standing grants that policy permits. If no rule has the field, none. A later rule replaces the whole
            /// value.
            pub standing: Option<StandingRule>,
            /// The runs in an emergency that policy permits. If no rule has the field, none. A later rule replaces the
            /// whole value.
            pub emergency: Option<EmergencyRule>,
        }

        impl $name {
            pub(super) fn values(&self) -> RuleValues<'_> {
                RuleValues {
                    mode: self.mode,
                    approvals: self.approvals.as_ref(),
                    sandbox: self.sandbox.as_ref(),
                    standing: self.standing.as_ref(),
                    emergency: self.emergency.as_ref(),
                }
            }
        }
    };
}

rule! {
    /// A rule of the policy. An absent field changes nothing.
    #[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
    #[schemars(rename = "Rule")]
    PolicyRule {}
    "The sandbox of every step: only `limits`, `proc`, `deny` and `programs`. The other fields are for overrides."
}

rule! {
    /// A rule for the runbooks that a pattern matches. Needs at least one field besides `runbook`.
    #[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
    Override {
        /// Glob for the path of a runbook, for example `deploy/**`. The ending, such as `.md`, may be left out.
        runbook: String,
    }
    "Limits, the view of `/proc`, and the access to the host that a step may declare. The terms are those of the signed profile."
}

/// Patterns that policy allows and denies. If patterns of both lists match, `deny` decides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Patterns")]
pub struct AllowDeny {
    /// Patterns that policy allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_LIST))]
    pub allow: Vec<String>,
    /// Patterns that policy denies. No signature can change this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_LIST))]
    pub deny: Vec<String>,
}

/// A pattern that a person allowed permanently.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Grant")]
pub struct PolicyGrant {
    /// What the pattern is about.
    #[serde(rename = "type")]
    pub kind: PermissionKind,
    /// Glob that policy allows.
    pub pattern: String,
    /// Glob for the runbooks to which the grant applies. If the field is absent, the grant applies to all runbooks.
    pub runbook: Option<String>,
    /// Always `permanent`. Grants for one session are never in a file.
    pub scope: GrantScope,
    /// Time of the grant, as Rundown writes it. A note for people, without effect.
    #[serde(rename = "grantedAt")]
    #[schemars(regex(
        pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z$"
    ))]
    pub granted_at: Option<String>,
}

/// Duration of a grant.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Scope")]
pub enum GrantScope {
    /// The grant is valid until a person removes it from the file.
    Permanent,
}

documents::words! {
    /// What policy does with commands, paths and variables that no list names.
    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum Mode {
        /// Approvers must sign a permission for each of them.
        Prompted = "prompted",
        /// Policy allows them. Approvers must still sign the run, and a permission for each command that the boundary
        /// cannot know before the run.
        Execute = "execute",
        /// Policy denies them. No signature can change this.
        Deny = "deny",
    }
}

impl Policy {
    /// Returns the parsed content of the file.
    pub fn file(&self) -> &PolicyFile {
        &self.file
    }

    /// Returns the overrides with their compiled patterns, in the order of the file.
    pub fn overrides(&self) -> impl Iterator<Item = (&Pattern, &Override, &[CompiledPattern])> {
        let rules = &self.file.overrides;
        self.compiled
            .overrides
            .iter()
            .zip(rules)
            .map(|((pattern, written), rule)| (pattern, rule, written.as_slice()))
    }

    /// Returns the line of each override in the file, in the order of the file.
    pub fn override_lines(&self) -> &[usize] {
        &self.compiled.override_lines
    }

    /// Returns the people who must state how a run with an unknown end ended, or `None` if one person of the groups in
    /// the step's rules suffices.
    pub fn settle(&self) -> Option<&PeopleRule> {
        self.file.settle.as_ref()
    }

    /// Returns the passkeys that count, or `None` if none counts.
    pub fn passkeys(&self) -> Option<PasskeysRule> {
        self.file.passkeys
    }

    /// Returns true if the running steps continue to their end when the boundary is frozen.
    pub fn runs_finish_when_frozen(&self) -> bool {
        self.file.freeze.is_some()
    }

    /// Returns the canonical JSON of the policy file. A seal contains the digest of this JSON.
    pub fn canonical(&self) -> &Arc<[u8]> {
        &self.canonical
    }

    /// Returns the policy's digest.
    pub fn digest(&self) -> PolicyDigest {
        self.digest
    }
}

/// Maximum size of a policy file, in bytes. A policy with a thousand overrides is a tenth of this size.
pub const MAX_FILE_BYTES: usize = 256 << 10;
/// Maximum number of overrides.
pub(super) const MAX_OVERRIDES: usize = 1024;
/// Maximum number of grants.
pub(super) const MAX_GRANTS: usize = 1024;
/// Maximum number of patterns in one list.
pub(super) const MAX_LIST: usize = 1024;

/// Maximum validity of a grant in days.
const MAX_DAYS: u64 = MAX_GRANT_S / 86_400;
/// Maximum number of emergencies without a review.
const MAX_UNREVIEWED: u64 = 100;
/// Maximum window of an emergency in seconds (one day, as for every authorization).
const MAX_WINDOW_S: u64 = 86_400;

/// The standing grants that policy permits for a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Standing")]
pub struct StandingRule {
    /// Maximum number of uses of a grant.
    #[schemars(range(min = 1, max = MAX_USES))]
    pub max_uses: u64,
    /// Maximum number of days from the issue to the end of a grant.
    #[schemars(range(min = 1, max = MAX_DAYS))]
    pub max_days: u64,
    /// The widest `session` that a grant may have. If the field is absent, `fresh`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<GrantedSession>,
}

/// A number of people of some groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "People")]
pub struct PeopleRule {
    /// Number of different people who must sign.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = MAX_SIGNATURES))]
    pub required: u64,
    /// Groups whose members may sign.
    #[schemars(length(min = 1))]
    pub from: Vec<GroupName>,
}

/// The runs in an emergency that policy permits for a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EmergencyRule")]
pub struct EmergencyRule {
    /// Number of different people who must sign the run.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = MAX_SIGNATURES))]
    pub required: u64,
    /// Groups whose members may sign the run.
    #[schemars(length(min = 1))]
    pub from: Vec<GroupName>,
    /// Maximum number of emergencies without a review, in the whole boundary.
    #[schemars(range(min = 1, max = MAX_UNREVIEWED))]
    pub max_unreviewed: u64,
    /// Maximum number of seconds from the issue to the end of the authorization.
    #[schemars(range(min = 1, max = MAX_WINDOW_S))]
    pub max_window_s: u64,
    /// The people who must review the run afterwards.
    pub review: PeopleRule,
}

/// What happens to the running steps when the boundary is frozen.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FreezeRule {
    /// `finish`: the running steps continue to their end.
    pub runs: RunsWhenFrozen,
}

/// What the running steps do when the boundary is frozen.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunsWhenFrozen {
    /// They continue to their end. Without this word, the boundary cancels them.
    Finish,
}

/// The passkeys that count.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Passkeys")]
pub struct PasskeysRule {
    /// Maximum number of passkeys that count for one run.
    #[schemars(range(min = 1, max = MAX_SIGNATURES))]
    pub most: u64,
    /// True if passkeys alone may meet a rule. Otherwise, each rule needs a signature of an approver's own program.
    pub alone: bool,
    /// True if passkeys count that a service may copy to several devices.
    pub synced: bool,
}

fn one() -> u64 {
    1
}

impl StandingRule {
    /// Returns the widest session that a grant may have.
    pub fn widest_session(&self) -> GrantedSession {
        self.session.unwrap_or(GrantedSession::Fresh)
    }

    pub(super) fn read(node: &YamlNode, flaws: &mut Vec<YamlFlaw>) -> Option<Self> {
        let before = flaws.len();
        node.closed_map("standing", &["max_uses", "max_days", "session"], flaws);
        let max_uses = number(node, "max_uses", MAX_USES, flaws);
        let max_days = number(node, "max_days", MAX_DAYS, flaws);
        let session = node
            .value("session")
            .and_then(|node| choice(node, "`session`", &["none", "fresh"], flaws));
        let rule = Self {
            max_uses: max_uses?,
            max_days: max_days?,
            session,
        };
        (flaws.len() == before).then_some(rule)
    }
}

impl PeopleRule {
    /// Returns the rule as a rule of approvals.
    pub fn approvals(&self) -> Approvals {
        Approvals {
            required: self.required,
            from: self.from.clone(),
            each: None,
        }
    }

    /// Reads `required` and `from` of a map that also has the keys `more`.
    pub(super) fn read(
        what: &str,
        more: &[&str],
        node: &YamlNode,
        flaws: &mut Vec<YamlFlaw>,
    ) -> Option<Self> {
        let rule = approvals_among(
            what,
            &[&["required", "from"][..], more].concat(),
            GroupSource::Named,
            node,
            flaws,
        )?;
        Some(Self {
            required: rule.required,
            from: rule.from,
        })
    }
}

impl EmergencyRule {
    /// Returns the rule for the signatures as a rule of approvals.
    pub fn approvals(&self) -> Approvals {
        Approvals {
            required: self.required,
            from: self.from.clone(),
            each: None,
        }
    }

    pub(super) fn read(node: &YamlNode, flaws: &mut Vec<YamlFlaw>) -> Option<Self> {
        let people = PeopleRule::read(
            "emergency",
            &["max_unreviewed", "max_window_s", "review"],
            node,
            flaws,
        );
        let max_unreviewed = number(node, "max_unreviewed", MAX_UNREVIEWED, flaws);
        let max_window_s = number(node, "max_window_s", MAX_WINDOW_S, flaws);
        let review = required(node, "review", flaws)
            .and_then(|node| PeopleRule::read("review", &[], node, flaws));
        let PeopleRule { required, from } = people?;
        Some(Self {
            required,
            from,
            max_unreviewed: max_unreviewed?,
            max_window_s: max_window_s?,
            review: review?,
        })
    }
}

impl FreezeRule {
    pub(super) fn read(node: &YamlNode, flaws: &mut Vec<YamlFlaw>) -> Option<Self> {
        node.closed_map("freeze", &["runs"], flaws);
        let runs = required(node, "runs", flaws)?;
        choice(runs, "`runs`", &["finish"], flaws).map(|runs| Self { runs })
    }
}

impl PasskeysRule {
    pub(super) fn read(node: &YamlNode, flaws: &mut Vec<YamlFlaw>) -> Option<Self> {
        node.closed_map("passkeys", &["most", "alone", "synced"], flaws);
        let most = number(node, "most", MAX_SIGNATURES as u64, flaws);
        let (alone, synced) = (flag(node, "alone", flaws), flag(node, "synced", flaws));
        Some(Self {
            most: most?,
            alone: alone?,
            synced: synced?,
        })
    }
}

fn required<'n>(node: &'n YamlNode, name: &str, flaws: &mut Vec<YamlFlaw>) -> Option<&'n YamlNode> {
    let found = node.value(name);
    if found.is_none() && matches!(node.kind, YamlKind::Map(_)) {
        refuse(
            flaws,
            node.place,
            format!("the key `{name}` is missing: add the key"),
        );
    }
    found
}

fn number(node: &YamlNode, name: &str, most: u64, flaws: &mut Vec<YamlFlaw>) -> Option<u64> {
    let found = required(node, name, flaws)?;
    if let YamlKind::Integer(number) = found.kind
        && let Ok(number) = u64::try_from(number)
        && (1..=most).contains(&number)
    {
        return Some(number);
    }
    refuse(
        flaws,
        found.place,
        format!("`{name}` must be a whole number from 1 to {most}"),
    );
    None
}

fn flag(node: &YamlNode, name: &str, flaws: &mut Vec<YamlFlaw>) -> Option<bool> {
    required(node, name, flaws)?.boolean(&format!("`{name}`"), flaws)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Builtins;

    #[test]
    fn yaml_and_json_of_one_policy_have_one_digest() {
        let yaml = "# who may\nversion: 1\ndefault:\n  mode: prompted\n  approvals: {required: 1, from: [ops]}\n";
        let json = r#"{"default":{"approvals":{"from":["ops"],"required":1},"mode":"prompted"},"version":1}"#;
        let (a, b) = (
            Policy::load(yaml).expect("yaml"),
            Policy::load(json).expect("json"),
        );
        assert_eq!(a.digest(), b.digest());
        assert_eq!(&a.canonical()[..], json.as_bytes());
    }

    #[test]
    fn the_golden_policy_has_its_known_digest() {
        let text = r#"{"default":{"approvals":{"from":["ops"],"required":1},"mode":"prompted","run":{"allow":["printf","systemctl"]}},"overrides":[{"approvals":{"each":true,"from":["ops","security"],"required":1},"runbook":"nginx*"}],"version":1}"#;
        let policy = Policy::from_sealed(&serde_json::from_str(text).expect("JSON")).expect("read");
        assert_eq!(&policy.canonical()[..], text.as_bytes());
        assert_eq!(
            policy.digest().to_string(),
            "sha256:66adefbccdd92510666623c4decc0de56f1b6a814c8fd7b2de48b7a9cf0d3c40"
        );
        assert!(Policy::load(text).is_ok(), "and a boundary serves under it");
        let ruling = crate::policy::ruling::resolve(
            &policy,
            Builtins::current(),
            &"nginx:restart".parse().expect("a ref"),
        );
        let approvals = ruling.approvals.expect("approvals").value;
        assert_eq!(
            (approvals.required, approvals.each, approvals.from.len()),
            (1, Some(true), 2)
        );
    }
}

#[cfg(test)]
mod people_rules_tests {
    use documents::GrantedSession;
    use serde_json::json;

    use crate::{Builtins, PasskeysRule, Policy, PolicyFile, resolve};

    const WHOLE: &str = "
version: 1
default:
  approvals: {required: 1, from: [ops]}
  standing: {max_uses: 20, max_days: 7, session: none}
  emergency: {from: [ops], max_unreviewed: 3, max_window_s: 3600, review: {required: 2, from: [ops]}}
overrides:
  - {runbook: \"deploy/*\", standing: {max_uses: 1, max_days: 30}}
settle: {required: 2, from: [ops]}
freeze: {runs: finish}
passkeys: {most: 1, alone: false, synced: true}
";

    #[test]
    fn a_later_rule_replaces_the_whole_value_of_standing_and_emergency() {
        let policy = Policy::load(WHOLE).expect("a policy");
        assert!(policy.runs_finish_when_frozen());
        assert_eq!(policy.settle().map(|rule| rule.required), Some(2));
        let ruling =
            |step: &str| resolve(&policy, Builtins::current(), &step.parse().expect("a ref"));
        let (plain, deploy) = (ruling("nginx:restart"), ruling("deploy/web:go"));
        let standing = plain.standing.expect("a rule").value;
        assert_eq!(
            (standing.max_uses, standing.session),
            (20, Some(GrantedSession::None))
        );
        let standing = deploy.standing.expect("a rule");
        assert_eq!(
            (
                standing.value.max_uses,
                standing.value.max_days,
                standing.value.session
            ),
            (1, 30, None)
        );
        assert_eq!(standing.origin.to_string(), "overrides[0] (deploy/*)");
        let emergency = deploy.emergency.expect("a rule").value;
        assert_eq!(
            (
                emergency.required,
                emergency.max_unreviewed,
                emergency.review.required
            ),
            (1, 3, 2)
        );
        let without = Policy::load("version: 1\n").expect("a policy");
        assert!(!without.runs_finish_when_frozen() && without.settle().is_none());
        let ruling = resolve(
            &without,
            Builtins::current(),
            &"a:b".parse().expect("a ref"),
        );
        assert_eq!((ruling.standing, ruling.emergency), (None, None));
    }

    #[test]
    fn passkeys_are_read_strictly() {
        let policy = Policy::load("version: 1\npasskeys: {most: 2, alone: false, synced: true}\n")
            .expect("a policy");
        assert_eq!(
            policy.passkeys(),
            Some(PasskeysRule {
                most: 2,
                alone: false,
                synced: true
            })
        );
        assert_eq!(
            Policy::load("version: 1\n").expect("a policy").passkeys(),
            None
        );
        for broken in [
            "{most: 0, alone: false, synced: true}",
            "{most: 1, alone: false}",
            "{most: 1, alone: 1, synced: true}",
            "[]",
        ] {
            assert!(
                Policy::load(&format!("version: 1\npasskeys: {broken}\n")).is_err(),
                "{broken}"
            );
        }
    }

    #[test]
    fn each_bound_is_checked() {
        let mut whole = crate::yaml::parse(WHOLE, 1).expect("YAML").to_json();
        let typed: PolicyFile = serde_json::from_value(whole.clone()).expect("the types");
        whole["default"]["emergency"]["required"] = json!(1);
        let edited = |pointer: &str, value: serde_json::Value| {
            let mut edited = whole.clone();
            *edited.pointer_mut(pointer).expect(pointer) = value;
            Policy::from_sealed(&edited).is_ok()
        };
        for (pointer, most) in [
            ("/default/standing/max_uses", 100_000),
            ("/default/standing/max_days", 90),
            ("/default/emergency/max_unreviewed", 100),
            ("/default/emergency/max_window_s", 86_400),
            ("/default/emergency/required", 16),
            ("/default/emergency/review/required", 16),
            ("/settle/required", 16),
            ("/passkeys/most", 16),
        ] {
            assert!(
                edited(pointer, json!(1)) && edited(pointer, json!(most)),
                "{pointer}"
            );
            for bad in [
                json!(0),
                json!(most + 1),
                json!(-1),
                json!("1"),
                json!(true),
            ] {
                assert!(!edited(pointer, bad.clone()), "{pointer}: {bad}");
            }
        }
        for (pointer, bad) in [
            ("/default/standing/session", "any"),
            ("/freeze/runs", "cancel"),
            ("/settle/from", "ops"),
            ("/default/emergency/review", "ops"),
        ] {
            assert!(!edited(pointer, json!(bad)), "{pointer}");
        }
        for pointer in [
            "/settle/from",
            "/default/emergency/from",
            "/default/emergency/review/from",
        ] {
            assert!(
                !edited(pointer, json!([])) && !edited(pointer, json!(["ops", "ops"])),
                "{pointer}"
            );
        }
        assert_eq!(typed, Policy::load(WHOLE).expect("a policy").file);
    }
}
