//! One version of a roster, and the check of its rules.
//!
//! The module `record::roster` defines the tables of a roster. This file parses the keys and checks the rules: names
//! are unique, groups exist, and no key occurs twice. `trust::chain` decides whether a version is trusted.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use documents::{
    BoundaryName, ForeignKey, GroupName, KeyId, MAX_SIGNATURES, Malformed, Name, PolicyDigest,
    PresenceRule, Proposer, Roster, RosterDigest, RosteredApprover, SshKey, SshKeyError, Statement,
    StatementKey, joined, unhex,
};
use reading::escape;

/// One version of a roster that satisfies all rules, with its payload.
#[derive(Debug, Clone)]
pub struct TrustedRoster {
    roster: Roster,
    payload: Arc<[u8]>,
    digest: RosterDigest,
    index: Arc<Index>,
}

#[derive(Debug, Clone, Default)]
struct Index {
    keys: HashMap<KeyId, (KeyHolder, SshKey)>,
    /// Keys of other types than Ed25519. Only the passkeys among these keys can sign, and never a roster, a grant or a
    /// review.
    foreign: Vec<(KeyHolder, ForeignKey)>,
    approvers: BTreeMap<Name, RosteredApprover>,
    boundaries: BTreeMap<BoundaryName, Vec<SshKey>>,
}

/// The role and the name of a key's holder.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyHolder {
    /// Approver of proposals.
    Approver(Name),
    /// A proposer with keys of its own.
    Proposer(Name),
    /// Operator, who may cancel runs and revoke tokens.
    Operator(Name),
    /// A boundary.
    Boundary(BoundaryName),
}

impl fmt::Display for KeyHolder {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Approver(name) => write!(f, "approver {name}"),
            Self::Proposer(name) => write!(f, "proposer {name}"),
            Self::Operator(name) => write!(f, "operator {name}"),
            Self::Boundary(name) => write!(f, "boundary {name}"),
        }
    }
}

impl TrustedRoster {
    /// Parses a payload and checks its rules. The caller must have a reason to trust the payload, for example a pinned
    /// digest or a chain of signatures.
    ///
    /// # Errors
    /// Returns an error if the payload is not a roster, or breaks rules. The error lists all broken rules.
    pub fn from_payload(payload: &[u8]) -> Result<Self, RosterError> {
        Self::payload_near(payload, None)
    }

    /// Does the same as [`Self::from_payload`], with `near` as in [`Self::near`].
    pub(super) fn payload_near(payload: &[u8], near: Option<&Self>) -> Result<Self, RosterError> {
        let statement =
            Statement::<Roster>::from_payload(payload).map_err(RosterError::Malformed)?;
        Self::from_statement(statement, payload, near)
    }

    /// Returns the version that these tables state, for example those of a draft.
    ///
    /// # Errors
    /// Returns an error if the statement is too large, or breaks rules. The error lists all broken rules.
    pub fn from_tables(tables: Roster) -> Result<Self, RosterError> {
        Self::near(tables, None)
    }

    /// Does the same as [`Self::from_tables`]. If the tables have the same people and keys as `near`, their rules are not
    /// checked again.
    pub(super) fn near(tables: Roster, near: Option<&Self>) -> Result<Self, RosterError> {
        let statement = tables.into_statement().map_err(RosterError::Malformed)?;
        let payload = statement.to_payload().map_err(RosterError::Malformed)?;
        Self::from_statement(statement, &payload, near)
    }

    fn from_statement(
        statement: Statement<Roster>,
        payload: &[u8],
        near: Option<&Self>,
    ) -> Result<Self, RosterError> {
        let roster = statement.predicate;
        let index = match near.filter(|near| has_same_people(&near.roster, &roster)) {
            Some(near) => near.index.clone(),
            None => Arc::new(check(&roster).map_err(RosterError::Faults)?),
        };
        Ok(Self {
            roster,
            payload: payload.into(),
            digest: RosterDigest::of(payload),
            index,
        })
    }

