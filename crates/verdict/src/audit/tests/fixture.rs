//! Test fixture: a crossing in which a test can edit one document.
//!
//! After an edit, the fixture builds all later documents again and signs them with the correct keys. Only the check
//! that the edit concerns can then refuse the bundle. The keys are the test seeds of the golden documents.

use serde_json::{Value, json};

// The gate of the client uses this file too, so the names of the verifier come from the module above.
use super::{BundleReport, RosterTrust, VerifyOptions, verify};
use documents::{
    Envelope, EnvelopeSignature, Hash, PAYLOAD_TYPE, SecretKey, SshKey, TlogProof, hex, leaf_hash,
    node_hash, pae, sha256, sign_note, to_canonical,
};

/// Document that a test edits. The edit function receives the whole statement, and the fixture then computes the
/// subjects again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FixtureStage {
    Policy,
    Roster,
    Seal,
    Authorization,
    Consumption,
    Receipt,
    /// The receipt, edited after its subjects were computed.
    ReceiptSubjects,
    Bundle,
}

type Edit = Box<dyn Fn(&mut Value)>;

pub struct HistoryCase {
    edits: Vec<(FixtureStage, Edit)>,
}

const ALICE: u8 = 1;
const BOB: u8 = 2;
const BOUNDARY: u8 = 3;

macro_rules! golden {
    ($path:literal) => {
        serde_json::from_slice::<Value>(include_bytes!(concat!(
            "../../../../../tests/conformance/golden/valid/",
            $path
        )))
        .expect($path)
    };
}

impl HistoryCase {
    pub fn new() -> Self {
        Self { edits: Vec::new() }
    }

    pub fn edit(mut self, stage: FixtureStage, edit: impl Fn(&mut Value) + 'static) -> Self {
        self.edits.push((stage, Box::new(edit)));
        self
    }

    /// Verifies the bundle of the crossing. The pinned roster is the roster of the crossing.
    pub fn report(&self, options: VerifyOptions) -> BundleReport {
        let pinned = documents::RosterDigest::of(&self.roster());
        self.report_with(&RosterTrust::Digest(pinned), options)
    }

    pub fn report_with(&self, trust: &RosterTrust, options: VerifyOptions) -> BundleReport {
        verify(&self.bundle(), trust, options).expect("a trusted roster")
    }

    /// Returns the file of version 2 of the roster, with the signatures that version 1 requires.
    pub fn next_roster(&self, edit: impl Fn(&mut Value)) -> Vec<u8> {
        let first = self.roster();
        let mut next: Value = serde_json::from_slice(&first).expect("roster");
        next["predicate"]["version"] = json!(2);
        next["predicate"]["previous"] = json!(reference(&first));
        edit(&mut next);
        next["subject"][0]["digest"]["sha256"] =
            json!(hex(&sha256(&to_canonical(&next["predicate"]))));
        serde_json::to_vec(&envelope(&to_canonical(&next), &[ALICE, BOB])).expect("envelope")
    }

    fn apply(&self, stage: FixtureStage, value: &mut Value) {
        self.edits
            .iter()
            .filter(|(at, _)| *at == stage)
            .for_each(|(_, edit)| edit(value));
    }

    fn policy(&self) -> Value {
        let mut policy = golden!("bundle.json")["policy"].take();
        self.apply(FixtureStage::Policy, &mut policy);
        policy
    }

    fn roster(&self) -> Vec<u8> {
        let mut roster = golden!("payload/roster.json");
        roster["predicate"]["policy"] = json!(reference(&to_canonical(&self.policy())));
        self.apply(FixtureStage::Roster, &mut roster);
        roster["subject"][0]["digest"]["sha256"] =
            json!(hex(&sha256(&to_canonical(&roster["predicate"]))));
        to_canonical(&roster)
    }

