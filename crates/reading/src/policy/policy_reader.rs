//! Parser of the policy file. Every unknown key is an error. All errors are reported together, and a file with an error
//! is not used.
//!
//! The last functions read the `sandbox` map of a policy rule.

use serde_json::Value;

use crate::{
    CaseSensitivity, CompiledPattern, EmergencyRule, FreezeRule, LeadingDots, ListSide,
    ListedPattern, Mode, PasskeysRule, Pattern, PatternError, PeopleRule, Policy, PolicyFile,
    ProgramsRule, SandboxPermission, SandboxRule, StandingRule, TextPlace, YamlFlaw, YamlKind,
    YamlNode, check_deny, check_written_program, choice, network_of_rule,
    policy::{
        file::{
            AllowDeny, BasePolicy, Compiled, GrantScope, MAX_FILE_BYTES, MAX_GRANTS, MAX_LIST,
            MAX_OVERRIDES, Override, PolicyGrant, PolicyRule,
        },
        possible_names,
    },
    read_approvals, refuse,
    written::declared_sandbox::list,
    yaml,
};
use documents::{
    DeclaredLimits, DeclaredSandbox, GroupSource, Limit, MAX_NAMED_PROGRAMS, PermissionKind,
    PolicyDigest, ProgramMode, Timestamp, canonical_of,
};

impl Policy {
    /// Parses a policy file in YAML or JSON.
    ///
    /// # Errors
    /// Returns all problems in the file as an error, sorted by place.
    pub fn load(text: &str) -> Result<Self, Vec<YamlFlaw>> {
        let tree = parse(text)?;
        Self::read(&tree, &tree.to_json(), false)
    }

    /// Parses the policy in the field `name` of a JSON file, for example `rundown` of a `package.json`. Returns `None`
    /// if the file has no such field.
    ///
    /// # Errors
    /// Returns all problems in the policy as an error, sorted by place.
    pub fn load_member(text: &str, name: &str) -> Result<Option<Self>, Vec<YamlFlaw>> {
        let tree = parse(text)?;
        tree.value(name)
            .map(|tree| Self::read(tree, &tree.to_json(), false))
            .transpose()
    }

    /// Returns the policy for the case that no policy file exists: the built-in lists apply, and a person decides about
    /// every other name.
    pub fn untouched() -> Self {
        #[expect(
            clippy::expect_used,
            reason = "a constant that every test of this room reads"
        )]
        Self::load("version: 1\n").expect("the empty policy")
    }

    /// Parses a policy from a seal or a bundle.
    ///
    /// # Errors
    /// Returns all problems in the policy as an error.
    pub fn from_sealed(value: &Value) -> Result<Self, Vec<YamlFlaw>> {
        Self::read(&YamlNode::of_json(value), value, true)
    }

    fn read(tree: &YamlNode, value: &Value, is_sealed: bool) -> Result<Self, Vec<YamlFlaw>> {
        let mut reader = Reader {
            is_sealed,
            ..Reader::default()
        };
        let file = reader.file(tree);
        let Reader {
            mut flaws,
            compiled,
            ..
        } = reader;
        let canonical =
            canonical_of(value).map_err(|error| YamlFlaw::new(tree.place, error.to_string()));
        match canonical {
            Ok(canonical) if flaws.is_empty() => Ok(Self {
                file,
                compiled,
                digest: PolicyDigest::of(&canonical),
                canonical: canonical.into(),
            }),
            canonical => {
                flaws.extend(canonical.err());
                flaws.sort();
                Err(flaws)
            }
        }
    }
}

/// Parses lists that are not in a policy file, in the format `{version: 1, run: {allow, deny}, read: …, write: …, env:
/// …, closures: …}`. The closures are not read here.
///
/// # Errors
/// Returns all problems in the lists as an error.
pub fn read_lists(value: &Value) -> Result<Vec<CompiledPattern>, Vec<YamlFlaw>> {
    let tree = YamlNode::of_json(value);
    let mut reader = Reader {
        is_sealed: true,
        ..Reader::default()
    };
    let keys = ["version", "run", "read", "write", "env", "closures"];
    tree.closed_map("the built-in lists", &keys, &mut reader.flaws);
    reader.version(&tree);
    let mut written = Vec::new();
    for kind in PermissionKind::ALL {
        reader.patterns(&tree, kind, &mut written);
    }
    if reader.flaws.is_empty() {
        Ok(written)
    } else {
        reader.flaws.sort();
        Err(reader.flaws)
    }
}

