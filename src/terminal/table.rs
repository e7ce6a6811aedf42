//! Tables with aligned columns.

use crate::terminal::printable_text::PrintableText;

/// Formats rows as lines. Each column is as wide as its widest cell, and every cell is escaped because it may contain
/// external text.
#[must_use]
pub fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| PrintableText::text(cell).as_str().to_owned())).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let line: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_no_line_ends_with_a_blank() {
        let rows = [["a".to_owned(), "bb".to_owned()], ["ccc\x1b".to_owned(), String::new()]];
        assert_eq!(aligned(&rows), "a        bb\nccc\\x1b\n");
    }
}
