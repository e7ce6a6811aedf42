//! Logs from text. A line of `tests/audit/logs/*.txt` has the name of a log, what an audit finds in it, and its entries.
//! `tests/audit/logs/README.md` describes the language.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use documents::{ForeignKey, sha256, to_canonical, unhex32};
use serde_json::{Value, json};

use super::grants::{Granted, PLAIN, Use, begin, end, grant};
use super::{Approved, Log, Place, Sealed, key, nonce, reference, t};

/// A key of a type that no auditor of this version verifies.
pub const FOREIGN: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=";

const PEOPLE: [(&str, u8); 16] = [
    ("alice", super::ALICE),
    ("alice2", 11),
    ("bob", super::BOB),
    ("boundary", super::BOUNDARY),
    ("boundary2", super::BOUNDARY_2),
    ("carol", super::CAROL),
    ("dave", 20),
    ("erin", 21),
    ("frank", 22),
    ("mallory", super::MALLORY),
    ("new", 12),
    ("oscar", super::grants::OSCAR),
    ("other", super::grants::OTHER),
    ("robot", super::grants::ROBOT),
    ("robot2", super::grants::ROBOT_2),
    ("nobody", 0),
];

fn seed(name: &str) -> u8 {
    let found = PEOPLE.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no key of {name}")).1
}

fn seeds(names: &str) -> Vec<u8> {
    names
        .split(',')
        .map(seed)
        .filter(|seed| *seed > 0)
        .collect()
}

/// One line of a file.
pub struct Line {
    pub id: &'static str,
    pub findings: Vec<&'static str>,
    pub states: &'static str,
    /// With the operations `all:` of its section before its own.
    pub ops: String,
}

/// The lines below `== SECTION`: `NAME | FINDINGS | ENTRIES`, or with states between the last two.
pub fn lines(text: &'static str, section: &str) -> Vec<Line> {
    let heading = format!("== {section}");
    let below = text.lines().skip_while(|line| *line != heading).skip(1);
    let own = below.take_while(|line| !line.starts_with("== "));
    let own = own.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let all = own.clone().find_map(|line| line.strip_prefix("all: "));
    let read = |line: &'static str| {
        let fields: Vec<&str> = line.split(" | ").map(str::trim).collect();
        let (states, ops) = match fields[..] {
            [_, _, ops] => ("", ops),
            [_, _, states, ops] => (states, ops),
            _ => panic!("not three or four fields: {line}"),
        };
        Line {
            id: fields[0],
            findings: fields[1].split(", ").filter(|one| *one != "-").collect(),
            states: states.trim_matches('-'),
            ops: all.into_iter().chain([ops]).collect::<Vec<_>>().join("; "),
        }
    };
    let lines: Vec<Line> = own
        .filter(|line| !line.starts_with("all: "))
        .map(read)
        .collect();
    assert!(!lines.is_empty(), "no section {section}");
    lines
}

/// Splits a text at a character, but not within quotation marks.
fn split(text: &str, at: char) -> Vec<&str> {
    let mut quoted = false;
    text.split(move |one| {
        quoted ^= one == '"';
        one == at && !quoted
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
    .collect()
}

/// Reads a value: JSON, or a text. The forms `@5`, `#x`, `nonce@5`, `key:NAME`, `line:NAME` and `ab*16` stand for
/// longer texts.
fn value(text: &str) -> Value {
    expand(serde_json::from_str(text).unwrap_or_else(|_| json!(text)))
}

fn expand(value: Value) -> Value {
    match value {
        Value::String(text) => json!(expanded(text)),
        Value::Array(all) => all.into_iter().map(expand).collect(),
        Value::Object(all) => all
            .into_iter()
            .map(|(key, one)| (key, expand(one)))
            .collect(),
        other => other,
    }
}

fn expanded(text: String) -> String {
    if let Some(seconds) = text.strip_prefix('@').and_then(|rest| rest.parse().ok()) {
        return t(seconds);
    }
    if let Some(bytes) = text.strip_prefix('#') {
        return reference(bytes.as_bytes());
    }
    if let Some(seconds) = text
        .strip_prefix("nonce@")
        .and_then(|rest| rest.parse().ok())
    {
        return nonce(seconds, 0);
    }
    match text.split_once(['*', ':']) {
        Some(("key", name)) => key(seed(name)).keyid().to_string(),
        Some(("line", "foreign")) => FOREIGN.to_owned(),
        Some(("line", name)) => key(seed(name)).line().to_owned(),
        Some((pair, times)) if pair.len() <= 2 => match times.parse() {
            Ok(times) => pair.repeat(times),
            Err(_) => text,
        },
        _ => text,
    }
}

/// The place below `root` that a path names: `a.0.bob` is the object in the list `a.0` whose name is bob.
fn at<'a>(root: &'a mut Value, path: &str) -> &'a mut Value {
    path.split('.').fold(root, |here, part| match here {
        Value::Array(all) => {
            let place = part.parse().ok();
            let place = place.or_else(|| all.iter().position(|one| one["name"] == part));
            &mut all[place.unwrap_or_else(|| panic!("no {part} in {path}"))]
        }
        _ => &mut here[part],
    })
}

