//! The markup of a notebook.
//!
//! The file also contains the markup of the author's preview: what approvers would see of each step, and what policy
//! and a boundary say.

use maud::{Markup, html};

use crate::{
    AuthorPreview, Board, CONFIRM, ComparedStep, DIGEST, FieldKind, FormField, ListedFile,
    OpenPage, PREFIX, PageStep, PlaceOnPage, RefusedStep, RunbookCheck, ShownStep, StepState,
    WORKFLOW, confirmation_id, field_inputs, file_path, file_words,
    notebook::{
        board::{ShownPass, id},
        form::fields,
        open_pages::line_of,
    },
};
use client::{
    DefinitionDifferences, OutputPainter, Screen, draw_differences, value_words::counted,
};
use console::{Door, FieldErrors, OpenForms, Part, coloured, framed};
use documents::visible;
use reading::{FileProblem, LoopSource};

/// What the views need.
pub struct Views<'a> {
    /// The server's secrets, which seal the forms.
    pub door: &'a Door,
    /// Numbers of the forms.
    pub forms: &'a OpenForms,
    /// State of the steps.
    pub board: &'a Board,
    /// Names of the secrets that the command line gave, which a step can get.
    pub secrets: &'a [String],
    /// True if a page loads again after a save.
    pub watches: bool,
    /// The form whose errors the page shows.
    pub refused: Option<&'a RefusedStep>,
    /// Why no boundary would seal the file.
    pub errors: &'a [FileProblem],
}

