//! The markup of proposals of one definition side by side. Each proposal is signed by itself, on its own page.

use std::collections::{BTreeMap, BTreeSet};

use client::{CommandFailure, CommandResult, PrintableText, ReviewSubject, leaves};
use maud::{Markup, html};
use serde_json::Value;
use wire::ProposalView;

use crate::{companion_page, path_of, plain};

/// Maximum number of proposals in one table.
pub const MOST: usize = 12;
/// Maximum length of a value in the table. The review of a proposal shows the whole value.
const MOST_OF_VALUE: usize = 400;
/// Beginnings of the paths that the table shows last, because they differ for every proposal.
const ALWAYS_DIFFERENT: [&str; 7] = [
    "predicate.proposal",
    "predicate.nonce",
    "predicate.issued_at",
    "predicate.not_before",
    "predicate.expires_at",
    "subject",
    "predicate.session",
];

/// The signed fields of one proposal, by their paths.
type SignedFields = BTreeMap<String, String>;

/// Reads the fields from the signed bytes, not from the boundary's own description of the proposal.
pub fn fields_of(view: &ProposalView) -> CommandResult<SignedFields> {
    let payload = ReviewSubject::Proposal(Box::new(view.clone())).payload()?;
    let document: Value = serde_json::from_slice(&payload).map_err(|error| {
        CommandFailure::usage(format!(
            "the statement of {} can't be read: {error}",
            view.id
        ))
    })?;
    let found = leaves(&document);
    let value = |value: &Value| {
        PrintableText::value(value)
            .cut(MOST_OF_VALUE)
            .as_str()
            .to_owned()
    };
    Ok(found
        .into_iter()
        .map(|(path, one)| (path.trim_start_matches('.').to_owned(), value(one)))
        .collect())
}

/// Returns the paths of the fields that differ. Parameters come first, and fields that always differ come last.
fn different(all: &[SignedFields]) -> Vec<&str> {
    let paths: BTreeSet<&str> = all
        .iter()
        .flat_map(|fields| fields.keys().map(String::as_str))
        .collect();
    let mut paths: Vec<&str> = paths
        .into_iter()
        .filter(|path| {
            all.windows(2)
                .any(|pair| pair[0].get(*path) != pair[1].get(*path))
        })
        .collect();
    let rank = |path: &str| match path {
        path if path.starts_with("predicate.params") => 0,
        path if ALWAYS_DIFFERENT.iter().any(|begin| path.starts_with(begin)) => 2,
        _ => 1,
    };
    paths.sort_by_key(|path| rank(path));
    paths
}

/// Returns the page.
pub fn compare(
    boundary: usize,
    name: &str,
    views: &[ProposalView],
    all: &[SignedFields],
    more: usize,
) -> Markup {
    let step = views
        .first()
        .map_or(String::new(), |view| plain(view.step.as_str()));
    let rows = different(all);
    let count: BTreeSet<&String> = all.iter().flat_map(SignedFields::keys).collect();
    let main = html! {
        h1 { "Proposals of " (step) " at " (plain(name)) }
        p {
            "All of these proposals have one definition. The table has the signed fields that differ: " (rows.len()) " of "
            (count.len()) ". Each proposal is signed by itself, on its own page."
        }
        @if more > 0 { div.admonition role="note" { (more) " further proposals of this definition are not in the table." } }
        div.wide tabindex="0" role="region" aria-label="Differences" {
            table {
                thead {
                    tr {
                        th scope="col" { "Field" }
                        @for view in views {
                            th scope="col" { a href=(path_of("review", boundary, view)) { "Review " (view.id.as_str()) } }
                        }
                    }
                }
                tbody {
                    @for path in &rows {
                        tr {
                            th scope="row" { code { (plain(path.trim_start_matches("predicate."))) } }
                            @for fields in all {
                                td { @match fields.get(*path) { Some(value) => code { (value) }, None => "(missing)" } }
                            }
                        }
                    }
                }
            }
        }
    };
    companion_page(boundary, &format!("Proposals of {step}"), main)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_come_first_and_what_always_differs_comes_last() {
        let fields = |pairs: &[(&str, &str)]| -> SignedFields {
            pairs
                .iter()
                .map(|(path, value)| ((*path).to_owned(), (*value).to_owned()))
                .collect()
        };
        let one = fields(&[
            ("predicate.nonce", "1"),
            ("predicate.params.a", "1"),
            ("predicate.reason", "x"),
            ("same", "1"),
        ]);
        let two = fields(&[
            ("predicate.nonce", "2"),
            ("predicate.reason", "y"),
            ("same", "1"),
        ]);
        let three = fields(&[
            ("predicate.nonce", "3"),
            ("predicate.reason", "y"),
            ("same", "1"),
        ]);
        assert_eq!(
            different(&[one, two.clone(), three]),
            ["predicate.params.a", "predicate.reason", "predicate.nonce"]
        );
        assert!(different(&[two]).is_empty());
    }
}
