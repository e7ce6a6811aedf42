//! Routes of the files that runs get: upload, and read before signing.

use std::io::{self, Read as _};

use axum::{
    body::{Body, Bytes},
    http::header::CONTENT_LENGTH,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    BodyShape, Field, HandlerResult, OCTETS, PROPOSAL_ID, Route, RouteCall, Verb,
    http::{
        call::answer,
        operation::{field, ok, reply},
        outputs::attachment,
    },
};
use documents::{ArtifactName, ContentDigest, ProposalId, Scope};
use wire::StoredArtifact;

/// Number of bytes in one read.
const PIECE: usize = 256 << 10;
const DIGEST: Field = field(
    "digest",
    "`sha256:` and 64 hexadecimal digits: the digest of the file",
);

pub static ROUTES: &[Route] = &[
    Route {
        summary: "Upload a file for a run, at most 64 MiB",
        about: "The body is the content of the file. A proposal then names the file by its digest. The boundary deletes \
             an artifact two days after its upload.",
        segments: &[DIGEST],
        body: Some(BodyShape::Bytes),
        replies: &[ok::<StoredArtifact>("the file is stored")],
        verb: Verb::Put,
        ..Route::get("/v1/artifacts/{digest}", "put_artifact", &put)
    },
    Route {
        summary: "A file that the run of a proposal gets: an uploaded file, or the output of the plan",
        about: "The output of the plan has the name `plan`. A caller who may see the proposal gets its files.",
        segments: &[
            PROPOSAL_ID,
            field("name", "name of the file in the proposal, or `plan`"),
        ],
        replies: &[reply(200, OCTETS, BodyShape::Bytes, "the content")],
        ..Route::get("/v1/proposals/{id}/inputs/{name}", "input", &input)
    },
];

async fn put(mut call: RouteCall) -> HandlerResult {
    let digest: ContentDigest = call.path("digest")?;
    let (boundary, name) = (
        &call.app.boundary,
        call.caller.demand(Scope::Propose, None)?,
    );
    boundary.crossing.capacity().demand_disk()?;
    let mut upload = boundary.artifacts.begin(name, &digest)?;
    call.upload(|piece| upload.write(piece)).await?;
    let stored = call
        .finish(|_, _| async move { upload.finish(&digest) })
        .await?;
    answer(&StoredArtifact {
        digest,
        bytes: stored,
    })
}

async fn input(call: RouteCall) -> HandlerResult {
    let (id, name): (ProposalId, ArtifactName) = (call.path("id")?, call.path("name")?);
    let (file, length) = call
        .blocking(move |boundary, caller| boundary.proposals.input(caller, &id, &name))
        .await?;
    let (to, from) = mpsc::channel::<io::Result<Bytes>>(1);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = vec![0; PIECE];
            let read = (&*file).read(&mut piece);
            let over = !matches!(read, Ok(1..));
            let sent = match read {
                Ok(0) => return,
                Ok(count) => {
                    piece.truncate(count);
                    to.blocking_send(Ok(piece.into()))
                }
                Err(error) => to.blocking_send(Err(error)),
            };
            if over || sent.is_err() {
                return;
            }
        }
    });
    let mut response = attachment(Body::from_stream(ReceiverStream::new(from)));
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    Ok(response)
}