    /// Returns true if the other version was made from this one and has the same people and keys.
    pub(super) fn has_people_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.index, &other.index)
    }

    /// Returns the tables.
    pub fn tables(&self) -> &Roster {
        &self.roster
    }

    /// Returns the payload. The SHA-256 digest of the payload is the roster's digest.
    pub fn payload(&self) -> &Arc<[u8]> {
        &self.payload
    }

    /// Returns the SHA-256 digest of the payload.
    pub fn digest(&self) -> RosterDigest {
        self.digest
    }

    /// Returns the version, counted from 1.
    pub fn version(&self) -> u64 {
        self.roster.version
    }

    /// Returns the digest of the policy that belongs to this version.
    pub fn policy(&self) -> PolicyDigest {
        self.roster.policy
    }

    /// Returns true if the next version needs at least one signature. Otherwise every verifier reports *unguarded*.
    pub fn is_guarded(&self) -> bool {
        self.roster.threshold > 0
    }

    /// Returns the key with this id, and the holder of the key.
    pub fn signer(&self, keyid: &KeyId) -> Option<(&KeyHolder, &SshKey)> {
        self.index
            .keys
            .get(keyid)
            .map(|(holder, key)| (holder, key))
    }

    /// Returns the key with this id, for any role of its holder.
    pub fn key(&self, keyid: &KeyId) -> Option<&SshKey> {
        self.signer(keyid).map(|(_, key)| key)
    }

    /// Returns the approver who holds the key with this id, and the key.
    pub fn approver_of(&self, keyid: &KeyId) -> Option<(&RosteredApprover, &SshKey)> {
        match self.signer(keyid)? {
            (KeyHolder::Approver(name), key) => self.approver(name).map(|approver| (approver, key)),
            _ => None,
        }
    }

    /// Does the same as [`Self::signer`], and also finds a passkey. Only the documents that section 5 of
    /// `docs/formats.md` lists may have a signature of a passkey, and policy decides whether this signature counts.
    pub fn statement_signer(&self, keyid: &KeyId) -> Option<(&KeyHolder, StatementKey<'_>)> {
        if let Some((holder, key)) = self.signer(keyid) {
            return Some((holder, key.into()));
        }
        let (holder, key) = self
            .index
            .foreign
            .iter()
            .find(|(_, key)| key.keyid() == *keyid)?;
        Some((holder, StatementKey::Passkey(key.passkey()?)))
    }

    /// Does the same as [`Self::approver_of`], and also finds a passkey.
    pub fn statement_approver(
        &self,
        keyid: &KeyId,
    ) -> Option<(&RosteredApprover, StatementKey<'_>)> {
        match self.statement_signer(keyid)? {
            (KeyHolder::Approver(name), key) => self.approver(name).map(|approver| (approver, key)),
            _ => None,
        }
    }

    /// Returns the approvers, in the order of their names.
    pub fn approvers(&self) -> impl Iterator<Item = &RosteredApprover> {
        self.index.approvers.values()
    }

    /// Returns the approver with this name.
    pub fn approver(&self, name: &Name) -> Option<&RosteredApprover> {
        self.index.approvers.get(name)
    }

    /// Returns the proposer with this name, including the owners.
    pub fn proposer(&self, name: &Name) -> Option<&Proposer> {
        self.roster.proposers.get(name)
    }

    /// Returns the keys with which this boundary may sign documents, or none if the roster does not name the boundary.
    pub fn boundary_keys(&self, name: &BoundaryName) -> &[SshKey] {
        self.index.boundaries.get(name).map_or(&[], Vec::as_slice)
    }

    /// Ids of a boundary's keys in ascending order.
    pub fn boundary_keyids(&self, name: &BoundaryName) -> Vec<KeyId> {
        let mut keyids: Vec<_> = self.boundary_keys(name).iter().map(SshKey::keyid).collect();
        keyids.sort();
        keyids
    }

    /// Returns the key of this boundary with this id.
    pub fn boundary_key(&self, name: &BoundaryName, keyid: &KeyId) -> Option<&SshKey> {
        self.boundary_keys(name)
            .iter()
            .find(|key| key.keyid() == *keyid)
    }

    /// Returns true if the roster has this group.
    pub fn has_group(&self, group: &GroupName) -> bool {
        self.roster.groups.contains_key(group)
    }

    /// Returns the presence rule of this group, which states which signatures count for the group.
    pub fn presence_rule(&self, group: &GroupName) -> Option<PresenceRule> {
        self.roster.groups.get(group)?.presence
    }

    /// Returns the keys of other types than Ed25519, with their holders. Such a key never signs a roster.
    pub fn foreign_keys(&self) -> &[(KeyHolder, ForeignKey)] {
        &self.index.foreign
    }

    /// Returns true if this approver has a key that can sign a roster.
    pub fn can_sign(&self, approver: &RosteredApprover) -> bool {
        has_signing_key(&approver.keys)
    }

    /// Checks whether a new token may have this name. The names of people and tokens must all be different.
    ///
    /// # Errors
    /// Returns an error with the table that already has the name.
    pub fn check_token_name(&self, name: &Name) -> Result<FreeName, NameTaken> {
        let tables = [
            (self.roster.approvers.contains_key(name), "approver"),
            (self.roster.proposers.contains_key(name), "proposer"),
            (self.roster.operators.contains_key(name), "operator"),
        ];
        match tables.iter().find(|(taken, _)| *taken) {
            Some((_, by)) => Err(NameTaken {
                name: name.clone(),
                by,
            }),
            None => Ok(FreeName(())),
        }
    }

    /// Returns a person whose name a new name looks like: the names differ only by `1`, `l` and `i`, by `0` and `o`, or
    /// by `.`, `_`, `-` and `@` at the end.
    pub fn looks_like(&self, name: &Name) -> Option<&Name> {
        let people = self.roster.approvers.keys();
        let mut all = people
            .chain(self.roster.proposers.keys())
            .chain(self.roster.operators.keys());
        all.find(|known| shape(known) == shape(name))
    }

    /// Returns the approvers in the format of OpenSSH's `allowed_signers` file (ssh-keygen(1)), one key in each line,
    /// for `ssh-keygen -Y verify`: `alice namespaces="countersign",valid-before="20270101000000Z" ssh-ed25519 AAAA…
    /// alice`. The passkeys are among the keys: `ssh-keygen` verifies their signatures too.
    pub fn allowed_signers(&self) -> String {
        use std::fmt::Write as _;
        let stamp = |time: &documents::Timestamp| {
            time.to_string()
                .chars()
                .filter(|c| !"-:T".contains(*c))
                .collect::<String>()
        };
        let is_passkey =
            |line: &str| ForeignKey::parse(line).is_ok_and(|key| key.passkey().is_some());
        let mut text = String::new();
        for approver in self.approvers() {
            for key in approver
                .keys
                .iter()
                .filter(|line| SshKey::parse(line).is_ok() || is_passkey(line))
            {
                let mut options = String::from("namespaces=\"countersign\"");
                if let Some(after) = &approver.valid_after {
                    let _ = write!(options, ",valid-after=\"{}\"", stamp(after));
                }
                if let Some(before) = &approver.valid_before {
                    let _ = write!(options, ",valid-before=\"{}\"", stamp(before));
                }
                let _ = writeln!(text, "{} {options} {key}", approver.name);
            }
        }
        text
    }

    /// Returns all keys of the roster. A key that a version removed must not be in a later version.
    pub(super) fn keys(&self) -> impl Iterator<Item = HeldKey<'_>> {
        let known = self.index.keys.values().map(|(holder, key)| HeldKey {
            material: *key.material(),
            keyid: key.keyid(),
            holder,
            foreign: None,
        });
        let foreign = self.index.foreign.iter().map(|(holder, key)| HeldKey {
            material: key.material(),
            keyid: key.keyid(),
            holder,
            foreign: Some(key),
        });
        known.chain(foreign)
    }
}

