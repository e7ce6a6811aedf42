//! What is to be reviewed: the proposal or the file that an argument names.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::boundary::view::ProposalView;
use crate::crypto::json;
use crate::home::named_file::read_bounded;
use crate::record::envelope::Envelope;
use crate::remote::client::Client;
use crate::remote::proposals::{LookupRange, find_proposal};
use crate::review::gather::{BoundaryReader, ReviewSubject};
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::screen::PrintableText;

/// What the user named: a file, an id, the ending of an open proposal's, or nothing for the only pending proposal.
///
/// # Errors
/// When there is none, or more than one, or the boundary gives another one than was named.
pub fn find_subject(named: Option<&str>, client: &Client) -> Result<ReviewSubject, CommandFailure> {
    if let Some(name) = named.filter(|name| is_file(name)) {
        return read_envelope(Path::new(name)).map(ReviewSubject::File);
    }
    let id = find_proposal(client, named, LookupRange::Open)?;
    let view: ProposalView = client.get(&format!("/v1/proposals/{id}"))?;
    // Who names one proposal must never decide on another one.
    if view.id != id {
        let detail = format!("{id} was asked for, and the boundary gave {}: nothing was signed", view.id);
        return Err(CommandFailure::new(Exit::Refused, detail));
    }
    Ok(ReviewSubject::Proposal(Box::new(view)))
}

/// The largest envelope file.
pub const MAX_ENVELOPE_BYTES: usize = 64 << 10;

/// Whether a name means a file: `-`, `*.json`, or with a `/`. What lies in the working directory has no say in it, or whoever
/// can write there could put a file in the place of the id that an approver types.
#[must_use]
pub fn is_file(name: &str) -> bool {
    name == "-" || name.contains('/') || name.ends_with(".json")
}

/// Reads an envelope file.
///
/// # Errors
/// When it can't be read, or is none.
pub fn read_envelope(path: &Path) -> Result<Envelope, CommandFailure> {
    let bytes = read_bounded(path, MAX_ENVELOPE_BYTES)?;
    json::parse_as(&bytes, MAX_ENVELOPE_BYTES).map_err(|error| {
        let place = PrintableText::text(&path.to_string_lossy());
        let advice = "make one with `countersign propose … --offline -o FILE`";
        CommandFailure::new(
            Exit::Refused,
            format!(
                "{} is no envelope: {}; {advice}",
                place.as_str(),
                PrintableText::text(&error.to_string()).as_str()
            ),
        )
    })
}

impl BoundaryReader for Client {
    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CommandFailure> {
        Self::get(self, path)
    }

    fn bytes(&self, path: &str) -> Result<Vec<u8>, CommandFailure> {
        Self::bytes(self, path)
    }

    fn blob(&self, digest: &[u8; 32]) -> Result<Vec<u8>, CommandFailure> {
        Self::blob(self, digest)
    }
}
