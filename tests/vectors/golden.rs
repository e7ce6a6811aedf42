//! Checks a directory of golden documents: our code reproduces every file, and refuses the invalid bundles.

use std::path::{Path, PathBuf};

use documents::{
    Authorization, Base64, Checkpoint, Consumption, Denial, Envelope, EnvelopeSignature, Hash,
    Note, PAYLOAD_TYPE, Predicate, Receipt, RefusalStatement, Roster, Seal, SecretKey, Signed,
    SshKey, Statement, TlogProof, hex, merkle, origin, pae, parse_canonical, parses_alike,
    push_entry, sha256, split_entries, sshsig, to_canonical, verify_note, vkey,
};
use serde_json::Value;
use verdict::{CheckFinding, RosterTrust, TrustedRoster, VerifyOptions, verify};

use super::{Outcome, same};
use crate::golden::{own_vectors, reference};

type Checked = Result<(), String>;

/// Checks every file of a golden directory.
pub fn check(dir: &Path) -> Vec<Outcome> {
    let golden = Golden {
        dir: dir.to_owned(),
    };
    let mut done = vec![
        ("facts".to_owned(), golden.facts()),
        ("keys".to_owned(), golden.keys()),
        ("sshsig".to_owned(), golden.sshsig()),
        ("log".to_owned(), golden.log()),
        ("proofs".to_owned(), golden.proofs()),
        ("blobs".to_owned(), golden.blobs()),
        (
            "the log is the envelopes".to_owned(),
            golden.log_holds_the_envelopes(),
        ),
        ("allowed signers".to_owned(), golden.allowed_signers()),
    ];
    let documents: [(&str, Checked); 7] = [
        (
            "authorization",
            golden.document::<Authorization>(&["bob", "alice"]),
        ),
        ("consumption", golden.document::<Consumption>(&["boundary"])),
        ("denial", golden.document::<Denial>(&["alice"])),
        ("receipt", golden.document::<Receipt>(&["boundary"])),
        (
            "refusal",
            golden.document::<RefusalStatement>(&["boundary"]),
        ),
        ("roster", golden.document::<Roster>(&[])),
        ("seal", golden.document::<Seal>(&["boundary"])),
    ];
    done.extend(
        documents
            .into_iter()
            .map(|(kind, result)| (format!("document {kind}"), result)),
    );
    for (bundle, roster) in [
        ("valid/bundle.json", "valid/roster.json"),
        ("valid/bundle-sshsig.json", "valid/roster.json"),
        ("valid/bundle-sk.json", "valid/roster-sk.json"),
        (
            "valid/bundle-sk-verified.json",
            "valid/roster-sk-verified.json",
        ),
        (
            "valid/bundle-foreign-keys.json",
            "valid/roster-foreign-keys.json",
        ),
        ("valid/bundle-roster-2.json", "valid/roster.json"),
        ("valid/bundle-session.json", "valid/roster.json"),
        ("valid/bundle-artifacts.json", "valid/roster.json"),
        ("valid/bundle-files.json", "valid/roster.json"),
        ("valid/bundle-outputs.json", "valid/roster.json"),
        ("valid/bundle-plan.json", "valid/roster.json"),
        ("valid/bundle-programs.json", "valid/roster-programs.json"),
        (
            "valid/bundle-token-grant.json",
            "valid/roster-token-grant.json",
        ),
        (
            "valid/bundle-token-grant-job.json",
            "valid/roster-token-grant.json",
        ),
    ] {
        // Golden documents of other directories can be older than these parts.
        let newer = [
            "programs",
            "session",
            "artifacts",
            "files",
            "outputs",
            "plan",
            "token-grant",
            "token-grant-job",
        ];
        let is_newer = newer
            .iter()
            .any(|name| bundle == format!("valid/bundle-{name}.json"));
        if !is_newer || dir == own_vectors().join("golden") || golden.read(bundle).is_ok() {
            done.push((bundle.to_owned(), golden.established(bundle, roster)));
        }
    }
    match golden.json("refused/index.json") {
        Ok(index) => {
            for entry in index.as_array().map_or(&[][..], Vec::as_slice) {
                let name = entry["file"]
                    .as_str()
                    .unwrap_or("without a name")
                    .to_owned();
                done.push((name, golden.refused(entry)));
            }
        }
        Err(error) => done.push(("refused/index.json".to_owned(), Err(error))),
    }
    done
}

