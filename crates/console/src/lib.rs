//! Pages that a person opens in a browser, on the same machine or at a desk.
//!
//! - `page`: the frame of a page, the prose of a runbook, and the colours of a terminal
//! - `web`: the server of the pages, and the checks that let only this person in
//! - `proposal`: one proposal at a boundary, as its approvers and its proposer see it
//! - `companion`: the pages of an approver, the only pages whose program signs
//! - `desk`: the pages of approvers for phones; the desk loads no key, and people's passkeys sign in their browsers
//! - `auditor`: the table of decisions from bundles or a log; these pages load no key
//!
//! A page is a function from a model to markup. The macro of `maud` escapes all text.
#![forbid(unsafe_code)]

mod auditor;
pub mod command;
mod companion;
mod desk;
mod page;
mod proposal;
mod web;

pub use page::{
    frame::{FieldError, FieldErrors, coloured, framed, page, plain, plain_prose, problem},
    prose::{self, Heading, Part},
};
pub use proposal::{
    reached::{EventPart, ReachedBoundary, RunWatchers, event_stream, last_event},
    receipts::{
        CheckedReceipt, RunView, proposal_of, read_run, sent_bundle, standing_words, status_of,
    },
};
pub use web::{
    door::Door,
    one_use::OpenForms,
    opened::{OpenOptions, serve_pages},
    refused_request::{PageAnswer, RefusedRequest, conflict, download, missing},
    sealed_form::{FormFields, Sent, TakenForm, hidden, sent_text},
};

pub(crate) use companion::{
    inbox::BoundaryInbox,
    requests::{Companion, PageState, PlaceAndId, Shared, SharedPages, after_signature, take_held},
    review_view::RefusedReview,
    reviews::{HeldReview, MadeReview, SentSignature, still_open},
    views::{NavPlace, companion_page, path_of},
};
pub(crate) use desk::{
    desk_boundary::DeskBoundary,
    desk_person::{DeskPerson, browser_answer},
    desk_state::{Desk, Peer},
    login_sessions::LOG_OUT,
    signing_page::signing_page,
};
pub(crate) use page::frame::{ANSWER_FIELDS, PasskeyQuestion, answer_fields, screen_lines};
pub(crate) use proposal::reached::{BoundaryState, BoundaryTrust};