impl Views<'_> {
    /// Returns the list of the open files.
    pub fn index(&self, files: &[ListedFile]) -> Markup {
        let live = html! { @if self.watches { div #live data-after=(self.board.last_event()) {} } };
        file_list(files, &live)
    }

    /// Returns the page of a runbook.
    pub fn notebook(&self, at: usize, file: &ListedFile, page: &OpenPage) -> Markup {
        let side = contents(
            at,
            page,
            &html! { p { a href=(format!("/page/{at}/preview/")) { "What approvers will see" } } },
        );
        let main = html! {
            h1 { (visible(&file.shown)) }
            @if let Some(refused) = self.refused { (refused.errors.summary("The step did not run: correct these fields.")) }
            (self.news(file, page))
            @if !self.errors.is_empty() {
                div.question role="note" {
                    p { strong { "No boundary would seal this file:" } }
                    ul {
                        @for error in self.errors {
                            li { @match page.step_at(error) { Some(step) => a href=(format!("#{}", id((at, step.number)))) { (visible(&error.to_string())) }, None => (visible(&error.to_string())) } }
                        }
                    }
                }
            }
            @for image in page.unread_images() {
                div.admonition role="note" { "The image " code { (visible(image)) } " is not shown: it is missing, larger than 5 MiB or no image, or it is not in the directory of the runbook." }
            }
            @for remark in &page.runbook.remarks { div.admonition role="note" { (visible(&remark.to_string())) } }
            div.row {
                (self.button(&format!("/page/{at}/reset"), "Begin a new session", false))
                div #stop hidden[self.board.running().is_none()] { (self.button("/stop", "Stop the step that runs", false)) }
            }
            section aria-label="Session" {
                p { "All steps of this page share a session, also in other tabs." }
                @let facts = self.board.session_facts(at);
                ul.facts #session {
                    @if facts.is_empty() { li { "no step has run in this session" } }
                    (items(&facts))
                }
            }
            div #live data-after=(self.board.last_event()) data-page=(at) {
                @if page.runbook.workflow.is_some() { (self.workflow(at, page)) }
                @for part in &page.parts {
                    @match part {
                        Part::Prose(prose) => (prose),
                        Part::Step(step) => @if let Some(step) = page.steps.get(*step) { (self.step(at, step)) },
                    }
                }
            }
        };
        let changes = self.board.running().is_some();
        framed(&file.shown, Some(&side), &main, changes)
    }

    /// Returns what differs between the file and the page.
    fn news(&self, file: &ListedFile, page: &OpenPage) -> Markup {
        let differs = page.has_changed() || !file.news.is_empty();
        html! {
            @if self.watches && !file.news.is_empty() {
                div.admonition role="note" {
                    p { "The last save:" }
                    ul { (items(&file.news)) }
                }
            } @else if !self.watches && differs {
                div.admonition role="note" {
                    p {
                        "The file has changed since it was opened. What you see here is what runs. To open the new file, \
                         stop the program with Ctrl-C and start it again, or start it with --watch."
                    }
                    ul { (items(&file.news)) }
                }
            }
        }
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
            input type="hidden" name="seal" value=(self.door.form_key.seal(path, &number));
        }
    }

    fn workflow(&self, at: usize, page: &OpenPage) -> Markup {
        let place = (at, WORKFLOW);
        let path = format!("/page/{at}/walk");
        let steps = page
            .runbook
            .workflow
            .iter()
            .flat_map(|found| &found.workflow.steps);
        let mut loops = steps.filter_map(|step| step.repeat.as_ref());
        let has_lists = loops.any(|clause| matches!(clause.source, LoopSource::List { .. }));
        let lists = has_lists.then(|| FormField {
            name: "lists".to_owned(),
            kind: FieldKind::Line,
            description:
                "Lists for the loops of the workflow, for example items=a,b items=file:PATH"
                    .to_owned(),
            rules: Vec::new(),
            default: None,
            required: false,
        });
        self.board.with(place, |view| {
            html! {
                section.step id=(id(place)) data-state=(view.state) aria-label="The whole workflow" {
                    h2 { "The whole workflow" }
                    @if let Some(found) = &page.runbook.workflow {
                        ul.units {
                            @for step in &found.workflow.steps {
                                li {
                                    (step.unit.label.to_string()) " " (visible(&step.unit.title))
                                    @if !step.substeps.is_empty() {
                                        ul {
                                            @for unit in &step.substeps {
                                                li { (step.unit.label.to_string()) "." (unit.label.to_string()) " " (visible(&unit.title)) }
                                            }
                                        }
                                    }
                                }
                            }
                        }
                    }
                    form.run method="post" action=(path) {
                        (self.hidden(&path))
                        (self.fields(place, lists.as_slice(), view))
                        button.main type="submit" { "Run the workflow" }
                    }
                    (self.result(place, view))
                }
            }
        })
    }

    fn step(&self, at: usize, step: &PageStep) -> Markup {
        let (place, definition) = ((at, step.number), &step.step.definition);
        let name = step.name();
        let path = format!("/page/{at}/run/{}", step.number);
        let fields = fields(&definition.params, self.secrets);
        let errors = self.errors(place);
        self.board.with(place, |view| {
            html! {
                section.step id=(id(place)) data-state=(view.state) aria-label=(name) {
                    h2 { (name) }
                    @if definition.title != name && !definition.title.is_empty() { p { (visible(&definition.title)) } }
                    p.hint { (definition.interpreter) ", line " (line_of(&step.step)) }
                    pre tabindex="0" { code { (visible(&definition.source)) } }
                    @for secret in &definition.secrets {
                        p.hint { "gets the secret " (secret.name.to_string()) " (option --secret " (secret.name.to_string()) "=env:VARIABLE)" }
                    }
                    form.run method="post" action=(path) {
                        (self.hidden(&path))
                        input type="hidden" name=(DIGEST) value=(step.step.digest.to_string());
                        (self.fields(place, &fields, view))
                        @for (at, text) in step.confirmations.iter().enumerate() {
                            @let key = confirmation_id(place, at);
                            label {
                                input id=(key) type="checkbox" name=(format!("{CONFIRM}{at}")) required aria-invalid=[errors.invalid(&key)]
                                    aria-describedby=[errors.of(&key).map(|_| format!("{key}-error"))];
                                " " (visible(text))
                            }
                            (errors.beside(&key))
                        }
                        div.row {
                            button.main type="submit" { "Run " (name) }
                            a href=(format!("/page/{at}/preview/{}", step.number)) { "What approvers will see of " (name) }
                        }
                    }
                    (self.result(place, view))
                }
            }
        })
    }

    fn refused(&self, place: PlaceOnPage) -> Option<&RefusedStep> {
        self.refused.filter(|refused| refused.place == place)
    }

    fn errors(&self, place: PlaceOnPage) -> FieldErrors {
        self.refused(place)
            .map(|refused| refused.errors.clone())
            .unwrap_or_default()
    }

    fn fields(&self, place: PlaceOnPage, fields: &[FormField], view: &ShownStep) -> Markup {
        let given = self
            .refused(place)
            .map_or(&view.given, |refused| &refused.sent);
        field_inputs(&id(place), PREFIX, fields, given, &self.errors(place))
    }

    fn result(&self, place: PlaceOnPage, view: &ShownStep) -> Markup {
        html! {
            p.state role="status" { (state_words(view)) }
            div.stop hidden[view.state != StepState::Running] { (self.button("/stop", "Stop", false)) }
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
            ol.passes { @for pass in &view.passes { (shown_pass(pass)) } }
            ul.files { @for (at, file) in view.files.iter().enumerate() { li { a href=(file_path(place, at)) { (file_words(file)) } } } }
            ul.facts { (items(&view.facts)) }
        }
    }
}

