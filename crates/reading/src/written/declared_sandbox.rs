//! Reads the sandbox that a step declares or a policy rule allows, approval rules, durations and times.
//!
//! In the first line of a code block, commas separate the items of a list (`read=/srv/a,/srv/b`). In YAML, a list is a
//! sequence of texts.

use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{YamlFlaw, YamlKind, YamlNode, noted, refuse, yaml::unknown};
use documents::{
    AllowedHost, Approvals, DeclaredLimits, DeclaredNetwork, GroupName, GroupSource, IdentError,
    MAX_NAMED_PROGRAMS, OWN_PROGRAMS, Proc, Program, ProgramMode, Timestamp, Workdir, check_host,
};

/// Reads a word of the type `T` that is in `known`. The list `known` can lack some words of the type.
pub fn word<T: DeserializeOwned>(name: &str, text: &str, known: &[&str]) -> Result<T, String> {
    let read = known
        .contains(&text)
        .then(|| serde_json::from_value(text.into()).ok());
    read.flatten()
        .ok_or_else(|| unknown(&format!("value of {name}"), text, known))
}

/// Reads one of the words in `known`.
pub fn choice<T: DeserializeOwned>(
    node: &YamlNode,
    what: &str,
    known: &[&str],
    flaws: &mut Vec<YamlFlaw>,
) -> Option<T> {
    let text = node.text(what, flaws)?;
    noted(word(what, text, known), node.place, flaws)
}

/// Reads `none`, `host` or `{allow: [name:port]}`. `read` reads the list.
fn network<H: DeserializeOwned>(
    node: &YamlNode,
    read: impl FnOnce(&YamlNode, &mut Vec<YamlFlaw>) -> Option<Vec<H>>,
    flaws: &mut Vec<YamlFlaw>,
) -> Option<DeclaredNetwork<H>> {
    if let YamlKind::Text(_) = &node.kind {
        return choice(node, "`network`", &["none", "host"], flaws);
    }
    node.closed_map("network", &["allow"], flaws);
    let Some(allow) = node.value("allow") else {
        if matches!(node.kind, YamlKind::Map(_)) {
            refuse(
                flaws,
                node.place,
                "`network` names no host: write `none`, `host`, or `allow` with a list of name:port",
            );
        }
        return None;
    };
    read(allow, flaws).map(DeclaredNetwork::Allow)
}

/// Reads the network that a step declares.
pub fn network_of_step(node: &YamlNode, flaws: &mut Vec<YamlFlaw>) -> Option<DeclaredNetwork> {
    network(
        node,
        |allow, flaws| list(allow, "`allow`", check_host, flaws),
        flaws,
    )
}

/// Reads the network that a rule of policy allows.
pub fn network_of_rule(
    node: &YamlNode,
    flaws: &mut Vec<YamlFlaw>,
) -> Option<DeclaredNetwork<AllowedHost>> {
    network(
        node,
        |allow, flaws| list_of(allow, "`allow`", allowed_host, |host| &host.host, flaws),
        flaws,
    )
}

/// Reads `"name:port"` or `{host: "name:port", private: true, localhost: true}`.
fn allowed_host(item: &YamlNode, flaws: &mut Vec<YamlFlaw>) -> Option<AllowedHost> {
    let mut found = AllowedHost::default();
    let mut text = item;
    if let YamlKind::Map(_) = item.kind {
        for (key, value) in item.closed_map("a host", &["host", "private", "localhost"], flaws) {
            let flag = match key.name.as_str() {
                "private" => &mut found.private,
                "localhost" => &mut found.localhost,
                _ => continue,
            };
            *flag = value
                .boolean(&format!("`{}`", key.name), flaws)
                .unwrap_or_default();
        }
        let Some(host) = item.value("host") else {
            let message = "the map names no host: write {host: \"name:port\", private: true}";
            refuse(flaws, item.place, message);
            return None;
        };
        text = host;
    }
    found.host = checked_text(text, check_host, flaws)?;
    Some(found)
}

