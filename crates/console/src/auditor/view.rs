//! The markup of the auditor's pages.

use client::{
    AuditRow, AuditTable, BOUNDARY, COLUMNS, FIELDS, GRANT_COLUMNS, LineTone, MOST_ROWS,
    OPEN_CHOICES, PrintableText, RowFilter, RowVerdict, TIME, VERDICT, grant_cells, open_lines,
    outcomes,
};
use documents::{Timestamp, joined};
use maud::{Markup, html};
use verdict::GrantLine;
use wire::percent_encoded;

use crate::{
    FormFields,
    auditor::{
        audit_pages::{AuditorPages, UPLOAD_PATH},
        log_row::log_row,
    },
    hidden, page, plain, sent_text,
};

/// Number of rows on one page.
const ROWS: usize = 200;

impl AuditorPages {
    /// Returns the page with the table.
    pub fn index_page(&self, fields: &FormFields, filter: Result<RowFilter, String>) -> Markup {
        let table = self.table();
        let (filter, wrong) = match filter {
            Ok(filter) => (filter, None),
            Err(why) => (RowFilter::default(), Some(why)),
        };
        let rows: Vec<&AuditRow> = table.rows.iter().filter(|row| filter.takes(row)).collect();
        let last = rows.len().div_ceil(ROWS).max(1);
        let at = fields
            .get("page")
            .and_then(|page| page.parse().ok())
            .unwrap_or(1)
            .clamp(1, last);
        let on_page = &rows[(at - 1) * ROWS..rows.len().min(at * ROWS)];
        let main = html! {
            h1 { "Decisions of " (plain(&self.named)) }
            (self.remarks(&table))
            @if let Some(why) = &wrong { div.admonition role="alert" { (plain(why)) ". The table shows every row." } }
            (open_work(&table.logs.iter().flat_map(|log| open_lines(&log.summary)).collect::<Vec<_>>()))
            (facts(&table))
            (filters(fields))
            p role="status" {
                (rows.len()) " of " (table.rows.len()) " rows"
                @if !rows.is_empty() { ", here rows " ((at - 1) * ROWS + 1) " to " ((at - 1) * ROWS + on_page.len()) }
                "."
            }
            (pager("Pages of the table", fields, at, last))
            (decisions(on_page))
            (pager("Pages, below the table", fields, at, last))
            (grants(&table.grants()))
            h2 { "Downloads" }
            ul {
                li { a href=(address("/decisions.csv", &query(fields, None))) { "These rows as CSV" } ", in which no cell begins a formula" }
            }
            (self.upload_form())
            (skipped(&table))
        };
        page("Decisions", &main)
    }

    /// Returns the notes that a reader needs before the table.
    fn remarks(&self, table: &AuditTable) -> Markup {
        let open = table.open_count();
        html! {
            @if !table.unjudged.is_empty() {
                div.admonition role="alert" {
                    @if table.logs.is_empty() { h2 { "The evidence was not judged" } } @else { h2 { "Part of the evidence was not judged" } }
                    @for log in &table.unjudged { p { (plain(log)) } }
                }
            }
            @if self.trust.is_empty() {
                div.admonition role="alert" {
                    h2 { "You trust no roster" }
                    p { "Without a trusted roster, nothing can be verified. Get the roster, or its digest, from the person who maintains it, over another channel than the evidence. Then stop the program with Ctrl-C, and start it again with " code { "--roster FILE" } " or " code { "--roster sha256:..." } "." }
                }
            }
            @for (why, count) in table.undecided() {
                div.admonition role="note" {
                    (count) @if count == 1 { " row is " } @else { " rows are " } (why) ". To decide them, start the program again with every missing version, too: "
                    code { "--roster DIR" } " takes a directory with the files of all versions (the boundary keeps them as roster.d/N.json), and "
                    code { "--roster FILE" } " may be repeated. An exported log has all versions itself."
                }
            }
            @if open > 0 {
                div.admonition role="note" { "Still open: " (open) @if open == 1 { " run" } @else { " runs" } ", because nobody knows the end, or a review is missing. Open runs come first in the table." }
            }
            @for (receipt, count) in table.repeated().iter().take(20) {
                div.admonition role="note" { (count) " rows belong to the same run " (receipt) ": count this run once." }
            }
            @if table.left_out > 0 {
                div.admonition role="alert" { (table.left_out) " decisions are not in the table, which can have " (MOST_ROWS) " rows. " code { "countersign audit --json" } " prints all of a log." }
            }
            @if let Some(said) = self.said() { p role="status" { (said) } }
        }
    }