/// Returns true if `text` is a time in JavaScript's format, for example `2026-01-31T12:00:00Z`, with or without a
/// fraction of the second.
fn is_time(text: &str) -> bool {
    let Some(text) = text.strip_suffix('Z') else {
        return false;
    };
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    (1..=9).contains(&fraction.len())
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
        && format!("{seconds}Z").parse::<Timestamp>().is_ok()
}

fn parse(text: &str) -> Result<YamlNode, Vec<YamlFlaw>> {
    if text.len() > MAX_FILE_BYTES {
        return Err(vec![YamlFlaw::new(
            TextPlace::START,
            format!("the policy is larger than {MAX_FILE_BYTES} bytes: shorten the policy"),
        )]);
    }
    yaml::parse(text, 1).map_err(|flaw| vec![flaw])
}

#[derive(Default)]
struct Reader {
    /// True if a verifier repeats the decisions of another boundary, which may have fewer checks. False if a boundary
    /// will decide with the policy, so that a pattern that can match nothing is an error.
    is_sealed: bool,
    flaws: Vec<YamlFlaw>,
    compiled: Compiled,
    /// Number of patterns that were read so far.
    count: usize,
}

impl Reader {
    fn file(&mut self, tree: &YamlNode) -> PolicyFile {
        self.version(tree);
        let known = [
            "version",
            "extends",
            "default",
            "overrides",
            "grants",
            "settle",
            "freeze",
            "passkeys",
        ];
        tree.closed_map("a policy", &known, &mut self.flaws);
        let extends = tree.value("extends").and_then(|node| match node.text("`extends`", &mut self.flaws) {
            Some("none") => Some(BasePolicy::None),
            Some(_) => {
                self.flaw(node, "`extends` can only be `none`: remove `extends` to build on the built-in lists");
                None
            }
            None => None,
        });
        let default = tree.value("default").map(|node| {
            let (rule, written) = self.rule(node, "default", &[]);
            self.compiled.default = written;
            rule
        });
        let overrides = self
            .items(tree, "overrides", MAX_OVERRIDES)
            .unwrap_or_default();
        let overrides = overrides
            .iter()
            .map(|item| self.one_override(item))
            .collect();
        let grants = self.items(tree, "grants", MAX_GRANTS).unwrap_or_default();
        let grants = grants.iter().filter_map(|item| self.grant(item)).collect();
        let settle = tree
            .value("settle")
            .and_then(|node| PeopleRule::read("settle", &[], node, &mut self.flaws));
        let freeze = tree
            .value("freeze")
            .and_then(|node| FreezeRule::read(node, &mut self.flaws));
        let passkeys = tree
            .value("passkeys")
            .and_then(|node| PasskeysRule::read(node, &mut self.flaws));
        if self.count > MAX_PATTERNS {
            let message = format!(
                "the policy has {} patterns or more, but at most {MAX_PATTERNS} are allowed; each alternative in \
                 braces counts as one pattern",
                self.count
            );
            self.flaw(tree, &format!("{message}: remove some"));
        }
        let default = default.unwrap_or_default();
        PolicyFile {
            version: 1,
            extends,
            default,
            overrides,
            grants,
            settle,
            freeze,
            passkeys,
        }
    }

    /// Checks the version of a policy or of the built-in lists.
    fn version(&mut self, tree: &YamlNode) {
        match tree.value("version") {
            Some(YamlNode {
                kind: YamlKind::Integer(1),
                ..
            }) => {}
            Some(other) => self.flaw(other, "only version 1 exists: write `version: 1`"),
            None if matches!(tree.kind, YamlKind::Map(_)) => {
                self.flaw(tree, "the version is missing: write `version: 1`");
            }
            None => {}
        }
    }

