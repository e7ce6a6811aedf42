//! The page of a review: the text of the command, and below it the forms.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use client::{
    AskedText, Client, CommandResult, GrantReview, ProposalReview, StatementVerdict, check_typed,
    deny,
};
use documents::{ProposalId, joined};
use maud::{Markup, html};
use wire::ProposalStatus;

use crate::{
    ANSWER_FIELDS, FieldError, FieldErrors, FormFields, HeldReview, MadeReview, PageAnswer,
    PageState, PasskeyQuestion, PlaceAndId, ReachedBoundary, RefusedRequest, answer_fields,
    companion::{
        requests::{not_done, take_review, ways},
        reviews::{HeldReviews, LIFE, replaced},
    },
    companion_page, hidden, path_of, plain, screen_lines, sent_text,
    web::secrets::FormKey,
};

/// What the review page needs.
struct ReviewView<'a> {
    /// Key of the seals of the forms.
    form_key: &'a FormKey,
    /// Number of the forms of this page. Both forms have the same number, because the page works once: for a signature
    /// or for a denial.
    number: &'a str,
    /// Place of the boundary in the list.
    boundary: usize,
    /// The question for the person's passkey, at a desk. `None` if a key of this program signs.
    passkey: Option<&'a PasskeyQuestion>,
    /// The review.
    made: &'a MadeReview,
    /// The contents of an earlier form of this review, and its errors.
    refused: &'a RefusedReview,
}

/// The signer for whom these pages make reviews: the keys of this program, or the passkey of a person at a desk.
pub trait Reviewer: Send + Sync + 'static {
    fn pages(&self) -> &PageState;
    fn held(&self) -> &HeldReviews<ProposalId, ProposalReview>;
    /// Returns a function that reads a proposal and makes its review.
    fn make(
        &self,
        id: ProposalId,
    ) -> impl FnOnce(&ReachedBoundary, &Client) -> CommandResult<MadeReview> + Send + 'static;
    /// Returns the question for the passkey. `None` if a key of this program signs.
    fn question(&self, made: &MadeReview) -> Option<PasskeyQuestion>;
}

/// Shows a review that was just made.
pub async fn review<R: Reviewer>(
    State(own): State<Arc<R>>,
    Path((at, id)): PlaceAndId<ProposalId>,
) -> PageAnswer<Response> {
    show_review(&*own, at, id, &RefusedReview::default()).await
}

/// Makes a review, shows it with the errors of an earlier form, and holds it for the forms of the page.
async fn show_review(
    own: &impl Reviewer,
    at: usize,
    id: ProposalId,
    refused: &RefusedReview,
) -> PageAnswer<Response> {
    let (pages, work) = (own.pages(), own.make(id.clone()));
    let made = pages.place(at)?.read(work).await;
    let made = made.map_err(not_done(at, "No review", ways(at, &id)))?;
    let digest = made.review.found.digest.to_string();
    // The person typed the digits of the earlier review, so the statement must be the same.
    refused.check_digest(at, &digest, id.as_str(), ways(at, &id))?;
    let (number, passkey) = (pages.forms.issue(), own.question(&made));
    let page = ReviewView {
        form_key: &pages.form_key,
        number: &number,
        boundary: at,
        passkey: passkey.as_ref(),
        made: &made,
        refused,
    }
    .page();
    own.held()
        .keep(&number, HeldReview::new(at, id, digest, made.review));
    Ok((refused.status(), page).into_response())
}

/// Takes the review that a form answers, and the contents of the form. If the form is refused, the answer shows a new
/// review.
pub async fn answered(
    own: &impl Reviewer,
    (at, page, id): (usize, &str, &ProposalId),
    sent: FormFields,
    check: fn(&ProposalReview, FormFields) -> RefusedReview,
) -> PageAnswer<(HeldReview<ProposalId, ProposalReview>, RefusedReview)> {
    let held = take_review(own.pages(), own.held(), (at, page, id), &sent)?;
    let refused = check(&held.review, sent);
    if refused.is_refused() {
        let shown = show_review(own, at, id.clone(), &refused).await?;
        return Err(RefusedRequest(Box::new(shown)));
    }
    Ok((held, refused))
}

/// Maximum number of characters of the reason of a revocation.
const MOST_REASON: usize = 2_000;

/// A form of a review that was refused before anything was signed.
#[derive(Default)]
pub struct RefusedReview {
    /// What the person typed, by the names of the fields.
    pub sent: FormFields,
    /// What was wrong.
    pub errors: FieldErrors,
}

impl RefusedReview {
    /// Returns a form that has no error yet.
    pub fn of(sent: FormFields) -> Self {
        Self {
            sent,
            errors: FieldErrors::default(),
        }
    }

    pub fn is_refused(&self) -> bool {
        !self.errors.0.is_empty()
    }

    pub fn status(&self) -> StatusCode {
        if self.is_refused() {
            StatusCode::UNPROCESSABLE_ENTITY
        } else {
            StatusCode::OK
        }
    }

