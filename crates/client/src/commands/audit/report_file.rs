//! The report of an audit: one HTML file with the table. It needs no other file and no script.
//!
//! Each row of the table stands on its own line, so that a program can read the table again.

use crate::commands::audit::audit_row::COLUMNS;

/// The head of the file. The policy in it forbids scripts and everything that comes from elsewhere.
const HEAD: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
content=\"width=device-width, initial-scale=1\"><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
style-src 'unsafe-inline'\"><title>Report of an audit</title><style>:root{color-scheme:light dark}body{font:1rem/1.5 \
system-ui,sans-serif;margin:1rem}.wide{overflow-x:auto}table{border-collapse:collapse;min-width:70rem}td,th{border:1px \
solid;padding:.25rem .5rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}</style></head><body><main>\n\
<h1>Report of an audit</h1>\n<p>The table is no evidence by itself. To make it again from the evidence, and to compare each \
cell: countersign audit --check-report FILE LOG</p>\n<table><caption>Facts</caption><tbody>\n";
const TABLE: &str = "</tbody></table>\n<div class=\"wide\" role=\"region\" aria-label=\"Decisions\" tabindex=\"0\"><table>\
<caption>Decisions. Open runs come first, then failed rows, then the newest.</caption><thead>\n";
const BODY: &str = "</thead><tbody>\n";
const END: &str = "</tbody></table></div>\n</main></body></html>\n";

/// Name of the fact with the time of the report.
pub const MADE_AT: &str = "made at";
/// Name of the fact with the program that made the report.
pub const MADE_BY: &str = "made by";
/// The program, as a report names it.
pub const OWN_NAME: &str = concat!("countersign ", env!("CARGO_PKG_VERSION"));

/// A report that was read from a file, or that will be written to one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReportTable {
    /// Names and values of the facts.
    pub facts: Vec<(String, String)>,
    /// Cells of the rows.
    pub rows: Vec<Vec<String>>,
}

fn escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
}

/// Reads text that [`escaped`] wrote. Other text is refused, so that each text has one form.
fn unescaped(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let forms = [("&amp;", '&'), ("&lt;", '<'), ("&gt;", '>'), ("&quot;", '"'), ("&#39;", '\'')];
        let (length, c) = match forms.iter().find(|(form, _)| rest.starts_with(form)) {
            Some((form, c)) => (form.len(), *c),
            None if "&<>\"'".contains(c) || !(' '..='~').contains(&c) => return None,
            None => (c.len_utf8(), c),
        };
        out.push(c);
        rest = &rest[length..];
    }
    Some(out)
}

fn line<'c>(out: &mut String, first: &str, other: &str, cells: impl Iterator<Item = &'c str>) {
    out.push_str("<tr>");
    for (at, cell) in cells.enumerate() {
        let open = if at == 0 { first } else { other };
        out.push_str(open);
        escaped(out, cell);
        out.push_str(if open.starts_with("<th") { "</th>" } else { "</td>" });
    }
    out.push_str("</tr>\n");
}

/// Reads a line that [`line`] wrote.
fn read_line(text: &str, first: &str, other: &str) -> Option<Vec<String>> {
    let mut rest = text.strip_prefix("<tr>")?.strip_suffix("</tr>")?;
    let mut cells = Vec::new();
    while !rest.is_empty() {
        let open = if cells.is_empty() { first } else { other };
        let close = if open.starts_with("<th") { "</th>" } else { "</td>" };
        let (cell, next) = rest.strip_prefix(open)?.split_once(close)?;
        cells.push(unescaped(cell)?);
        rest = next;
    }
    Some(cells)
}

const ROW_HEADER: &str = "<th scope=\"row\">";
const COLUMN_HEADER: &str = "<th scope=\"col\">";
const CELL: &str = "<td>";

/// Writes a report. The facts and the cells are printable ASCII.
pub fn write_report<'c, C: AsRef<str> + 'c>(facts: &[(&str, String)], rows: impl Iterator<Item = &'c [C]>) -> String {
    let mut out = HEAD.to_owned();
    for (name, value) in facts {
        line(&mut out, ROW_HEADER, CELL, [*name, value.as_str()].into_iter());
    }
    out.push_str(TABLE);
    line(&mut out, COLUMN_HEADER, COLUMN_HEADER, COLUMNS.into_iter());
    out.push_str(BODY);
    for row in rows {
        line(&mut out, ROW_HEADER, CELL, row.iter().map(AsRef::as_ref));
    }
    out.push_str(END);
    out
}

