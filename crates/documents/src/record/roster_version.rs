//! The versions of a roster as bundles and seals contain them: the first version in full, each later version as the
//! difference from the version before.
//!
//! A difference is an RFC 7396 merge patch from the content of one version to the content of the next. The *content* is
//! the predicate without `version` and `previous`, which follow from the place of the version. Between two contents there
//! is exactly one patch, so the versions have exactly one form.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::{
    Envelope, EnvelopeSignature, MAX_SIGNATURES, Malformed, Roster, RosterDigest, check_no_null,
    json,
};

/// One version of a roster, with its signatures.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, try_from = "RosterVersionFields")]
#[schemars(!try_from)]
pub enum RosterVersion {
    /// The version in full. Only the first version of a chain has this form.
    Whole(Envelope),
    /// The difference from the version before.
    Patched(PatchedRoster),
}

/// A later version of a roster, as the difference from the version before.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchedRoster {
    /// The merge patch (RFC 7396) from the predicate of the version before to the predicate of this version, both without
    /// `version` and `previous`. Null removes a key.
    pub patch: Map<String, Value>,
    /// Signatures over the DSSE message (PAE) of the payload that follows from the patch.
    #[schemars(length(max = MAX_SIGNATURES))]
    pub signatures: Vec<EnvelopeSignature>,
}

/// The fields of both forms. The error of an untagged enumeration would not name the field.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RosterVersionFields {
    #[serde(default, deserialize_with = "present")]
    patch: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    payload: Option<String>,
    #[serde(default, rename = "payloadType", deserialize_with = "present")]
    payload_type: Option<String>,
    signatures: Vec<EnvelopeSignature>,
}

/// Reads a field that is absent or has its type, and is never null.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl TryFrom<RosterVersionFields> for RosterVersion {
    type Error = &'static str;

    fn try_from(fields: RosterVersionFields) -> Result<Self, Self::Error> {
        let signatures = fields.signatures;
        match (fields.patch, fields.payload, fields.payload_type) {
            (Some(Value::Object(patch)), None, None) => {
                Ok(Self::Patched(PatchedRoster { patch, signatures }))
            }
            (None, Some(payload), Some(payload_type)) => Ok(Self::Whole(Envelope {
                payload,
                payload_type,
                signatures,
            })),
            _ => Err("expected `patch` and `signatures`, or the three fields of an envelope"),
        }
    }
}

impl RosterVersion {
    /// Returns the signatures.
    pub fn signatures(&self) -> &[EnvelopeSignature] {
        match self {
            Self::Whole(envelope) => &envelope.signatures,
            Self::Patched(patched) => &patched.signatures,
        }
    }

    /// Checks that the first of these versions is in full, and all others are differences.
    ///
    /// # Errors
    /// Returns an error for the first version that has the other form, or if there is no version.
    pub fn check_form(versions: &[Self]) -> Result<(), Malformed> {
        let whole = |version: &Self| matches!(version, Self::Whole(_));
        if versions.is_empty() {
            return Err(Malformed::at("", "expected at least one version"));
        }
        match (0..versions.len()).find(|at| whole(&versions[*at]) != (*at == 0)) {
            None => Ok(()),
            Some(at) => Err(Malformed::at(
                format!("/{at}"),
                "expected the first version in full, and each later version as the difference from the version before",
            )),
        }
    }
}

impl Roster {
    /// Returns the content: the predicate without `version` and `previous`.
    pub fn content(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(mut fields)) => {
                BY_PLACE
                    .iter()
                    .for_each(|field| drop(fields.remove(*field)));
                fields
            }
            // The tables of a roster consist of texts and numbers, and their keys are texts.
            _ => Map::new(),
        }
    }

    /// Returns the roster with this content at its place in a chain.
    ///
    /// # Errors
    /// Returns the first place at which the content is not that of a roster.
    pub fn from_content(
        mut content: Map<String, Value>,
        version: u64,
        previous: Option<RosterDigest>,
    ) -> Result<Self, Malformed> {
        content.insert("version".to_owned(), version.into());
        if let Some(previous) = previous {
            content.insert("previous".to_owned(), previous.to_string().into());
        }
        let value = Value::Object(content);
        let roster = json::typed::<Self>(&value)?;
        check_no_null(&value, &roster)?;
        Ok(roster)
    }
}

