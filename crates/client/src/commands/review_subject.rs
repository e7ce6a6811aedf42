//! Finds the proposal or the file that an argument names.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::home::named_file::read_bounded;
use crate::remote::client::Client;
use crate::remote::proposals::{LookupRange, find_proposal};
use crate::review::gather::{BoundaryReader, ReviewSubject};
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::printable_text::PrintableText;
use documents::crypto::json;
use documents::record::envelope::Envelope;
use wire::api::view::ProposalView;

/// Finds the subject that the user named: a file, an id, or the last digits of an open proposal's id. If the user
/// gives no name, the subject is the only pending proposal.
///
/// # Errors
/// Returns an error if no subject or more than one subject matches, or if the boundary returns another proposal.
pub fn find_subject(named: Option<&str>, client: &Client) -> Result<ReviewSubject, CommandFailure> {
    if let Some(name) = named.filter(|name| is_file(name)) {
        return read_envelope(Path::new(name)).map(ReviewSubject::File);
    }
    let id = find_proposal(client, named, LookupRange::Open)?;
    let view: ProposalView = client.get(&format!("/v1/proposals/{id}"))?;
    // Compare the id, because the person must not decide about another proposal than the named one.
    if view.id != id {
        let detail = format!("nothing was signed: this command requested {id}, but the boundary returned {}", view.id);
        return Err(CommandFailure::new(Exit::Refused, detail));
    }
    Ok(ReviewSubject::Proposal(Box::new(view)))
}

/// Maximum size of an envelope file, in bytes.
pub const MAX_ENVELOPE_BYTES: usize = 64 << 10;

/// Returns true if the argument names a file: `-`, `*.json`, or a text with a `/`. The function does not test whether a
/// file exists, because an attacker could create a file whose name is the id of a proposal.
pub fn is_file(name: &str) -> bool {
    name == "-" || name.contains('/') || name.ends_with(".json")
}

/// Reads an envelope file.
///
/// # Errors
/// Returns an error if the file cannot be read or is no envelope.
pub fn read_envelope(path: &Path) -> Result<Envelope, CommandFailure> {
    let bytes = read_bounded(path, MAX_ENVELOPE_BYTES)?;
    json::parse_as(&bytes, MAX_ENVELOPE_BYTES).map_err(|error| {
        let place = PrintableText::text(&path.to_string_lossy());
        let advice = "make one with `countersign propose ... --offline -o FILE`";
        CommandFailure::usage(format!(
            "{} is no envelope: {}; {advice}",
            place.as_str(),
            PrintableText::text(&error.to_string()).as_str()
        ))
    })
}

impl BoundaryReader for Client {
    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CommandFailure> {
        Self::get(self, path)
    }

    fn bytes(&self, path: &str) -> Result<Vec<u8>, CommandFailure> {
        Self::bytes(self, path)
    }

    fn announced(&self, path: &str, size: u64) -> Result<Vec<u8>, CommandFailure> {
        Self::announced(self, path, size)
    }

    fn blob(&self, digest: &[u8; 32]) -> Result<Vec<u8>, CommandFailure> {
        Self::blob(self, digest)
    }
}
