//! Readers of vectors for bytes, names, trees and parameters.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use documents::{
    Base64, BoundaryName, ContentDigest, Denial, Envelope, Epoch, GenesisSalt, GroupName, Hash,
    KeyId, Malformed, Name, Nonce, Note, ProposalId, ReceiptId, Signed, StepRef, Timestamp,
    WitnessKey, hex, json, merkle as tree, sha256, to_canonical, unhex32,
};
use reading::{CaseSensitivity, LeadingDots, ParameterSchema, Pattern};
use serde_json::Value;
use verdict::{HashedStep, TrustedRoster};

use super::{Outcome, each, expected, same, text};
use crate::golden::own_vectors;

const SIZE: usize = 4 << 20;

pub fn canonical_json(file: &Value) -> Vec<Outcome> {
    each(file, |vector| {
        let input = STANDARD
            .decode(text(vector, "input_b64")?)
            .map_err(|error| error.to_string())?;
        match (text(vector, "expect")?, json::parse(&input, SIZE)) {
            ("accept", Ok(value)) => {
                let canonical = to_canonical(&value);
                same(
                    "canonical form",
                    &*String::from_utf8_lossy(&canonical),
                    text(vector, "canonical")?,
                )?;
                same(
                    "digest",
                    &*hex(&sha256(&canonical)),
                    text(vector, "sha256")?,
                )
            }
            ("reject", Err(error)) => same("reason", error.reason.word(), text(vector, "reason")?),
            (_, Ok(_)) => Err("accepted".to_owned()),
            (_, Err(error)) => Err(format!("refused: {error}")),
        }
    })
}

/// The result of a witness key for a note: `accept` with the time, `none` without a cosignature of this witness, or
/// `refuse`.
pub fn cosignatures(file: &Value) -> Vec<Outcome> {
    each(file, |vector| {
        let witness = WitnessKey::parse(text(vector, "vkey")?).map_err(|error| error.to_string());
        let note = Note::parse(text(vector, "note")?).map_err(|error| error.to_string());
        let found =
            witness.and_then(|witness| witness.verify(&note?).map_err(|error| error.to_string()));
        let expect = text(vector, "expect")?;
        match found {
            Ok(Some(cosigned)) => {
                same("result", "accept", expect)?;
                same(
                    "time",
                    &*cosigned.seconds().to_string(),
                    text(vector, "time")?,
                )
            }
            Ok(None) => same("result", "none", expect),
            Err(why) => {
                same("result", "refuse", expect).map_err(|differs| format!("{differs} ({why})"))
            }
        }
    })
}

/// RFC 6962 roots and proofs.
pub fn merkle(file: &Value) -> Vec<Outcome> {
    let mut done = Vec::new();
    for (at, vector) in list(file, "/golden_misc").iter().enumerate() {
        let got = STANDARD.encode(tree::leaf_hash(
            vector["leaf_utf8"].as_str().unwrap_or_default().as_bytes(),
        ));
        done.push((
            format!("golden_misc/{at}"),
            same("leaf hash", Some(&*got), vector["leaf_hash_b64"].as_str()),
        ));
    }
    let data: Option<Vec<Vec<u8>>> = list(file, "/ct8/leaves_hex")
        .iter()
        .map(|leaf| unhex(leaf.as_str()?))
        .collect();
    let leaves: Vec<Hash> = data
        .unwrap_or_default()
        .iter()
        .map(|leaf| tree::leaf_hash(leaf))
        .collect();
    let empty = file.pointer("/ct8/empty_root").and_then(Value::as_str);
    done.push((
        "ct8/empty_root".to_owned(),
        same("root", Some(&*hex(&tree::root(&[]))), empty),
    ));
    for (at, root) in list(file, "/ct8/roots_by_size").iter().enumerate() {
        let got = leaves.get(..=at).map(|part| hex(&tree::root(part)));
        done.push((
            format!("ct8/roots_by_size/{at}"),
            same("root", got.as_deref(), root.as_str()),
        ));
    }
    let numbered: Vec<Hash> = (0..256)
        .map(|at| tree::leaf_hash(format!("leaf {at}").as_bytes()))
        .collect();
    for (size, root) in file
        .pointer("/leafN/roots")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let got = size
            .parse()
            .ok()
            .and_then(|size: usize| numbered.get(..size))
            .map(|part| hex(&tree::root(part)));
        done.push((
            format!("leafN/roots/{size}"),
            same("root", got.as_deref(), root.as_str()),
        ));
    }
    for (name, all) in [("ct8", &leaves), ("leafN", &numbered)] {
        for (at, vector) in list(file, &format!("/{name}/inclusion")).iter().enumerate() {
            let ours = |vector: &Value| {
                let (index, size) = (vector["index"].as_u64()?, vector["size"].as_u64()?);
                let leaves = all.get(..usize::try_from(size).ok()?)?;
                let Ok(path) = tree::inclusion_path(index, size, subtrees(leaves));
                Some(path? == hashes(&vector["path"])?)
            };
            let made = if ours(vector) == Some(true) {
                Ok(())
            } else {
                Err("our own proof differs".to_owned())
            };
            done.push((
                format!("{name}/inclusion/{at}"),
                inclusion(vector).and(made),
            ));
        }
        for (at, vector) in list(file, &format!("/{name}/consistency"))
            .iter()
            .enumerate()
        {
            let ours = |vector: &Value| {
                let (old, size) = (vector["size1"].as_u64()?, vector["size2"].as_u64()?);
                let leaves = all.get(..usize::try_from(size).ok()?)?;
                let Ok(path) = tree::consistency_path(old, size, subtrees(leaves));
                Some(path? == hashes(&vector["path"])?)
            };
            let made = if ours(vector) == Some(true) {
                Ok(())
            } else {
                Err("our own proof differs".to_owned())
            };
            done.push((
                format!("{name}/consistency/{at}"),
                consistency(vector).and(made),
            ));
        }
    }
    for vector in list(file, "/inclusion_must_fail") {
        let refused = if inclusion(vector).is_err() {
            Ok(())
        } else {
            Err("verified".to_owned())
        };
        done.push((
            format!(
                "inclusion_must_fail/{}",
                vector["why"].as_str().unwrap_or_default()
            ),
            refused,
        ));
    }
    done
}

