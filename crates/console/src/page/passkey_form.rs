//! The parts of a form that a passkey signs. The script of the pages asks the passkey, and fills the hidden fields.

use maud::{Markup, html};

/// Names of the fields for the answer of the browser to a signature.
pub const ANSWER_FIELDS: [&str; 3] = ["client_data", "authenticator_data", "signature"];

/// What a passkey signs.
#[derive(Debug, Clone)]
pub struct PasskeyQuestion {
    /// Name of the desk, to which the passkey belongs.
    pub host: String,
    /// The bytes to sign, as base64url.
    pub challenge: String,
}

/// Returns the empty fields for the answer of the browser, and the place for its refusal.
pub fn answer_fields(names: &[&str]) -> Markup {
    html! {
        @for name in names { input type="hidden" name=(name) value=""; }
        p.error.said role="alert" {}
        noscript { p.error { "A passkey needs JavaScript in this browser." } }
    }
}