    fn items<'n>(&mut self, tree: &'n YamlNode, name: &str, most: usize) -> Option<&'n [YamlNode]> {
        let node = tree.value(name)?;
        let items = node.list(&format!("`{name}`"), &mut self.flaws)?;
        if items.len() > most {
            self.flaw(
                node,
                &format!(
                    "`{name}` has {} entries, but at most {most} are allowed: combine some entries",
                    items.len()
                ),
            );
            return None;
        }
        Some(items)
    }

    fn one_override(&mut self, node: &YamlNode) -> Override {
        let (rule, written) = self.rule(node, "an override", &["runbook"]);
        let mut runbook = String::new();
        match node.value("runbook") {
            Some(glob) => {
                if let Some((text, pattern)) = self.runbook(glob) {
                    runbook = text;
                    self.compiled.overrides.push((pattern, written));
                    self.compiled.override_lines.push(node.place.line);
                }
            }
            None => self.flaw(
                node,
                "the override has no `runbook`: name the runbooks of the override, for example \"deploy/**\"",
            ),
        }
        if rule == PolicyRule::default() && node.entries().len() == 1 && !runbook.is_empty() {
            self.flaw(
                node,
                "this override has no effect: add `mode`, `run`, `approvals` or another rule, or remove the override",
            );
        }
        let PolicyRule {
            mode,
            run,
            read,
            write,
            env,
            approvals,
            sandbox,
            standing,
            emergency,
        } = rule;
        Override {
            runbook,
            mode,
            run,
            read,
            write,
            env,
            approvals,
            sandbox,
            standing,
            emergency,
        }
    }

    /// Parses a glob pattern for runbook paths. Wildcards match leading dots, so that a rule also applies to hidden
    /// directories.
    fn runbook(&mut self, node: &YamlNode) -> Option<(String, Pattern)> {
        let text = node.text("`runbook`", &mut self.flaws)?;
        let is_sealed = self.is_sealed;
        let parse = || {
            let pattern = Pattern::parse_with(text, LeadingDots::Any, CaseSensitivity::Counts)?;
            if !is_sealed {
                possible_names::check_runbook(text)?;
            }
            Ok(pattern)
        };
        let pattern = self.counted(parse, Pattern::ways, node)?;
        Some((text.to_owned(), pattern))
    }

    fn grant(&mut self, node: &YamlNode) -> Option<PolicyGrant> {
        let before = self.flaws.len();
        node.closed_map(
            "a grant",
            &["type", "pattern", "runbook", "scope", "grantedAt"],
            &mut self.flaws,
        );
        let kind = self
            .required(node, "type", "what is granted, for example `type: run`")
            .and_then(|(at, _)| {
                choice(
                    at,
                    "`type`",
                    &PermissionKind::ALL.map(PermissionKind::word),
                    &mut self.flaws,
                )
            });
        let pattern = self.required(
            node,
            "pattern",
            "what is granted, for example `pattern: curl`",
        );
        let runbook = node.value("runbook").and_then(|glob| self.runbook(glob));
        match self.required(
            node,
            "scope",
            "how long the grant lasts, `scope: permanent`",
        ) {
            Some((_, "permanent")) | None => {}
            Some((at, "session")) => {
                self.flaw(
                    at,
                    "a grant for one session can't be in a file, because such a grant is only in memory: write scope: \
                     permanent, or remove the grant",
                );
            }
            Some((at, other)) => self.flaw(at, &yaml::unknown("scope", other, &["permanent"])),
        }
        let granted_at = node.value("grantedAt").and_then(|at| {
            let text = at.text("`grantedAt`", &mut self.flaws)?;
            if !is_time(text) {
                self.flaw(
                    at,
                    "`grantedAt` is not a time: write a time such as 2026-01-31T12:00:00Z, or remove `grantedAt`",
                );
            }
            Some(text.to_owned())
        });
        let (kind, (at, pattern)) = (kind?, pattern?);
        let listed = self.pattern(at, kind, ListSide::Allow, pattern)?;
        if self.flaws.len() > before {
            return None;
        }
        let (runbook, compiled) = runbook.unzip();
        self.compiled.grants.push((
            compiled,
            [CompiledPattern {
                kind,
                side: ListSide::Allow,
                listed,
            }],
        ));
        Some(PolicyGrant {
            kind,
            pattern: pattern.to_owned(),
            runbook,
            scope: GrantScope::Permanent,
            granted_at,
        })
    }

    fn required<'n>(
        &mut self,
        node: &'n YamlNode,
        name: &str,
        what: &str,
    ) -> Option<(&'n YamlNode, &'n str)> {
        match node.value(name) {
            Some(value) => value
                .text(&format!("`{name}`"), &mut self.flaws)
                .map(|text| (value, text)),
            None => {
                if matches!(node.kind, YamlKind::Map(_)) {
                    self.flaw(node, &format!("the grant has no `{name}`: write {what}"));
                }
                None
            }
        }
    }

    /// Reads the allow list and the deny list of one kind, if the rule has these lists.
    fn patterns(
        &mut self,
        rule: &YamlNode,
        kind: PermissionKind,
        written: &mut Vec<CompiledPattern>,
    ) -> Option<AllowDeny> {
        let name = kind.word();
        let node = rule.value(name)?;
        node.closed_map(&format!("`{name}`"), &["allow", "deny"], &mut self.flaws);
        let mut patterns = AllowDeny::default();
        for (side, texts) in [
            (ListSide::Allow, &mut patterns.allow),
            (ListSide::Deny, &mut patterns.deny),
        ] {
            for item in self.items(node, side.word(), MAX_LIST).unwrap_or_default() {
                let Some(text) = item.text(&format!("a pattern of `{side}`"), &mut self.flaws)
                else {
                    continue;
                };
                if let Some(listed) = self.pattern(item, kind, side, text) {
                    texts.push(text.to_owned());
                    written.push(CompiledPattern { kind, side, listed });
                }
            }
        }
        Some(patterns)
    }

    fn pattern(
        &mut self,
        node: &YamlNode,
        kind: PermissionKind,
        side: ListSide,
        text: &str,
    ) -> Option<ListedPattern> {
        let is_sealed = self.is_sealed;
        let parse = || {
            let listed = ListedPattern::parse(kind, side, text)?;
            // A policy that an earlier version sealed may contain patterns without effect, and must stay readable.
            if !is_sealed {
                possible_names::check_listed(kind, side, text)?;
            }
            Ok(listed)
        };
        self.counted(parse, ListedPattern::ways, node)
    }

    /// Patterns beyond the limit are counted for the error message, but not compiled.
    fn counted<T>(
        &mut self,
        parse: impl FnOnce() -> Result<T, PatternError>,
        ways: impl FnOnce(&T) -> usize,
        node: &YamlNode,
    ) -> Option<T> {
        if self.count >= MAX_PATTERNS {
            self.count += 1;
            return None;
        }
        match parse() {
            Ok(pattern) => {
                self.count += ways(&pattern);
                Some(pattern)
            }
            Err(error) => {
                self.flaw(node, &error.to_string());
                None
            }
        }
    }

    fn rule(
        &mut self,
        node: &YamlNode,
        what: &str,
        more: &[&str],
    ) -> (PolicyRule, Vec<CompiledPattern>) {
        let own = [
            "mode",
            "run",
            "read",
            "write",
            "env",
            "approvals",
            "sandbox",
            "standing",
            "emergency",
        ];
        let known = [&own[..], more].concat();
        // The keys `grants` and `extends` belong next to `default`, not into a rule, so the error message states the
        // correct place.
        if let Some((key, _)) = node
            .entries()
            .iter()
            .find(|(key, _)| ["grants", "extends"].contains(&&*key.name))
        {
            let message = format!(
                "`{}` belongs at the top of the file, not in {what}: move it there",
                key.name
            );
            refuse(&mut self.flaws, key.place, message);
        }
        let known: Vec<&str> = known.into_iter().chain(["grants", "extends"]).collect();
        node.closed_map(what, &known, &mut self.flaws);
        let mut written = Vec::new();
        let mut rule = PolicyRule {
            run: self.patterns(node, PermissionKind::Run, &mut written),
            read: self.patterns(node, PermissionKind::Read, &mut written),
            write: self.patterns(node, PermissionKind::Write, &mut written),
            env: self.patterns(node, PermissionKind::Env, &mut written),
            ..PolicyRule::default()
        };
        rule.mode = node
            .value("mode")
            .and_then(|mode| choice(mode, "`mode`", &Mode::ALL.map(Mode::word), &mut self.flaws));
        rule.approvals = node
            .value("approvals")
            .and_then(|node| read_approvals(node, GroupSource::Named, &mut self.flaws));
        rule.standing = node
            .value("standing")
            .and_then(|node| StandingRule::read(node, &mut self.flaws));
        rule.emergency = node
            .value("emergency")
            .and_then(|node| EmergencyRule::read(node, &mut self.flaws));
        if let Some(sandbox) = node.value("sandbox") {
            rule.sandbox = Some(read_sandbox_rule(
                sandbox,
                self.is_sealed,
                what == "default",
                &mut self.flaws,
            ));
        }
        (rule, written)
    }

    fn flaw(&mut self, node: &YamlNode, message: &str) {
        refuse(&mut self.flaws, node.place, message);
    }
}

