//! The markup of the author's preview: what approvers would see of each step, and what policy and a boundary say.

use client::{DefinitionDifferences, OutputPainter, Screen, draw_differences};
use console::{coloured, framed};
use documents::visible;
use maud::{Markup, html};

use crate::{
    AuthorPreview, ComparedStep, FormField, ListedFile, PREFIX, RunbookCheck, Views,
    notebook::board::id,
};

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
            ul.findings { @for line in check.lines() { li { (visible(&line)) } } }
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
                div.admonition role="note" { ul { @for line in &file.news { li { (visible(line)) } } } }
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