/// A key of a roster.
pub(super) struct HeldKey<'a> {
    /// The 32 bytes that represent the key in comparisons.
    pub material: [u8; 32],
    pub keyid: KeyId,
    pub holder: &'a KeyHolder,
    /// The key, if its type is not Ed25519.
    pub foreign: Option<&'a ForeignKey>,
}

/// Proof that the roster does not use a name.
pub struct FreeName(());

/// Error for a name that the roster already uses.
#[derive(Debug, thiserror::Error)]
#[error("{by} {name} is in the roster; choose another name for the token")]
pub struct NameTaken {
    /// The name.
    pub name: Name,
    /// The table that contains the name.
    pub by: &'static str,
}

/// Reason why a document is not a valid roster.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum RosterError {
    /// The document is not a roster statement.
    #[error(transparent)]
    Malformed(Malformed),
    /// The roster breaks rules.
    #[error("{}", joined(.0, "; "))]
    Faults(Vec<Malformed>),
}

/// Returns true if two rosters have the same tables that [`check`] reads.
fn has_same_people(one: &Roster, other: &Roster) -> bool {
    let Roster {
        name: _,
        version: _,
        previous: _,
        policy: _,
        threshold,
        approvers,
        groups,
        proposers,
        operators,
        boundaries,
        witnesses,
    } = one;
    *threshold == other.threshold
        && *approvers == other.approvers
        && *groups == other.groups
        && *proposers == other.proposers
        && *operators == other.operators
        && *boundaries == other.boundaries
        && *witnesses == other.witnesses
}

