//! The review as lines: a pure function of what was found out.
//!
//! What needs the host and what speaks against signing comes first; then the step, its script and parameters in
//! full; then words, comparison and the exact listing of every field; the summary with the digest comes last.

use serde_json::Value;
use similar::ChangeTag;
use similar::algorithms::{Capture, Compact, Replace, myers};

use crate::cli::review::derive::{Derived, Finding, LastRun, RosterSource, Sources, Standing};
use crate::cli::screen::{Screen, Shown, Tone, path_key};
use crate::crypto::canonical;
use crate::crypto::digest::StepDigest;
use crate::crypto::json;
use crate::crypto::sshsig::KeyId;
use crate::record::authorization::{Authorization, PermissionKind, PermissionReason};
use crate::record::ident::Name;
use crate::record::profile::{ISOLATED, Layer, NetworkMode, Proc, Profile, STRICT, Workdir};
use crate::record::step::{Approvals, MAX_DEFINITION_BYTES, StepDefinition};
use crate::record::validity::Timestamp;
use crate::sandbox::shared_memory_bytes;

/// The lines of a review.
#[must_use]
pub fn render(sources: &Sources, found: &Derived, mine: Option<&KeyId>, now: Timestamp) -> Screen {
    let mut screen = Screen::default();
    let remarks = attention(&mut screen, sources, found);
    match &found.statement {
        Some(statement) => {
            let signed = &statement.predicate;
            step(&mut screen, found, signed);
            parameters(&mut screen, signed);
            sandbox(&mut screen, signed);
            approvals(&mut screen, sources, found, mine);
            time(&mut screen, signed, now);
            said(&mut screen, found, signed);
            compared(&mut screen, sources.last.as_ref(), found, signed);
        }
        None => {
            screen.heading(RAW);
            screen.say(Tone::Bad, "This is not an authorization that this program can read. Its bytes, as text:");
            screen.numbered(&String::from_utf8_lossy(&sources.payload));
        }
    }
    if let Some((_, definition)) = &found.definition {
        screen.heading(DEFINITION);
        screen.exact(definition, &[(".source", SCRIPT)]);
    }
    if let Some(payload) = &found.payload {
        screen.heading(SIGNED);
        screen.exact(payload, &[]);
    }
    checks(&mut screen, found);
    summary(&mut screen, sources, found, remarks);
    screen
}

/// Where the script stands.
pub const SCRIPT: &str = "Script";
/// Where every field of the definition stands.
pub const DEFINITION: &str = "Definition, every field";
/// Where every field of the payload stands.
pub const SIGNED: &str = "To be signed, every field";
const RAW: &str = "Unreadable";

/// What speaks against signing, first of all; gives how many remarks that are.
fn attention(screen: &mut Screen, sources: &Sources, found: &Derived) -> usize {
    let signed = found.statement.as_ref().map(|statement| &statement.predicate);
    let needs = signed.map_or_else(Vec::new, host_needs);
    let against: Vec<_> = found
        .checks
        .iter()
        .filter_map(|check| match &check.finding {
            Finding::Holds => None,
            Finding::Fails(why) => Some(format!("NOT TRUE: {}: {why}", check.what)),
            Finding::NotChecked(why) => Some(format!("not checked: {}: {why}", check.what)),
        })
        .collect();
    let no_trust = !matches!(sources.roster, RosterSource::Trusted(..));
    let remarks = needs.len() + against.len() + usize::from(no_trust) + found.strangers.len() + sources.missing.len();
    if remarks == 0 {
        return 0;
    }
    screen.heading("Attention");
    for need in needs {
        screen.say(Tone::Bad, &format!("needs the host: {need}"));
    }
    if no_trust {
        screen.say(
            Tone::Bad,
            "You trust no roster for this boundary. Who may approve, who the boundary is and which policy holds is the \
             boundary's own word. Nothing is signed like this.",
        );
    }
    for line in against {
        screen.say(Tone::Bad, &line);
    }
    for stranger in &found.strangers {
        screen.say(Tone::Bad, &format!("a signature in the file does not count: {stranger}"));
    }
    for missing in &sources.missing {
        screen.say(Tone::Bad, &format!("could not be had: {missing}"));
    }
    remarks
}

