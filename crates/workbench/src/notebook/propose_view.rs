//! The markup of a runbook whose sealed steps a person proposes.

use client::{Exit, end_of, rules, time_left};
use console::{Door, OpenForms, Part, framed, hidden, plain, standing_words};
use documents::{ProposalId, Timestamp, visible};
use maud::{Markup, html};
use wire::ProposalView;

use crate::{
    CONFIRM, GivenWish, ListedFile, OpenPage, PREFIX, PageStep, SealedBlock, SealedRunbook,
    SealedStep, WishProblems, field_inputs,
    notebook::{
        board::id,
        form::errors_of,
        view::{contents, painted_differences},
        wish::{fields_of, other_fields},
    },
};

/// Maximum number of proposals that a step shows.
const MOST_SHOWN: usize = 5;
/// Number of last digits of an id.
const ENDING: usize = 8;

/// What the views need.
pub struct ProposeViews<'a> {
    /// The server's secrets, which seal the forms.
    pub door: &'a Door,
    /// Numbers of the forms.
    pub forms: &'a OpenForms,
    /// Time of the page.
    pub now: Timestamp,
}

/// What the person gave, and what is wrong with it.
#[derive(Default)]
pub struct EarlierWish {
    /// What the person gave.
    pub wish: GivenWish,
    /// What is wrong.
    pub problems: WishProblems,
}

/// The name of a step that was not proposed, and what is wrong.
pub type RefusedWish = (String, EarlierWish);

/// Returns the address of the page of a proposal.
pub fn run_path(id: &ProposalId) -> String {
    format!("/run/{id}")
}