impl ReportTable {
    /// Reads a report. Only a text that [`write_report`] can have written is a report, so that no other text of the file
    /// can say something else than the table.
    ///
    /// # Errors
    /// Returns the number of the first line that does not belong to a report, with the reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        let other = |before: &str| {
            let at = text.len() - before.len();
            format!("line {} is no line of a report of this version", text[..at].matches('\n').count() + 1)
        };
        let mut report = Self::default();
        let common = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
        let mut rest = match text.strip_prefix(HEAD) {
            Some(rest) => rest,
            None => {
                let same = &HEAD[..common(HEAD, text)];
                return Err(format!("line {} is no line of a report of this version", same.matches('\n').count() + 1));
            }
        };
        let next = |rest: &mut &str| -> Option<String> {
            let (line, after) = rest.split_once('\n')?;
            *rest = after;
            Some(line.to_owned())
        };
        while !rest.starts_with(TABLE) {
            let before = rest;
            let cells = next(&mut rest).and_then(|line| read_line(&line, ROW_HEADER, CELL));
            let Some([name, value]) = cells.and_then(|cells| <[String; 2]>::try_from(cells).ok()) else {
                return Err(other(before));
            };
            report.facts.push((name, value));
        }
        rest = &rest[TABLE.len()..];
        let before = rest;
        let columns = next(&mut rest).and_then(|line| read_line(&line, COLUMN_HEADER, COLUMN_HEADER));
        if columns.is_none_or(|columns| columns != COLUMNS) {
            return Err(other(before));
        }
        rest = rest.strip_prefix(BODY).ok_or_else(|| other(rest))?;
        while rest != END {
            let before = rest;
            let cells = next(&mut rest).and_then(|line| read_line(&line, ROW_HEADER, CELL));
            let Some(cells) = cells.filter(|cells| cells.len() == COLUMNS.len()) else { return Err(other(before)) };
            report.rows.push(cells);
        }
        Ok(report)
    }

    /// Returns a fact.
    #[must_use]
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.facts.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows() -> impl Strategy<Value = Vec<Vec<String>>> {
        prop::collection::vec(prop::collection::vec("[ -~]{0,20}", COLUMNS.len()), 0..6)
    }

    fn written(facts: &[(&str, String)], rows: &[Vec<String>]) -> String {
        write_report(facts, rows.iter().map(Vec::as_slice))
    }

    proptest! {
        #[test]
        fn every_report_can_be_read_again_and_has_no_markup_of_its_cells(value in "[ -~]{0,20}", rows in rows()) {
            let text = written(&[(MADE_AT, value.clone())], &rows);
            let read = ReportTable::parse(&text).expect("a report");
            prop_assert_eq!(read.fact(MADE_AT), Some(value.as_str()));
            prop_assert_eq!(&read.rows, &rows);
            let empty = written(&[(MADE_AT, String::new())], &vec![vec![String::new(); COLUMNS.len()]; rows.len()]);
            prop_assert_eq!(text.matches('<').count(), empty.matches('<').count());
            prop_assert_eq!(text.matches('"').count(), empty.matches('"').count());
        }

        #[test]
        fn a_changed_byte_is_another_table_or_no_report(rows in rows(), at in any::<prop::sample::Index>(), byte in 0x20_u8..0x7f) {
            let text = written(&[(MADE_AT, "now".to_owned())], &rows);
            let mut changed = text.clone().into_bytes();
            let at = at.index(changed.len());
            prop_assume!(changed[at] != byte);
            changed[at] = byte;
            let changed = String::from_utf8(changed).expect("ASCII");
            prop_assert_ne!(ReportTable::parse(&changed), ReportTable::parse(&text));
        }
    }

    #[test]
    fn text_outside_of_the_table_is_no_report() {
        let text = written(&[], &[]);
        assert!(ReportTable::parse(&text).is_ok());
        for (from, to) in [
            ("</main>", "<p>All decisions were checked.</p></main>"),
            ("<h1>", "<h1 hidden>"),
            ("</style>", "tr{display:none}</style>"),
            ("</tbody></table></div>", "</tbody></table></div><script>1</script>"),
            ("Verdict", "Result"),
        ] {
            let why = ReportTable::parse(&text.replacen(from, to, 1)).expect_err(to);
            assert!(why.starts_with("line "), "{why}");
        }
        assert!(ReportTable::parse("").is_err() && ReportTable::parse(&text[..text.len() - 1]).is_err());
    }
}