/// Checks the bundles of `bundles.json`, which are patches of the golden bundle.
pub fn bundles(file: &Value) -> Vec<Outcome> {
    let base = crate::golden::value("bundle.json");
    super::each(file, |vector| {
        let verdict =
            crate::second::ours(&crate::second::case_of(&base, vector)).ok_or("no trust")?;
        crate::second::judge(vector, &verdict)
    })
}

struct Golden {
    dir: PathBuf,
}

impl Golden {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(self.dir.join(path)).map_err(|error| format!("{path}: {error}"))
    }

    fn text(&self, path: &str) -> Result<String, String> {
        String::from_utf8(self.read(path)?).map_err(|error| format!("{path}: {error}"))
    }

    fn json(&self, path: &str) -> Result<Value, String> {
        serde_json::from_slice(&self.read(path)?).map_err(|error| format!("{path}: {error}"))
    }

    fn fact(&self, pointer: &str) -> Result<String, String> {
        let facts = self.json("valid/facts.json")?;
        let fact = facts.pointer(pointer).and_then(Value::as_str);
        fact.map(str::to_owned)
            .ok_or_else(|| format!("no fact {pointer}"))
    }

    fn key(&self, name: &str) -> Result<SshKey, String> {
        let line = self.text(&format!("valid/keys/{name}.pub"))?;
        SshKey::parse(line.trim_end()).map_err(|error| error.to_string())
    }

    fn secret(&self, name: &str) -> Result<SecretKey, String> {
        SecretKey::from_pkcs8_pem(&self.text(&format!("valid/keys/{name}.TEST-ONLY.pem"))?)
            .map_err(|error| error.to_string())
    }

    /// Checks the payload, message, signatures and envelope of one kind: parses and reproduces each of them.
    fn document<P: Predicate>(&self, signers: &[&str]) -> Checked {
        let kind = P::KIND;
        let payload = self.read(&format!("valid/payload/{kind}.json"))?;
        let statement =
            Statement::<P>::from_payload(&payload).map_err(|error| error.to_string())?;
        same(
            "payload written again",
            statement.to_payload().map_err(|error| error.to_string())?,
            payload.clone(),
        )?;
        let message = pae(PAYLOAD_TYPE, &payload);
        same(
            "message",
            &message,
            &self.read(&format!("valid/pae/{kind}.bin"))?,
        )?;
        let mut made = Vec::new();
        for (at, signer) in signers.iter().enumerate() {
            let raw = self.secret(signer)?.sign(&message);
            same(
                "signature",
                raw.to_vec(),
                self.read(&format!("valid/sig/{kind}-{at}.bin"))?,
            )?;
            made.push(EnvelopeSignature::new(self.key(signer)?.keyid(), &raw));
        }
        let read: Envelope =
            serde_json::from_value(self.json(&format!("valid/envelope/{kind}.json"))?)
                .map_err(|error| error.to_string())?;
        same(
            "envelope made by us",
            Envelope::new(&payload, made),
            read.clone(),
        )?;
        same(
            "envelope written by us",
            crate::golden::leaf_data(&read),
            self.read(&format!("valid/envelope/{kind}.json"))?,
        )?;
        let keys = signers
            .iter()
            .map(|name| self.key(name))
            .collect::<Result<Vec<_>, _>>()?;
        let signed =
            Signed::<P>::from_envelope(&read, Base64::Strict).map_err(|error| error.to_string())?;
        let verified = signed
            .verify(|keyid| keys.iter().find(|key| key.keyid() == *keyid))
            .map_err(|error| error.to_string())?;
        same("embedded", verified.envelope(|_| true), read)
    }

    fn facts(&self) -> Checked {
        let payload = |kind: &str| self.read(&format!("valid/payload/{kind}.json"));
        same(
            "authorization",
            reference(&payload("authorization")?),
            self.fact("/authorization")?,
        )?;
        same(
            "roster",
            reference(&payload("roster")?),
            self.fact("/roster")?,
        )?;
        same(
            "boundary id",
            reference(&payload("seal")?),
            self.fact("/boundary_id")?,
        )?;
        let authorization = Statement::<Authorization>::from_payload(&payload("authorization")?)
            .map_err(|error| error.to_string())?
            .predicate;
        let params = authorization
            .params_digest()
            .map_err(|error| error.to_string())?;
        same("params", params.to_string(), self.fact("/params")?)?;
        let bundle = self.json("valid/bundle.json")?;
        same(
            "step",
            reference(&to_canonical(&bundle["step"])),
            self.fact("/step")?,
        )?;
        let seal = Statement::<Seal>::from_payload(&payload("seal")?)
            .map_err(|error| error.to_string())?
            .predicate;
        same(
            "registry root of the seal",
            seal.registry_root.to_string(),
            self.fact("/registry_root")?,
        )?;
        // The registry is a blob of the log. Its leaves give the registry root.
        let manifest = self.read(&format!("valid/log/blob/sha256/{}", seal.registry.hex()))?;
        let leaves = parse_canonical(&manifest, 1 << 20).map_err(|error| error.to_string())?;
        let leaves: Vec<Hash> = leaves
            .as_array()
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .map(|leaf| merkle::leaf_hash(&to_canonical(leaf)))
            .collect();
        same(
            "registry root",
            format!("sha256:{}", hex(&merkle::root(&leaves))),
            self.fact("/registry_root")?,
        )?;
        let place = bundle["step_proof"]["index"].as_u64().ok_or("no index")?;
        let ours: Vec<String> = crate::golden::path(&leaves, place)
            .iter()
            .map(|hash| hex(hash))
            .collect();
        same(
            "step proof",
            serde_json::json!(ours),
            bundle["step_proof"]["hashes"].clone(),
        )?;
        let id = reference(&payload("seal")?).parse().map_err(|_| "an id")?;
        let named = origin(&seal.boundary.name, &id);
        same("origin", &named, &self.fact("/origin")?)?;
        same(
            "vkey",
            vkey(&named, self.key("boundary")?.public()),
            self.fact("/vkey")?,
        )
    }

    fn keys(&self) -> Checked {
        let facts = self.json("valid/facts.json")?;
        for (name, keyid) in facts["keyids"].as_object().ok_or("no keyids")? {
            let (key, secret) = (self.key(name)?, self.secret(name)?);
            same(name, Some(key.keyid().as_str()), keyid.as_str())?;
            same("public half", &secret.public(), key.public())?;
            let pem = self.text(&format!("valid/keys/{name}.TEST-ONLY.pem"))?;
            same("PKCS#8", secret.to_pkcs8_v1_pem().as_str(), &*pem)?;
        }
        Ok(())
    }

    fn sshsig(&self) -> Checked {
        let file = self.text("valid/sshsig/authorization.bob.sig")?;
        let blob = sshsig::dearmour(&file).map_err(|error| error.to_string())?;
        same("armour", sshsig::armour(&blob), file)?;
        let message = self.read("valid/pae/authorization.bin")?;
        sshsig::verify(&self.key("bob")?, &message, &blob)
            .map(|_| ())
            .map_err(|error| error.to_string())?;
        match sshsig::verify(&self.key("alice")?, &message, &blob) {
            Err(sshsig::SignatureError::OtherKey) => Ok(()),
            other => Err(format!("under alice's key: {other:?}")),
        }
    }

    fn log(&self) -> Checked {
        let hashes = self.read("valid/log/tile/0/000.p/6")?;
        let entries = self.read("valid/log/tile/entries/000.p/6")?;
        let entries = split_entries(&entries).ok_or("the entry tile can't be split")?;
        let leaves: Vec<Hash> = entries
            .iter()
            .map(|entry| merkle::leaf_hash(entry))
            .collect();
        same("hash tile", leaves.concat(), hashes)?;
        let mut tile = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            let stated = self.fact(&format!("/leaf_hashes/{at}"))?;
            same("leaf hash", format!("sha256:{}", hex(&leaves[at])), stated)?;
            push_entry(&mut tile, entry).map_err(|error| error.to_string())?;
        }
        same(
            "entry tile",
            tile,
            self.read("valid/log/tile/entries/000.p/6")?,
        )?;
        let root = merkle::root(&leaves);
        same(
            "root",
            format!("sha256:{}", hex(&root)),
            self.fact("/root")?,
        )?;
        let file = self.text("valid/log/checkpoint")?;
        let note = Note::parse(&file).map_err(|error| error.to_string())?;
        same("note written again", note.to_string(), file.clone())?;
        let named = self.fact("/origin")?;
        let signed = verify_note(&note, &named, self.key("boundary")?.public())
            .map_err(|error| error.to_string())?;
        let checkpoint = Checkpoint::parse(signed.as_str()).map_err(|error| error.to_string())?;
        let expected = Checkpoint {
            origin: named.clone(),
            size: entries.len() as u64,
            root,
        };
        same("checkpoint", checkpoint, expected)?;
        same(
            "checkpoint signed by us",
            crate::golden::checkpoint(&named, entries.len() as u64, root),
            file,
        )
    }

    fn proofs(&self) -> Checked {
        let tile = self.read("valid/log/tile/0/000.p/6")?;
        let leaves: Vec<Hash> = tile
            .chunks_exact(32)
            .map(|hash| hash.try_into().expect("32 bytes"))
            .collect();
        let bundle = self.json("valid/bundle.json")?;
        for (name, index) in [
            ("seal", 0),
            ("authorization", 1),
            ("consumption", 2),
            ("receipt", 4),
        ] {
            let text = self.text(&format!("valid/log/proof/{name}.tlog-proof"))?;
            let proof = TlogProof::parse(&text).map_err(|error| error.to_string())?;
            same("index", proof.index, index)?;
            same(
                "hashes",
                &proof.hashes,
                &crate::golden::path(&leaves, index),
            )?;
            same(
                "checkpoint",
                &proof.checkpoint,
                &self.text("valid/log/checkpoint")?,
            )?;
            same("written again", &proof.to_string(), &text)?;
            same(
                "in the bundle",
                bundle["proofs"][name].as_str(),
                Some(&*text),
            )?;
        }
        Ok(())
    }

    fn blobs(&self) -> Checked {
        let mut count = 0;
        let listed = std::fs::read_dir(self.dir.join("valid/log/blob/sha256"))
            .map_err(|error| error.to_string())?;
        for entry in listed {
            let entry = entry.map_err(|error| error.to_string())?;
            let bytes = std::fs::read(entry.path()).map_err(|error| error.to_string())?;
            same(
                "blob",
                Some(&*hex(&sha256(&bytes))),
                entry.file_name().to_str(),
            )?;
            parse_canonical(&bytes, 1 << 20)
                .map_err(|error| format!("{:?}: {error}", entry.file_name()))?;
            count += 1;
        }
        let seal = Statement::<Seal>::from_payload(&self.read("valid/payload/seal.json")?)
            .map_err(|error| error.to_string())?
            .predicate;
        let named = [
            seal.registry.hex(),
            seal.policy.hex(),
            seal.builtins.hex(),
            seal.roster.hex(),
            seal.tokens.hex(),
            seal.configuration.hex(),
        ];
        for digest in &named {
            self.read(&format!("valid/log/blob/sha256/{digest}"))?;
        }
        if count >= named.len() {
            Ok(())
        } else {
            Err(format!("{count} blobs"))
        }
    }

    fn log_holds_the_envelopes(&self) -> Checked {
        let tile = self.read("valid/log/tile/entries/000.p/6")?;
        let entries = split_entries(&tile).ok_or("the entry tile can't be split")?;
        let kinds = [
            "seal",
            "authorization",
            "consumption",
            "refusal",
            "receipt",
            "denial",
        ];
        for (at, kind) in kinds.iter().enumerate() {
            let envelope = self.read(&format!("valid/envelope/{kind}.json"))?;
            same(kind, entries.get(at).copied(), Some(&*envelope))?;
        }
        Ok(())
    }

    fn allowed_signers(&self) -> Checked {
        let roster = TrustedRoster::from_payload(&self.read("valid/payload/roster.json")?)
            .map_err(|error| error.to_string())?;
        let exported = roster.allowed_signers();
        let golden = self.text("valid/sshsig/allowed_signers")?;
        if golden
            .lines()
            .all(|line| exported.lines().any(|ours| ours == line))
        {
            Ok(())
        } else {
            Err(format!("exported {exported:?}"))
        }
    }

    fn trust(&self, roster: &str) -> Result<RosterTrust, String> {
        if roster.starts_with("sha256:") {
            return roster
                .parse()
                .map(RosterTrust::Digest)
                .map_err(|_| format!("{roster:?} is no digest"));
        }
        let path = if roster.contains('/') {
            roster.to_owned()
        } else {
            format!("refused/{roster}")
        };
        Ok(RosterTrust::Roster(self.read(&path)?))
    }

    fn established(&self, bundle: &str, roster: &str) -> Checked {
        let report = verify(
            &self.read(bundle)?,
            &self.trust(roster)?,
            VerifyOptions::default(),
        )
        .map_err(|error| error.to_string())?;
        let failed: Vec<String> = report
            .failed()
            .map(|check| format!("{}: {}", check.name, check.detail))
            .collect();
        if !failed.is_empty() || !report.verified {
            return Err(format!("not established: {}", failed.join("; ")));
        }
        // Only checks that need more than one bundle, and rules that this version does not evaluate, can be open.
        let open: Vec<&str> = report
            .checks
            .iter()
            .filter(|check| check.finding == CheckFinding::NotChecked)
            .map(|check| check.name.word())
            .collect();
        let unexpected: Vec<&&str> = open
            .iter()
            .filter(|name| {
                !["permissions", "seal-in-force", "revocations", "witnesses"].contains(*name)
            })
            .collect();
        if !unexpected.is_empty() {
            return Err(format!("not checked: {unexpected:?}"));
        }
        // No bundle is verified without a trusted roster.
        if verify(
            &self.read(bundle)?,
            &RosterTrust::Nothing,
            VerifyOptions::default(),
        )
        .is_ok()
        {
            return Err("verified without a trusted roster".to_owned());
        }
        Ok(())
    }

    fn refused(&self, entry: &Value) -> Checked {
        let (file, roster, expect) = (&entry["file"], &entry["roster"], &entry["expect"]);
        let (Some(file), Some(roster), Some(expect)) =
            (file.as_str(), roster.as_str(), expect.as_str())
        else {
            return Err("the index entry is incomplete".to_owned());
        };
        let bytes = self.read(file)?;
        let report = verify(&bytes, &self.trust(roster)?, VerifyOptions::default())
            .map_err(|error| error.to_string())?;
        let failed: Vec<&str> = report.failed().map(|check| check.name.word()).collect();
        let also: Vec<&str> = entry["also"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        // Only a verifier that parses scripts as this engine did knows the defect.
        if entry["engine"]
            .as_str()
            .is_some_and(|engine| !parses_alike(engine))
        {
            let open = report.checks.iter().any(|check| {
                check.name.word() == expect && check.finding == CheckFinding::NotChecked
            });
            return if report.verified && open {
                Ok(())
            } else {
                Err(format!("failed at {failed:?}"))
            };
        }
        if report.verified {
            return Err("established".to_owned());
        }
        if !failed.contains(&expect) {
            return Err(format!("failed at {failed:?}, expected at {expect}"));
        }
        let more: Vec<&&str> = failed
            .iter()
            .filter(|name| **name != expect && !also.contains(name))
            .collect();
        if more.is_empty() {
            Ok(())
        } else {
            Err(format!("fails besides {expect} at {more:?}"))
        }
    }
}