/// What a run gets of the host beyond an empty, closed sandbox.
fn host_needs(signed: &Authorization) -> Vec<String> {
    let profile = &signed.sandbox;
    let mut needs = Vec::new();
    if let Some(reason) = &profile.off_reason {
        needs.push(format!(
            "THE SANDBOX IS OFF: it can do on the host what its user can; the author's reason: {reason}"
        ));
    }
    let held = profile.off_reason.is_none();
    for layer in STRICT.iter().filter(|layer| held && !profile.require.contains(layer)) {
        needs.push(format!("the sandbox layer {} is not required", layer.word()));
    }
    match profile.network.mode {
        NetworkMode::None => {}
        NetworkMode::Allow => {
            needs.push(format!("it may reach, through the boundary's proxy: {}", profile.network.hosts.join(", ")));
        }
        NetworkMode::Host => needs.push("it may reach the network: everything the host can reach".to_owned()),
    }
    match profile.proc {
        Proc::Minimal => {}
        Proc::Full => needs.push(format!("it sees {PROC_FULL} (proc full)")),
    }
    if profile.workdir == Workdir::InPlace {
        needs.push("it works in a live tree of the host: what it writes stays".to_owned());
    }
    if profile.run_as != ISOLATED {
        needs.push(format!("it runs as the host's {}", profile.run_as));
    }
    let writes = match profile.workdir {
        Workdir::Private | Workdir::InPlace => "write",
        Workdir::Copy => "read, in a copy that it may write,",
        Workdir::Overlay => "read, under an overlay that it may write,",
    };
    for (verb, paths) in [("read", &profile.read), (writes, &profile.write), ("reach the socket", &profile.sockets)] {
        for path in paths.iter().filter(|path| *path != "{work}") {
            needs.push(format!("it may {verb} {path}"));
        }
    }
    for permission in &signed.permissions {
        needs.push(format!("a permission: {}", permission_words(permission.kind, &permission.what, permission.why)));
    }
    needs
}

fn permission_words(kind: PermissionKind, what: &str, why: PermissionReason) -> String {
    let verb = match kind {
        PermissionKind::Run => "runs",
        PermissionKind::Read => "reads",
        PermissionKind::Write => "writes",
        PermissionKind::Env => "takes from the environment",
    };
    let why = match why {
        PermissionReason::Unlisted => "which policy does not list",
        PermissionReason::BuiltInDeny => "which a built-in list denies",
        PermissionReason::Unknown => "which can't be known before running",
    };
    format!("{verb} {what:?}, {why}")
}

fn step(screen: &mut Screen, found: &Derived, signed: &Authorization) {
    screen.heading("Step");
    screen.field("step", &Shown::text(signed.step.reference.as_str()));
    screen.field("digest", &Shown::text(&signed.step.digest.to_string()));
    let Some((definition, _)) = &found.definition else {
        screen.say(Tone::Bad, "The definition is not shown: this program does not have one with that digest.");
        return;
    };
    screen.field("run by", &Shown::quoted(&definition.interpreter));
    for file in &definition.files {
        let kind = if file.executable { "executable" } else { "not executable" };
        screen.field("brings file", &Shown::quoted(&file.path));
        screen.field("", &Shown::text(&format!("{} bytes, {kind}, {}, content not shown", file.bytes, file.digest)));
    }
    for secret in &definition.secrets {
        screen.field_in(Tone::Bad, "asks for secret", &Shown::quoted(secret.name.as_str()));
    }
    screen.heading(SCRIPT);
    screen.numbered(&definition.source);
}

fn parameters(screen: &mut Screen, signed: &Authorization) {
    screen.heading("Parameters");
    match &signed.params {
        Value::Object(fields) if fields.is_empty() => screen.say(Tone::Plain, "none"),
        params => {
            let mut lines = Vec::new();
            typed_leaves(params, String::new(), &mut lines);
            for (path, kind, value) in lines {
                screen.push(Tone::Plain, format!("    {kind:<8} "), Shown::path(&path).then(&value));
            }
        }
    }
}