impl ProposeViews<'_> {
    /// Returns the page of a runbook.
    pub fn runbook(
        &self,
        at: usize,
        (file, page): (&ListedFile, &OpenPage),
        sealed: &SealedRunbook,
        proposals: &[ProposalView],
        refused: Option<&RefusedWish>,
    ) -> Markup {
        let side = contents(at, page, &html! {});
        let main = html! {
            h1 { (visible(&file.shown)) }
            p {
                "Boundary: " strong { (plain(&sealed.boundary)) } ". Nothing runs on this machine. The text comes from your \
                 file. Each step comes from the boundary, which has sealed it. This program computed its digest."
            }
            @if let Some((name, earlier)) = refused { (alert(name, &earlier.problems)) }
            @if !sealed.only_sealed.is_empty() {
                div.admonition role="note" {
                    "Your file lacks these sealed steps of the runbook: "
                    @for (at, step) in sealed.only_sealed.iter().enumerate() { @if at > 0 { ", " } (plain(step.as_str())) } "."
                }
            }
            @for part in &page.parts {
                @match part {
                    Part::Prose(prose) => (prose),
                    Part::Step(step) => @if let Some(step) = page.steps.get(*step) {
                        (self.block(at, step, sealed.blocks.get(step.name()), proposals, refused))
                    },
                }
            }
        };
        framed(&file.shown, Some(&side), &main, false)
    }

    /// Returns the block of one step.
    fn block(
        &self,
        at: usize,
        step: &PageStep,
        block: Option<&SealedBlock>,
        proposals: &[ProposalView],
        refused: Option<&RefusedWish>,
    ) -> Markup {
        let (name, none) = (step.name(), EarlierWish::default());
        let earlier = refused
            .filter(|(of, _)| of == name)
            .map_or(&none, |(_, earlier)| earlier);
        let inner = match block {
            Some(SealedBlock::Sealed(sealed, differs)) => html! {
                @if let Some(found) = differs {
                    div.question role="note" {
                        p { strong { "The file's step differs from the sealed step: the sealed one is shown and proposed." } }
                        @if !found.script.is_empty() || !found.fields.is_empty() {
                            details { summary { "What differs: was = sealed, now = your file" } (painted_differences(found)) }
                        }
                    }
                }
                (self.sealed(sealed))
                (self.form_of_step(at, step, sealed, earlier))
                (self.proposals(sealed, proposals))
            },
            Some(SealedBlock::Unread(why)) => html! { div.question role="alert" { (plain(why)) } },
            Some(SealedBlock::Missing) | None => html! {
                div.admonition role="note" {
                    "The boundary has not sealed this step, or your token may not see it. So it can't be proposed."
                }
            },
        };
        html! { section.step id=(id((at, step.number))) aria-label=(name) { h2 { (name) } (inner) } }
    }

    /// Returns what the sealed definition says, and who must sign.
    fn sealed(&self, step: &SealedStep) -> Markup {
        let definition = &step.definition;
        html! {
            p.hint { code { (plain(definition.reference.as_str())) } ", " (plain(&definition.interpreter)) ", digest " code { (step.digest.to_string()) } }
            pre tabindex="0" { code { (visible(&definition.source)) } }
            @for secret in &definition.secrets { p.hint { "gets the secret " (secret.name.to_string()) } }
            @match &step.hopeless {
                Some(why) => div.question role="note" { strong { "Nobody can approve this step. " } (plain(why)) ". Tell the author of the runbook." },
                None => p { "Who must sign: " strong { (plain(&rules(&step.approvals))) } },
            }
        }
    }

    /// Returns the form of a step of a file, or why the step has none.
    fn form_of_step(
        &self,
        at: usize,
        step: &PageStep,
        sealed: &SealedStep,
        earlier: &EarlierWish,
    ) -> Markup {
        if let Some(plan) = &sealed.definition.plan {
            let first = plain(plan.step.as_str());
            return html! {
                p { "This step applies a plan of " code { (first) } ". Propose " code { (first) } " first. The page of its ended run has the button that proposes this step." }
            };
        }
        self.form(
            &format!("/page/{at}/propose"),
            &id((at, step.number)),
            (sealed, &step.confirmations),
            earlier,
            true,
        )
    }

    /// Returns the form that proposes a step, with the errors beside their fields.
    fn form(
        &self,
        path: &str,
        of: &str,
        (step, confirmations): (&SealedStep, &[String]),
        earlier: &EarlierWish,
        takes_params: bool,
    ) -> Markup {
        if step.hopeless.is_some() {
            return html! {};
        }
        let EarlierWish { wish, problems } = earlier;
        let fields = if takes_params {
            fields_of(&step.definition)
        } else {
            Vec::new()
        };
        let (more, others) = (format!("{of}-more"), other_fields(step));
        html! {
            form method="post" action=(path) {
                (hidden(&self.door.form_key, path, &self.forms.issue(), &step.exact()))
                (field_inputs(of, PREFIX, &fields, &wish.params, &errors_of(of, &fields, &problems.params)))
                (field_inputs(&more, "", &others, &wish.sent, &errors_of(&more, &others, &problems.others)))
                @for (at, words) in confirmations.iter().enumerate() {
                    label { input type="checkbox" name=(format!("{CONFIRM}{at}")) required; " " (visible(words)) }
                }
                button.main type="submit" { "Propose " (step.definition.reference.step()) }
            }
        }
    }

    /// Returns the last proposals of a step.
    fn proposals(&self, step: &SealedStep, proposals: &[ProposalView]) -> Markup {
        let mut own = proposals
            .iter()
            .filter(|view| view.step == step.definition.reference)
            .take(MOST_SHOWN)
            .peekable();
        html! {
            @if own.peek().is_some() {
                h3 { "Last proposals of this step" }
                ul {
                    @for view in own {
                        li {
                            a href=(run_path(&view.id)) { "…" (end_of(view, ENDING)) }
                            ": " (standing_words(view))
                            @if !view.status.has_ended() { ", " (view.approvals.words()) ", " (time_left(view, self.now)) " left" }
                        }
                    }
                }
            }
        }
    }

    /// Returns the forms that apply the plan of an ended run.
    pub fn applies(&self, view: &ProposalView, steps: &[SealedStep]) -> Markup {
        let path = format!("{}/apply", run_path(&view.id));
        html! {
            @for (at, step) in steps.iter().enumerate() {
                h2 { "Apply this plan: " (step.definition.reference.step()) }
                section.step aria-label=(step.definition.reference.step()) {
                    p { "The proposal has the parameters of this run, and is bound to its receipt." }
                    (self.sealed(step))
                    (self.form(&path, &format!("apply-{at}"), (step, &[]), &EarlierWish::default(), false))
                }
            }
        }
    }
}

/// Returns what is wrong with the form of a step.
fn alert(step: &str, problems: &WishProblems) -> Markup {
    let unconfirmed = problems
        .failure
        .as_ref()
        .is_some_and(|failure| failure.exit == Exit::Unreachable);
    html! {
        div.question role="alert" {
            p { strong { @if unconfirmed { "Not confirmed: " } @else { "Not proposed: " } (step) } }
            @if problems.whole.is_empty() { p { "Nothing was proposed. The errors stand beside their fields." } }
            @for why in &problems.whole { p { (plain(why)) } }
        }
    }
}

/// Returns a page about a failure of the boundary.
pub fn failure_page(title: &str, why: &str, way: &str) -> Markup {
    let main = html! {
        h1 { (title) }
        div.question role="alert" { (visible(why)) }
        p { a href=(way) { "Load the page again" } }
        p { a href="/" { "All runbooks" } }
    };
    framed(title, None, &main, false)
}