/// Maximum number of patterns in a file after the expansion of braces, so that they compile in less than a second.
const MAX_PATTERNS: usize = 4096;

/// Reads the `sandbox` map of a rule. `of_all` is true for the rule `default`.
fn read_sandbox_rule(
    node: &YamlNode,
    is_sealed: bool,
    of_all: bool,
    flaws: &mut Vec<YamlFlaw>,
) -> SandboxRule {
    let own = [
        &["limits", "programs"][..],
        &SandboxPermission::ALL.map(SandboxPermission::rule_key),
    ]
    .concat();
    node.closed_map("a sandbox rule", &own, flaws);
    // A step declares its needs with the same keys, so the same parser reads both.
    let (mut most, mut network, mut may_be_off, mut programs) =
        (DeclaredSandbox::default(), None, None, None);
    for (key, value) in node.entries() {
        let known = SandboxPermission::ALL
            .into_iter()
            .find(|permission| permission.rule_key() == key.name);
        match known {
            Some(permission) if of_all && !permission.is_for_all() => {
                let message = format!(
                    "`{}` is allowed only for named runbooks: move the key into an override",
                    key.name
                );
                refuse(flaws, key.place, message);
            }
            Some(SandboxPermission::Deny) => {
                let check = if is_sealed {
                    check_deny
                } else {
                    possible_names::check_deny
                };
                most.deny = list(value, "`deny`", check, flaws);
            }
            Some(SandboxPermission::Off) => may_be_off = value.boolean("`may_be_off`", flaws),
            Some(SandboxPermission::Network) => network = network_of_rule(value, flaws),
            Some(permission) => permission.read_yaml(value, &mut most, flaws),
            None if key.name == "limits" => most.limits = Some(limits(value, flaws)),
            None if key.name == "programs" => {
                programs = Some(programs_rule(value, is_sealed, flaws))
            }
            None => {}
        }
    }
    SandboxRule {
        limits: most.limits,
        proc: most.proc,
        read: most.read,
        write: most.write,
        deny: most.deny,
        workdir: most.workdir,
        network,
        sockets: most.sockets,
        run_as: most.run_as,
        may_be_off,
        programs,
    }
}

