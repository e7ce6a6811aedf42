//! A form that works once, for one path and for the contents that its page showed.

use std::collections::BTreeMap;

use axum::extract::Form;
use maud::{Markup, html};

use crate::{OpenForms, web::secrets::FormKey};

/// The fields of a form, or of the query of an address, by their names.
pub type FormFields = BTreeMap<String, String>;
/// Returns the text of a field, or no text if the field was not sent.
pub fn sent_text<'a>(sent: &'a FormFields, name: &str) -> &'a str {
    sent.get(name).map_or("", String::as_str)
}

/// A form that was sent.
pub type Sent = Form<FormFields>;

/// Returns the fields that make a form work once, for this path and these contents, and under this key only.
pub fn hidden(key: &FormKey, path: &str, number: &str, contents: &str) -> Markup {
    html! {
        input type="hidden" name="form" value=(number);
        input type="hidden" name="digest" value=(contents);
        input type="hidden" name="seal" value=(key.seal(path, &sealed(number, contents)));
    }
}

/// Returns what the seal of a form covers, besides the path.
fn sealed(number: &str, contents: &str) -> String {
    format!("{number} {contents}")
}

/// A form that was sent, and that does not work again.
pub struct TakenForm<T = ()> {
    /// Number of the form.
    pub number: String,
    /// Contents that the page showed.
    pub contents: String,
    /// The value that the program kept for the form.
    pub(crate) kept: T,
}

impl<T> TakenForm<T> {
    /// Takes a form that a page of this program made for this path. Returns `None` for any other form, and for a form
    /// that was sent before.
    pub fn take(
        key: &FormKey,
        forms: &OpenForms<T>,
        path: &str,
        sent: &FormFields,
    ) -> Option<Self> {
        let (number, contents) = (sent_text(sent, "form"), sent_text(sent, "digest"));
        let is_own = key.is_sealed(path, &sealed(number, contents), sent_text(sent, "seal"));
        let kept = if is_own {
            forms.take(number)?
        } else {
            return None;
        };
        Some(Self {
            number: number.to_owned(),
            contents: contents.to_owned(),
            kept,
        })
    }
}
