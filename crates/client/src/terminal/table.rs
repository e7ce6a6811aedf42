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

/// Formats rows like [`aligned`]. If a line is longer than `width`, the column with this index gets lines of its own.
#[must_use]
pub fn fitted<const N: usize>(rows: &[[String; N]], width: usize, long: usize) -> String {
    let text = aligned(rows);
    if text.lines().all(|line| line.chars().count() <= width) {
        return text;
    }
    let cell = |row: &[String; N], at: usize| if at == long { String::new() } else { row[at].clone() };
    let short: Vec<[String; N]> = rows.iter().map(|row| std::array::from_fn(|at| cell(row, at))).collect();
    let mut text = String::new();
    for (line, row) in aligned(&short).lines().zip(rows) {
        text.push_str(&format!("{line}\n  {}\n", PrintableText::text(&row[long]).as_str()));
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

    #[test]
    fn a_column_that_makes_a_line_longer_than_the_terminal_gets_lines_of_its_own() {
        let rows =
            [["a".to_owned(), "b".to_owned(), "long".to_owned()], ["cc".to_owned(), "d".to_owned(), "x".to_owned()]];
        assert_eq!(fitted(&rows, 11, 2), "a   b  long\ncc  d  x\n");
        assert_eq!(fitted(&rows, 10, 2), "a   b\n  long\ncc  d\n  x\n");
    }
}