/// Reads `{mode: any | listed, allow: [program]}`.
fn programs_rule(node: &YamlNode, is_sealed: bool, flaws: &mut Vec<YamlFlaw>) -> ProgramsRule {
    let mut rule = ProgramsRule::default();
    // A sealed policy may contain names of no program, and a verifier must still read it.
    let check = if is_sealed {
        check_written_program
    } else {
        possible_names::check_program
    };
    for (key, value) in node.closed_map("`programs`", &["mode", "allow"], flaws) {
        if key.name == "mode" {
            rule.mode = choice(
                value,
                "`mode`",
                &ProgramMode::ALL.map(ProgramMode::word),
                flaws,
            );
        } else if let Some(names) = list(value, "`allow`", check, flaws) {
            if names.len() > MAX_NAMED_PROGRAMS {
                let message = format!(
                    "`allow` has {} programs, but at most {MAX_NAMED_PROGRAMS} are allowed",
                    names.len()
                );
                refuse(flaws, value.place, message);
            }
            rule.allow = Some(names.iter().filter_map(|name| name.parse().ok()).collect());
        }
    }
    rule
}

fn limits(node: &YamlNode, flaws: &mut Vec<YamlFlaw>) -> DeclaredLimits {
    let mut limits = DeclaredLimits::default();
    for (key, value) in node.closed_map("limits", &Limit::ALL.map(Limit::field), flaws) {
        let Some(limit) = Limit::ALL
            .into_iter()
            .find(|limit| limit.field() == key.name)
        else {
            continue;
        };
        let message = match value.kind {
            YamlKind::Integer(number) if number > 0 => {
                limits.declare(limit, number.unsigned_abs());
                continue;
            }
            YamlKind::Integer(_) => {
                format!("`{}` must be above 0: 0 is not a valid limit", key.name)
            }
            _ => format!(
                "`{}` must be a whole number, not {}",
                key.name,
                value.word()
            ),
        };
        refuse(flaws, value.place, message);
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        Policy::load(text).map_or_else(
            |errors| errors.iter().map(ToString::to_string).collect(),
            |_| Vec::new(),
        )
    }

    #[test]
    fn every_flaw_is_reported_with_its_place() {
        let text = "\
version: 4
defualt: {}
extends: built-in
default:
  mode: promted
  run: {allow: [git, 1, \"[a\"], denny: [rm]}
  read: {deny: [\"*.pem\", \"{repo}/**\"]}
  env: [PATH]
  grants: []
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
grants:
  - {type: run, pattern: curl, scope: session}
  - {type: rum, pattern: ./x, scope: permanent, runbok: y}
  - {type: run, pattern: ./x}
  - curl
";
        assert_eq!(
            errors(text),
            [
                "1:10: only version 1 exists: write `version: 1`",
                "2:1: unknown key in a policy: \"defualt\"; did you mean \"default\"?",
                "3:10: `extends` can only be `none`: remove `extends` to build on the built-in lists",
                "5:9: unknown value of `mode`: \"promted\"; did you mean \"prompted\"?",
                "6:22: a pattern of `allow` must be text, not a number",
                "6:25: pattern \"[a\": a `[` is not closed: write ] or \\[",
                "6:32: unknown key in `run`: \"denny\"; did you mean \"deny\"?",
                "7:17: pattern \"*.pem\": the pattern is relative and never matches a whole path: write {repo}/*.pem, **/*.pem, or a path that begins with /",
                "8:8: `env` must be a map, not a list",
                "9:3: `grants` belongs at the top of the file, not in default: move it there",
                "10:25: `required` must be 1 or more, because no step may run without a signature",
                "11:13: `network` is allowed only for named runbooks: move the key into an override",
                "11:54: `wall_ms` must be above 0: 0 is not a valid limit",
                "11:57: unknown key in limits: \"memory\"; did you mean \"memory_bytes\"?",
                "13:15: pattern \"a/[!b]\": shells and picomatch disagree about the meaning of [!...]: write [^...], or [\\!...]",
                "14:5: the override has no `runbook`: name the runbooks of the override, for example \"deploy/**\"",
                "15:5: this override has no effect: add `mode`, `run`, `approvals` or another rule, or remove the \
                 override",
                "17:23: `from` names no group: name at least one group whose members may approve",
                "19:35: `each` asks for 9 groups: name at most 8",
                "20:56: ops is listed twice: list each group once",
                "20:61: \"Ops\" is not a group's name: [a-z0-9][a-z0-9._@-]*, at most 64 bytes",
                "20:67: unknown key in approvals: \"count\"; write one of required, from, each",
                "22:39: a grant for one session can't be in a file, because such a grant is only in memory: write \
                 scope: permanent, or remove the grant",
                "23:12: unknown value of `type`: \"rum\"; did you mean \"run\"?",
                "23:49: unknown key in a grant: \"runbok\"; did you mean \"runbook\"?",
                "24:5: the grant has no `scope`: write how long the grant lasts, `scope: permanent`",
                "24:26: pattern \"./x\": a relative path names a different program in each directory: write a path that begins with / or {repo}/",
                "25:5: a grant must be a map, not text",
            ]
        );
        assert_eq!(errors("[]"), ["1:1: a policy must be a map, not a list"]);
        assert_eq!(
            errors("version: 1\ndefault: {mode: &a deny}\n")[0],
            "2:20: anchors (&name) are not supported: write the value itself"
        );
        assert!(
            errors("version: 1.0\ndefault: {}\n")[0]
                .starts_with("1:10: \"1.0\" is not a whole number")
        );
        assert!(
            errors("version: 1\ndefault: {}\ndefault: {}\n")[0]
                .starts_with("3:1: the key \"default\" is already")
        );
        assert!(errors(&"#".repeat(MAX_FILE_BYTES + 1))[0].contains("larger"));
        assert!(
            errors("{\n\t\"version\": 1,\n\t\"default\": {\n\t\t\"mode\": \"deny\"\n\t}\n}\n")
                .is_empty(),
            "tabs in JSON"
        );
    }

    #[test]
    fn a_pattern_that_can_match_nothing_is_an_error_with_its_place_unless_it_is_sealed_already() {
        let text = "\
version: 1
default:
  run: {allow: [\"git push\"], deny: [\"rm -rf *\"]}
  env: {deny: [A=B]}
  read: {deny: [\"/home/$USER/**\"]}
  sandbox: {deny: [\"/home/$USER/**\"], programs: {allow: [a;b, /usr/bin/]}}
overrides:
  - {runbook: \"deploy/web:restart\", mode: deny, write: {allow: [\"/a/$B\"]}}
grants:
  - {type: run, pattern: kubectl delete, runbook: a b, scope: permanent}
";
        let found = errors(text);
        let places: Vec<&str> = found
            .iter()
            .filter_map(|error| error.split(": ").next())
            .collect();
        assert_eq!(
            places,
            [
                "3:17", "3:37", "4:16", "5:17", "6:20", "6:58", "6:63", "8:15", "8:65", "10:26",
                "10:51"
            ],
            "{found:#?}"
        );
        let sealed = serde_json::json!({"version": 1, "default": {"run": {"deny": ["git push"]}}, "overrides": [{"runbook": "a:b", "mode": "deny"}]});
        assert!(
            Policy::from_sealed(&sealed).is_ok(),
            "a policy that an earlier version sealed stays readable"
        );
        assert!(Policy::load(&sealed.to_string()).is_err());
    }

    #[test]
    fn every_version_but_1_is_refused_with_the_version_to_write() {
        for version in ["0", "2", "3", "4", "\"1\"", "true"] {
            let found = errors(&format!("version: {version}\ndefault: {{mode: deny}}\n"));
            assert_eq!(
                found,
                ["1:10: only version 1 exists: write `version: 1`"],
                "{version}"
            );
        }
        assert_eq!(
            errors("default: {mode: deny}\n"),
            ["1:1: the version is missing: write `version: 1`"]
        );
    }

    #[test]
    fn too_many_patterns_are_refused_and_not_compiled() {
        let list = |count: usize| {
            format!(
                "version: 1\ndefault: {{run: {{deny: [{}]}}}}\n",
                "rm,".repeat(count)
            )
        };
        assert!(errors(&list(MAX_LIST)).is_empty());
        assert!(errors(&list(MAX_LIST + 1))[0].contains("1025 entries"));
        let grants = |count: usize| {
            let grant = "  - {type: run, pattern: a, scope: permanent}\n";
            format!("version: 1\ngrants:\n{}", grant.repeat(count))
        };
        assert!(errors(&grants(MAX_GRANTS)).is_empty());
        assert!(errors(&grants(MAX_GRANTS + 1))[0].contains("at most 1024"));
        let over = |count: usize| {
            let one = format!(
                "  - {{runbook: a, run: {{deny: [{}]}}}}\n",
                "x,".repeat(1000)
            );
            format!("version: 1\noverrides:\n{}", one.repeat(count))
        };
        assert!(errors(&over(4)).is_empty());
        assert!(
            errors(&over(5))[0]
                .starts_with("1:1: the policy has 5005 patterns or more, but at most 4096"),
            "{:?}",
            errors(&over(5))
        );
        let braces = |count: usize| {
            let pattern = "\"{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}*\",".repeat(count);
            format!("version: 1\ndefault: {{run: {{deny: [{pattern}]}}}}\n")
        };
        assert!(
            errors(&braces(100))[0].contains("each alternative in braces counts as one pattern")
        );
        assert!(
            errors(&format!(
                "version: 1\ndefault: {{run: {{deny: [{}]}}}}\n",
                "a".repeat(513)
            ))[0]
                .contains("512")
        );
    }

    #[test]
    fn a_yaml_file_with_an_alias_bomb_is_refused_at_its_first_anchor() {
        let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\nversion: 1\n";
        assert_eq!(
            errors(bomb),
            ["1:7: anchors (&name) are not supported: write the value itself"]
        );
    }

    #[test]
    fn the_file_types_and_the_parser_accept_the_same_policies() {
        // The generated schema must accept the same files as the parser, so the types must too.
        for (text, good) in [
            ("{\"version\":1,\"default\":{\"mode\":\"deny\"}}", true),
            ("{\"version\":1}", true),
            (
                "{\"version\":1,\"extends\":\"none\",\"default\":{\"run\":{\"allow\":[\"a\"]},\"env\":{}}}",
                true,
            ),
            (
                "{\"version\":1,\"default\":{\"sandbox\":{\"limits\":{\"wall_ms\":5},\"proc\":\"full\"}}}",
                true,
            ),
            (
                "{\"version\":1,\"grants\":[{\"type\":\"run\",\"pattern\":\"a\",\"scope\":\"permanent\"}]}",
                true,
            ),
            (
                "{\"version\":1,\"overrides\":[{\"runbook\":\"a\",\"read\":{\"deny\":[\"/a\"]},\"write\":{}}]}",
                true,
            ),
            ("{\"version\":1,\"default\":{\"moed\":\"deny\"}}", false),
            (
                "{\"version\":1,\"default\":{\"run\":{\"denny\":[]}}}",
                false,
            ),
            (
                "{\"version\":1,\"default\":{\"run\":{\"deny\":\"rm\"}}}",
                false,
            ),
            ("{\"version\":1,\"extends\":\"all\"}", false),
            (
                "{\"version\":1,\"grants\":[{\"type\":\"run\",\"pattern\":\"a\",\"scope\":\"session\"}]}",
                false,
            ),
            (
                "{\"version\":1,\"default\":{},\"overrides\":[{\"mode\":\"deny\"}]}",
                false,
            ),
        ] {
            let typed = serde_json::from_str::<PolicyFile>(text).ok();
            let read = Policy::load(text).ok().map(|policy| policy.file);
            assert_eq!((typed.is_some(), &typed), (good, &read), "{text}");
        }
    }

    #[test]
    fn a_policy_inside_another_file_is_read_with_the_places_of_its_values() {
        let package =
            "{\n\t\"name\": \"x\",\n\t\"rundown\": {\"version\": 1, \"defualt\": {}}\n}\n";
        let errors = Policy::load_member(package, "rundown").expect_err("an unknown key");
        assert!(
            errors[0]
                .to_string()
                .starts_with("3:28: unknown key in a policy"),
            "{errors:?}"
        );
        assert!(
            Policy::load_member("{\"name\": \"x\"}", "rundown")
                .is_ok_and(|policy| policy.is_none())
        );
        assert!(
            Policy::load_member("{\"rundown\": {\"version\": 1}}", "rundown")
                .is_ok_and(|policy| policy.is_some())
        );
    }

    #[test]
    fn a_sealed_policy_with_an_unknown_key_or_a_wrong_number_is_refused() {
        let sealed = |text: &str| Policy::from_sealed(&serde_json::from_str(text).expect("JSON"));
        let with = |sandbox: &str| {
            sealed(&format!(
                r#"{{"default":{{"mode":"deny","sandbox":{{{sandbox}}}}},"version":1}}"#
            ))
        };
        assert!(with(r#""programs":{"mode":"listed"}"#).is_ok());
        for key in ["level", "require", "off_reason"] {
            assert!(with(&format!(r#""{key}":"strict""#)).is_err(), "{key}");
        }
        assert!(sealed(r#"{"default":{"mode":"deny","rum":{}},"version":1}"#).is_err());
        assert!(
            sealed(r#"{"default":{"approvals":{"required":1.5,"from":["ops"]}},"version":1}"#)
                .is_err()
        );
        assert!(
            sealed(r#"{"default":{"approvals":{"required":0,"from":["ops"]}},"version":1}"#)
                .is_err()
        );
        assert!(sealed("[]").is_err());
    }
}