    fn bundle(&self) -> Vec<u8> {
        let mut bundle = golden!("bundle.json");
        let policy = self.policy();
        let builtins = json!({"version": 1});
        let step = bundle["step"].clone();
        let roster = self.roster();

        let mut seal = golden!("payload/seal.json");
        let registry_leaf = json!({"ref": step["ref"], "digest": reference(&to_canonical(&step))});
        let registry_root = leaf_hash(&to_canonical(&registry_leaf));
        seal["predicate"]["registry_root"] = json!(format!("sha256:{}", hex(&registry_root)));
        seal["subject"][0]["digest"]["sha256"] = json!(hex(&registry_root));
        seal["predicate"]["policy"] = json!(reference(&to_canonical(&policy)));
        seal["predicate"]["builtins"] = json!(reference(&to_canonical(&builtins)));
        seal["predicate"]["roster"] = json!(reference(&roster));
        self.apply(FixtureStage::Seal, &mut seal);
        let seal = to_canonical(&seal);
        let id = reference(&seal);

        let mut authorization = golden!("payload/authorization.json");
        authorization["predicate"]["boundary"]["id"] = json!(id);
        self.apply(FixtureStage::Authorization, &mut authorization);
        let params = to_canonical(&authorization["predicate"]["params"]);
        authorization["subject"][1]["digest"]["sha256"] = json!(hex(&sha256(&params)));
        let authorization = to_canonical(&authorization);
        let approved = envelope(&authorization, &[BOB, ALICE]);
        let entry = json!({
            "digest": reference(&authorization),
            "index": 1,
            "leaf": format!("sha256:{}", hex(&leaf(&approved))),
        });

        let mut consumption = golden!("payload/consumption.json");
        consumption["predicate"]["seal"] = json!(id);
        consumption["predicate"]["spent"][0]["authorization"] = entry.clone();
        self.apply(FixtureStage::Consumption, &mut consumption);
        let named = consumption["predicate"]["spent"][0]["authorization"]["digest"]
            .as_str()
            .expect("digest")[7..]
            .to_owned();
        consumption["subject"][0]["digest"]["sha256"] = json!(named);
        let consumption = envelope(&to_canonical(&consumption), &[BOUNDARY]);
        let consumption_leaf = leaf(&consumption);

        let mut receipt = golden!("payload/receipt.json");
        let stated = &mut receipt["predicate"];
        stated["authorization"] = entry;
        stated["consumption"]["leaf"] = json!(format!("sha256:{}", hex(&consumption_leaf)));
        stated["decision"]["policy"] = json!(reference(&to_canonical(&policy)));
        stated["boundary"]["id"] = json!(id);
        stated["seal"] = json!(id);
        self.apply(FixtureStage::Receipt, &mut receipt);
        receipt["subject"][0]["digest"]["sha256"] = json!(hex(&sha256(&authorization)));
        self.apply(FixtureStage::ReceiptSubjects, &mut receipt);
        let receipt = envelope(&to_canonical(&receipt), &[BOUNDARY]);

        let seal = envelope(&seal, &[BOUNDARY]);
        let leaves = [
            leaf(&seal),
            leaf(&approved),
            consumption_leaf,
            leaf(&receipt),
        ];
        let [first, second] = [0, 2].map(|left: usize| node_hash(&leaves[left], &leaves[left + 1]));
        let root = node_hash(&first, &second);
        let origin = format!("prod-eu/{}", &id[7..23]);
        let checkpoint = checkpoint(&origin, &root);
        let proof = |index: u64, hashes: &[Hash]| {
            TlogProof {
                index,
                hashes: hashes.to_vec(),
                checkpoint: checkpoint.clone(),
            }
            .to_string()
        };
        bundle["proofs"] = json!({
            "seal": proof(0, &[leaves[1], second]),
            "authorization": proof(1, &[leaves[0], second]),
            "consumption": proof(2, &[leaves[3], first]),
            "receipt": proof(3, &[leaves[2], first]),
        });
        bundle["authorization"] = serde_json::to_value(&approved).expect("envelope");
        bundle["receipt"] = serde_json::to_value(&receipt).expect("envelope");
        bundle["consumption"] = serde_json::to_value(&consumption).expect("envelope");
        bundle["seal"] = serde_json::to_value(&seal).expect("envelope");
        bundle["step_proof"] = json!({"index": 0, "size": 1, "hashes": []});
        bundle["policy"] = policy;
        bundle["builtins"] = builtins;
        bundle["roster"] = json!([envelope(&roster, &[])]);
        self.apply(FixtureStage::Bundle, &mut bundle);
        to_canonical(&bundle)
    }
}

fn reference(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&sha256(bytes)))
}

fn envelope(payload: &[u8], seeds: &[u8]) -> Envelope {
    let message = pae(PAYLOAD_TYPE, payload);
    let mut signatures: Vec<_> = seeds
        .iter()
        .map(|seed| {
            let key = SecretKey::from_seed([*seed; 32]);
            let keyid = SshKey::from_public(key.public(), "").expect("key").keyid();
            EnvelopeSignature::new(keyid, &key.sign(&message))
        })
        .collect();
    signatures.sort();
    Envelope::new(payload, signatures)
}

fn leaf(envelope: &Envelope) -> Hash {
    leaf_hash(&to_canonical(
        &serde_json::to_value(envelope).expect("envelope"),
    ))
}

fn checkpoint(origin: &str, root: &Hash) -> String {
    let body = documents::Checkpoint {
        origin: origin.to_owned(),
        size: 4,
        root: *root,
    }
    .body();
    let key = SecretKey::from_seed([BOUNDARY; 32]);
    sign_note(&body, origin, &key.public(), |text| {
        Ok::<_, std::convert::Infallible>(key.sign(text))
    })
    .expect("note")
    .to_string()
}

/// Returns a crossing of another program version that found no permission in the script.
pub fn read_by_another_version() -> HistoryCase {
    HistoryCase::new()
        .edit(FixtureStage::Policy, |policy| {
            policy["default"]["run"] = json!({"allow": ["systemctl"]})
        })
        .edit(FixtureStage::Seal, |seal| {
            seal["predicate"]["engine"] = json!("countersign 0.0.9")
        })
}