    fn upload_form(&self) -> Markup {
        html! {
            h2 { "Add bundles" }
            form method="post" action=(UPLOAD_PATH) enctype="multipart/form-data" {
                (hidden(&self.door.form_key, UPLOAD_PATH, &self.forms.issue(), ""))
                p.hint id="upload-hint" { "Choose files, or drop them on a field. At most 64 MiB and 2000 files at once. The files go only to this program on this machine, and end with it." }
                div.fields {
                    div { label for="files" { "Bundles" } input id="files" type="file" name="files" multiple aria-describedby="upload-hint"; }
                    div { label for="folder" { "All files of a folder" } input id="folder" type="file" name="folder" multiple webkitdirectory aria-describedby="upload-hint"; }
                }
                button.main type="submit" { "Verify and add" }
            }
        }
    }

    /// Returns the page of a row, with all checks.
    pub fn row_page(&self, number: usize) -> Option<Markup> {
        let table = self.table();
        let row = table.rows.iter().find(|row| row.number == number)?.clone();
        let found = log_row(&table, &row);
        drop(table);
        let name = row.cells.last().map_or("", |cell| cell);
        let title = if row.at.is_some() {
            format!("{}, {}", row.cells[0], row.cells[TIME])
        } else {
            name.to_owned()
        };
        let checks = self.verified_again(name, &row.place);
        let main = html! {
            h1 { (title) }
            p { a href="/" { "Back to the table" } }
            div.wide role="region" aria-label="The row" tabindex="0" {
                table {
                    caption { "The row" }
                    tbody { @for (column, cell) in COLUMNS.iter().zip(&row.cells) { tr { th scope="row" { (column) } td { (cell) } } } }
                }
            }
            @match (checks, found) {
                (Some(Ok(screen)), _) => {
                    h2 { "All checks, as countersign verify prints them" }
                    pre.wrapped tabindex="0" aria-label="All checks" { (screen.paint(usize::MAX, false)) }
                }
                (Some(Err(why)), _) => div.admonition role="alert" { (plain(&why)) },
                (None, Some(screen)) => {
                    h2 { "What the audit of the log found" }
                    pre.wrapped tabindex="0" aria-label="What the audit found" { (screen.paint(usize::MAX, false)) }
                }
                (None, None) => {}
            }
        };
        Some(page(&title, &main))
    }

    /// Returns the page about the whole log.
    pub fn log_page(&self) -> Option<Markup> {
        let table = self.table();
        let _ = table.logs.first()?;
        let main = html! {
            h1 { "The whole log" }
            p { a href="/" { "Back to the table" } }
            @for log in &table.logs {
                pre.wrapped tabindex="0" aria-label="Result of the audit" { (log.screen().paint(usize::MAX, false)) }
            }
        };
        Some(page("The whole log", &main))
    }
}

/// Returns the list of the work that the log leaves open.
fn open_work(lines: &[(LineTone, PrintableText)]) -> Markup {
    html! {
        @if !lines.is_empty() {
            div.admonition role="note" {
                h2 { "Open" }
                ul {
                    @for (tone, line) in lines {
                        li { @if *tone == LineTone::Bad { strong.bad { (line.as_str()) } } @else { (line.as_str()) } }
                    }
                }
            }
        }
    }
}

fn facts(table: &AuditTable) -> Markup {
    let facts = table.facts();
    let verdict = joined(
        facts
            .iter()
            .filter(|(name, _)| *name == "verdict")
            .map(|(_, value)| value),
        "; ",
    );
    html! {
        details {
            summary { "What was audited here: " (verdict) }
            div.wide role="region" aria-label="Facts" tabindex="0" {
                table {
                    caption { "Facts" }
                    tbody { @for (name, value) in &facts { tr { th scope="row" { (name) } td { (value) } } } }
                }
            }
        }
        @if !table.logs.is_empty() { p { a href="/log" { "Everything that the audit of the log says" } } }
    }
}

/// Returns the table of the grants, which have no rows among the runs. The page shows the newest grants, and the CSV
/// file has all.
fn grants(grants: &[(&GrantLine, Timestamp)]) -> Markup {
    html! {
        @if !grants.is_empty() {
            div.wide role="region" aria-labelledby="grants" tabindex="0" {
                table {
                    caption id="grants" { "Standing grants, the newest first" }
                    thead { tr { @for column in GRANT_COLUMNS { th scope="col" { (column) } } } }
                    tbody {
                        @for (line, until) in grants.iter().rev().take(ROWS) {
                            @let [id, others @ ..] = grant_cells(line, *until);
                            tr { th scope="row" { (id) } @for cell in others { td { (cell) } } }
                        }
                    }
                }
            }
            p {
                a href="/grants.csv" { "All " (grants.len()) " grants as CSV" }
                ". To see the runs under a grant, filter the table by its id."
            }
        }
    }
}

