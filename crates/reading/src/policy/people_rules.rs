//! The parts of a policy about people: standing grants, emergencies, runs with an unknown end, freezes and passkeys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{YamlFlaw, YamlKind, YamlNode, approvals_among, yaml::unknown};
use documents::{Approvals, GrantedSession, GroupName, GroupSource, MAX_SIGNATURES, MAX_USES};

/// Maximum validity of a grant in days.
const MAX_DAYS: u64 = 30;
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FreezeRule {
    /// `finish`: the running steps continue to their end.
    pub runs: RunsWhenFrozen,
}

/// What the running steps do when the boundary is frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunsWhenFrozen {
    /// They continue to their end. Without this word, the boundary cancels them.
    Finish,
}

/// The passkeys that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

const fn one() -> u64 {
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
            .map(|node| match node.text("`session`", flaws) {
                Some("none") => Some(GrantedSession::None),
                Some("fresh") => Some(GrantedSession::Fresh),
                Some(other) => {
                    flaws.push(YamlFlaw::new(
                        node.place,
                        unknown("session", other, &["none", "fresh"]),
                    ));
                    None
                }
                None => None,
            });
        let rule = Self {
            max_uses: max_uses?,
            max_days: max_days?,
            session: session.flatten(),
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
        match runs.text("`runs`", flaws)? {
            "finish" => Some(Self {
                runs: RunsWhenFrozen::Finish,
            }),
            other => {
                flaws.push(YamlFlaw::new(
                    runs.place,
                    unknown("value of runs", other, &["finish"]),
                ));
                None
            }
        }
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
        flaws.push(YamlFlaw::new(
            node.place,
            format!("the key `{name}` is missing: add the key"),
        ));
    }
    found
}

fn number(node: &YamlNode, name: &str, most: u64, flaws: &mut Vec<YamlFlaw>) -> Option<u64> {
    let found = required(node, name, flaws)?;
    let number = if let YamlKind::Integer(number) = found.kind {
        u64::try_from(number).ok()
    } else {
        None
    };
    let number = number.filter(|number| (1..=most).contains(number));
    if number.is_none() {
        flaws.push(YamlFlaw::new(
            found.place,
            format!("`{name}` must be a whole number from 1 to {most}"),
        ));
    }
    number
}

fn flag(node: &YamlNode, name: &str, flaws: &mut Vec<YamlFlaw>) -> Option<bool> {
    let found = required(node, name, flaws)?;
    if let YamlKind::Boolean(value) = found.kind {
        return Some(value);
    }
    flaws.push(YamlFlaw::new(
        found.place,
        format!("`{name}` must be true or false"),
    ));
    None
}

#[cfg(test)]
mod tests {
    use documents::GrantedSession;
    use serde_json::json;

    use crate::{Builtins, PasskeysRule, Policy, PolicyFile, resolve};

    const WHOLE: &str = "
version: 1
default:
  approvals: {from: [ops]}
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
        let whole: serde_json::Value =
            serde_json::to_value(Policy::load(WHOLE).expect("a policy").file()).expect("JSON");
        let edited = |pointer: &str, value: serde_json::Value| {
            let mut edited = whole.clone();
            *edited.pointer_mut(pointer).expect(pointer) = value;
            Policy::from_sealed(&edited).is_ok()
        };
        for (pointer, most) in [
            ("/default/standing/max_uses", 1000),
            ("/default/standing/max_days", 30),
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
        let typed: PolicyFile = serde_json::from_value(whole).expect("the types");
        assert_eq!(&typed, Policy::load(WHOLE).expect("a policy").file());
    }
}
