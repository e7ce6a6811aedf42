//! The policy file: its schema and its reading.
//!
//! Version 1 in this form: who must approve and whether a step may run at all, with overrides by runbook, and
//! limits. Command rules (`run`, `read`, `write`, `env`, `grants`) and `extends` are a later version's: a file
//! that a boundary would serve under may not hold them; a sealed policy of a newer boundary may, and then says
//! so ([`Policy::has_rules`]), so that a verifier reports as not checked what it can't decide.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::crypto::canonical::canonical_of;
use crate::crypto::digest::PolicyDigest;
use crate::policy::host::{SandboxRule, check_deny};
use crate::policy::patterns::Pattern;
use crate::record::declared;
use crate::record::host::{check_path, check_user};
use crate::record::profile::Proc;
use crate::record::step::{Approvals, DeclaredLimits, Groups, Limit};
use crate::yaml::{self, Flaw, Kind, Node};

/// A policy that was read: the rules, and the canonical JSON of the file as it was written.
#[derive(Debug, Clone)]
pub struct Policy {
    file: PolicyFile,
    patterns: Vec<Pattern>,
    canonical: Arc<[u8]>,
    digest: PolicyDigest,
    rules: bool,
    sandbox_rules: bool,
}

/// Version 1 of the policy file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// Always 1.
    pub version: u64,
    /// What holds where no override says otherwise.
    pub default: Rule,
    /// Rules for some runbooks. Every one that matches applies, in order; the later wins.
    #[serde(default)]
    pub overrides: Vec<Override>,
}

/// What a policy says; what it leaves out is left to the rule before it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Whether steps may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Who must approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
    /// Limits, view of `/proc`, and what a step may declare of the host, in the terms of the signed profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxRule>,
}

/// A rule for the runbooks that a pattern matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// A glob over the path of the step's ref, `deploy/**` for one.
    pub runbook: String,
    /// Whether steps may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Who must approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
    /// Limits, view of `/proc`, and what a step may declare of the host, in the terms of the signed profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxRule>,
}

/// Whether steps may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// What is unlisted is asked for.
    Prompted,
    /// What is unlisted is allowed. Approvals are needed all the same.
    Execute,
    /// Nothing runs, whoever signs.
    Deny,
}

impl Mode {
    /// Its word in policy and messages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Prompted => "prompted",
            Self::Execute => "execute",
            Self::Deny => "deny",
        }
    }
}

/// What is wrong with a policy, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyError {
    /// The line in the file, from 1; 0 for a policy that was no file.
    pub line: usize,
    /// The column in characters, from 1; 0 for a policy that was no file.
    pub column: usize,
    /// What happened, and what to do.
    pub message: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for PolicyError {}

impl From<Flaw> for PolicyError {
    fn from(flaw: Flaw) -> Self {
        Self { line: flaw.place.line, column: flaw.place.column, message: flaw.message }
    }
}

impl Policy {
    /// Reads the file (YAML or JSON) that a boundary will serve under.
    ///
    /// # Errors
    /// Everything wrong with it, sorted by place.
    pub fn load(text: &str) -> Result<Self, Vec<PolicyError>> {
        if text.len() > MAX_FILE_BYTES {
            return Err(vec![PolicyError {
                line: 1,
                column: 1,
                message: format!("the policy is larger than {MAX_FILE_BYTES} bytes: shorten it"),
            }]);
        }
        let tree = yaml::parse(text, 1).map_err(|flaw| vec![flaw.into()])?;
        Self::read(&tree, &tree.to_json(), Reading::ToServe)
    }

    /// Reads a policy out of a seal or bundle, which may be of a newer boundary.
    ///
    /// # Errors
    /// Everything wrong with it.
    pub fn from_sealed(value: &Value) -> Result<Self, Vec<PolicyError>> {
        Self::read(&Node::of_json(value), value, Reading::Sealed)
    }