    /// Checks that the page of the sent form showed the statement that the boundary returns now.
    pub fn check_digest(&self, at: usize, digest: &str, what: &str, way: Markup) -> PageAnswer<()> {
        match self.sent.get("digest") {
            Some(before) if before != digest => {
                Err(not_done(at, "Nothing was signed", way)(replaced(what)))
            }
            _ => Ok(()),
        }
    }

    /// Compares the sent form for a signature with what the review asks for.
    pub fn of_signature(review: &ProposalReview, sent: FormFields) -> Self {
        let (asked, mut found) = (AskedText::of(review), Self::of(sent));
        if asked.more > 0 && found.value("more").trim().parse() != Ok(asked.more) {
            found.wrong(
                "more",
                "The number of the further remarks",
                "this is not the number in \"and N more above\"",
            );
        }
        if !found
            .value("digits")
            .trim()
            .eq_ignore_ascii_case(&asked.tail)
        {
            found.wrong(
                "digits",
                "The last 8 digits",
                "these are not the last 8 digits of the digest",
            );
        }
        found
    }

    /// Checks the sent form for a denial.
    pub fn of_denial(review: &ProposalReview, sent: FormFields) -> Self {
        let mut found = Self::of(sent);
        if let Err(failure) = deny::payload(review, found.reason()) {
            found.wrong("reason", "Reason of a denial", failure.message);
        }
        if found.value("sure").is_empty() {
            found.wrong(
                "sure",
                "The box below the reason",
                "tick the box which says that a denial can't be undone",
            );
        }
        found
    }

    /// Compares the sent form for the signature of a grant with what the review of the grant asks for.
    pub fn of_grant(review: &GrantReview, sent: FormFields) -> Self {
        let mut found = Self::of(sent);
        if check_typed(review, found.value("answer")).is_err() {
            let message =
                "this is not the number of uses, a blank, and the last 8 digits of the digest";
            found.wrong(
                "answer",
                "The number of uses and the last 8 digits",
                message,
            );
        }
        found
    }

    /// Compares the typed word with the word that the page asks for.
    pub fn of_word(word: &str, sent: FormFields) -> Self {
        let mut found = Self::of(sent);
        if found.reason().chars().count() > MOST_REASON {
            let message =
                format!("the reason has more than {MOST_REASON} characters: write a shorter one");
            found.wrong("reason", "Reason", message);
        }
        if found.value("word").trim() != word {
            found.wrong(
                "word",
                &format!("The word {word}"),
                format!("type the word {word} to confirm"),
            );
        }
        found
    }

    /// Returns the form of a revocation with its reason and its word, and with the errors of an earlier form.
    pub fn word_form(&self, own: &PageState, path: &str, word: &str, button: &str) -> Markup {
        html! {
            (self.errors.summary("Nothing was signed. Correct this field."))
            form method="post" action=(path) autocomplete="off" {
                (hidden(&own.form_key, path, &own.forms.issue(), word))
                div.fields { (self.reason_and_word(&format!("Type {word}"))) }
                button type="submit" { (button) }
            }
        }
    }

    /// Returns the fields for the reason of a revocation and for its word.
    pub fn reason_and_word(&self, label: &str) -> Markup {
        html! {
            (self.errors.field("reason", "Reason", self.value("reason"), &html! { "All readers of the log can see the reason." }))
            (self.errors.field("word", label, self.value("word"), &html! { "It cannot be undone." }))
        }
    }

    /// Returns the reason that the person sent.
    pub fn reason(&self) -> &str {
        self.value("reason").trim()
    }

    /// Adds an error of a field.
    pub fn wrong(&mut self, id: &str, label: &str, message: impl Into<String>) {
        self.errors.0.push(FieldError {
            id: id.to_owned(),
            label: label.to_owned(),
            message: message.into(),
        });
    }

    /// Returns what the person typed to sign.
    pub fn typed(&self) -> String {
        let fields = ["more", "digits"]
            .into_iter()
            .filter_map(|name| self.sent.get(name))
            .map(|text| text.trim());
        joined(fields, " ")
    }

    /// Returns what the person sent in a field.
    pub fn value(&self, name: &str) -> &str {
        sent_text(&self.sent, name)
    }
}