/// Reads a list of texts and checks each text.
pub fn list(
    node: &YamlNode,
    what: &str,
    check: fn(&str) -> Result<(), String>,
    flaws: &mut Vec<YamlFlaw>,
) -> Option<Vec<String>> {
    list_of(
        node,
        what,
        |item, flaws| checked_text(item, check, flaws),
        |text| text,
        flaws,
    )
}

fn checked_text(
    item: &YamlNode,
    check: fn(&str) -> Result<(), String>,
    flaws: &mut Vec<YamlFlaw>,
) -> Option<String> {
    let text = item.text("an entry", flaws)?;
    noted(check(text), item.place, flaws).map(|()| text.to_owned())
}

/// Reads a list, and sorts the items by the text that `name` returns.
fn list_of<T>(
    node: &YamlNode,
    what: &str,
    read: impl Fn(&YamlNode, &mut Vec<YamlFlaw>) -> Option<T>,
    name: fn(&T) -> &String,
    flaws: &mut Vec<YamlFlaw>,
) -> Option<Vec<T>> {
    let before = flaws.len();
    let mut found: Vec<T> = Vec::new();
    for item in node.list(what, flaws)? {
        let Some(one) = read(item, flaws) else {
            continue;
        };
        if found.iter().any(|other| name(other) == name(&one)) {
            let text = name(&one);
            refuse(
                flaws,
                item.place,
                format!("{text:?} is listed twice: remove one of the two"),
            );
        } else {
            found.push(one);
        }
    }
    found.sort_by(|one, other| name(one).cmp(name(other)));
    if found.is_empty() && flaws.len() == before {
        refuse(
            flaws,
            node.place,
            format!("{what} is empty: add an element, or remove {what}"),
        );
    }
    (flaws.len() == before).then_some(found)
}

/// Checks each text of a list, and sorts the texts.
pub fn checked(
    mut items: Vec<String>,
    check: fn(&str) -> Result<(), String>,
) -> Result<Vec<String>, String> {
    items.iter().try_for_each(|item| check(item))?;
    items.sort();
    match items.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!(
            "{:?} is listed twice: remove one of the two",
            pair[0]
        )),
        None => Ok(items),
    }
}

/// Checks the text for a program that a person writes in a policy or a runbook.
///
/// # Errors
/// Returns an error if the text is neither a name, nor an absolute path, nor `{work}/**`.
pub fn check_written_program(text: &str) -> Result<(), String> {
    let _word: Program = text
        .parse()
        .map_err(|error: IdentError| error.to_string())?;
    let plain = !text.contains(['*', '?', '[', '{', '"', '\\', ' '])
        && (text.starts_with('/') || !text.contains('/'));
    if text == OWN_PROGRAMS || plain {
        return Ok(());
    }
    Err(format!(
        "{text:?} is not a program: write a name such as jq, an absolute path, or {OWN_PROGRAMS} for what the step builds"
    ))
}

/// What policy decides about the sandbox: limits, `/proc`, and the access to the host that a step may declare.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SandboxRule {
    /// Limits of a step that declares none. A step may declare at most these limits.
    pub limits: Option<DeclaredLimits>,
    /// The part of `/proc` that a step sees. With `minimal`, a step cannot declare `full`.
    pub proc: Option<Proc>,
    /// Paths of the host. A step may declare these paths, and paths below them, in `read`.
    pub read: Option<Vec<String>>,
    /// Paths of the host. A step may declare these paths, and paths below them, in `write` and in `read`.
    pub write: Option<Vec<String>>,
    /// Patterns of paths that no step can access, even below a path that the step declares.
    pub deny: Option<Vec<String>>,
    /// With `in-place`, a step may change directories of the host in place. A step may declare `copy` and `overlay`
    /// without this field.
    pub workdir: Option<Workdir>,
    /// The network that a step may declare.
    pub network: Option<DeclaredNetwork<AllowedHost>>,
    /// Unix sockets of the host that a step may declare.
    pub sockets: Option<Vec<String>>,
    /// Name of the user of the host that a step may declare.
    pub run_as: Option<String>,
    /// True if a step may declare that it runs without a sandbox.
    pub may_be_off: Option<bool>,
    /// The programs that a step may execute.
    pub programs: Option<ProgramsRule>,
}

