//! Errors of a form: a summary above the form, and each error beside its field.

use maud::{Markup, html};

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Id of the element that the person corrects.
    pub id: String,
    /// Name of the field, as its label has it.
    pub label: String,
    /// Message about the error.
    pub message: String,
}

/// The errors of one form.
#[derive(Debug, Clone, Default)]
pub struct FieldErrors(pub Vec<FieldError>);

impl FieldErrors {
    /// Returns what is wrong with the field with this id.
    pub fn of(&self, id: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|error| error.id == id)
            .map(|error| error.message.as_str())
    }

    /// Returns the text that stands beside the field.
    pub fn beside(&self, id: &str) -> Markup {
        html! { @if let Some(message) = self.of(id) { p.error id=(format!("{id}-error")) { (message) } } }
    }

    /// Returns the value of `aria-invalid`, or `None` for a field without an error.
    pub fn invalid(&self, id: &str) -> Option<&'static str> {
        self.of(id).map(|_| "true")
    }

    /// Returns the ids of what describes the field: its hint, and its error.
    pub fn described(&self, id: &str, hint: &str) -> String {
        let error = self
            .of(id)
            .map(|_| format!("{id}-error"))
            .unwrap_or_default();
        format!("{hint} {error}").trim().to_owned()
    }

    /// Returns a field of one line with its label, its error and its hint.
    pub fn field(&self, id: &str, label: &str, value: &str, hint: &Markup) -> Markup {
        let hinted = format!("{id}-hint");
        html! {
            div {
                label for=(id) { (label) }
                input id=(id) name=(id) value=(value) autocapitalize="none" spellcheck="false" aria-invalid=[self.invalid(id)]
                    aria-describedby=(self.described(id, &hinted));
                (self.beside(id))
                p.hint id=(hinted) { (hint) }
            }
        }
    }

    /// Returns the summary, with a link to each field. No markup without errors.
    pub fn summary(&self, title: &str) -> Markup {
        html! {
            @if !self.0.is_empty() {
                div.question #errors role="alert" {
                    p { strong { (title) } }
                    ul { @for error in &self.0 { li { a href=(format!("#{}", error.id)) { (error.label) } ": " (error.message) } } }
                }
            }
        }
    }
}
