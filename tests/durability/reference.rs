//! A small second judgement about the log of a boundary: what signatures, grants, emergencies, reviews and stops permit.
//!
//! The reference follows docs/formats-bundles.md, section 22, and calls no code that decides in the program. From the state
//! before a log entry it says with which codes a boundary may refuse a request. An entry that a code forbids is a defect. A
//! broken condition has all its codes, because the order of the checks is not the subject here.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use documents::Timestamp;
use serde_json::{Value, json};

use crate::support::people::{payload_of, sha256, statement_of};

pub(crate) type Codes = BTreeSet<&'static str>;

/// The tables of people and boundaries, each with the role of its entries.
const TABLES: [(&str, &str); 4] = [
    ("approver", "approvers"),
    ("proposer", "proposers"),
    ("operator", "operators"),
    ("boundary", "boundaries"),
];
const GROUPS: [&str; 2] = ["ops", "security"];
/// Number of approvers of `GROUPS` who must sign a run or a grant.
const QUORUM: usize = 2;

/// The numbers of a policy. With 0 uses, the policy permits no grants and no emergencies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    uses: u64,
    emergencies: usize,
    review: usize,
    settle: usize,
}

pub(crate) const RULES: [Rules; 3] = [
    Rules {
        uses: 4,
        emergencies: 2,
        review: 1,
        settle: 2,
    },
    Rules {
        uses: 2,
        emergencies: 1,
        review: 2,
        settle: 1,
    },
    Rules {
        uses: 0,
        emergencies: 0,
        review: 1,
        settle: 1,
    },
];

impl Rules {
    /// Returns the policy. Steps may write below `path`.
    pub(crate) fn policy(self, path: &str) -> Value {
        let mut default =
            json!({"mode": "execute", "approvals": {"required": QUORUM, "from": GROUPS}});
        if self.uses > 0 {
            default["standing"] = json!({"max_uses": self.uses, "max_days": 7});
            default["emergency"] = json!({"required": 1, "from": ["ops"], "max_unreviewed": self.emergencies,
                "max_window_s": 3600, "review": {"required": self.review, "from": GROUPS}});
        }
        let place = json!({"write": [path], "workdir": "in-place"});
        let steps = ["mark", "other"].map(|name| json!({"runbook": name, "sandbox": place}));
        json!({"version": 1, "extends": "none", "default": default, "overrides": steps,
            "settle": {"required": self.settle, "from": GROUPS}})
    }
}

/// A run that somebody asked for, with what the log says about it.
pub(crate) struct Run {
    /// Predicate of the authorization.
    pub(crate) of: Value,
    pub(crate) payload: Vec<u8>,
    pub(crate) grant: Option<usize>,
    /// Keys of all signatures that were sent.
    pub(crate) keys: BTreeSet<String>,
    /// True if a complete envelope is handed in, instead of a proposal.
    pub(crate) whole: bool,
    /// Codes with which the boundary could refuse the run at some time.
    pub(crate) codes: Codes,
    /// Entry and item of the consumption.
    pub(crate) place: Option<(u64, u64)>,
    /// Predicate, digest and entry of the receipt.
    pub(crate) receipt: Option<(Value, String, u64)>,
    pub(crate) open: bool,
    pub(crate) unsettled: bool,
    /// The observed end in the newest review of each person, and the key of the review.
    said: BTreeMap<String, (Value, String)>,
    /// How people settled the unknown end.
    settled: Option<Value>,
    pub(crate) disputed: bool,
    rules: Rules,
}

impl Run {
    pub(crate) fn new(
        payload: Vec<u8>,
        grant: Option<usize>,
        keys: BTreeSet<String>,
        whole: bool,
    ) -> Self {
        let of = serde_json::from_slice::<Value>(&payload).unwrap()["predicate"].take();
        let (codes, place, receipt, said, rules) =
            (Codes::new(), None, None, BTreeMap::new(), RULES[0]);
        let (open, unsettled, disputed, settled) = (false, false, false, None);
        Self {
            of,
            payload,
            grant,
            keys,
            whole,
            codes,
            place,
            receipt,
            open,
            unsettled,
            said,
            settled,
            disputed,
            rules,
        }
    }