/// What policy decides about the programs that a step may execute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgramsRule {
    /// With `listed`, a run may execute only the programs of its list, which follows from step, policy and built-in
    /// lists. With `any`, a run may execute every program of the host.
    pub mode: Option<ProgramMode>,
    /// Programs that every list contains, sorted: names, absolute paths, or `{work}/**` for programs that the step
    /// itself makes.
    #[schemars(length(min = 1, max = MAX_NAMED_PROGRAMS), extend("uniqueItems" = true))]
    pub allow: Option<Vec<Program>>,
}

impl SandboxRule {
    /// Adds a later rule for the same step. The values of the later rule replace the earlier values, but the deny
    /// patterns of both rules remain.
    pub fn add(&mut self, later: &Self) {
        fn set<T>(to: &mut Option<T>, later: Option<T>) {
            *to = later.or_else(|| to.take());
        }
        // A ruling stores the limits, `proc` and the programs elsewhere, with the origin of each value.
        let Self {
            limits: _,
            proc: _,
            programs: _,
            read,
            write,
            deny,
            workdir,
            network,
            sockets,
            run_as,
            may_be_off,
        } = later.clone();
        set(&mut self.read, read);
        set(&mut self.write, write);
        set(&mut self.workdir, workdir);
        set(&mut self.network, network);
        set(&mut self.sockets, sockets);
        set(&mut self.run_as, run_as);
        set(&mut self.may_be_off, may_be_off);
        self.deny
            .get_or_insert_default()
            .extend(deny.into_iter().flatten());
    }
}

/// Reads a rule that a person wrote, such as `{required: 2, from: [ops], each: true}`. An absent `required` means
/// 1. The field `from` may be absent only if `groups` allows a rule without groups (in a step).
pub fn read_approvals(
    node: &YamlNode,
    groups: GroupSource,
    flaws: &mut Vec<YamlFlaw>,
) -> Option<Approvals> {
    approvals_among(
        "approvals",
        &["required", "from", "each"],
        groups,
        node,
        flaws,
    )
}

/// Reads `required` and `from` of a map that has the keys `known`.
pub fn approvals_among(
    what: &str,
    known: &[&str],
    groups: GroupSource,
    node: &YamlNode,
    flaws: &mut Vec<YamlFlaw>,
) -> Option<Approvals> {
    let before = flaws.len();
    let mut rule = Approvals::unspecified();
    let mut from_place = node.place;
    for (key, value) in node.closed_map(what, known, flaws) {
        match (key.name.as_str(), &value.kind) {
            ("required", YamlKind::Integer(count)) => {
                rule.required = u64::try_from(*count).unwrap_or_default();
                if rule.required == 0 {
                    let message =
                        "`required` must be 1 or more, because no step may run without a signature";
                    refuse(flaws, value.place, message);
                }
            }
            ("required", _) => refuse(
                flaws,
                value.place,
                format!("`required` must be a whole number, not {}", value.word()),
            ),
            ("from", _) => {
                from_place = value.place;
                for item in value.list("`from`", flaws).unwrap_or_default() {
                    let Some(text) = item.text("a group", flaws) else {
                        continue;
                    };
                    match text.parse::<GroupName>() {
                        Ok(name) if rule.from.contains(&name) => {
                            refuse(
                                flaws,
                                item.place,
                                format!("{name} is listed twice: list each group once"),
                            );
                        }
                        Ok(name) => rule.from.push(name),
                        Err(error) => refuse(flaws, item.place, error.to_string()),
                    }
                }
            }
            ("each", _) if known.contains(&"each") => {
                rule.each = value.boolean("`each`", flaws).filter(|each| *each);
            }
            _ => {}
        }
    }
    if flaws.len() > before {
        return None;
    }
    match rule.fault(groups) {
        None => Some(rule),
        Some(fault) => {
            refuse(flaws, from_place, fault);
            None
        }
    }
}

