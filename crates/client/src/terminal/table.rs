//! Tables with aligned columns.

use documents::joined;
use unicode_width::UnicodeWidthStr as _;

use crate::PrintableText;

/// Formats rows as lines. Each column is as wide as its widest cell. A `String` may contain external text, so it is escaped;
/// prose is a [`PrintableText`].
pub fn aligned<const N: usize, C: Clone + Into<PrintableText>>(rows: &[[C; N]]) -> String {
    let rows: Vec<[PrintableText; N]> = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| cell.clone().into()))
        .collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let line = joined(
            row.iter()
                .zip(widths)
                .map(|(cell, width)| cell.padded(width)),
            "  ",
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Formats rows like [`aligned`]. If a line is longer than `width`, the column with this index gets lines of its own.
pub fn fitted<const N: usize, C: Clone + Into<PrintableText>>(
    rows: &[[C; N]],
    width: usize,
    long: usize,
) -> String {
    let text = aligned(rows);
    if text.lines().all(|line| line.width() <= width) {
        return text;
    }
    let cell = |row: &[C; N], at: usize| {
        if at == long {
            PrintableText::default()
        } else {
            row[at].clone().into()
        }
    };
    let short: Vec<[PrintableText; N]> = rows
        .iter()
        .map(|row| std::array::from_fn(|at| cell(row, at)))
        .collect();
    let mut text = String::new();
    for (line, row) in aligned(&short).lines().zip(rows) {
        text += &format!("{line}\n  {}\n", row[long].clone().into());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_no_line_ends_with_a_blank() {
        let rows = [
            ["a".to_owned(), "bb".to_owned()],
            ["ccc\x1b".to_owned(), String::new()],
        ];
        assert_eq!(aligned(&rows), "a        bb\nccc\\x1b\n");
    }

    #[test]
    fn columns_are_counted_by_the_width_of_their_letters() {
        let scripts = crate::terminal::letters::DisplayScripts::named(["Latin", "Japanese"])
            .expect("scripts");
        let rows = ["再起動", "Größe", "x"].map(|text| {
            [
                PrintableText::quoted_in(text, scripts),
                PrintableText::words("end"),
            ]
        });
        assert_eq!(
            aligned(&rows),
            "\"再起動\"  end\n\"Größe\"   end\n\"x\"       end\n"
        );
        let long = PrintableText::quoted_in("再起動する", scripts);
        assert_eq!(
            [
                long.cut(8).as_str(),
                long.cut(9).as_str(),
                long.cut(12).as_str()
            ],
            ["\"再起...", "\"再起...", "\"再起動する\""]
        );
        assert_eq!(long.ends(3).as_str(), "\"再...る\"");
    }

    #[test]
    fn a_column_that_makes_a_line_longer_than_the_terminal_gets_lines_of_its_own() {
        let rows = [
            ["a".to_owned(), "b".to_owned(), "long".to_owned()],
            ["cc".to_owned(), "d".to_owned(), "x".to_owned()],
        ];
        assert_eq!(fitted(&rows, 11, 2), "a   b  long\ncc  d  x\n");
        assert_eq!(fitted(&rows, 10, 2), "a   b\n  long\ncc  d\n  x\n");
    }
}