    pub(crate) fn is_emergency(&self) -> bool {
        self.of["emergency"] == true
    }

    /// Counts a review of a person. `revoked` returns true for the key of an earlier review that counts no more.
    fn reviewed(
        &mut self,
        name: String,
        (observed, key): (Value, String),
        revoked: impl Fn(&str) -> bool,
    ) {
        let changes_end = self.unsettled
            || self
                .settled
                .as_ref()
                .is_some_and(|end| !observed.is_null() && *end != observed);
        self.said.insert(name, (observed, key));
        let approvers = &self.receipt.as_ref().unwrap().0["decision"]["approvers"];
        let others = self
            .said
            .keys()
            .filter(|name| !approvers.as_array().unwrap().contains(&json!(name)));
        self.open &= others.count() < self.rules.review;
        if !changes_end {
            return;
        }
        let words: Vec<_> = self
            .said
            .values()
            .filter(|(word, key)| !word.is_null() && !revoked(key))
            .collect();
        let same = words.iter().all(|(word, _)| *word == words[0].0);
        self.disputed = !same;
        self.settled = words
            .first()
            .filter(|_| same && words.len() >= self.rules.settle)
            .map(|(word, _)| word.clone());
        self.unsettled = self.settled.is_none();
    }

    /// Returns true if people have settled the unknown end.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.is_some()
    }

    /// Returns true if a review with this observation can change nothing.
    fn needs_no_review(&self, observed: &Value) -> bool {
        let disputes = self
            .settled
            .as_ref()
            .is_some_and(|end| !observed.is_null() && end != observed);
        !self.open && !self.unsettled && !disputes
    }
}

/// A grant that somebody drafted.
pub(crate) struct Grant {
    /// Predicate of the grant.
    pub(crate) of: Value,
    pub(crate) payload: Vec<u8>,
    pub(crate) leaf: Option<u64>,
    /// Keys of the signatures: those in the log, or those that were sent for a draft.
    pub(crate) keys: BTreeSet<String>,
    /// Times of the uses.
    pub(crate) uses: Vec<i64>,
}

/// A request. Runs and grants are numbers, people are key ids.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    Propose {
        by: String,
        grant: Option<usize>,
        emergency: bool,
    },
    Sign(usize, Vec<String>),
    Submit {
        run: usize,
        by: String,
    },
    Draft {
        by: String,
        uses: u64,
        grantee: String,
    },
    Endorse(usize, Vec<String>),
    Review(usize, String, Value),
    Revoke {
        kind: &'static str,
        digest: String,
        key: String,
        epoch: String,
    },
    Seal,
    Thaw,
}

