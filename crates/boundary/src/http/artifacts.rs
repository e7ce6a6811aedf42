//! Routes of the files that runs get: upload, and read before signing.

use std::io::{self, Read as _};

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY};
use schemars::SchemaGenerator;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    BodyShape, Field, HandlerResult, OCTETS, PROPOSAL_ID, Reply, Route, RouteAccess, RouteCall,
    Verb,
    http::{
        call::{answer, bytes},
        operation::ok,
    },
};
use documents::{ArtifactName, ContentDigest, ProposalId};
use wire::StoredArtifact;

/// Number of bytes in one read.
const PIECE: usize = 256 << 10;
const DIGEST: Field = Field {
    name: "digest",
    about: "`sha256:` and 64 hexadecimal digits: the digest of the file",
};

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Put,
        path: "/v1/artifacts/{digest}",
        name: "put_artifact",
        summary: "Upload a file for a run, at most 64 MiB",
        about: "The body is the content of the file. A proposal then names the file by its digest. The boundary deletes \
             an artifact two days after its upload.",
        segments: &[DIGEST],
        access: RouteAccess::Known,
        query: &[],
        headers: &[],
        body: Some(BodyShape::Bytes),
        replies: &[ok(
            SchemaGenerator::subschema_for::<StoredArtifact>,
            "the file is stored",
        )],
        codes: &[],
        handler: |call| Box::pin(put(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/v1/proposals/{id}/inputs/{name}",
        name: "input",
        summary: "A file that the run of a proposal gets: an uploaded file, or the output of the plan",
        about: "The output of the plan has the name `plan`. A caller who may see the proposal gets its files.",
        segments: &[
            PROPOSAL_ID,
            Field {
                name: "name",
                about: "name of the file in the proposal, or `plan`",
            },
        ],
        access: RouteAccess::Known,
        query: &[],
        headers: &[],
        body: None,
        replies: &[Reply {
            status: 200,
            media: OCTETS,
            shape: BodyShape::Bytes,
            about: "the content",
        }],
        codes: &[],
        handler: |call| Box::pin(input(call)),
    },
];

async fn put(mut call: RouteCall) -> HandlerResult {
    let digest: ContentDigest = call.path("digest")?;
    let mut upload = call.app.boundary.artifacts.begin(&call.caller, &digest)?;
    call.upload(|piece| upload.write(piece)).await?;
    let stored = call
        .finish(|_, _| async move { upload.finish(&digest) })
        .await?;
    answer(
        StatusCode::OK,
        &StoredArtifact {
            digest,
            bytes: stored,
        },
    )
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
    let mut response = bytes(
        StatusCode::OK,
        OCTETS,
        Body::from_stream(ReceiverStream::new(from)),
    );
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, length.into());
    // A browser must not render the file as a page of this service.
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox"),
    );
    Ok(response)
}
