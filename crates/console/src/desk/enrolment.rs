//! The page that makes a passkey, and shows the line of the passkey for the roster. The desk does not store the
//! passkey.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Extension, Form, State},
    http::StatusCode,
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use documents::{Name, enrolled};
use maud::{Markup, html};

use crate::{Desk, PageAnswer, Peer, RefusedRequest, Sent, answer_fields, page, sent_text};

const ENROL: &str = "/enrol";
/// Name of the field with the public key, which the script fills.
const PUBLIC_KEY: &str = "public_key";

pub fn routes() -> Router<Arc<Desk>> {
    Router::new().route(ENROL, get(ask).post(show))
}

async fn ask(State(desk): State<Arc<Desk>>) -> Markup {
    let main = html! {
        h1 { "Make a passkey for this desk" }
        p { "The passkey stays in your device, or with the service that synchronizes your passkeys. It belongs to " code { (desk.host()) } " only. It signs nothing before the signers of the roster have signed it into the roster." }
        form method="post" action=(ENROL) data-passkey="make" data-host=(desk.host()) {
            div.fields { div { label for="name" { "Your name in the roster" } input #name name="name" required autocapitalize="none" spellcheck="false" autocomplete="username" aria-describedby="name-hint";
                p.hint #name-hint { "Ask a signer of the roster for your exact name. This page does not check the name, because anybody can open this page, and the answer would tell who is in the roster." }
            } }
            (answer_fields(&[PUBLIC_KEY]))
            button.main type="submit" { "Make the passkey" }
        }
        p { a href="/login" { "Log in with a passkey that is in the roster" } }
    };
    page("Make a passkey", &main)
}

async fn show(
    State(desk): State<Arc<Desk>>,
    Extension(peer): Peer,
    Form(sent): Sent,
) -> PageAnswer<Markup> {
    desk.count(peer)?;
    let field = |name: &str| sent_text(&sent, name).trim();
    let refuse =
        |what: &str| RefusedRequest::new(StatusCode::UNPROCESSABLE_ENTITY, "No passkey", what);
    let name: Name = field("name").parse().map_err(|_| {
        refuse("The name has another form than names in a roster: small letters, digits, dots, hyphens. Ask a signer of the roster for your name there.")
    })?;
    let key = URL_SAFE_NO_PAD.decode(field(PUBLIC_KEY)).ok();
    let (line, fingerprint) = key.and_then(|key| enrolled(&key, desk.host(), name.as_str())).ok_or_else(|| {
        refuse("The browser sent no public key for P-256 (ES256): use another browser or another device.")
    })?;
    let main = html! {
        h1 { "Your passkey" }
        p { strong { "Tell this fingerprint to the signers of the roster by another way, for example by telephone." } " They compare it with the line that they get." }
        pre.wrapped #fingerprint tabindex="0" aria-label="Fingerprint" { (fingerprint) }
        p { "Send this line to a signer of the roster. The line is not secret." }
        pre.wrapped #line tabindex="0" aria-label="Line for the roster" { (line) }
        button type="button" data-copy="line" hidden { "Copy the line" }
        p { "The signer writes the line to a file and adds it. The command adds a new person if the roster does not have this name. When enough people have signed the new roster, you can " a href="/login" { "log in" } "." }
        pre.wrapped tabindex="0" aria-label="Command of the signer" { "countersign roster add approver " (name.as_str()) " --key FILE" }
        p { "The desk does not keep the line: copy it now." }
    };
    Ok(page("Your passkey", &main))
}