fn check(roster: &Roster) -> Result<Index, Vec<Malformed>> {
    let mut reader = Reader::default();
    for (name, approver) in &roster.approvers {
        let at = format!("/approvers/{name}");
        reader.person(&at, name, &approver.keys, KeyHolder::Approver);
        let mut own = BTreeSet::new();
        for (place, group) in approver.groups.iter().enumerate() {
            if !roster.groups.contains_key(group) {
                reader.fault(
                    format!("{at}/groups/{place}"),
                    format!("there is no group {group}; add \"{group}\": {{}} to `groups`"),
                );
            }
            if !own.insert(group) {
                reader.fault(
                    format!("{at}/groups/{place}"),
                    format!("group {group} is listed twice; list each group once"),
                );
            }
        }
        if let (Some(after), Some(before)) = (approver.valid_after, approver.valid_before)
            && after >= before
        {
            reader.fault(
                format!("{at}/valid_before"),
                "valid_before is not after valid_after, so the approver would never count; correct one of the two times",
            );
        }
        let rostered = RosteredApprover {
            name: name.clone(),
            entry: approver.clone(),
        };
        reader.index.approvers.insert(name.clone(), rostered);
    }
    for (name, proposer) in &roster.proposers {
        let at = format!("/proposers/{name}");
        reader.person(&at, name, &proposer.keys, KeyHolder::Proposer);
    }
    for (name, operator) in &roster.operators {
        let at = format!("/operators/{name}");
        reader.person(&at, name, &operator.keys, KeyHolder::Operator);
    }
    for (name, boundary) in &roster.boundaries {
        let at = format!("/boundaries/{}", escape(name.as_str()));
        let holder = KeyHolder::Boundary(name.clone());
        let keys = reader.keys(&at, &boundary.keys, &holder);
        reader.index.boundaries.insert(name.clone(), keys);
    }
    for (name, witness) in &roster.witnesses {
        let at = format!("/witnesses/{}", escape(name));
        if !is_vkey_of(&witness.vkey, name) {
            reader.fault(
                format!("{at}/vkey"),
                format!("expected the verifier key of {name:?} in the form <name>+<8 hex digits>+<base64>"),
            );
        }
        if !(witness.url.starts_with("https://") || witness.url.starts_with("http://")) {
            reader.fault(format!("{at}/url"), "expected an http or https address");
        }
    }
    let people = roster.approvers.values();
    let signers = people.filter(|one| has_signing_key(&one.keys)).count() as u64;
    let too_high = if roster.threshold > signers {
        Some(format!(
            "the next version would need {} approvers, but only {signers} have keys that can sign",
            roster.threshold
        ))
    } else if roster.threshold > MAX_SIGNATURES as u64 {
        Some(format!(
            "an envelope has at most {MAX_SIGNATURES} signatures, so no version could follow"
        ))
    } else {
        None
    };
    if let Some(why) = too_high {
        reader.fault("/threshold", format!("{why}: lower the threshold"));
    }
    if reader.faults.is_empty() {
        Ok(reader.index)
    } else {
        Err(reader.faults)
    }
}

/// Returns true if one of these keys can sign a roster.
fn has_signing_key(keys: &[String]) -> bool {
    keys.iter().any(|line| SshKey::parse(line).is_ok())
}

/// Checks the form of a verifier key for notes (C2SP signed-note). The algorithm is not checked, because witnesses may
/// use other algorithms than boundaries.
fn is_vkey_of(vkey: &str, name: &str) -> bool {
    let mut parts = vkey.splitn(3, '+');
    let plain = |c: char| !c.is_whitespace() && !c.is_control();
    !name.is_empty()
        && name.chars().all(plain)
        && parts.next() == Some(name)
        && parts
            .next()
            .is_some_and(|id| unhex(id, &mut [0; 4]).is_some())
        && parts
            .next()
            .is_some_and(|key| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() > 1))
}

