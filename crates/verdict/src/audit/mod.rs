//! Offline verification, without a store or a network.

/// Declares an enum with a word and a kind of evidence for each value. Serde writes the word, and the value depends on
/// the evidence.
macro_rules! words_with_basis {
    ($(#[$of_enum:meta])* enum $name:ident: $basis:ident { $($(#[$of_value:meta])* $value:ident = $word:literal, $rests_on:ident;)* }) => {
        documents::words! {
            $(#[$of_enum])*
            pub enum $name { $($(#[$of_value])* #[serde(rename = $word)] $value = $word,)* }
        }

        impl $name {
            /// Returns the evidence on which the value depends.
            pub fn rests_on(self) -> $basis {
                match self { $(Self::$value => $basis::$rests_on),* }
            }
        }
    };
}

pub mod bundle_check;
pub(crate) mod check_ledger;
pub(crate) mod decided;
pub(crate) mod documents;
pub mod entry;
pub mod finding;
pub mod grant_uses;
pub mod history;
pub(crate) mod logged_authorization;
pub mod lost_run;
pub mod newer_roster;
mod receipt_facts;
pub mod report;
pub mod reviewed_runs;
pub(crate) mod runs;
pub mod saved_state;
pub(crate) mod seal_in_force;
pub mod seen_head;
pub mod session_chains;
pub mod tiles;
pub mod used_values;
pub(crate) mod witness_check;

#[cfg(test)]
mod tests {
    pub(crate) mod fixture;

    use crate::{BundleReport, RosterTrust, VerifyOptions, verify};
}