/// Returns the contents of a runbook for the side, with `more` before the last link.
pub fn contents(at: usize, page: &OpenPage, more: &Markup) -> Markup {
    html! {
        ul { @for heading in &page.headings { li { a href=(format!("#{}", heading.id)) { (heading.text) } } } }
        p { strong { "Steps" } }
        ul { @for one in &page.steps { li { a href=(format!("#{}", id((at, one.number)))) { (one.name()) } } } }
        (more)
        p { a href="/" { "All runbooks" } }
    }
}

/// Returns the list of the open files.
pub fn file_list(files: &[ListedFile], live: &Markup) -> Markup {
    let main = html! {
        h1 { "Runbooks" }
        (live)
        ul {
            @for (at, file) in files.iter().enumerate() {
                li {
                    @match &file.page {
                        Ok(page) => { a href=(format!("/page/{at}/")) { (visible(&file.shown)) } " (" (counted(page.steps.len(), "step")) ")" }
                        Err(why) => { strong { (visible(&file.shown)) } ": can't be opened" pre tabindex="0" { (visible(why)) } }
                    }
                    @for line in &file.news { p.hint { (visible(line)) } }
                }
            }
        }
    };
    framed("Runbooks", None, &main, false)
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
    framed(name, None, &main, false)
}

fn items<T: AsRef<str>>(lines: impl IntoIterator<Item = T>) -> Markup {
    html! { @for line in lines { li { (visible(line.as_ref())) } } }
}

/// Returns one visit of a unit of a workflow.
fn shown_pass(pass: &ShownPass) -> Markup {
    html! {
        li.pass data-state=(pass.state) {
            p.unit { (visible(&pass.heading)) }
            @if !pass.prompt.is_empty() { p.prompt { (visible(&pass.prompt)) } }
            pre.output tabindex="0" aria-label=(format!("Output of {}", visible(&pass.heading))) hidden[pass.output.is_empty()] { (coloured(&pass.output)) }
            p.ended { (ended_words(pass.state, &pass.words)) }
        }
    }
}

fn state_words(view: &ShownStep) -> String {
    match (view.state, view.passes.last()) {
        (StepState::Running, Some(pass)) => format!("runs: {}", visible(&pass.heading)),
        (state, _) => ended_words(state, &view.words),
    }
}

fn ended_words(state: StepState, words: &str) -> String {
    match state {
        StepState::Ready => String::new(),
        StepState::Running => "runs".to_owned(),
        _ => visible(words),
    }
}

/// Columns of the screen of an approver.
const WIDTH: usize = 96;

/// What the preview of one step shows.
pub struct ShownPreview {
    /// Number of the step on its page, and its name.
    pub step: (usize, String),
    /// Fields of the step, each with the value for the preview.
    pub fields: Vec<(FormField, String)>,
    /// Where the policy comes from.
    pub policy: String,
    /// The screen, or the reason why there is none.
    pub preview: Result<Screen, String>,
    /// The sealed step beside the step.
    pub compared: Option<ComparedStep>,
}