#[derive(Default)]
struct Reader {
    index: Index,
    names: BTreeSet<Name>,
    material: HashMap<[u8; 32], KeyHolder>,
    faults: Vec<Malformed>,
}

impl Reader {
    fn fault(&mut self, pointer: impl Into<String>, message: impl fmt::Display) {
        self.faults.push(Malformed::at(pointer, message));
    }

    fn person(&mut self, at: &str, name: &Name, keys: &[String], holder: fn(Name) -> KeyHolder) {
        if !self.names.insert(name.clone()) {
            self.fault(
                at.to_owned(),
                format!("the name {name} is used twice; names of people must be unique"),
            );
        }
        self.keys(at, keys, &holder(name.clone()));
    }

    fn keys(&mut self, entry: &str, lines: &[String], holder: &KeyHolder) -> Vec<SshKey> {
        let mut keys = Vec::with_capacity(lines.len());
        for (at, line) in lines.iter().enumerate() {
            let pointer = format!("{entry}/keys/{at}");
            match SshKey::parse(line) {
                Ok(key) if self.is_new(&pointer, *key.material(), holder) => {
                    self.index
                        .keys
                        .insert(key.keyid(), (holder.clone(), key.clone()));
                    keys.push(key);
                }
                Ok(_) => {}
                Err(SshKeyError::OtherType(_)) => match ForeignKey::parse(line) {
                    Ok(key) if self.is_new(&pointer, key.material(), holder) => {
                        self.index.foreign.push((holder.clone(), key));
                    }
                    Ok(_) => {}
                    Err(error) => self.fault(pointer, error),
                },
                Err(error) => self.fault(pointer, error),
            }
        }
        keys
    }

    /// Returns true if no entry of the roster has this key yet. The 32 bytes are compared, because a plain key and a
    /// security key with the same bytes would have the same secret.
    fn is_new(&mut self, pointer: &str, material: [u8; 32], holder: &KeyHolder) -> bool {
        let before = self.material.insert(material, holder.clone());
        if let Some(before) = &before {
            let message = format!(
                "this key (plain or of a security key) already belongs to {before}; list each key once"
            );
            self.fault(pointer, message);
        }
        before.is_none()
    }
}

/// Returns a text that is equal for two names that look alike.
fn shape(name: &Name) -> String {
    let plain = name.as_str().trim_end_matches(['.', '_', '-', '@']);
    plain
        .replace(['1', 'i'], "l")
        .replace('0', "o")
        .replace("rn", "m")
        .replace("vv", "w")
}

#[cfg(test)]
mod tests {
    use super::*;
    use documents::Approver;

    fn golden() -> Roster {
        let payload =
            include_bytes!("../../../../tests/conformance/golden/valid/payload/roster.json");
        TrustedRoster::from_payload(payload)
            .expect("golden")
            .tables()
            .clone()
    }

    fn read(edit: impl Fn(&mut Roster)) -> Result<TrustedRoster, RosterError> {
        let mut tables = golden();
        edit(&mut tables);
        let payload = tables
            .into_statement()
            .and_then(|statement| statement.to_payload())
            .expect("payload");
        TrustedRoster::from_payload(&payload)
    }