fn subtrees(leaves: &[Hash]) -> impl FnMut(u8, u64) -> Result<Hash, std::convert::Infallible> {
    move |level, index| {
        let width = 1_usize << level;
        let start = usize::try_from(index).expect("small") * width;
        Ok(tree::root(&leaves[start..start + width]))
    }
}

fn inclusion(vector: &Value) -> Result<(), String> {
    let read = || {
        let leaf = unhex32(vector["leaf_hash"].as_str()?)?;
        let root = unhex32(vector["root"].as_str()?)?;
        Some((
            leaf,
            vector["index"].as_u64()?,
            vector["size"].as_u64()?,
            hashes(&vector["path"])?,
            root,
        ))
    };
    let (leaf, index, size, path, root) = read().ok_or("the vector can't be read")?;
    tree::verify_inclusion(&leaf, index, size, &path, &root)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

fn consistency(vector: &Value) -> Result<(), String> {
    let read = || {
        let roots = (
            unhex32(vector["root1"].as_str()?)?,
            unhex32(vector["root2"].as_str()?)?,
        );
        Some((
            vector["size1"].as_u64()?,
            vector["size2"].as_u64()?,
            roots,
            hashes(&vector["path"])?,
        ))
    };
    let (old, new, roots, path) = read().ok_or("the vector can't be read")?;
    tree::verify_consistency(old, &roots.0, new, &roots.1, &path)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

fn hashes(list: &Value) -> Option<Vec<Hash>> {
    list.as_array()?
        .iter()
        .map(|hash| unhex32(hash.as_str()?))
        .collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0; text.len() / 2];
    documents::unhex(text, &mut bytes)?;
    Some(bytes)
}

fn list<'v>(file: &'v Value, pointer: &str) -> &'v [Value] {
    file.pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The paths that a pattern matches.
pub fn globs(file: &Value) -> Vec<Outcome> {
    let table = |table: &Value, dots: LeadingDots| -> Vec<Outcome> {
        let paths: Vec<&str> = list(table, "/paths")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let check = |glob: &str, matched: &Value| {
            let pattern = Pattern::parse_with(glob, dots, CaseSensitivity::Counts)
                .map_err(|error| error.to_string())?;
            for path in &paths {
                let expected = matched
                    .as_array()
                    .is_some_and(|matched| matched.iter().any(|one| one == path));
                same(path, pattern.matches(path), expected)?;
            }
            Ok(())
        };
        let patterns = table["patterns"].as_object().into_iter().flatten();
        patterns
            .map(|(glob, matched)| (format!("{glob}, {dots:?}"), check(glob, matched)))
            .collect()
    };
    let mut outcomes = table(file, LeadingDots::Written);
    outcomes.extend(table(&file["dot"], LeadingDots::Any));
    outcomes
}

/// Names, references, ids, nonces, times and digests.
pub fn identifiers(file: &Value) -> Vec<Outcome> {
    /// Returns whether the text parses. It is an error if the parsed value prints as another text.
    fn one<T: std::str::FromStr + std::fmt::Display>(text: &str) -> Result<bool, String> {
        match text.parse::<T>() {
            Ok(read) if read.to_string() == text => Ok(true),
            Ok(read) => Err(format!("read as {read}")),
            Err(_) => Ok(false),
        }
    }
    each(file, |vector| {
        let given = text(vector, "text")?;
        let accepted = match text(vector, "type")? {
            "name" => one::<Name>(given),
            "group" => one::<GroupName>(given),
            "boundary" => one::<BoundaryName>(given),
            "ref" => one::<StepRef>(given),
            "proposal" => one::<ProposalId>(given),
            "receipt" => one::<ReceiptId>(given),
            "nonce" => one::<Nonce>(given),
            "time" => one::<Timestamp>(given),
            "epoch" => one::<Epoch>(given),
            "genesis" => one::<GenesisSalt>(given),
            "keyid" => one::<KeyId>(given),
            "digest" => one::<ContentDigest>(given),
            other => Err(format!("no type {other:?}")),
        }?;
        same(
            "result",
            if accepted { "accept" } else { "refuse" },
            text(vector, "expect")?,
        )
    })
}