/// The state after the entries so far.
#[derive(Default)]
pub(crate) struct Reference {
    /// What the digests in a seal mean. A registry has the definition and the digest of each step.
    pub(crate) policies: BTreeMap<String, Rules>,
    pub(crate) rosters: BTreeMap<String, Value>,
    pub(crate) registries: BTreeMap<String, BTreeMap<String, Value>>,
    /// Names of all tokens.
    pub(crate) tokens: BTreeSet<String>,
    sealed_tokens: BTreeSet<String>,
    pub(crate) runs: Vec<Run>,
    pub(crate) grants: Vec<Grant>,
    /// Predicate of the seal in force.
    pub(crate) seal: Value,
    revoked: BTreeSet<(String, String)>,
    pub(crate) last_at: i64,
    pub(crate) size: u64,
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Returns the entries of a table of the roster.
pub(crate) fn entries(table: &Value) -> impl Iterator<Item = &Value> {
    table
        .as_object()
        .into_iter()
        .flat_map(|table| table.values())
}

fn unix(value: &Value) -> i64 {
    text(value).parse::<Timestamp>().unwrap().unix()
}

/// Returns the codes of the conditions that are true.
fn when<const N: usize>(codes: [(bool, &'static str); N]) -> Codes {
    codes
        .into_iter()
        .filter_map(|(is, code)| is.then_some(code))
        .collect()
}

/// Returns the codes of too few signatures that count.
fn unmet(is: bool) -> Codes {
    when([(is, "quorum-missing"), (is, "self-approval")])
}

/// Returns the id of the key of a roster.
pub(crate) fn keyid_of(line: &Value) -> String {
    let digest = sha256(
        &STANDARD
            .decode(text(line).split(' ').nth(1).unwrap())
            .unwrap(),
    );
    let bytes: Vec<u8> = (0..32)
        .map(|at| u8::from_str_radix(&digest[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    format!("SHA256:{}", STANDARD_NO_PAD.encode(bytes))
}

/// Returns the digest of a key in a revocation.
pub(crate) fn key_digest(keyid: &str) -> String {
    let bytes = STANDARD_NO_PAD
        .decode(keyid.trim_start_matches("SHA256:"))
        .unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns these proposers and their owners, who approve nothing.
fn excluded(names: &[&str]) -> Vec<String> {
    let owner = |name: &&str| if *name == "robot" { "bob" } else { "carol" };
    names
        .iter()
        .flat_map(|name| [(*name).to_owned(), owner(name).to_owned()])
        .collect()
}

/// Returns why the window of a statement is not open. A boundary can be up to a minute later than its log.
fn closed(of: &Value, at: i64) -> Codes {
    when([
        (at >= unix(&of["expires_at"]), "expired"),
        (at + 60 < unix(&of["not_before"]), "not-yet-valid"),
    ])
}

/// Returns true if a statement can have ended. A boundary can be up to a minute later than its log.
fn can_be_over(of: &Value, at: i64) -> bool {
    at + 60 >= unix(&of["expires_at"])
}

impl Reference {
    pub(crate) fn rules(&self) -> Rules {
        self.policies[text(&self.seal["policy"])]
    }

    pub(crate) fn roster(&self) -> &Value {
        &self.rosters[text(&self.seal["roster"])]
    }

    pub(crate) fn steps(&self) -> &BTreeMap<String, Value> {
        &self.registries[text(&self.seal["registry_root"])]
    }

    pub(crate) fn is_revoked(&self, kind: &str, digest: &str) -> bool {
        self.revoked.contains(&(kind.to_owned(), digest.to_owned()))
    }

    pub(crate) fn has_ended(&self, token: &str) -> bool {
        self.is_revoked("token", &sha256(token.as_bytes()))
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.is_revoked("epoch", &sha256(text(&self.seal["epoch"]).as_bytes()))
    }

    /// Returns the role, the name and the entry of the roster with a key.
    pub(crate) fn holder(&self, keyid: &str) -> Option<(&'static str, &str, &Value)> {
        let has = |entry: &Value| {
            list(&entry["keys"])
                .iter()
                .any(|line| keyid_of(line) == keyid)
        };
        TABLES.into_iter().find_map(|(role, table)| {
            let mut entries = self.roster()[table].as_object().into_iter().flatten();
            let (name, entry) = entries.find(|(_, entry)| has(entry))?;
            Some((role, name.as_str(), entry))
        })
    }

    /// Returns why the signature of a key does not count.
    fn why_not(&self, keyid: &str, out: &[String], groups: &[&str], at: i64) -> Codes {
        match self.holder(keyid) {
            None => ["unknown-signer"].into(),
            Some(("approver", name, person)) => {
                let revoked = self.is_revoked("key", &key_digest(keyid));
                let is_member = list(&person["groups"])
                    .iter()
                    .any(|group| groups.contains(&text(group)));
                let ended = person
                    .get("valid_before")
                    .is_some_and(|end| at >= unix(end));
                let is_out = out.iter().any(|one| one == name);
                let not_permitted = revoked || ended || !is_member;
                when([
                    (revoked, "revoked"),
                    (is_out, "self-approval"),
                    (not_permitted, "not-permitted-signer"),
                ])
            }
            Some(_) => ["unknown-signer", "not-permitted-signer"].into(),
        }
    }

    /// Returns the people whose signatures count.
    fn people<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k String>,
        out: &[String],
        groups: &[&str],
        at: i64,
    ) -> Vec<String> {
        let keys = keys
            .into_iter()
            .filter(|key| self.why_not(key, out, groups, at).is_empty());
        let names = keys.map(|key| self.holder(key).unwrap().1.to_owned());
        names.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Returns true if fewer than `least` other people could sign.
    fn too_few(&self, least: usize, out: &[String], groups: &[&str], at: i64) -> bool {
        let keys: Vec<_> = entries(&self.roster()["approvers"])
            .flat_map(|one| list(&one["keys"]))
            .map(keyid_of)
            .collect();
        self.people(&keys, out, groups, at).len() < least
    }

    /// Returns why nobody runs anything for this proposer in this epoch.
    fn stopped(&self, epoch: &Value, proposer: &str) -> Codes {
        let ended = self.has_ended(proposer);
        let unknown = proposer != "robot" && !self.sealed_tokens.contains(proposer);
        let is_other = *epoch != self.seal["epoch"] || self.is_frozen();
        when([
            (is_other || ended, "revoked"),
            (ended || unknown, "unauthenticated"),
            (unknown, "forbidden"),
        ])
    }

    fn is_changed(&self, step: &Value, digest: &Value) -> bool {
        self.steps()
            .get(text(step))
            .is_none_or(|sealed| sealed["digest"] != *digest)
    }

    /// Returns why no run can use a grant, whatever people signed and the uses.
    fn fallen(&self, Grant { of, payload, .. }: &Grant, at: i64) -> Codes {
        let grantee = text(&of["grantee"]["key"]);
        let revoked = self.is_revoked("grant", &sha256(payload))
            || self.is_revoked("key", &key_digest(grantee));
        let is_other = of["boundary"]["epoch"] != self.seal["epoch"] || self.is_frozen();
        let changed = list(&of["steps"])
            .iter()
            .any(|step| self.is_changed(&step["ref"], &step["digest"]));
        let holds = self
            .holder(grantee)
            .is_some_and(|(_, name, _)| name == "robot");
        let codes = when([
            (revoked || is_other, "revoked"),
            (changed, "step-changed"),
            (!holds, "unknown-signer"),
            (
                !self.sealed_tokens.contains(text(&of["proposer"])),
                "forbidden",
            ),
            (
                of["max_uses"].as_u64().unwrap() > self.rules().uses,
                "policy-denied",
            ),
        ]);
        &codes | &closed(of, at)
    }

    /// Returns why no run can use a grant, except for its rate.
    pub(crate) fn ended(&self, number: usize, at: i64) -> Codes {
        let grant = &self.grants[number];
        let out = excluded(&["robot", text(&grant.of["proposer"])]);
        let codes = when([
            (grant.leaf.is_none(), "not-granted"),
            (
                self.runs
                    .iter()
                    .any(|run| run.grant == Some(number) && run.unsettled),
                "grant-paused",
            ),
            (
                grant.uses.len() as u64 >= grant.of["max_uses"].as_u64().unwrap(),
                "grant-exhausted",
            ),
        ]);
        let people = self.people(&grant.keys, &out, &GROUPS, at).len();
        &(&self.fallen(grant, at) | &codes) | &unmet(people < QUORUM)
    }

    /// Returns why a run is no use of its grant now.
    fn unused(&self, run: &Run, number: usize, at: i64) -> Codes {
        let (of, grant) = (&run.of, &self.grants[number]);
        let is_small = text(&of["params"]["text"])
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let covered = list(&grant.of["steps"])
            .iter()
            .any(|one| one["ref"] == of["step"]["ref"])
            && is_small;
        let signed = run
            .keys
            .iter()
            .all(|key| grant.of["grantee"]["key"] == **key);
        let covered = covered && signed && unix(&of["expires_at"]) <= unix(&grant.of["expires_at"]);
        let too_often = grant.of["rate"].as_object().is_some_and(|rate| {
            let begin = at - rate["seconds"].as_i64().unwrap();
            grant.uses.iter().filter(|time| **time > begin).count() as u64
                >= rate["uses"].as_u64().unwrap()
        });
        &self.ended(number, at) | &when([(!covered, "not-granted"), (too_often, "rate-limited")])
    }

    /// Returns why no emergency can run that these people signed.
    fn no_emergency(&self, signed: &[String], mut out: Vec<String>, at: i64) -> Codes {
        let rules = self.rules();
        out.extend_from_slice(signed);
        let no_rule = rules.emergencies == 0;
        let full = self.runs.iter().filter(|run| run.open).count() >= rules.emergencies;
        // Somebody must sign first, and cannot review.
        let unreviewable = self.too_few(
            rules.review + usize::from(signed.is_empty()),
            &out,
            &GROUPS,
            at,
        );
        when([
            (full, "policy-denied"),
            (no_rule || unreviewable, "quorum-missing"),
        ])
    }

    /// Returns why a run can't be consumed now.
    pub(crate) fn refusals(&self, run: &Run, at: i64) -> Codes {
        let of = &run.of;
        let out = excluded(&[text(&of["proposer"])]);
        let unknown = run.whole && run.keys.iter().any(|key| self.holder(key).is_none());
        let mut codes = when([
            (run.place.is_some(), "nonce-replayed"),
            (run.place.is_some(), "wrong-state"),
            (
                self.is_changed(&of["step"]["ref"], &of["step"]["digest"]),
                "step-changed",
            ),
            (unknown, "unknown-signer"),
        ]);
        codes.extend(self.stopped(&of["boundary"]["epoch"], text(&of["proposer"])));
        codes.extend(closed(of, at));
        codes.extend(match run.grant {
            Some(grant) => self.unused(run, grant, at),
            None if run.is_emergency() => {
                let signed = self.people(&run.keys, &out, &GROUPS[..1], at);
                &unmet(signed.is_empty()) | &self.no_emergency(&signed, out, at)
            }
            None => unmet(self.people(&run.keys, &out, &GROUPS, at).len() < QUORUM),
        });
        codes
    }

    /// Returns the codes with which the boundary may refuse a request now. Without a code, it must accept the request.
    pub(crate) fn may_refuse(&self, asked: &Asked, at: i64) -> Codes {
        match asked {
            Asked::Propose {
                by,
                grant,
                emergency,
            } => {
                let (out, epoch) = (excluded(&[by]), &self.seal["epoch"]);
                let (least, groups) = if *emergency {
                    (1, &GROUPS[..1])
                } else {
                    (QUORUM, &GROUPS[..])
                };
                let not_granted = grant.is_some_and(|grant| self.grants[grant].leaf.is_none());
                let nobody = grant.is_none() && self.too_few(least, &out, groups, at);
                // No nonce can end after now and with a grant that has ended.
                let is_over = grant.is_some_and(|grant| can_be_over(&self.grants[grant].of, at));
                let codes = when([
                    (not_granted, "not-granted"),
                    (nobody, "quorum-missing"),
                    (is_over, "malformed"),
                ]);
                let more = if *emergency {
                    self.no_emergency(&[], out, at)
                } else {
                    Codes::new()
                };
                &(&codes | &more) | &self.stopped(epoch, by)
            }
            Asked::Sign(run, keys) => {
                let run = &self.runs[*run];
                let out = excluded(&[text(&run.of["proposer"])]);
                let groups = if run.is_emergency() {
                    &GROUPS[..1]
                } else {
                    &GROUPS[..]
                };
                let of_key = |key: &String| match run.grant {
                    None => self.why_not(key, &out, groups, at),
                    Some(_) => when([(self.holder(key).is_none(), "unknown-signer")]),
                };
                &keys.iter().flat_map(of_key).collect() | &(&run.codes | &self.refusals(run, at))
            }
            Asked::Submit { run, by } => {
                let run = &self.runs[*run];
                &self.refusals(run, at) | &self.stopped(&run.of["boundary"]["epoch"], by)
            }
            Asked::Draft { by, uses, grantee } => {
                let revoked = self.is_revoked("key", &key_digest(grantee));
                let codes = when([
                    (*uses > self.rules().uses, "policy-denied"),
                    (revoked, "revoked"),
                    (self.holder(grantee).is_none(), "unknown-signer"),
                ]);
                &self.stopped(&self.seal["epoch"], by) | &codes
            }
            Asked::Endorse(number, keys) => {
                let grant = &self.grants[*number];
                let out = excluded(&["robot", text(&grant.of["proposer"])]);
                let of_keys: Codes = keys
                    .iter()
                    .flat_map(|key| self.why_not(key, &out, &GROUPS, at))
                    .collect();
                let fallen = self.fallen(grant, at.max(unix(&grant.of["not_before"])));
                &(&of_keys | &fallen) | &when([(grant.leaf.is_some(), "wrong-state")])
            }
            Asked::Review(run, key, observed) => {
                let run = &self.runs[*run];
                let receipt = &run.receipt.as_ref().expect("a receipt").0;
                let out: Vec<_> = list(&receipt["decision"]["excluded"])
                    .iter()
                    .map(|name| text(name).to_owned())
                    .collect();
                &self.why_not(key, &out, &GROUPS, at)
                    | &when([(run.needs_no_review(observed), "wrong-state")])
            }
            Asked::Revoke {
                kind,
                digest,
                key,
                epoch,
            } => self.no_revocation(kind, digest, key, epoch),
            Asked::Seal => Codes::new(),
            Asked::Thaw => when([(!self.is_frozen(), "wrong-state")]),
        }
    }

    fn no_revocation(&self, kind: &str, digest: &str, key: &str, epoch: &str) -> Codes {
        let Some((role, name, entry)) = self.holder(key) else {
            return ["unknown-signer"].into();
        };
        let own = kind == "key" && digest == key_digest(key);
        let is_member = list(&entry["groups"])
            .iter()
            .any(|group| GROUPS.contains(&text(group)));
        let (known, may) = match kind {
            "grant" => (
                self.grants
                    .iter()
                    .any(|grant| grant.leaf.is_some() && sha256(&grant.payload) == digest),
                is_member || name == "robot",
            ),
            "key" => {
                let entries = TABLES
                    .into_iter()
                    .flat_map(|(_, table)| entries(&self.roster()[table]));
                (
                    entries
                        .flat_map(|one| list(&one["keys"]))
                        .any(|line| key_digest(&keyid_of(line)) == digest),
                    own,
                )
            }
            "token" => {
                let is = |token: &&String| sha256(token.as_bytes()) == digest;
                (
                    self.sealed_tokens.iter().any(|token| is(&token)),
                    name == "carol",
                )
            }
            _ => (
                digest == sha256(text(&self.seal["epoch"]).as_bytes()),
                role == "approver",
            ),
        };
        let first = !self.is_revoked(kind, digest);
        let revoked = first && !own && self.is_revoked("key", &key_digest(key));
        when([
            (*epoch != self.seal["epoch"] || revoked, "revoked"),
            (first && !known, "not-found"),
            (first && !may && role != "operator", "not-permitted-signer"),
        ])
    }

    /// Asserts that the state permits the next entry, and changes the state. `now` is the time of the boundary.
    pub(crate) fn entry(&mut self, envelope: &Value, now: i64) {
        let (statement, payload, place) = (statement_of(envelope), payload_of(envelope), self.size);
        let (of, subject) = (&statement["predicate"], &statement["subject"][0]);
        let (name, digest) = (text(&subject["name"]), text(&subject["digest"]["sha256"]));
        let keys: BTreeSet<String> = list(&envelope["signatures"])
            .iter()
            .map(|one| text(&one["keyid"]).to_owned())
            .collect();
        let signer = keys.first().unwrap().clone();
        let permit = |codes: Codes| {
            assert!(
                codes.is_empty(),
                "entry {place} in spite of {codes:?}: {statement:#}"
            )
        };
        match text(&statement["predicateType"]).trim_start_matches("https://countersign.dev/") {
            "seal/v1" => {
                let thaws = place > 0 && of["epoch"] != self.seal["epoch"];
                assert!(
                    !thaws || self.is_frozen(),
                    "entry {place}: a new epoch without a freeze"
                );
                self.sealed_tokens = self
                    .tokens
                    .iter()
                    .filter(|name| !self.has_ended(name))
                    .cloned()
                    .collect();
                self.seal = of.clone();
            }
            "revocation/v1" => {
                permit(self.no_revocation(name, digest, &signer, text(&of["boundary"]["epoch"])));
                assert!(
                    self.revoked.insert((name.to_owned(), digest.to_owned())),
                    "entry {place}: revoked again"
                );
            }
            "grant/v1" => {
                let number = self
                    .grants
                    .iter()
                    .position(|grant| grant.payload == payload)
                    .expect("a draft");
                (self.grants[number].leaf, self.grants[number].keys) = (Some(place), keys);
                permit(self.ended(number, now.max(unix(&of["not_before"]))));
            }
            "authorization/v1" => {
                let mut runs = self.runs.iter();
                assert!(
                    runs.any(|run| run.payload == payload && run.place.is_none()),
                    "entry {place}: an authorization of no waiting run"
                );
            }
            "consumption/v1" => self.consumption(of),
            "receipt/v1" => {
                let spent = (
                    of["consumption"]["index"].as_u64().unwrap(),
                    of["consumption"]["item"].as_u64().unwrap(),
                );
                let run = self
                    .runs
                    .iter_mut()
                    .find(|run| run.place == Some(spent))
                    .expect("a consumption");
                assert_eq!(
                    of["authorization"]["digest"],
                    format!("sha256:{}", sha256(&run.payload)),
                    "entry {place}: a receipt of another run"
                );
                run.unsettled = of["outcome"]["status"] == "unknown";
                let earlier = run.receipt.replace((of.clone(), sha256(&payload), place));
                assert!(earlier.is_none(), "entry {place}: a second receipt");
            }
            "review/v1" => {
                let is_of = |run: &Run| {
                    run.receipt
                        .as_ref()
                        .is_some_and(|receipt| receipt.1 == digest)
                };
                let number = self.runs.iter().position(is_of).expect("a receipt");
                let observed = of["observed"].clone();
                permit(self.may_refuse(
                    &Asked::Review(number, signer.clone(), observed.clone()),
                    self.last_at,
                ));
                let reviewer = self.holder(&signer).unwrap().1.to_owned();
                let is_revoked =
                    |key: &str| self.revoked.contains(&("key".to_owned(), key_digest(key)));
                self.runs[number].reviewed(reviewer, (observed, signer), is_revoked);
            }
            kind => assert_eq!(kind, "refusal/v1", "entry {place}"),
        }
        if let Some(at) = of.get("at") {
            assert!(
                unix(at) >= self.last_at,
                "entry {place} is dated before an earlier entry"
            );
            self.last_at = unix(at);
        }
        self.size += 1;
    }

    fn consumption(&mut self, of: &Value) {
        let (at, entry) = (unix(&of["at"]), self.size);
        for (item, spent) in (0..).zip(list(&of["spent"])) {
            let number = self
                .runs
                .iter()
                .position(|run| run.of["nonce"] == spent["nonce"])
                .expect("a known nonce");
            let (codes, rules) = (self.refusals(&self.runs[number], at), self.rules());
            let run = &mut self.runs[number];
            assert!(
                codes.is_empty(),
                "entry {entry} consumes in spite of {codes:?}: {:#}",
                run.of
            );
            (run.place, run.open, run.rules) = (Some((entry, item)), run.is_emergency(), rules);
            let mut said = (None, None);
            if let Some(grant) = run.grant.map(|grant| &mut self.grants[grant]) {
                grant.uses.push(at);
                said = (
                    Some(format!("sha256:{}", sha256(&grant.payload))),
                    Some(grant.uses.len() as u64),
                );
            }
            let logged = (
                spent["grant"].as_str().map(str::to_owned),
                spent["use"].as_u64(),
            );
            assert_eq!(
                logged, said,
                "entry {entry}, item {item}: the grant and the number of the use"
            );
        }
    }
}