/// Changes a value: `PATH=VALUE`, `PATH+=VALUE` adds to a list, and `-PATH` removes.
fn edit(root: &mut Value, change: &str) {
    if let Some(path) = change.strip_prefix('-') {
        let (parent, last) = path.rsplit_once('.').unwrap_or(("", path));
        let parent = if parent.is_empty() {
            root
        } else {
            at(root, parent)
        };
        match parent {
            Value::Array(all) => {
                let found = |one: &Value| one["name"] == last || one["ref"] == last;
                let place = all.iter().position(found).expect("one of this name");
                all.remove(place);
            }
            other => drop(other.as_object_mut().expect("an object").remove(last)),
        }
        return;
    }
    let (path, new) = change.split_once('=').expect("PATH=VALUE");
    match path.strip_suffix('+') {
        Some(path) => at(root, path)
            .as_array_mut()
            .expect("a list")
            .push(value(new)),
        None => *at(root, path) = value(new),
    }
}

/// Changes the contents of the next seal.
fn change(sealed: &mut Sealed, edits: &[&str]) {
    let steps = json!(sealed.steps);
    let mut all = json!({
        "policy": sealed.policy, "builtins": sealed.builtins, "steps": steps, "tokens": sealed.tokens,
        "configuration": sealed.configuration, "roster": sealed.roster,
    });
    edits.iter().for_each(|one| edit(&mut all, one));
    let mut take = |name: &str| all[name].take();
    sealed.policy = take("policy");
    sealed.builtins = take("builtins");
    sealed.tokens = take("tokens");
    sealed.configuration = take("configuration");
    sealed.roster = take("roster");
    sealed.steps = serde_json::from_value(take("steps")).expect("a list");
}

/// The words of one operation, and its edits by their prefix: `a:` of the authorization, `c:` of the consumption, `i:` of
/// its item, `r:` of the receipt, without a prefix of what the operation makes.
struct Operation<'a> {
    words: Vec<&'a str>,
    edits: Vec<&'a str>,
}

impl<'a> Operation<'a> {
    fn read(text: &'a str) -> Self {
        let is_edit =
            |part: &&str| part.contains('=') || part.starts_with('-') || part.contains(":-");
        let (edits, words) = split(text, ' ').into_iter().partition(is_edit);
        Self { words, edits }
    }

    fn word(&self, place: usize) -> &'a str {
        self.words[place]
    }

    fn number(&self, place: usize) -> usize {
        self.words[place].parse().expect("a number")
    }

    /// The word after `name`.
    fn named(&self, name: &str) -> Option<&'a str> {
        let place = self.words.iter().position(|word| *word == name)?;
        Some(self.words[place + 1])
    }

    fn has(&self, name: &str) -> bool {
        self.words.contains(&name)
    }

    fn edit(&self, prefix: &str, root: &mut Value) {
        let kinds = ["a:", "c:", "i:", "r:"];
        for one in &self.edits {
            if prefix.is_empty() && !kinds.iter().any(|kind| one.starts_with(kind)) {
                edit(root, one);
            } else if !prefix.is_empty()
                && let Some(own) = one.strip_prefix(prefix)
            {
                edit(root, own);
            }
        }
    }
}

/// Sets the end of a run in its receipt.
pub fn outcome(receipt: &mut Value, status: &str) {
    receipt["outcome"] = json!({"status": status});
    if status == "succeeded" {
        receipt["outcome"]["exit_code"] = json!(0);
    }
    receipt["finished_at"] = receipt["started_at"].clone();
}

/// The digest of the payload of the newest entry.
pub fn newest(log: &Log) -> String {
    let envelope: Value =
        serde_json::from_slice(log.entries.last().expect("an entry")).expect("JSON");
    let payload = envelope["payload"].as_str().expect("a payload");
    reference(&STANDARD.decode(payload).expect("base64"))
}