/// A schema and a value.
pub fn parameters(file: &Value) -> Vec<Outcome> {
    each(file, |vector| {
        let schema = match ParameterSchema::parse(&vector["schema"]) {
            Ok(schema) => schema,
            Err(flaws) => {
                // The pointer of the vector must be among the flaws, because one defect can cause two flaws.
                let places: Vec<String> = flaws.iter().map(|flaw| flaw.pointer.clone()).collect();
                let place = vector["pointer"]
                    .as_str()
                    .filter(|place| places.iter().any(|found| found == place));
                let place = place.map_or_else(|| places.join(" "), str::to_owned);
                return expected(vector, Err(("schema-refused", place, flaws[0].to_string())));
            }
        };
        let result = match text(vector, "as")? {
            "proposed" => schema.complete(vector["value"].clone()),
            "signed" => schema.check(&vector["value"]),
            other => return Err(format!("no way to read it as {other:?}")),
        };
        match result {
            Ok(params) => {
                expected(vector, Ok(()))?;
                same(
                    "canonical form",
                    &*String::from_utf8_lossy(&to_canonical(params.value())),
                    text(vector, "canonical")?,
                )
            }
            Err(errors) => {
                let place = errors
                    .first()
                    .map(|error| error.pointer.clone())
                    .unwrap_or_default();
                expected(vector, Err(("refuse", place, errors[0].to_string())))?;
                let Some(all) = vector["pointers"].as_array() else {
                    return Ok(());
                };
                let all: BTreeSet<&str> = all.iter().filter_map(Value::as_str).collect();
                same(
                    "places",
                    errors.iter().map(|error| error.pointer.as_str()).collect(),
                    all,
                )
            }
        }
    })
}

/// A template and its parameters. By the checks of this version, a template is refused or gives the same script.
pub fn templates(file: &Value) -> Vec<Outcome> {
    let bundle =
        std::fs::read(own_vectors().join("golden/valid/bundle.json")).expect("the golden bundle");
    let golden: Value = serde_json::from_slice(&bundle).expect("JSON");
    each(file, |vector| {
        let mut step = golden["step"].clone();
        step["template"] = Value::from("gruntwork");
        for (field, of_vector) in [
            ("source", "source"),
            ("interpreter", "interpreter"),
            ("params", "schema"),
        ] {
            step[field] = vector[of_vector].clone();
        }
        let step = HashedStep::parse(&step).map_err(|error| ("malformed", error));
        let not_rendered = |error| ("not-rendered", error);
        let recorded = step.as_ref().map_err(Clone::clone).and_then(|step| {
            step.filled_recorded(&vector["params"])
                .map_err(not_rendered)
        });
        let word = recorded
            .as_ref()
            .map_or_else(|(word, _)| *word, |_| "rendered");
        same("result", word, text(vector, "expect")?)
            .map_err(|why| format!("{why}: {:?}", recorded.as_ref().err()))?;
        if let Ok(step) = &recorded {
            same(
                "script",
                step.definition().source.as_str(),
                text(vector, "script")?,
            )?;
        }
        match step.map(|step| step.filled(&vector["params"])) {
            Ok(Ok(checked)) => same(
                "digest",
                Some(checked.rendered()),
                recorded.ok().map(|step| step.rendered()),
            ),
            _ => Ok(()),
        }
    })
}

pub fn envelopes(file: &Value) -> Vec<Outcome> {
    each(file, |vector| {
        let bytes = match vector["text"].as_str() {
            Some(text) => text.as_bytes().to_vec(),
            None => vector["envelope"].to_string().into_bytes(),
        };
        let reading = match text(vector, "reading")? {
            "strict" => Base64::Strict,
            "lenient" => Base64::Lenient,
            other => return Err(format!("no reading {other:?}")),
        };
        let read = || -> Result<Signed<Denial>, Malformed> {
            let envelope: Envelope = json::parse_as(&bytes, SIZE)?;
            let signed = Signed::from_envelope(&envelope, reading)?;
            let _well_formed = signed.check_document()?;
            Ok(signed)
        };
        let happened = read();
        expected(
            vector,
            happened.as_ref().map(|_| ()).map_err(|error| {
                (
                    if error.too_large {
                        "too-large"
                    } else {
                        "malformed"
                    },
                    error.pointer.clone(),
                    error.to_string(),
                )
            }),
        )?;
        if let (Ok(signed), Some(true)) = (happened, vector["same"].as_bool()) {
            let roster = TrustedRoster::from_payload(&crate::golden::bytes("payload/roster.json"))
                .map_err(|error| error.to_string())?;
            let verified = signed
                .verify(|keyid| roster.key(keyid))
                .map_err(|error| error.to_string())?;
            let again = crate::golden::leaf_data(&verified.envelope(|_| true));
            let golden = crate::golden::bytes("envelope/denial.json");
            same(
                "written again",
                String::from_utf8_lossy(&again),
                String::from_utf8_lossy(&golden),
            )?;
        }
        Ok(())
    })
}