fn typed_leaves(value: &Value, path: String, lines: &mut Vec<(String, &'static str, Shown)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                typed_leaves(value, format!("{path}{dot}{}", path_key(key)), lines);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, value) in items.iter().enumerate() {
                typed_leaves(value, format!("{path}[{at}]"), lines);
            }
        }
        _ => {
            let kind = match value {
                Value::String(_) => "string",
                Value::Number(_) => "integer",
                Value::Bool(_) => "boolean",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
                Value::Null => "null",
            };
            lines.push((path, kind, Shown::value(value)));
        }
    }
}

fn sandbox(screen: &mut Screen, signed: &Authorization) {
    screen.heading("Permissions and sandbox");
    if signed.permissions.is_empty() {
        screen.say(Tone::Plain, "permissions: none asked, none granted");
    }
    for permission in &signed.permissions {
        screen.say(
            Tone::Bad,
            &format!("permission: {}", permission_words(permission.kind, &permission.what, permission.why)),
        );
    }
    for line in profile_words(&signed.sandbox) {
        screen.say(Tone::Plain, &line);
    }
}

/// A profile in words, a line each.
#[must_use]
pub fn profile_words(profile: &Profile) -> Vec<String> {
    let list = |items: &[String], none: &str| {
        if items.is_empty() {
            none.to_owned()
        } else {
            items.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join(", ")
        }
    };
    let layers: Vec<_> = profile.require.iter().map(|layer| layer.word()).collect();
    let workdir = match profile.workdir {
        Workdir::Private => "an empty directory of its own, gone afterwards",
        Workdir::Copy => "a private copy of the trees it writes, gone afterwards",
        Workdir::Overlay => "the trees it writes, seen through an overlay that is gone afterwards",
        Workdir::InPlace => {
            "the live trees: what it writes stays, and a denied name holds as the tree was at its start"
        }
    };
    let stays = match profile.workdir {
        Workdir::Private | Workdir::InPlace => "writes to the host",
        Workdir::Copy | Workdir::Overlay => "writes, and not to the host",
    };
    let network = match profile.network.mode {
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Allow => format!("only {}", list(&profile.network.hosts, "nothing")),
        NetworkMode::Host => "the host's, as it is".to_owned(),
    };
    // Where it is not required the run may be on the host's root.
    let own_root = profile.require.contains(&Layer::Namespaces);
    let proc = match profile.proc {
        Proc::Minimal if own_root => "only its own processes",
        Proc::Minimal => "only its own processes; without namespaces nothing, without Landlock too all of the host's",
        Proc::Full => PROC_FULL,
    };
    let limits = &profile.limits;
    let disk = match (profile.workdir, own_root) {
        (Workdir::InPlace, _) => "what the host has: nothing bounds a live tree".to_owned(),
        (_, true) => bytes(limits.disk_bytes),
        (_, false) => format!("{}, without namespaces what the host has", bytes(limits.disk_bytes)),
    };
    let shared = bytes(shared_memory_bytes(limits));
    let counted = if own_root { COUNTED } else { COUNTED_WITHOUT_NAMESPACES };
    let off = profile.off_reason.iter().map(|reason| {
        format!("THE SANDBOX IS OFF ({reason}): of the lines below only those of limits hold, and the end of the whole process tree")
    });
    let lines = vec![
        format!("required layers: {}", if layers.is_empty() { "NONE".to_owned() } else { layers.join(", ") }),
        format!("reads of the host: {}", list(&profile.read, "nothing but what an interpreter needs")),
        format!("{stays}: {}", list(&profile.write, "nothing")),
        format!("stays out of reach: {}", list(&profile.deny, "no further pattern")),
        format!("works in: {workdir}"),
        format!("network: {network}"),
        format!("sockets of the host: {}", list(&profile.sockets, "none")),
        format!("sees of /proc: {proc}"),
        format!("runs as: {}", if profile.run_as == ISOLATED { ISOLATED_WORDS } else { &profile.run_as }),
        format!("at most time: {}", duration_ms(limits.wall_ms)),
        format!("at most CPU: {}.{:03} of one{UNGROUPED}", limits.cpu_milli / 1000, limits.cpu_milli % 1000),
        format!("at most memory: {}{UNGROUPED}", bytes(limits.memory_bytes)),
        format!("at most processes: {}{counted}", limits.processes),
        format!("at most a file: {}, of disk in all: {disk}; {shared} more in /dev/shm", bytes(limits.file_bytes)),
        format!("at most recorded output: {}", bytes(limits.output_bytes)),
    ];
    off.chain(lines).collect()
}