    fn faults(edit: impl Fn(&mut Roster)) -> Vec<String> {
        match read(edit) {
            Err(RosterError::Faults(faults)) => {
                faults.into_iter().map(|fault| fault.pointer).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    fn approver<'a>(tables: &'a mut Roster, name: &str) -> &'a mut Approver {
        let name = name.parse().expect("name");
        tables.approvers.get_mut(&name).expect("an approver")
    }

    const ALICE: &str = "SHA256:fe85JkIjo8VPe+XqXJGH5Mau1EMFdK1OdKvJUFicyA8";
    const BOUNDARY: &str = "SHA256:zbv/nU7iZdO0fB0DalMI70dP6/yFD8sctXvvW4+OokY";

    #[test]
    fn the_golden_roster_has_its_known_people_and_roles() {
        let roster = read(|_| {}).expect("golden");
        assert_eq!(
            roster.digest().to_string(),
            "sha256:5f3ee154ebe1e83da8bafb4990c708f1f01b3eec6827c2d1c7403a2dee158a80"
        );
        let (holder, _) = roster
            .signer(&ALICE.parse().expect("key id"))
            .expect("alice");
        assert_eq!(holder, &KeyHolder::Approver("alice".parse().expect("name")));
        let (name, other) = (
            "prod-eu".parse().expect("name"),
            "prod-us".parse().expect("name"),
        );
        let boundary = BOUNDARY.parse().expect("key id");
        assert!(roster.boundary_key(&name, &boundary).is_some());
        assert!(
            roster.boundary_key(&other, &boundary).is_none(),
            "another boundary's key is nobody's"
        );
        assert!(roster.approver_of(&boundary).is_none());
        assert!(
            roster.is_guarded()
                && !read(|tables| tables.threshold = 0)
                    .expect("allowed")
                    .is_guarded()
        );
        let allowed = include_str!("../../../../tests/conformance/golden/valid/keys/alice.pub");
        assert!(roster.allowed_signers().starts_with(&format!(
            "alice namespaces=\"countersign\" {}",
            allowed.trim_end()
        )));
    }

    #[test]
    fn the_name_of_a_token_is_unique() {
        let roster = read(|_| {}).expect("golden");
        for taken in ["alice", "oscar"] {
            assert!(
                roster
                    .check_token_name(&taken.parse().expect("name"))
                    .is_err(),
                "{taken}"
            );
            assert!(
                roster.looks_like(&taken.parse().expect("name")).is_some(),
                "{taken}"
            );
        }
        assert!(
            roster
                .check_token_name(&"ci-agent".parse().expect("name"))
                .is_ok()
        );
        for alike in [
            "a1ice", "al1ce", "alice.", "alice_-", "0scar", "osca.r-", "oscar@",
        ] {
            let is_alike = alike != "osca.r-";
            assert_eq!(
                roster.looks_like(&alike.parse().expect("name")).is_some(),
                is_alike,
                "{alike}"
            );
        }
        assert_eq!(roster.looks_like(&"ci-agent".parse().expect("name")), None);
    }

    const P256: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU= eve";

    #[test]
    fn a_key_of_an_unverified_type_is_stored_and_never_counts() {
        let roster =
            read(|tables| approver(tables, "alice").keys.push(P256.to_owned())).expect("a roster");
        let [(holder, key)] = roster.foreign_keys() else {
            panic!("{:?}", roster.foreign_keys())
        };
        assert_eq!(
            (holder.to_string().as_str(), key.kind()),
            ("approver alice", "ecdsa-sha2-nistp256")
        );
        assert!(
            roster.signer(&key.keyid()).is_none(),
            "nobody can have signed with it"
        );
        assert!(
            !roster.allowed_signers().contains("ecdsa"),
            "ssh-keygen would verify what counts for nobody here"
        );
        assert!(
            roster.can_sign(
                roster
                    .approver(&"alice".parse().expect("name"))
                    .expect("alice")
            )
        );
        let alone = |tables: &mut Roster| {
            tables.approvers.pop_last();
            approver(tables, "bob").keys = vec![P256.to_owned()];
        };
        assert_eq!(
            faults(alone),
            ["/threshold"],
            "a person with only such a key signs nothing"
        );
        let one = read(|tables| {
            alone(tables);
            tables.threshold = 1;
        });
        let one = one.expect("a roster");
        assert!(!one.can_sign(one.approver(&"bob".parse().expect("name")).expect("bob")));
    }

    #[test]
    fn all_errors_of_a_roster_are_reported_together() {
        let many = faults(|tables| {
            tables.threshold = 4;
            approver(tables, "alice").valid_after = "2026-01-01T00:00:00Z".parse().ok();
            approver(tables, "alice").valid_before = "2026-01-01T00:00:00Z".parse().ok();
            approver(tables, "bob").keys = vec!["ssh-rsa AAAA".into(), String::new()];
        });
        assert_eq!(
            many,
            [
                "/approvers/alice/valid_before",
                "/approvers/bob/keys/0",
                "/approvers/bob/keys/1",
                "/threshold"
            ]
        );
    }
}
