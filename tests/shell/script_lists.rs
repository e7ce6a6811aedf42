//! The lists of scripts in `scripts.json`: each list has the name of its test.

use std::collections::BTreeMap;
use std::sync::LazyLock;

static LISTS: LazyLock<BTreeMap<String, Vec<serde_json::Value>>> =
    LazyLock::new(|| serde_json::from_str(include_str!("scripts.json")).expect("lists"));

/// Rows of `N` texts. A list without a row is a failure, because it checks nothing.
fn rows<const N: usize>(list: &str) -> Vec<[&'static str; N]> {
    let rows = LISTS
        .get(list)
        .filter(|rows| !rows.is_empty())
        .unwrap_or_else(|| panic!("no list {list}"));
    let text = |value: &'static serde_json::Value| value.as_str().expect("a text");
    rows.iter()
        .map(|row| match row.as_array() {
            Some(texts) => std::array::from_fn(|at| text(&texts[at])),
            None => [text(row); N],
        })
        .collect()
}

pub(super) fn scripts(list: &str) -> Vec<&'static str> {
    rows(list).into_iter().map(|[script]| script).collect()
}

pub(super) fn pairs(list: &str) -> Vec<(&'static str, &'static str)> {
    rows(list)
        .into_iter()
        .map(|[script, other]| (script, other))
        .collect()
}

pub(super) fn triples(list: &str) -> Vec<(&'static str, &'static str, &'static str)> {
    rows(list)
        .into_iter()
        .map(|[script, second, third]| (script, second, third))
        .collect()
}