const PROC_FULL: &str =
    "the whole of /proc of its process namespace, and there the host's boot command line, partitions, interrupts, load";
const ISOLATED_WORDS: &str = "an id of its own where the service is root and has ids to give, else the service's";
/// Which of the two holds is in the receipt.
const UNGROUPED: &str = ", of each process alone where no control group holds the run";

/// The kernel counts, and never refuses, what root has.
const COUNTED: &str = ", not where it is the host's root and no control group holds the run";
const COUNTED_WITHOUT_NAMESPACES: &str = ", without namespaces and a control group only where it has an id of its own";

fn duration_ms(ms: u64) -> String {
    match ms {
        _ if ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{} s", ms / 1000),
        _ => format!("{ms} ms"),
    }
}

/// Exact: a unit only where it divides without rest.
fn bytes(count: u64) -> String {
    match count {
        0 => "0 bytes".to_owned(),
        _ if count.is_multiple_of(1 << 30) => format!("{} GiB", count >> 30),
        _ if count.is_multiple_of(1 << 20) => format!("{} MiB", count >> 20),
        _ if count.is_multiple_of(1 << 10) => format!("{} KiB", count >> 10),
        _ => format!("{count} bytes"),
    }
}

fn approvals(screen: &mut Screen, sources: &Sources, found: &Derived, mine: Option<&KeyId>) {
    screen.heading("Approvals");
    for (asks, rule) in &found.rules {
        screen.field(asks, &Shown::text(&rule_words(rule)));
    }
    for (name, keyid) in &found.signers {
        screen.field("signed", &Shown::text(&format!("{name} with {keyid}, verified by this program")));
    }
    if let Some(told) = &sources.told {
        let names = |names: &[Name]| names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
        let or_none = |text: String| if text.is_empty() { "nobody".to_owned() } else { text };
        screen.field("status", &Shown::text(&told.status));
        if let Some(why) = &told.held_up {
            screen.field("held up", &Shown::text(why));
        }
        screen.field("so far", &Shown::text(&format!("{} (the boundary's word)", or_none(names(&told.approvers)))));
        screen.field(
            "still needed",
            &Shown::text(&or_none(
                told.missing.iter().map(|group| format!("somebody of {group}")).collect::<Vec<_>>().join(", "),
            )),
        );
        screen.field("can't count", &Shown::text(&or_none(names(&told.excluded))));
    } else if let Some(roster) = sources.roster.roster() {
        for (_, rule) in &found.rules {
            let have = found.signers.iter().filter(|(name, _)| {
                roster.approver(name).is_some_and(|person| {
                    rule.from.is_empty() || person.groups.iter().any(|group| rule.from.contains(group))
                })
            });
            screen.field(
                "so far",
                &Shown::text(&format!("{} signed of those who may for: {}", have.count(), rule_words(rule))),
            );
        }
    }
    let Some(keyid) = mine else { return };
    let words = match sources.roster.roster().and_then(|roster| roster.approver_of(keyid)) {
        None => format!("{keyid} is no approver's key in this roster: a signature of it counts for nothing"),
        Some((person, _)) => {
            let groups: Vec<_> = person.groups.iter().map(|group| group.as_str()).collect();
            let told = sources.told.as_ref();
            let remark = if told.is_some_and(|told| told.excluded.contains(&person.name)) {
                ", who can't count for this one"
            } else if told.is_some_and(|told| told.approvers.contains(&person.name))
                || found.signers.iter().any(|(name, _)| *name == person.name)
            {
                ", who signed already"
            } else {
                ""
            };
            format!("{keyid}: {} of {}{remark}", person.name, groups.join(", "))
        }
    };
    screen.field("your key", &Shown::text(&words));
}