    fn read(tree: &Node, value: &Value, reading: Reading) -> Result<Self, Vec<PolicyError>> {
        let mut reader =
            Reader { reading, flaws: Vec::new(), patterns: Vec::new(), rules: false, sandbox_rules: false };
        let file = reader.file(tree);
        let Reader { mut flaws, patterns, rules, sandbox_rules, .. } = reader;
        let canonical = canonical_of(value).map_err(|error| Flaw::new(tree.place, error.to_string()));
        match canonical {
            Ok(canonical) if flaws.is_empty() => Ok(Self {
                file,
                patterns,
                digest: PolicyDigest::of(&canonical),
                canonical: canonical.into(),
                rules,
                sandbox_rules,
            }),
            canonical => {
                flaws.extend(canonical.err());
                flaws.sort();
                Err(flaws.into_iter().map(PolicyError::from).collect())
            }
        }
    }

    /// The rules.
    #[must_use]
    pub const fn file(&self) -> &PolicyFile {
        &self.file
    }

    /// The overrides with their compiled patterns, in order.
    pub fn overrides(&self) -> impl Iterator<Item = (&Pattern, &Override)> {
        self.patterns.iter().zip(&self.file.overrides)
    }

    /// The canonical JSON of the file as it was written: the blob that a seal names.
    #[must_use]
    pub fn canonical(&self) -> &Arc<[u8]> {
        &self.canonical
    }

    /// Names the policy.
    #[must_use]
    pub const fn digest(&self) -> PolicyDigest {
        self.digest
    }

    /// Whether it holds rules about commands, files or environment, which this version can't decide.
    #[must_use]
    pub const fn has_rules(&self) -> bool {
        self.rules
    }

    /// Whether it says more about the sandbox than this version can decide.
    #[must_use]
    pub const fn has_sandbox_rules(&self) -> bool {
        self.sandbox_rules
    }
}

/// What a policy is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// To decide under it: what this version can't decide is refused.
    ToServe,
    /// To verify what another boundary decided: it is noted.
    Sealed,
}

struct Reader {
    reading: Reading,
    flaws: Vec<Flaw>,
    patterns: Vec<Pattern>,
    rules: bool,
    sandbox_rules: bool,
}

impl Reader {
    fn file(&mut self, tree: &Node) -> PolicyFile {
        self.keys(tree, "a policy", &["version", "default", "overrides"], &["extends", "grants"]);
        match tree.value("version") {
            Some(Node { kind: Kind::Integer(1), .. }) => {}
            Some(other) => self.flaw(other, "this version reads policies of `version: 1` only: write version: 1"),
            None if matches!(tree.kind, Kind::Map(_)) => self.flaw(tree, "the version is missing: write version: 1"),
            None => {}
        }
        let default = match tree.value("default") {
            Some(node) => self.rule(node, "default", &[]),
            None => {
                if matches!(tree.kind, Kind::Map(_)) {
                    self.flaw(tree, "`default` is missing: write default: {mode: prompted, approvals: {…}}");
                }
                Rule::default()
            }
        };
        let mut overrides = Vec::new();
        if let Some(node) = tree.value("overrides") {
            for item in node.list("`overrides`", &mut self.flaws).unwrap_or_default() {
                overrides.push(self.one_override(item));
            }
        }
        PolicyFile { version: 1, default, overrides }
    }

    fn one_override(&mut self, node: &Node) -> Override {
        let rule = self.rule(node, "an override", &["runbook"]);
        let mut runbook = String::new();
        match node.value("runbook") {
            Some(glob) => {
                if let Some(text) = glob.text("`runbook`", &mut self.flaws) {
                    match Pattern::parse(text) {
                        Ok(pattern) => {
                            runbook = text.to_owned();
                            self.patterns.push(pattern);
                        }
                        Err(error) => self.flaw(glob, &error.to_string()),
                    }
                }
            }
            None => self.flaw(node, "an override needs `runbook`: name the runbooks it is for, \"deploy/**\" for one"),
        }
        if rule == Rule::default() && node.entries().len() == 1 && !runbook.is_empty() {
            self.flaw(node, "this override says nothing: give it mode, approvals or sandbox, or remove it");
        }
        Override { runbook, mode: rule.mode, approvals: rule.approvals, sandbox: rule.sandbox }
    }