fn decisions(rows: &[&AuditRow]) -> Markup {
    // With only one boundary, the column with its name is left out.
    let mut names = rows
        .iter()
        .map(|row| &row.cells[BOUNDARY])
        .filter(|name| !name.is_empty());
    let first = names.next();
    let several = names.any(|name| Some(name) != first);
    let is_shown = |at: &usize| several || *at != BOUNDARY;
    html! {
        @if rows.is_empty() { p { "No row matches the filters." } } @else {
            div.wide role="region" aria-labelledby="decisions" tabindex="0" {
                table.decisions {
                    caption id="decisions" { "Decisions. Open runs come first, then failed rows, then the newest." }
                    thead { tr { @for at in (0..COLUMNS.len()).filter(is_shown) { th scope="col" { (COLUMNS[at]) } } } }
                    tbody {
                        @for row in rows {
                            tr {
                                @for (at, cell) in row.cells.iter().enumerate().filter(|(at, _)| is_shown(at)) {
                                    @if at == 0 { th scope="row" { a href=(format!("/row/{}", row.number)) { (cell) } } }
                                    @else if at == VERDICT { td data-verdict=(row.verdict.word()) { (cell) } }
                                    @else { td { (cell) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn filters(fields: &FormFields) -> Markup {
    let value = |name: &str| sent_text(fields, name);
    let line = |name: &'static str, words: &'static str| {
        html! {
            div { label for=(name) { (words) } input id=(name) name=(name) value=(value(name)) autocomplete="off"; }
        }
    };
    let choice = |name: &'static str, words: &'static str, options: Vec<(&'static str, String)>| {
        html! {
            div {
                label for=(name) { (words) }
                select id=(name) name=(name) {
                    option value="" { "(all)" }
                    @for (word, words) in options { option value=(word) selected[value(name) == word] { (words) } }
                }
            }
        }
    };
    html! {
        form method="get" action="/" role="search" aria-label="Filters" {
            div.filters {
                (line("step", "Step (service:*)"))
                (line("person", "Proposer or approver (part of a name)"))
                (line("grant", "Grant (grt_: all)"))
                (choice("outcome", "Outcome", outcomes().map(|word| (word, word.replace('_', " "))).collect()))
                (choice("open", "Still open", OPEN_CHOICES.map(|word| (word, word.to_owned())).into()))
                (choice("verdict", "Verdict", RowVerdict::ALL.map(|verdict| (verdict.word(), verdict.words().to_owned())).into()))
                (line("since", "Since (date or 7d)"))
                (line("until", "Until (date or 7d)"))
            }
            div.row { button.main type="submit" { "Filter" } a href="/" { "Show every row" } }
        }
    }
}

fn pager(label: &str, fields: &FormFields, at: usize, last: usize) -> Markup {
    html! {
        @if last > 1 {
            div.row role="navigation" aria-label=(label) {
                @if at > 1 { a href=(address("/", &query(fields, Some(at - 1)))) { "Newer rows" } }
                span { "Page " (at) " of " (last) }
                @if at < last { a href=(address("/", &query(fields, Some(at + 1)))) { "Further rows" } }
            }
        }
    }
}

fn skipped(table: &AuditTable) -> Markup {
    html! {
        @if table.skipped_count > 0 {
            h2 { "Other files" }
            p { (table.skipped_count) " files are no bundles, so they have no row." }
            ul { @for file in &table.skipped { li { strong { (plain(&file.name)) } ": " (plain(&file.why)) } } }
        }
    }
}

fn address(path: &str, query: &str) -> String {
    if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{query}")
    }
}

/// Returns the filters and the page as the query of an address.
fn query(fields: &FormFields, page: Option<usize>) -> String {
    let page = page.map(|page| ("page", page.to_string()));
    let filters = FIELDS
        .iter()
        .filter_map(|name| Some((*name, fields.get(*name)?.clone())));
    let pairs = filters.filter(|(_, value)| !value.is_empty()).chain(page);
    let pairs = pairs.map(|(name, value)| format!("{name}={}", percent_encoded(&value)));
    joined(pairs, "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_work_is_a_list_in_which_runs_without_reviews_are_red() {
        let line = |tone, text: &str| (tone, PrintableText::text(text));
        let page = open_work(&[
            line(LineTone::Bad, "rcp_1 <b>"),
            line(LineTone::Plain, "grant grt_1"),
        ])
        .into_string();
        assert!(
            page.contains("<h2>Open</h2>") && page.contains("<li>grant grt_1</li>"),
            "{page}"
        );
        assert!(
            page.contains("<strong class=\"bad\">rcp_1 &lt;b&gt;</strong>"),
            "{page}"
        );
        assert_eq!(open_work(&[]).into_string(), "");
    }

    #[test]
    fn a_filter_in_an_address_is_escaped() {
        let fields: FormFields = [("step", "a&b=\"<c>"), ("other", "x"), ("person", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        assert_eq!(query(&fields, Some(2)), "step=a%26b%3D%22%3Cc%3E&page=2");
    }
}