/// A quorum rule in words.
#[must_use]
pub fn rule_words(rule: &Approvals) -> String {
    let groups: Vec<_> = rule.from.iter().map(|group| group.as_str()).collect();
    let people = if rule.required == 1 { "1 person".to_owned() } else { format!("{} people", rule.required) };
    match (rule.each, groups.as_slice()) {
        (_, []) => format!("{people} of whom policy names"),
        (Some(true), _) => format!("{people} of each of {}, nobody filling two places", groups.join(", ")),
        (_, [one]) => format!("{people} of {one}"),
        _ => format!("{people} of {} (any of them)", groups.join(", ")),
    }
}

fn time(screen: &mut Screen, signed: &Authorization, now: Timestamp) {
    screen.heading("Time");
    let left = signed.expires_at.unix() - now.unix();
    let words = if left <= 0 { "EXPIRED".to_owned() } else { format!("{} left", span(left)) };
    screen.field("issued", &Shown::text(&signed.issued_at.to_string()));
    screen.field("not before", &Shown::text(&signed.not_before.to_string()));
    screen.field_in(
        if left <= 0 { Tone::Bad } else { Tone::Plain },
        "expires",
        &Shown::text(&format!("{} ({words})", signed.expires_at)),
    );
}

/// Seconds in words.
#[must_use]
pub fn span(seconds: i64) -> String {
    match seconds {
        i64::MIN..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

fn said(screen: &mut Screen, found: &Derived, signed: &Authorization) {
    screen.heading("Said by the proposer and the author: nobody checked it");
    screen.field("proposer", &Shown::text(signed.proposer.as_str()));
    screen.field("reason", &Shown::quoted(&signed.reason));
    if let Some((definition, _)) = &found.definition {
        screen.field("title", &Shown::quoted(&definition.title));
    }
}

fn compared(screen: &mut Screen, last: Option<&LastRun>, found: &Derived, signed: &Authorization) {
    screen.heading("Compared with the last successful run (the boundary's word)");
    let Some(last) = last else {
        screen.say(Tone::Plain, "This step has not run with success, or the boundary tells of no such run.");
        return;
    };
    screen.field("receipt", &Shown::text(&format!("{} of {}", last.receipt, last.finished_at)));
    if last.digest == signed.step.digest {
        screen.say(Tone::Plain, "The definition is the same.");
    } else {
        screen.say(Tone::Bad, &format!("THE DEFINITION IS ANOTHER ONE, then it was {}", last.digest));
        let before = last.definition.as_ref().filter(|bytes| StepDigest::of(bytes) == last.digest).and_then(|bytes| {
            let value = canonical::parse_canonical(bytes, MAX_DEFINITION_BYTES).ok()?;
            json::typed::<StepDefinition>(&value).ok().map(|definition| (definition, value))
        });
        match (&before, &found.definition) {
            (Some((old, old_value)), Some((new, new_value))) => {
                lines_diff(screen, "script", &old.source, &new.source);
                fields_diff(screen, without_source(old_value), without_source(new_value));
            }
            _ => screen.say(Tone::Plain, "What ran then could not be had, so what differs is not shown."),
        }
    }
    if last.params == signed.params {
        screen.say(Tone::Plain, "The parameters are the same.");
    } else {
        screen.say(Tone::Plain, "The parameters differ:");
        fields_diff(screen, last.params.clone(), signed.params.clone());
    }
}

fn without_source(definition: &Value) -> Value {
    let mut definition = definition.clone();
    if let Value::Object(fields) = &mut definition {
        fields.remove("source");
    }
    definition
}

fn lines_diff(screen: &mut Screen, what: &str, old: &str, new: &str) {
    if old == new {
        screen.say(Tone::Plain, &format!("the {what} is the same"));
        return;
    }
    let lines = |text| str::split_inclusive(text, '\n').collect::<Vec<&str>>();
    let (old, new) = (lines(old), lines(new));
    // One algorithm: a text's own comparison brings them all into the program.
    let mut found = Compact::new(Replace::new(Capture::new()), &old[..], &new[..]);
    let Ok(()) = myers::diff(&mut found, &old[..], 0..old.len(), &new[..], 0..new.len());
    let ops = found.into_inner().into_inner().into_ops();
    for change in ops.iter().flat_map(|op| op.iter_changes(&old[..], &new[..])) {
        let text = change.value();
        let shown = match text.strip_suffix('\n') {
            Some(line) => Shown::text(line),
            None => Shown::text(text).then(&Shown::text(" (no newline at the end)")),
        };
        let number = |index: Option<usize>| index.map_or(0, |index| index + 1);
        match change.tag() {
            ChangeTag::Equal => {}
            ChangeTag::Delete => screen.push(Tone::Bad, format!("  was {:>5} | ", number(change.old_index())), shown),
            ChangeTag::Insert => screen.push(Tone::Good, format!("  now {:>5} | ", number(change.new_index())), shown),
        }
    }
}

fn fields_diff(screen: &mut Screen, old: Value, new: Value) {
    let leaves = |document: &Value| {
        let mut lines = Vec::new();
        typed_leaves(document, String::new(), &mut lines);
        lines.into_iter().map(|(path, _, value)| (path, value)).collect::<Vec<_>>()
    };
    let (old, new) = (leaves(&old), leaves(&new));
    for (path, value) in old.iter().filter(|leaf| !new.contains(leaf)) {
        screen.push(Tone::Bad, "  was       | ".to_owned(), Shown::path(path).then(value));
    }
    for (path, value) in new.iter().filter(|leaf| !old.contains(leaf)) {
        screen.push(Tone::Good, "  now       | ".to_owned(), Shown::path(path).then(value));
    }
}

fn checks(screen: &mut Screen, found: &Derived) {
    screen.heading("Checked by this program");
    for check in &found.checks {
        let (tone, word) = match check.finding {
            Finding::Holds => (Tone::Good, "holds"),
            Finding::Fails(_) => (Tone::Bad, "NOT TRUE"),
            Finding::NotChecked(_) => (Tone::Bad, "not checked"),
        };
        screen.push(tone, format!("  {word:<12}"), Shown::text(check.what));
    }
}

fn summary(screen: &mut Screen, sources: &Sources, found: &Derived, remarks: usize) {
    screen.heading("Summary");
    if let Some(statement) = &found.statement {
        let signed = &statement.predicate;
        screen.field("run once", &Shown::text(signed.step.reference.as_str()));
        screen.field("at boundary", &Shown::text(&format!("{} {}", signed.boundary.name, signed.boundary.id)));
        screen.field("for", &Shown::text(signed.proposer.as_str()));
        screen.field("proposal", &Shown::text(signed.proposal.as_str()));
        screen.field("until", &Shown::text(&signed.expires_at.to_string()));
    }
    let roster = match &sources.roster {
        RosterSource::None => "none".to_owned(),
        RosterSource::Trusted(roster, from) => {
            let unguarded = if roster.is_guarded() { "" } else { ", UNGUARDED (threshold 0)" };
            format!("{} version {}{unguarded}, from {from}", roster.tables().name, roster.version())
        }
        RosterSource::BoundarysWord(roster) => format!("{} (the boundary's word, not trusted)", roster.digest()),
    };
    screen.field("trusted by", &Shown::text(&roster));
    if remarks > 0 {
        screen.field_in(Tone::Bad, "attention", &Shown::text(&format!("{remarks} remarks at the very top: read them")));
    }
    let (tone, words) = match found.standing {
        Standing::Sound => (Tone::Good, "all derived by this program agrees with what is to be signed"),
        Standing::NoTrust => (Tone::Bad, "NOT TO BE SIGNED: no trusted roster"),
        Standing::Unsound => (Tone::Bad, "NOT TO BE SIGNED: see Attention"),
    };
    screen.field_in(tone, "verdict", &Shown::text(words));
    screen.field_in(Tone::Strong, "digest", &Shown::text(&found.digest.to_string()));
}