/// Plays operations. Receipts, runs and grants have numbers from 0 on, in the order in which they were added.
struct Player {
    log: Log,
    grants: Vec<(Granted, u64)>,
    waiting: Vec<Approved>,
    begun: Vec<(Place, Approved)>,
    receipts: Vec<String>,
    /// An entry that `hold` took from the end of the log.
    held: Vec<u8>,
    at: i64,
}

/// Makes a log. Operations `set` before all others change the genesis seal.
pub fn play(base: impl FnOnce(&mut Sealed), ops: &str) -> Log {
    let ops: Vec<_> = split(ops, ';').into_iter().map(Operation::read).collect();
    let sets = ops.iter().take_while(|op| op.words == ["set"]).count();
    let log = Log::with(|sealed| {
        base(sealed);
        ops[..sets].iter().for_each(|op| change(sealed, &op.edits));
    });
    let mut player = Player {
        log,
        grants: Vec::new(),
        waiting: Vec::new(),
        begun: Vec::new(),
        receipts: Vec::new(),
        held: Vec::new(),
        at: 0,
    };
    for op in &ops[sets..] {
        player.at += 10;
        player.operation(op);
    }
    player.log
}

impl Player {
    fn operation(&mut self, op: &Operation<'_>) {
        let at = op
            .named("at")
            .map_or(self.at, |at| at.parse().expect("a time"));
        let by = || seeds(op.named("by").expect("by NAME"));
        match op.word(0) {
            "set" => change(&mut self.log.sealed, &op.edits),
            "change" => {
                change(&mut self.log.sealed, &op.edits);
                self.log.roster(&seeds("alice,bob,carol"));
                self.log.reseal(at, |_| {});
            }
            "roster" => self.log.roster(&seeds(op.word(1))),
            "seal" => self.log.reseal(at, |seal| op.edit("", seal)),
            "thaw" => self
                .log
                .reseal(at, |seal| seal["epoch"] = json!("e1".repeat(16))),
            "sign-as" => self.log.key = seed(op.word(1)),
            "refuse" => self.log.refuse(at, |of| op.edit("", of)),
            "again" => self
                .log
                .entries
                .push(self.log.entries[op.number(1)].clone()),
            "hold" => self.held = self.log.entries.pop().expect("an entry"),
            "put" => self.log.entries.push(std::mem::take(&mut self.held)),
            "grant" => self.grant(op),
            "use" => self.use_grant(op, at),
            "close" => self.close(op, op.number(1)),
            "approve" => self.approve(op, op.word(1), at, &seeds(op.word(2)), op.has("emergency")),
            "consume" => self.consume(op, at),
            "run" => {
                self.approve(op, op.word(1), at, &seeds(op.word(2)), false);
                self.consume(op, at);
                self.end(op, self.begun.len() - 1, "succeeded");
            }
            "begin" | "emergency" | "usual" => {
                let signers = match op.word(0) {
                    "usual" => "alice,bob",
                    _ => op.word(1),
                };
                self.approve(
                    op,
                    "nginx:restart",
                    at,
                    &seeds(signers),
                    op.word(0) != "usual",
                );
                self.consume(op, at);
                match op.word(0) {
                    "usual" => self.end(op, self.begun.len() - 1, op.word(1)),
                    "emergency" => self.end(op, self.begun.len() - 1, "succeeded"),
                    _ => {}
                }
            }
            "end" => self.end(
                op,
                op.number(1),
                op.words.get(2).copied().unwrap_or("succeeded"),
            ),
            "spend" => {
                self.waiting.push(self.begun[op.number(1)].1.clone());
                self.consume(op, at);
            }
            "deny" => {
                let approved = self.waiting.last().expect("approved");
                self.log
                    .deny_but(approved, seed(op.word(1)), |of| op.edit("", of));
            }
            "review" => {
                let receipt = &self.receipts[op.number(1)];
                self.log
                    .review_but(receipt, &seeds(op.word(2)), |of| op.edit("", of));
            }
            "observe" => {
                let receipt = &self.receipts[op.number(1)];
                let word = json!(op.word(3));
                self.log.review_but(receipt, &seeds(op.word(2)), |of| {
                    of["predicate"]["observed"] = word
                });
            }
            "revoke" => {
                let subject =
                    self.subject(op.word(1), op.words.get(2).copied().unwrap_or_default());
                self.log.revoke_but(subject, &by(), |of| op.edit("", of));
            }
            "freeze" => {
                let epoch = sha256(self.log.epoch.as_bytes());
                self.log.revoke(("epoch", epoch), seed(op.word(1)));
            }
            unknown => panic!("no operation {unknown}"),
        }
    }

