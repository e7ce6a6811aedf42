//! The markup of a notebook.

use client::terminal::run_output::EscapedOutput;
use console::page::frame::{FramedPage, framed};
use console::page::prose::Part;
use console::page::terminal_text::coloured;
use console::web::door::Door;
use console::web::one_use::OpenForms;
use maud::{Markup, html};

use crate::notebook::board::{Board, PlaceOnPage, ShownStep, StepState, file_path, file_words, id};
use crate::notebook::form::{CONFIRM, FieldKind, FormField, PREFIX, fields};
use crate::notebook::open_pages::{ListedFile, OpenPage};

/// What the views need.
#[derive(Debug, Clone, Copy)]
pub struct Views<'a> {
    /// Seals of the forms.
    pub door: &'a Door,
    /// Numbers of the forms.
    pub forms: &'a OpenForms,
    /// State of the steps.
    pub board: &'a Board,
}

/// Text of a runbook, with escapes in place of characters that a reader can't see.
fn visible(text: &str) -> String {
    EscapedOutput::default().feed(text.as_bytes())
}

impl Views<'_> {
    /// Returns the list of the open files.
    pub fn index(&self, files: &[ListedFile]) -> Markup {
        let main = html! {
            h1 { "Runbooks" }
            ul {
                @for (at, file) in files.iter().enumerate() {
                    li {
                        @match &file.page {
                            Ok(page) => { a href=(format!("/page/{at}/")) { (visible(&file.shown)) } " (" (page.steps.len()) " steps)" }
                            Err(why) => { strong { (visible(&file.shown)) } ": can't be opened" pre tabindex="0" { (visible(why)) } }
                        }
                    }
                }
            }
        };
        framed(&FramedPage { title: "Runbooks".to_owned(), side: None, main, changes: false })
    }

    /// Returns the page of a runbook.
    pub fn notebook(&self, at: usize, shown: &str, page: &OpenPage) -> Markup {
        let side = html! {
            ul {
                @for heading in &page.headings { li { a href=(format!("#{}", heading.id)) { (heading.text) } } }
            }
            h2 { "Steps" }
            ul {
                @for (step, one) in page.steps.iter().enumerate() {
                    li { a href=(format!("#{}", id((at, step)))) { (one.definition.reference.step()) } }
                }
            }
            p { a href="/" { "All runbooks" } }
        };
        let main = html! {
            h1 { (visible(shown)) }
            @if page.has_changed() {
                div.admonition role="note" {
                    "The file has changed since it was opened. What you see here is what runs. To open the new file, stop \
                     the program with Ctrl-C and start it again."
                }
            }
            @for remark in &page.runbook.remarks { div.admonition role="note" { (visible(&remark.to_string())) } }
            div.row {
                (self.button(&format!("/page/{at}/reset"), "Begin a new session", false))
                (self.button("/stop", "Stop the step that runs", false))
            }
            p #said role="status" {}
            div #live data-after=(self.board.last_event()) {
                @if page.runbook.workflow.is_some() { (self.workflow(at, page)) }
                @for part in &page.parts {
                    @match part {
                        Part::Prose(prose) => (prose),
                        Part::Step(step) => (self.step((at, *step), page)),
                    }
                }
            }
        };
        let changes = self.board.running().is_some();
        framed(&FramedPage { title: shown.to_owned(), side: Some(side), main, changes })
    }

    /// Returns a form with one button.
    fn button(&self, path: &str, words: &str, main: bool) -> Markup {
        html! {
            form method="post" action=(path) { (self.hidden(path)) button.main[main] type="submit" { (words) } }
        }
    }

    /// Returns the fields that make a form work once, and on this server only.
    fn hidden(&self, path: &str) -> Markup {
        let number = self.forms.issue();
        html! {
            input type="hidden" name="form" value=(number);
            input type="hidden" name="seal" value=(self.door.seal(path, &number));
        }
    }

    fn workflow(&self, at: usize, page: &OpenPage) -> Markup {
        let place = (at, page.steps.len());
        let path = format!("/page/{at}/walk");
        let fields = [FormField {
            name: "lists".to_owned(),
            kind: FieldKind::Line,
            description: "Lists for the loops of the workflow, for example items=a,b items=file:PATH".to_owned(),
            rules: Vec::new(),
            default: None,
            required: false,
        }];
        self.board.with(place, |view| {
            html! {
                section.step id=(id(place)) data-state=(view.state.word()) aria-label="The whole workflow" {
                    h2 { "The whole workflow" }
                    form.run method="post" action=(path) {
                        (self.hidden(&path))
                        (self.fields(place, &fields, view))
                        button.main type="submit" { "Run the workflow" }
                    }
                    (self.result(place, view))
                }
            }
        })
    }

    fn step(&self, place: PlaceOnPage, page: &OpenPage) -> Markup {
        let Some(definition) = page.definition(place.1) else { return html! {} };
        let name = definition.reference.step();
        let line = page.steps[place.1].place.as_ref().map_or(0, |place| place.place.line);
        let path = format!("/page/{}/run/{}", place.0, place.1);
        let fields = fields(&definition.params);
        self.board.with(place, |view| {
            html! {
                section.step id=(id(place)) data-state=(view.state.word()) aria-label=(name) {
                    h2 { (name) }
                    @if definition.title != name && !definition.title.is_empty() { p { (visible(&definition.title)) } }
                    p.hint { (definition.interpreter) ", line " (line) }
                    pre tabindex="0" { code { (visible(&definition.source)) } }
                    @for secret in &definition.secrets {
                        p.hint { "gets the secret " (secret.name.to_string()) " (option --secret " (secret.name.to_string()) "=env:VARIABLE)" }
                    }
                    form.run method="post" action=(path) {
                        (self.hidden(&path))
                        (self.fields(place, &fields, view))
                        @for (at, text) in page.confirmations[place.1].iter().enumerate() {
                            label { input type="checkbox" name=(format!("{CONFIRM}{at}")) required; " " (visible(text)) }
                        }
                        button.main type="submit" { "Run " (name) }
                    }
                    (self.result(place, view))
                }
            }
        })
    }

    fn fields(&self, place: PlaceOnPage, fields: &[FormField], view: &ShownStep) -> Markup {
        html! {
            @if !fields.is_empty() { div.fields {
                @for (at, field) in fields.iter().enumerate() {
                    @let key = format!("{}-{at}", id(place));
                    @let hint = format!("{key}-hint");
                    @let name = format!("{PREFIX}{}", field.name);
                    @let value = view.given.get(&field.name).or(field.default.as_ref()).map_or("", String::as_str);
                    div {
                        label for=(key) { (field.name) @if field.required { " (required)" } }
                        p.hint id=(hint) { (visible(&field.description)) @if !field.description.is_empty() && !field.rules.is_empty() { ". " } @for rule in &field.rules { " " (visible(rule)) "." } }
                        @match &field.kind {
                            FieldKind::Choice(values) => {
                                select id=(key) name=(name) aria-describedby=(hint) required[field.required] {
                                    @if !values.iter().any(|one| one == value) { option value="" { "(choose)" } }
                                    @for one in values { option value=(one) selected[one == value] { (visible(one)) } }
                                }
                            }
                            FieldKind::Json => textarea id=(key) name=(name) aria-describedby=(hint) rows="3" required[field.required] { (value) },
                            FieldKind::Number => input id=(key) name=(name) inputmode="decimal" aria-describedby=(hint) value=(value) required[field.required];,
                            FieldKind::Line => input id=(key) name=(name) aria-describedby=(hint) value=(value) autocomplete="off" required[field.required];,
                        }
                    }
                }
            } }
        }
    }

    fn result(&self, place: PlaceOnPage, view: &ShownStep) -> Markup {
        html! {
            p.state role="status" { (state_words(view)) }
            div.asks {
                @if let Some(question) = &view.question {
                    div.question role="alertdialog" aria-label="Policy asks" {
                        pre tabindex="0" { (question.text) }
                        div.row {
                            @for button in &question.buttons {
                                @let path = format!("/answer/{}/{}", question.number, button.letter);
                                (self.button(&path, &button.words, false))
                            }
                        }
                    }
                }
            }
            pre.output tabindex="0" aria-label=(format!("Output of {}", id(place))) hidden[view.output.is_empty()] { (coloured(&view.output)) }
            ul.files { @for (at, file) in view.files.iter().enumerate() { li { a href=(file_path(place, at)) { (file_words(file)) } } } }
            ul.facts { @for fact in &view.facts { li { (visible(fact)) } } }
        }
    }
}

/// Returns the page with the text of a file.
pub fn text_of_file(place: PlaceOnPage, path: &str, name: &str, text: &str) -> Markup {
    let main = html! {
        h1 { (name) }
        div.row {
            a href=(format!("{path}?download")) { "Download" }
            a href=(format!("/page/{}/#{}", place.0, id(place))) { "Back to the step" }
        }
        pre tabindex="0" { (visible(text)) }
    };
    framed(&FramedPage { title: name.to_owned(), side: None, main, changes: false })
}

fn state_words(view: &ShownStep) -> String {
    match view.state {
        StepState::Ready => String::new(),
        StepState::Running => "runs".to_owned(),
        state => format!("{}: {}", state.word(), view.words),
    }
}