impl ReviewView<'_> {
    /// Returns the page.
    fn page(&self) -> Markup {
        let MadeReview { review, view, .. } = self.made;
        let step = plain(view.step.as_str());
        let main = html! {
            h1 { "Review of " (step) }
            (self.refused.errors.summary("Nothing was signed. This page shows the review again: correct these fields."))
            (review_text(review))
            section aria-labelledby="decide" {
                h2 #decide { "Your decision" }
                p { (view.approvals.words()) ". This page works once, and for " (LIFE.as_secs() / Duration::from_secs(60).as_secs()) " minutes." }
                (self.sign_form())
                (self.deny_form())
            }
            details {
                summary { "Every signed field and every check" }
                (screen_lines(&review.full(), 3))
            }
            p { a href=(path_of("run", self.boundary, view)) { "The state of this proposal" } }
        };
        companion_page(self.boundary, &format!("Review of {step}"), main)
    }

    /// Returns the form for a signature, or the reason why this page has none.
    fn sign_form(&self) -> Markup {
        let MadeReview {
            review,
            view,
            approver,
        } = self.made;
        if review.found.standing == StatementVerdict::NoTrust {
            return self.no_form(&format!(
                "you trust no roster for this boundary; {}",
                review.advice()
            ));
        }
        if review.found.standing == StatementVerdict::Unsound {
            return self.no_form("a check failed or could not be made: see the remarks");
        }
        if view.status != ProposalStatus::Pending {
            return self.no_form(&format!(
                "the proposal is {}: it has all signatures that it needs",
                view.status
            ));
        }
        let approver = match approver {
            Ok(approver) => approver,
            Err(why) => return self.no_form(why.trim_start_matches("nothing was signed: ")),
        };
        if let Some(why) =
            review
                .found
                .cannot_count(&review.sources, approver, self.passkey.is_some())
        {
            return self.no_form(&format!("your signature can't count: {why}"));
        }
        let path = path_of("sign", self.boundary, view);
        let (asked, refused) = (AskedText::of(review), self.refused);
        let errors = &refused.errors;
        html! {
            h3 { "Sign" }
            form method="post" action=(path) autocomplete="off" data-passkey=[self.passkey.map(|_| "get")]
                data-challenge=[self.passkey.map(|asked| &asked.challenge)] data-host=[self.passkey.map(|asked| &asked.host)] {
                (hidden(self.form_key, &path, self.number, &review.found.digest.to_string()))
                div.fields {
                    @if asked.more > 0 {
                        (errors.field("more", "The number of the further remarks above", refused.value("more"), &html! { "The decision says: and N more above" }))
                    }
                    div {
                        label for="digits" { "The last 8 digits of the digest" }
                        input #digits name="digits" required maxlength="8" inputmode="text" autocomplete="off" autocapitalize="none" spellcheck="false" value=(refused.value("digits"))
                            aria-invalid=[errors.invalid("digits")] aria-describedby=(errors.described("digits", "digits-hint"));
                        (errors.beside("digits"))
                        p.hint #digits-hint {
                            "The digest of what you sign is " code { (review.found.digest.to_string()) }
                            @if let Some(asked) = self.passkey {
                                ". Compare the digits with those of the message that you got. The dialog of your device shows only " (asked.host) ", and not what you sign."
                            } @else {
                                ", which ends with " strong { (asked.tail) } ". A security key or a passphrase is asked for at the terminal of the program."
                            }
                        }
                    }
                }
                @if self.passkey.is_some() { (answer_fields(&ANSWER_FIELDS)) }
                button.main type="submit" { "Sign as " (approver.as_str()) @if self.passkey.is_some() { ", with your passkey" } }
            }
        }
    }

    fn no_form(&self, why: &str) -> Markup {
        html! { div.question role="note" { strong { "You can't sign: " } (plain(why)) "." } }
    }

    /// Returns the form for a denial.
    fn deny_form(&self) -> Markup {
        let MadeReview { review, view, .. } = self.made;
        if review.found.statement.is_none() {
            return html! {};
        }
        let path = path_of("deny", self.boundary, view);
        let stops = view.status == ProposalStatus::Running;
        let errors = &self.refused.errors;
        html! {
            h3 { "Deny" }
            form method="post" action=(path) autocomplete="off" {
                (hidden(self.form_key, &path, self.number, &review.found.digest.to_string()))
                div.fields {
                    (errors.field("reason", "Reason of a denial", self.refused.value("reason"), &html! { "The proposer, your colleagues and readers of the log can see the reason." }))
                    div.row {
                        input #sure type="checkbox" name="sure" value="yes" required aria-invalid=[errors.invalid("sure")]
                            aria-describedby=[errors.of("sure").map(|_| "sure-error")];
                        label for="sure" { "I know that a denial can't be undone" }
                        (errors.beside("sure"))
                    }
                }
                button type="submit" { @if stops { "Deny, and end the run" } @else { "Deny" } }
            }
        }
    }
}

/// Returns the text of the command `countersign review`, with the remarks last, directly above the question.
pub fn review_text(review: &ProposalReview) -> Markup {
    html! {
        section #review aria-label="The review" { (screen_lines(&review.screen(), 2)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_and_a_wrong_word_are_said_beside_their_fields() {
        let sent = |reason: usize, word: &str| {
            let field = |name: &str, value: String| (name.to_owned(), value);
            let fields = [
                field("reason", "é".repeat(reason)),
                field("word", word.to_owned()),
            ];
            RefusedReview::of_word("freeze", FormFields::from(fields)).errors
        };
        assert!(sent(MOST_REASON, "freeze").0.is_empty());
        let errors = sent(MOST_REASON + 1, "no");
        assert!(errors.of("reason").is_some() && errors.of("word").is_some());
    }
}