/// The fields of a roster that follow from the place of the version in the chain.
const BY_PLACE: [&str; 2] = ["version", "previous"];

/// Returns the only patch from the content `before` to the content `next`. Contents have no null.
pub fn patch_between(before: &Map<String, Value>, next: &Map<String, Value>) -> Map<String, Value> {
    let gone = before.keys().filter(|key| !next.contains_key(*key));
    let mut patch: Map<String, Value> = gone.map(|key| (key.clone(), Value::Null)).collect();
    for (key, next) in next {
        let changed = match (before.get(key), next) {
            (Some(before), next) if before == next => continue,
            (Some(Value::Object(before)), Value::Object(next)) => {
                Value::Object(patch_between(before, next))
            }
            (_, next) => next.clone(),
        };
        patch.insert(key.clone(), changed);
    }
    patch
}

/// Applies a merge patch (RFC 7396) to an object.
pub fn merge(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, change) in patch {
        match change {
            Value::Null => drop(target.remove(key)),
            Value::Object(change) => {
                let below = target.entry(key).or_insert_with(|| Map::new().into());
                if !below.is_object() {
                    *below = Map::new().into();
                }
                if let Value::Object(below) = below {
                    merge(below, change);
                }
            }
            other => drop(target.insert(key.clone(), other.clone())),
        }
    }
}

