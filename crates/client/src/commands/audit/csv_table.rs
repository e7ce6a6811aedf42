//! The table of decisions as CSV (RFC 4180), in which no cell begins a formula of a spreadsheet.

use std::borrow::Borrow;

use crate::{AuditRow, COLUMNS, GRANT_COLUMNS, grant_cells};
use documents::Timestamp;
use verdict::GrantLine;

/// Characters with which a spreadsheet begins a formula.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Returns the rows as CSV with a header.
pub fn csv_table<'r>(rows: impl Iterator<Item = &'r AuditRow>) -> String {
    csv_of(&COLUMNS, rows.map(|row| &row.cells))
}

/// Returns grants as CSV with a header, each at the last time of its log.
pub fn csv_grants(grants: &[(&GrantLine, Timestamp)]) -> String {
    csv_of(
        &GRANT_COLUMNS,
        grants.iter().map(|(line, until)| grant_cells(line, *until)),
    )
}

fn csv_of<C: AsRef<str>, const N: usize>(
    header: &[&str],
    rows: impl Iterator<Item = impl Borrow<[C; N]>>,
) -> String {
    rows.fold(csv_line(header), |out, row| out + &csv_line(row.borrow()))
}

fn csv_line(cells: &[impl AsRef<str>]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| csv_cell(cell.as_ref())).collect();
    cells.join(",") + "\r\n"
}

/// Returns a cell in quotes. A cell that would begin a formula gets an apostrophe, which spreadsheets show as text. Some
/// spreadsheets also split a line at semicolons, so what follows a semicolon counts as the beginning of a cell too.
pub fn csv_cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 3);
    out.push('"');
    let mut begins = true;
    for c in text.chars() {
        if begins && FORMULA.contains(&c) {
            out.push('\'');
        }
        if c == '"' {
            out.push('"');
        }
        out.push(c);
        // Spaces and quotes before a formula do not stop every spreadsheet.
        begins = c == ';' || (begins && matches!(c, ' ' | '"'));
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the cells of a line of CSV.
    fn read(line: &str, separator: char) -> Vec<String> {
        let (mut cells, mut quoted, mut now) = (Vec::new(), false, String::new());
        let mut rest = line.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '"' if quoted && rest.peek() == Some(&'"') => {
                    rest.next();
                    now.push('"');
                }
                '"' => quoted = !quoted,
                c if c == separator && !quoted => cells.push(std::mem::take(&mut now)),
                c => now.push(c),
            }
        }
        cells.push(now);
        cells
    }

    #[test]
    fn a_cell_that_would_begin_a_formula_gets_an_apostrophe() {
        for bad in [
            "=1+1", "+1", "-1", "@x", "\tx", "\rx", " =1", "\"=1", "\"\" @x",
        ] {
            assert!(csv_cell(bad).contains('\''), "{bad:?}");
        }
        assert_eq!(
            csv_cell("=HYPERLINK(\"http://x\")"),
            "\"'=HYPERLINK(\"\"http://x\"\")\""
        );
        assert_eq!(csv_cell("a;=1"), "\"a;'=1\"");
        assert_eq!(csv_cell("{\"a\":-1}"), "\"{\"\"a\"\":-1}\"");
    }

    proptest! {
        #[test]
        fn every_cell_can_be_read_again_and_none_begins_a_formula(cells in prop::collection::vec("[-=+@;, \"'a\\t\\r]{0,12}", 1..6)) {
            let line = csv_line(&cells);
            let found = read(line.trim_end_matches("\r\n"), ',');
            prop_assert_eq!(found.len(), cells.len());
            for (found, cell) in found.iter().zip(&cells) {
                prop_assert!(!found.starts_with(FORMULA), "{:?}", found);
                prop_assert_eq!(found.replace('\'', ""), cell.replace('\'', ""));
            }
            for part in line.trim_end_matches("\r\n").split(';') {
                prop_assert!(!part.trim_matches([' ', '"']).starts_with(FORMULA), "{:?}", part);
            }
        }
    }
}