/// Units of a duration with their seconds, the longest first.
const UNITS: [(char, i64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

/// Longest duration: 100 years in seconds.
const MAX_DURATION_S: i64 = 36_525 * 86_400;

/// Reads a duration such as `90s`, `1h30m` or `7d`: whole numbers with units, each unit once and the longest first.
/// Returns seconds.
///
/// # Errors
/// Returns the expected form for another text, for zero, and for more than 100 years.
pub fn duration(text: &str) -> Result<i64, String> {
    let (mut rest, mut units, mut sum) = (text, &UNITS[..], Some(0_i64));
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit());
        let Some(at) = end.and_then(|end| {
            units
                .iter()
                .position(|(name, _)| rest[end..].starts_with(*name))
        }) else {
            sum = None;
            break;
        };
        let number = &rest[..end.unwrap_or_default()];
        let count = number
            .parse::<i64>()
            .ok()
            .filter(|count| count.to_string() == number);
        sum = count
            .and_then(|count| count.checked_mul(units[at].1))
            .and_then(|seconds| sum?.checked_add(seconds));
        rest = &rest[number.len() + 1..];
        units = &units[at + 1..];
    }
    sum.filter(|seconds| (1..=MAX_DURATION_S).contains(seconds))
        .ok_or_else(|| {
            format!("{text:?} is no duration up to 100 years: write 90s, 30m, 1h30m, 24h or 7d")
        })
}

/// Reads a time of RFC 3339 with any offset. A fraction of a second is cut off.
///
/// # Errors
/// Returns the expected form for another text.
pub fn time(text: &str) -> Result<Timestamp, String> {
    let seconds = OffsetDateTime::parse(text, &Rfc3339).map_or(-1, OffsetDateTime::unix_timestamp);
    // A time outside of the years 1970 to 9999 has no text form.
    Some(Timestamp::from_unix(seconds))
        .filter(|at| at.unix() == seconds)
        .ok_or_else(|| {
            format!("{text:?} is no time: write 2026-11-14T09:00:00Z or 2026-11-14T10:00:00+01:00")
        })
}

#[cfg(test)]
mod written_time_tests {
    use super::*;

    #[test]
    fn a_duration_has_whole_numbers_with_units_of_which_the_longest_is_first() {
        for (text, seconds) in [
            ("90s", 90),
            ("30m", 1800),
            ("1h30m", 5400),
            ("1d", 86_400),
            ("7d12h", 648_000),
            ("1d0h1s", 86_401),
        ] {
            assert_eq!(duration(text), Ok(seconds), "{text}");
        }
        for wrong in [
            "",
            "90",
            "d",
            "-1d",
            "0d",
            "0h0m",
            "1.5h",
            "1 d",
            "30m1h",
            "1h1h",
            "07d",
            "1w",
            "1D",
            "+1d",
            "1h30",
            "99999999999999999999d",
            "9999999d",
            "9223372036854775807h1s",
            "1\u{661}h",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_may_have_any_offset_of_rfc_3339() {
        let utc = "2026-11-27T09:00:00Z".parse().expect("a time");
        for same in [
            "2026-11-27T09:00:00Z",
            "2026-11-27T10:00:00+01:00",
            "2026-11-27T03:30:00-05:30",
            "2026-11-27T09:00:00.75Z",
            "2026-11-27t09:00:00z",
        ] {
            assert_eq!(time(same), Ok(utc), "{same}");
        }
        for wrong in [
            "",
            "2026-11-27",
            "2026-11-27T09:00:00",
            "2026-11-27T09:00:00+25:00",
            "1969-12-31T23:59:59Z",
        ] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
