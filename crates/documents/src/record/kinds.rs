//! The kinds of signed statements. The table has one row for each kind.

use serde_json::{Value, json};

use crate::{
    Authorization, Consumption, Denial, Grant, Malformed, Predicate, Receipt, RefusalStatement,
    ReviewStatement, Revocation, Roster, Seal, Statement, predicate_type,
    record::document::STATEMENT_TYPE, settings,
};

/// One kind of statement. The name and the maximum size of the kind are constants of its [`Predicate`].
pub struct StatementKind {
    /// The name of the kind, as in `https://countersign.dev/<word>/v1`.
    pub word: &'static str,
    /// What may contain a statement of this kind.
    pub carrier: Carrier,
    /// Parses a payload, and returns the bytes of the parsed statement.
    pub read: fn(&[u8]) -> Result<Vec<u8>, Malformed>,
    /// Returns the JSON Schema of a statement.
    pub schema: fn() -> Value,
}

/// What may contain a statement.
#[derive(PartialEq)]
pub enum Carrier {
    /// The log, as a leaf of this kind.
    Log(LeafKind),
    /// Other documents and files.
    Files,
}

/// The kind of a log leaf. The database stores the number of each variant.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(u8)]
pub enum LeafKind {
    /// Seal: the registry, the policy and the roster in force.
    Seal = 1,
    /// Consumption: the spent nonces.
    Consumption = 2,
    /// Receipt of a run.
    Receipt = 3,
    /// Denial of an approver.
    Denial = 4,
    /// Refusal of the boundary.
    Refusal = 5,
    /// Revocation of a grant, a key, a token or an epoch.
    Revocation = 6,
    /// Grant: an authorization for several runs.
    Grant = 7,
    /// Review of a run.
    Review = 8,
    /// Authorization of a run, with the signatures that count.
    Authorization = 9,
}

/// All kinds of statements, sorted by name.
pub const KINDS: [StatementKind; 10] = [
    kind::<Authorization>(Carrier::Log(LeafKind::Authorization)),
    kind::<Consumption>(Carrier::Log(LeafKind::Consumption)),
    kind::<Denial>(Carrier::Log(LeafKind::Denial)),
    kind::<Grant>(Carrier::Log(LeafKind::Grant)),
    kind::<Receipt>(Carrier::Log(LeafKind::Receipt)),
    kind::<RefusalStatement>(Carrier::Log(LeafKind::Refusal)),
    kind::<ReviewStatement>(Carrier::Log(LeafKind::Review)),
    kind::<Revocation>(Carrier::Log(LeafKind::Revocation)),
    kind::<Roster>(Carrier::Files),
    kind::<Seal>(Carrier::Log(LeafKind::Seal)),
];

const fn kind<P: Predicate>(carrier: Carrier) -> StatementKind {
    StatementKind {
        word: P::KIND,
        carrier,
        read: |payload| Statement::<P>::from_payload(payload)?.to_payload(),
        schema: schema::<P>,
    }
}

/// Returns the schema of a statement of this kind.
pub fn schema_of<P: Predicate>() -> Value {
    let generator = settings().into_generator();
    generator.into_root_schema_for::<Statement<P>>().to_value()
}

fn schema<P: Predicate>() -> Value {
    let mut value = schema_of::<P>();
    // This constant distinguishes the kinds of statements.
    value["properties"]["predicateType"] = json!({"const": predicate_type(P::KIND)});
    value["description"] = value["$defs"][P::schema_name().as_ref()]["description"].clone();
    value["properties"]["_type"] = json!({"const": STATEMENT_TYPE});
    value
}

impl StatementKind {
    /// Returns the kind with this name.
    pub fn of(word: &str) -> Option<Self> {
        KINDS.into_iter().find(|kind| kind.word == word)
    }
}

impl LeafKind {
    /// Returns the name of this kind in the predicate type of a statement.
    pub fn word(self) -> &'static str {
        KINDS
            .iter()
            .find(|kind| kind.carrier == Carrier::Log(self))
            .map_or("", |kind| kind.word)
    }

    /// Returns the kind of leaf with this number in the database.
    pub fn of_number(number: u8) -> Option<Self> {
        KINDS.iter().find_map(|kind| match kind.carrier {
            Carrier::Log(leaf) if leaf as u8 == number => Some(leaf),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_leaf_is_in_the_table() {
        for leaf in [
            LeafKind::Seal,
            LeafKind::Consumption,
            LeafKind::Receipt,
            LeafKind::Denial,
            LeafKind::Refusal,
            LeafKind::Revocation,
            LeafKind::Grant,
            LeafKind::Review,
            LeafKind::Authorization,
        ] {
            assert_eq!(LeafKind::of_number(leaf as u8), Some(leaf));
            assert!(StatementKind::of(leaf.word()).is_some(), "{leaf:?}");
        }
    }
}
