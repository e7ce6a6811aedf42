//! Names or messages in one text.

/// Writes `items` one after another, with `between` between each two items.
pub fn joined<T: ToString>(items: impl IntoIterator<Item = T>, between: &str) -> String {
    items
        .into_iter()
        .map(|item| item.to_string())
        .collect::<Vec<_>>()
        .join(between)
}

/// Joins the first `most` texts, and adds the number of the others.
pub fn first_of<T: ToString>(items: &[T], most: usize) -> String {
    let shown = joined(items.iter().take(most).map(T::to_string), ", ");
    match items.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
