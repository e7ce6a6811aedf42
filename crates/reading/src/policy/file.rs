//! The policy file, with its schema.
//!
//! A policy contains approvals, lists for commands, paths and variables, overrides for runbooks, grants, and limits.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    EmergencyRule, FreezeRule, ListSide, ListedPattern, PasskeysRule, Pattern, PeopleRule,
    SandboxRule, StandingRule,
};
use documents::{Approvals, PermissionKind, PolicyDigest};

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// Version of the format: 1.
    pub version: u64,
    /// `none`: only the lists of this file apply. If the field is absent, the built-in lists apply too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<BasePolicy>,
    /// The first rule, which applies to every step.
    #[serde(default)]
    pub default: PolicyRule,
    /// Rules for some runbooks. Every override that matches the runbook applies, in the order of the file. A later rule
    /// replaces the single values of earlier rules. Lists of all rules are joined.
    #[serde(default)]
    #[schemars(length(max = MAX_OVERRIDES))]
    pub overrides: Vec<Override>,
    /// Commands, paths and variables that a person allowed permanently, in addition to the lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_GRANTS))]
    pub grants: Vec<PolicyGrant>,
    /// The people who must state how a run ended whose end the boundary did not see. If the field is absent, one person
    /// of the groups in the step's rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle: Option<PeopleRule>,
    /// What a freeze does. If the field is absent, a freeze cancels the running steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<FreezeRule>,
    /// The passkeys that count. If the field is absent, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkeys: Option<PasskeysRule>,
}

/// The lists that a policy extends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Extends")]
pub enum BasePolicy {
    /// The built-in lists do not apply.
    None,
}

/// The fields of a rule that are not lists of patterns.
#[derive(Debug, Clone, Copy)]
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
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub mode: Option<Mode>,
            /// Patterns of commands: a name such as `git`, or a path.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub run: Option<AllowDeny>,
            /// Patterns of paths that a step may read. A pattern begins with `/`, `{repo}/`, `{tmp}/` or `**/`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub read: Option<AllowDeny>,
            /// Patterns of paths that a step may write. A pattern begins with `/`, `{repo}/`, `{tmp}/` or `**/`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub write: Option<AllowDeny>,
            /// Patterns of names of environment variables that a step may use or inherit.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub env: Option<AllowDeny>,
            /// The approvals that a run needs.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub approvals: Option<Approvals>,
            #[doc = $sandbox]
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub sandbox: Option<SandboxRule>,
            /// The standing grants that policy permits. If no rule has the field, none. A later rule replaces the whole
            /// value.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub standing: Option<StandingRule>,
            /// The runs in an emergency that policy permits. If no rule has the field, none. A later rule replaces the
            /// whole value.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub emergency: Option<EmergencyRule>,
        }

        impl $name {
            pub(super) const fn values(&self) -> RuleValues<'_> {
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
    #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    #[schemars(rename = "Rule")]
    PolicyRule {}
    "The sandbox of every step: only `limits`, `proc`, `deny` and `programs`. The other fields are for overrides."
}

rule! {
    /// A rule for the runbooks that a pattern matches. Needs at least one field besides `runbook`.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    Override {
        /// Glob for the path of a runbook, for example `deploy/**`. The ending, such as `.md`, may be left out.
        runbook: String,
    }
    "Limits, the view of `/proc`, and the access to the host that a step may declare. The terms are those of the signed profile."
}

/// Patterns that policy allows and denies. If patterns of both lists match, `deny` decides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Grant")]
pub struct PolicyGrant {
    /// What the pattern is about.
    #[serde(rename = "type")]
    pub kind: PermissionKind,
    /// Glob that policy allows.
    pub pattern: String,
    /// Glob for the runbooks to which the grant applies. If the field is absent, the grant applies to all runbooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// Always `permanent`. Grants for one session are never in a file.
    pub scope: GrantScope,
    /// Time of the grant, as Rundown writes it. A note for people, without effect.
    #[serde(default, rename = "grantedAt", skip_serializing_if = "Option::is_none")]
    #[schemars(regex(
        pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z$"
    ))]
    pub granted_at: Option<String>,
}

/// Duration of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Scope")]
pub enum GrantScope {
    /// The grant is valid until a person removes it from the file.
    Permanent,
}

documents::words! {
    /// What policy does with commands, paths and variables that no list names.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    pub const fn file(&self) -> &PolicyFile {
        &self.file
    }

    /// Returns the patterns of the `default` rule.
    pub fn of_default(&self) -> &[CompiledPattern] {
        &self.compiled.default
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

    /// Returns the grants, each with the pattern for its runbooks (if there is one) and the granted patterns.
    pub fn grants(&self) -> impl Iterator<Item = (Option<&Pattern>, &[CompiledPattern])> {
        self.compiled
            .grants
            .iter()
            .map(|(runbook, written)| (runbook.as_ref(), written.as_slice()))
    }

    /// Returns the people who must state how a run with an unknown end ended, or `None` if one person of the groups in
    /// the step's rules suffices.
    pub const fn settle(&self) -> Option<&PeopleRule> {
        self.file.settle.as_ref()
    }

    /// Returns the passkeys that count, or `None` if none counts.
    pub const fn passkeys(&self) -> Option<PasskeysRule> {
        self.file.passkeys
    }

    /// Returns true if the running steps continue to their end when the boundary is frozen.
    pub const fn runs_finish_when_frozen(&self) -> bool {
        self.file.freeze.is_some()
    }

    /// Returns the canonical JSON of the policy file. A seal contains the digest of this JSON.
    pub fn canonical(&self) -> &Arc<[u8]> {
        &self.canonical
    }

    /// Returns the policy's digest.
    pub const fn digest(&self) -> PolicyDigest {
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