    fn rule(&mut self, node: &Node, what: &str, more: &[&str]) -> Rule {
        let known = [&["mode", "approvals", "sandbox"][..], more].concat();
        self.keys(node, what, &known, &["run", "read", "write", "env", "grants", "extends"]);
        let mut rule = Rule::default();
        if let Some(mode) = node.value("mode") {
            rule.mode = match mode.text("`mode`", &mut self.flaws) {
                Some("prompted") => Some(Mode::Prompted),
                Some("execute") => Some(Mode::Execute),
                Some("deny") => Some(Mode::Deny),
                Some(other) => {
                    self.flaw(mode, &yaml::unknown("mode", other, &["prompted", "execute", "deny"]));
                    None
                }
                None => None,
            };
        }
        if let Some(approvals) = node.value("approvals") {
            rule.approvals = Approvals::read(approvals, Groups::Named, &mut self.flaws);
        }
        if let Some(sandbox) = node.value("sandbox") {
            rule.sandbox = Some(self.sandbox(sandbox, what));
        }
        rule
    }

    fn sandbox(&mut self, node: &Node, of: &str) -> SandboxRule {
        let later = ["level", "require", "off_reason"];
        self.sandbox_rules |= node.entries().iter().any(|(key, _)| later.contains(&key.name.as_str()));
        let refused: &[&str] = if self.reading == Reading::ToServe { &later } else { &[] };
        let mut known = [&["limits", "proc", "deny"][..], &OF_ONE_STEP].concat();
        if self.reading == Reading::Sealed {
            known.extend(later);
        }
        node.closed_map("a sandbox rule", &known, refused, &mut self.flaws);
        let mut declared = SandboxRule::default();
        for (key, value) in node.entries() {
            if of == "default" && OF_ONE_STEP.contains(&key.name.as_str()) {
                self.flaws.push(Flaw::new(
                    key.place,
                    format!("`{}` is for runbooks that are named: write it into an override", key.name),
                ));
                continue;
            }
            let flaws = &mut self.flaws;
            match key.name.as_str() {
                "read" => declared.read = declared::list(value, "`read`", check_path, flaws),
                "write" => declared.write = declared::list(value, "`write`", check_path, flaws),
                "deny" => declared.deny = declared::list(value, "`deny`", check_deny, flaws),
                "sockets" => declared.sockets = declared::list(value, "`sockets`", check_path, flaws),
                "network" => declared.network = declared::network(value, flaws),
                "workdir" => declared.workdir = self.checked(value, "`workdir`", declared::workdir),
                "run_as" => {
                    declared.run_as =
                        self.checked(value, "`run_as`", |text| check_user(text).map(|()| text.to_owned()));
                }
                "may_be_off" => match value.kind {
                    Kind::Boolean(may) => declared.may_be_off = Some(may),
                    _ => self.flaw(value, "`may_be_off` must be true or false"),
                },
                _ => {}
            }
        }
        if let Some(proc) = node.value("proc") {
            declared.proc = match proc.text("`proc`", &mut self.flaws) {
                Some("minimal") => Some(Proc::Minimal),
                Some("full") => Some(Proc::Full),
                Some(other) => {
                    self.flaw(proc, &yaml::unknown("value of `proc`", other, &["minimal", "full"]));
                    None
                }
                None => None,
            };
        }
        if let Some(node) = node.value("limits") {
            let mut limits = DeclaredLimits::default();
            let fields = Limit::ALL.map(Limit::field);
            for (key, value) in node.closed_map("limits", &fields, &[], &mut self.flaws) {
                let Some(limit) = Limit::ALL.into_iter().find(|limit| limit.field() == key.name) else { continue };
                match value.kind {
                    Kind::Integer(number) if number > 0 => limits.declare(limit, number.unsigned_abs()),
                    Kind::Integer(_) => {
                        self.flaws
                            .push(Flaw::new(value.place, format!("`{}` must be above 0: zero is no limit", key.name)));
                    }
                    _ => self.flaws.push(Flaw::new(
                        value.place,
                        format!("`{}` must be a whole number, not {}", key.name, value.word()),
                    )),
                }
            }
            declared.limits = Some(limits);
        }
        declared
    }