/// Returns the content that follows from the content `before` and a patch.
///
/// # Errors
/// Returns an error if the patch is not the only patch between the two contents, or changes a field that follows from the
/// place of the version.
pub fn patched(
    before: &Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<Map<String, Value>, Malformed> {
    if let Some(field) = BY_PLACE.iter().find(|field| patch.contains_key(**field)) {
        return Err(Malformed::at(
            format!("/patch/{field}"),
            "this field follows from the place of the version, so no patch changes it",
        ));
    }
    let mut next = before.clone();
    merge(&mut next, patch);
    if patch_between(before, &next) == *patch {
        return Ok(next);
    }
    Err(Malformed::at(
        "/patch",
        "the patch is not the shortest: a part of it has no effect, or replaces an object as a whole",
    ))
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, test_runner::TestCaseError};
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other}"),
        }
    }

    fn content() -> impl Strategy<Value = Map<String, Value>> {
        let words = || prop::collection::vec("[a-c]{1,2}", 0..3);
        let person =
            (words(), words(), prop::option::of(0u64..3)).prop_map(|(groups, keys, until)| {
                let mut person = json!({"groups": groups, "keys": keys});
                if let Some(until) = until {
                    person["valid_before"] = format!("2027-01-0{}T00:00:00Z", until + 1).into();
                }
                person
            });
        let people = || prop::collection::btree_map("[a-e]{1,2}", person.clone(), 0..6);
        let list = || {
            prop::collection::btree_map(
                "[a-e]",
                words().prop_map(|keys| json!({"keys": keys})),
                0..3,
            )
        };
        let groups = prop::collection::btree_map("[a-c]", any::<bool>(), 0..3).prop_map(|groups| {
            let of = |presence| {
                if presence {
                    json!({"presence": "required"})
                } else {
                    json!({})
                }
            };
            groups
                .into_iter()
                .map(|(name, presence)| (name, of(presence)))
                .collect::<Map<_, _>>()
        });
        (0u64..4, people(), groups, list(), list(), 0u64..5).prop_map(|(threshold, people, groups, operators, boundaries, policy)| {
            map(json!({
                "approvers": people, "boundaries": boundaries, "groups": groups, "name": "ops", "operators": operators,
                "policy": format!("sha256:{policy:064}"), "proposers": {}, "threshold": threshold, "witnesses": {},
            }))
        })
    }

    /// Returns a patch that differs from `patch` in one place and leads from `before` to the same content.
    fn another(
        before: &Map<String, Value>,
        patch: &Map<String, Value>,
        at: prop::sample::Index,
    ) -> Map<String, Value> {
        let mut other = patch.clone();
        let unchanged: Vec<_> = before
            .iter()
            .filter(|(key, _)| !patch.contains_key(*key))
            .collect();
        match unchanged.len() {
            0 => drop(other.insert("absent".to_owned(), Value::Null)),
            length => {
                let (key, value) = unchanged[at.index(length)];
                let same = if value.is_object() {
                    json!({})
                } else {
                    value.clone()
                };
                other.insert(key.clone(), same);
            }
        }
        other
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn a_patch_leads_from_one_content_to_the_next_and_is_the_only_one(
            before in content(), next in content(), at in any::<prop::sample::Index>(),
        ) {
            let patch = patch_between(&before, &next);
            let refused = |error: Malformed| TestCaseError::fail(error.to_string());
            prop_assert_eq!(&patched(&before, &patch).map_err(refused)?, &next);
            prop_assert_eq!(&patched(&Map::new(), &next).map_err(refused)?, &next, "the first version is a patch of nothing");
            prop_assert!(patched(&before, &another(&before, &patch, at)).is_err());
        }
    }

    #[test]
    fn a_patch_that_is_not_the_only_one_is_refused() {
        let before = map(json!({"a": {"b": {"c": 1}, "d": ["x"]}, "e": 2}));
        let refuses = |patch: Value| patched(&before, &map(patch)).expect_err("refused").pointer;
        for patch in [
            json!({"e": 2}),
            json!({"f": null}),
            json!({"a": {}}),
            json!({"a": {"b": {"c": 1}}}),
            json!({"a": {"b": {"x": null}}}),
            json!({"g": {"h": null}}),
            json!({"a": {"d": ["x"]}}),
        ] {
            assert_eq!(refuses(patch.clone()), "/patch", "{patch}");
        }
        for field in BY_PLACE {
            assert_eq!(refuses(json!({field: 3})), format!("/patch/{field}"));
            assert_eq!(refuses(json!({field: null})), format!("/patch/{field}"));
        }
        assert!(patched(&before, &Map::new()).is_ok(), "nothing changed");
        let other = patched(&before, &map(json!({"a": ["now an array"]}))).expect("another type");
        assert!(
            patched(&other, &map(json!({"a": {"b": 1}}))).is_ok(),
            "and back"
        );
    }

    #[test]
    fn a_null_in_an_array_is_no_roster() {
        let payload =
            include_bytes!("../../../../tests/conformance/golden/valid/payload/roster.json");
        let roster = crate::Statement::<Roster>::from_payload(payload)
            .expect("golden")
            .predicate;
        let again = |content| Roster::from_content(content, roster.version, roster.previous);
        assert_eq!(again(roster.content()), Ok(roster.clone()));
        let patch = json!({"approvers": {"alice": {"keys": [null]}}});
        let next = patched(&roster.content(), &map(patch)).expect("one patch");
        assert_eq!(
            again(next).expect_err("no key").pointer,
            "/approvers/alice/keys/0"
        );
    }

    #[test]
    fn a_version_has_one_of_two_forms() {
        let version = |value| json::typed::<RosterVersion>(&value);
        let whole = json!({"payload": "", "payloadType": "t", "signatures": []});
        let patch = json!({"patch": {"a": {"b": null}}, "signatures": []});
        for value in [&whole, &patch] {
            let read = version(value.clone()).expect("a version");
            assert_eq!(serde_json::to_value(&read).expect("written"), *value);
        }
        for refused in [
            json!({"patch": {}, "payload": "", "payloadType": "t", "signatures": []}),
            json!({"patch": [], "signatures": []}),
            json!({"patch": null, "signatures": []}),
            json!({"patch": {}}),
            json!({"patch": null, "payload": "", "payloadType": "t", "signatures": []}),
            json!({"patch": {}, "payload": null, "signatures": []}),
            json!({"payload": "", "signatures": []}),
            json!({"patch": {}, "signatures": [], "version": 2}),
        ] {
            assert!(version(refused.clone()).is_err(), "{refused}");
        }
        let [whole, patch] = [whole, patch].map(|value| version(value).expect("a version"));
        let check = |versions: &[&RosterVersion]| {
            let all: Vec<_> = versions.iter().map(|one| (*one).clone()).collect();
            RosterVersion::check_form(&all).map_err(|error| error.pointer)
        };
        assert_eq!(check(&[&whole, &patch, &patch]), Ok(()));
        assert_eq!(check(&[]), Err(String::new()));
        assert_eq!(check(&[&patch]), Err("/0".to_owned()));
        assert_eq!(check(&[&whole, &patch, &whole]), Err("/2".to_owned()));
    }
}