    fn subject<'k>(&self, kind: &'k str, name: &str) -> (&'k str, [u8; 32]) {
        let digest = match (kind, name) {
            ("key", "foreign") => ForeignKey::parse(FOREIGN)
                .expect("a key")
                .keyid()
                .to_bytes(),
            ("key", name) => key(seed(name)).keyid().to_bytes(),
            ("grant", "by") => {
                unhex32(&self.grants.last().expect("a grant").0.digest[7..]).expect("hex")
            }
            (_, name) => sha256(name.as_bytes()),
        };
        (kind, digest)
    }

    fn grant(&mut self, op: &Operation<'_>) {
        let other = self.log.sealed.steps[2].clone();
        let second = json!({
            "ref": "db:migrate", "digest": reference(&to_canonical(&other)), "permissions": [],
            "params": {"type": "object", "properties": {"host": {"type": "string"}}},
            "sandbox": self.log.sandbox.get("db:migrate"),
        });
        let signers = op.named("by").unwrap_or("alice,bob");
        let grantee = op.named("to").map(|name| self.token(name));
        let granted = grant(&mut self.log, &seeds(signers), |of| {
            if let Some(grantee) = grantee {
                of["grantee"] = grantee;
            }
            if op.has("two") {
                of["steps"].as_array_mut().expect("steps").insert(0, second);
            }
            op.edit("", of);
        });
        self.grants.push((granted, 0));
    }

    /// The sealed token of this name, as the grantee of a grant.
    fn token(&self, name: &str) -> Value {
        let mut tokens = self.log.sealed.tokens.as_array().expect("tokens").iter();
        let token = tokens.find(|one| one["name"] == name).expect("a token");
        json!({"token": name, "credential": token["credential"]})
    }

    /// Uses the newest grant. With the word `open`, `close` adds the receipt. The boundary signs for a token.
    fn use_grant(&mut self, op: &Operation<'_>, at: i64) {
        let own = self.log.key;
        let (granted, last) = self.grants.last_mut().expect("a grant");
        let token = granted.predicate["grantee"].get("token").cloned();
        let signer = op.named("by").map(seed);
        let given = op.words.get(1).and_then(|word| word.parse().ok());
        *last = given.unwrap_or(*last + 1);
        let used = Use {
            number: *last,
            at,
            signer: signer.unwrap_or(if token.is_some() { own } else { seed("robot") }),
            ..PLAIN
        };
        let begun = begin(
            &mut self.log,
            granted,
            &used,
            &|of| {
                if let Some(token) = &token {
                    of["proposer"] = token.clone();
                    of["by"] = json!({ "token": token });
                }
                op.edit("a:", of);
            },
            &|of| op.edit("i:", of),
        );
        self.begun.push(begun);
        if !op.has("open") {
            self.close(op, self.begun.len() - 1);
        }
    }

    fn close(&mut self, op: &Operation<'_>, run: usize) {
        end(&mut self.log, &self.begun[run], &|of| {
            if op.has("unknown") {
                outcome(of, "unknown");
            }
            op.edit("r:", of);
        });
        self.receipts.push(newest(&self.log));
    }

    fn approve(
        &mut self,
        op: &Operation<'_>,
        step: &str,
        at: i64,
        signers: &[u8],
        emergency: bool,
    ) {
        let mut steps = self
            .log
            .sealed
            .steps
            .iter()
            .filter(|one| one["ref"] == step);
        let has_force = steps.any(|one| !one["params"]["properties"]["force"].is_null());
        let approved = self.log.approved_but(step, at, signers, |of| {
            if has_force {
                of["params"]["force"] = json!(false);
            }
            if emergency {
                of["emergency"] = json!(true);
            }
            op.edit("a:", of);
        });
        self.waiting.push(approved);
    }

    /// Adds one consumption for all that is approved and waits.
    fn consume(&mut self, op: &Operation<'_>, at: i64) {
        let waiting = std::mem::take(&mut self.waiting);
        let spent: Vec<_> = waiting.iter().collect();
        let place = self.log.consume_but(at, &spent, |of| op.edit("c:", of));
        for (item, approved) in (0..).zip(waiting) {
            self.begun.push((Place { item, ..place }, approved));
        }
    }

    fn end(&mut self, op: &Operation<'_>, run: usize, status: &str) {
        let (place, approved) = &self.begun[run];
        self.log.receipt_but(*place, approved, |of| {
            if status != "succeeded" {
                outcome(of, status);
            }
            op.edit("r:", of);
        });
        self.receipts.push(newest(&self.log));
    }
}