impl Views<'_> {
    /// Returns the preview of a whole runbook.
    pub fn preview(
        &self,
        at: usize,
        file: &ListedFile,
        check: &RunbookCheck,
        rules: &AuthorPreview,
    ) -> Markup {
        let tables = check.policy_tables();
        let main = html! {
            h1 { "What approvers will see: " (visible(&file.shown)) }
            (self.watched(at, file))
            h2 { "Errors and remarks" }
            p role="status" { (visible(&check.verdict(0))) }
            ul.findings { (items(check.lines())) }
            @for line in &check.advice { p { (visible(line)) } }
            @if let Some(line) = check.not_checked_line() { p { (visible(&line)) } }
            h2 { "Policy" }
            p { "Policy: " (visible(&rules.rules().from)) ". A list of commands appears here if policy asks or refuses." }
            @if !tables.is_empty() { pre tabindex="0" { (visible(&tables)) } }
            h2 { "Steps" }
            @if let Ok(page) = &file.page {
                ul {
                    @for step in &page.steps {
                        li { a href=(format!("/page/{at}/preview/{}", step.number)) { (step.name()) } }
                    }
                }
            }
            p { a href=(format!("/page/{at}/")) { "Back to the runbook" } }
        };
        framed(
            &format!("Preview: {}", file.shown),
            None,
            &main,
            self.watches,
        )
    }

    /// Returns the preview of one step.
    pub fn step_preview(&self, at: usize, file: &ListedFile, shown: &ShownPreview) -> Markup {
        let (number, name) = &shown.step;
        let main = html! {
            h1 { "What approvers will see: " (name) }
            (self.watched(at, file))
            @if !shown.fields.is_empty() {
                form method="get" action=(format!("/page/{at}/preview/{number}")) {
                    div.fields {
                        @for (place, (field, value)) in shown.fields.iter().enumerate() {
                            div {
                                label for=(format!("value-{place}")) { (field.name) @if field.required { " (required)" } }
                                input id=(format!("value-{place}")) name=(format!("{PREFIX}{}", field.name)) value=(value) autocomplete="off";
                            }
                        }
                    }
                    button type="submit" { "Show with these values" }
                }
            }
            h2 { "The screen" }
            p.hint {
                "As `countersign review` prints it, under " (visible(&shown.policy)) ". Names of people, keys, times and \
                 digests of the boundary are examples. Earlier runs are unknown."
            }
            @match &shown.preview {
                Ok(screen) => pre.screen tabindex="0" { (painted(screen)) },
                Err(why) => div.admonition role="alert" {
                    p { "No approver will be asked, because a boundary would refuse this:" }
                    pre tabindex="0" { (visible(why)) }
                }
            }
            @if let Some(compared) = &shown.compared { h2 { "Since the seal" } (changes(compared)) }
            div.row {
                a href=(format!("/page/{at}/#{}", id((at, *number)))) { "Try the step" }
                a href=(format!("/page/{at}/preview/")) { "All steps" }
            }
        };
        framed(&format!("Preview: {name}"), None, &main, self.watches)
    }

    /// Returns the part that loads the page again after a save.
    fn watched(&self, at: usize, file: &ListedFile) -> Markup {
        html! {
            @if self.watches { div #live data-after=(self.board.last_event()) data-page=(at) {} }
            @if !file.news.is_empty() {
                div.admonition role="note" { ul { (items(&file.news)) } }
            }
        }
    }
}

/// Returns a screen of the terminal as markup, with its colours.
fn painted(screen: &Screen) -> Markup {
    let mut painter = OutputPainter::default();
    let mut parts = painter.feed(screen.paint(WIDTH, true).as_bytes());
    parts.extend(painter.end());
    coloured(&parts)
}

/// Returns what differs between two definitions, as a screen of the terminal.
pub fn painted_differences(found: &DefinitionDifferences) -> Markup {
    let mut screen = Screen::default();
    draw_differences(&mut screen, found.script.iter().chain(&found.fields));
    html! { pre.screen tabindex="0" { (painted(&screen)) } }
}

fn changes(compared: &ComparedStep) -> Markup {
    html! {
        @match compared {
            ComparedStep::New => p { "The boundary has no step of this name, or the token may not see it." },
            ComparedStep::Same(digest) => p { "The step is as it is sealed: " (digest.to_string()) },
            ComparedStep::Unknown(why) => p { "The sealed step can't be read: " (visible(why)) },
            ComparedStep::Changed(digest, found) => {
                p { "The step differs from the sealed step " (digest.to_string()) ":" }
                (painted_differences(found))
            }
        }
    }
}