    fn checked<T>(&mut self, node: &Node, what: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        match read(node.text(what, &mut self.flaws)?) {
            Ok(value) => Some(value),
            Err(message) => {
                self.flaw(node, &message);
                None
            }
        }
    }

    /// Refuses unknown keys, and those of a later version unless the policy is a sealed one.
    fn keys(&mut self, node: &Node, what: &str, known: &[&str], later: &[&str]) {
        let holds_later = node.entries().iter().any(|(key, _)| later.contains(&key.name.as_str()));
        self.rules |= holds_later;
        if self.reading == Reading::Sealed {
            node.closed_map(what, &[known, later].concat(), &[], &mut self.flaws);
        } else {
            node.closed_map(what, known, later, &mut self.flaws);
        }
    }

    fn flaw(&mut self, node: &Node, message: &str) {
        self.flaws.push(Flaw::new(node.place, message));
    }
}

/// What only an override may allow: policy names the runbook for it.
const OF_ONE_STEP: [&str; 7] = ["read", "write", "workdir", "network", "sockets", "run_as", "may_be_off"];

/// Bounds what a reader of a sealed policy must look at; a policy of a thousand overrides is a tenth of it.
pub const MAX_FILE_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        Policy::load(text).map_or_else(|errors| errors.iter().map(ToString::to_string).collect(), |_| Vec::new())
    }

    #[test]
    fn yaml_and_json_of_one_policy_have_one_digest() {
        let yaml = "# who may\nversion: 1\ndefault:\n  mode: prompted\n  approvals: {required: 1, from: [ops]}\n";
        let json = r#"{"default":{"approvals":{"from":["ops"],"required":1},"mode":"prompted"},"version":1}"#;
        let (a, b) = (Policy::load(yaml).expect("yaml"), Policy::load(json).expect("json"));
        assert_eq!(a.digest(), b.digest());
        assert_eq!(&a.canonical()[..], json.as_bytes());
        assert!(!a.has_rules() && !a.has_sandbox_rules());
    }

    #[test]
    fn every_flaw_is_reported_with_its_place() {
        let text = "\
version: 2
defualt: {}
default:
  mode: promted
  run: {allow: [git]}
  approvals: {required: 0, from: [ops]}
  sandbox: {network: {mode: host}, limits: {wall_ms: 0, memory: 1}}
overrides:
  - {runbook: \"a/[!b]\", mode: deny}
  - {mode: deny}
  - runbook: x
  - runbook: y
    approvals: {from: []}
  - runbook: z
    approvals: {each: true, from: [a, b, c, d, e, f, g, h, i]}
  - {runbook: q, approvals: {required: 17, from: [ops, ops, Ops], count: 1}}
grants: []
";
        assert_eq!(
            errors(text),
            [
                "1:10: this version reads policies of `version: 1` only: write version: 1",
                "2:1: unknown key in a policy: \"defualt\"; did you mean \"default\"?",
                "4:9: unknown mode: \"promted\"; did you mean \"prompted\"?",
                "5:3: `run` in default is not supported by this version: remove it",
                "6:25: `required: 0` would let a step run without a signature: write 1 or more",
                "7:13: `network` is for runbooks that are named: write it into an override",
                "7:54: `wall_ms` must be above 0: zero is no limit",
                "7:57: unknown key in limits: \"memory\"; did you mean \"memory_bytes\"?",
                "9:15: pattern \"a/[!b]\": [!…] means different things to shells and to picomatch: write [^…], or [\\!…]",
                "10:5: an override needs `runbook`: name the runbooks it is for, \"deploy/**\" for one",
                "11:5: this override says nothing: give it mode, approvals or sandbox, or remove it",
                "13:23: `from` names no group: name at least one whose members may approve",
                "15:35: `each` asks for 9 groups: name at most 8",
                "16:56: ops stands twice: name each group once",
                "16:61: \"Ops\" is not a group's name: [a-z0-9][a-z0-9._@-]*, at most 64 bytes",
                "16:67: unknown key in approvals: \"count\"; it may be one of required, from, each",
                "17:1: `grants` in a policy is not supported by this version: remove it",
            ]
        );
        assert_eq!(
            errors("version: 1\n"),
            ["1:1: `default` is missing: write default: {mode: prompted, approvals: {…}}"]
        );
        assert_eq!(errors("[]"), ["1:1: a policy must be a map, not a list"]);
        assert_eq!(
            errors("version: 1\ndefault: {mode: &a deny}\n")[0],
            "2:20: anchors (&name) are not read: write the value out"
        );
        assert!(errors("version: 1.0\ndefault: {}\n")[0].starts_with("1:10: \"1.0\" is no whole number"));
        assert!(
            errors("version: 1\ndefault: {}\ndefault: {}\n")[0].starts_with("3:1: the key \"default\" stands already")
        );
        assert!(errors(&"#".repeat(MAX_FILE_BYTES + 1))[0].contains("larger"));
    }

    #[test]
    fn a_sealed_policy_of_a_newer_boundary_is_read_and_says_so() {
        let sealed = |text: &str| Policy::from_sealed(&serde_json::from_str(text).expect("JSON"));
        let policy =
            sealed(r#"{"default":{"mode":"deny","run":{"allow":["git"]},"sandbox":{"level":"strict"}},"version":1}"#)
                .expect("read");
        assert!(policy.has_rules() && policy.has_sandbox_rules());
        assert!(sealed(r#"{"default":{"mode":"deny","rum":{}},"version":1}"#).is_err());
        assert!(sealed(r#"{"default":{"approvals":{"required":1.5,"from":["ops"]}},"version":1}"#).is_err());
        assert!(sealed(r#"{"default":{"approvals":{"required":0,"from":["ops"]}},"version":1}"#).is_err());
        assert!(sealed("[]").is_err());
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
        assert!(policy.has_rules() && !policy.has_sandbox_rules());
        assert_eq!(
            errors(text),
            ["1:73: `run` in default is not supported by this version: remove it"],
            "but no boundary of this version serves under it"
        );
        let ruling = crate::policy::resolve(&policy, &"nginx:restart".parse().expect("a ref"));
        let approvals = ruling.approvals.expect("approvals").value;
        assert_eq!((approvals.required, approvals.each, approvals.from.len()), (1, Some(true), 2));
    }

    #[test]
    fn the_file_types_and_the_reader_agree() {
        // The schema is generated from the types; what the reader takes, they must take, and nothing else.
        for (text, good) in [
            ("{\"version\":1,\"default\":{\"mode\":\"deny\"}}", true),
            ("{\"version\":1,\"default\":{\"sandbox\":{\"limits\":{\"wall_ms\":5},\"proc\":\"full\"}}}", true),
            ("{\"version\":1,\"default\":{\"moed\":\"deny\"}}", false),
            ("{\"version\":1,\"default\":{},\"overrides\":[{\"mode\":\"deny\"}]}", false),
        ] {
            let typed = serde_json::from_str::<PolicyFile>(text).ok();
            let read = Policy::load(text).ok().map(|policy| policy.file().clone());
            assert_eq!((typed.is_some(), &typed), (good, &read), "{text}");
        }
    }
}
