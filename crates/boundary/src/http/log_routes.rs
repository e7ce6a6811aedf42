//! Routes of the transparency log: checkpoint, tiles, entries, proofs and blobs.

use axum::{
    http::{HeaderValue, header::CACHE_CONTROL},
    response::Response,
};

use crate::{
    BodyShape, Field, HandlerResult, OCTETS, Reply, Route, RouteAccess, RouteCall,
    http::{
        call::{answer, bytes},
        operation::{field, ok, reply},
    },
};
use crossing::{RequestResult, Stopped, refuse};
use documents::{BlobDigest, Code, TileKind, TilePath, hex, unhex32};
use wire::ConsistencyProof;

/// Media type of checkpoints and proofs.
const TEXT: &str = "text/plain; charset=utf-8";
/// Cache header for content that never changes.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Cache header for content that never changes but must not be stored in shared caches.
const IMMUTABLE_PRIVATE: HeaderValue =
    HeaderValue::from_static("private, max-age=31536000, immutable");

const OPEN: Route = Route {
    summary: "The log's signed head (C2SP tlog-checkpoint)",
    about: "Size and root of the log, signed by the boundary and by the witnesses that have already cosigned the \
         head.",
    access: RouteAccess::Open,
    replies: &[reply(200, TEXT, BodyShape::Text, "a signed note")],
    ..Route::get("/log/checkpoint", "checkpoint", &checkpoint)
};

const TILE: Reply = reply(200, OCTETS, BodyShape::Bytes, "the tile");

const ENTRIES: Field = field(
    "tile",
    "`<index>`, or `<index>.p/<width>` for a partial tile; the index in groups of three digits",
);

pub static ROUTES: &[Route] = &[
    OPEN,
    Route {
        path: "/log/tile/{*tile}",
        name: "tile",
        summary: "Hashes of the tree: <level>/<index>[.p/<width>] (C2SP tlog-tiles)",
        about: "Written hashes never change, so a client may cache the hashes for ever.",
        segments: &[field(
            "tile",
            "`<level>/<index>`, or `<level>/<index>.p/<width>` for a partial tile; the index in groups of three digits",
        )],
        replies: &[TILE],
        handler: &hashes,
        ..OPEN
    },
    Route {
        path: "/log/tile/entries/{*tile}",
        name: "entriesTile",
        summary: "Entries of the log: <index>[.p/<width>] (C2SP tlog-tiles)",
        about: "Each entry comes after its length in two bytes. The entries contain every decision, so the caller \
             needs the scope `read`.",
        segments: &[ENTRIES],
        access: RouteAccess::Known,
        replies: &[TILE],
        handler: &entries,
        ..OPEN
    },
    Route {
        path: "/log/entries/{*tile}",
        name: "entries",
        summary: "The same as /log/tile/entries/…",
        about: "Readers of an earlier C2SP version use this path. The answer is the same.",
        segments: &[ENTRIES],
        access: RouteAccess::Known,
        replies: &[TILE],
        handler: &entries,
        ..OPEN
    },
    Route {
        path: "/log/proof/{index}",
        name: "inclusionProof",
        summary: "The proof that an entry is in the log (C2SP tlog-proof)",
        about: "A text that any C2SP reader can check: the hashes from the entry up to the root, then the checkpoint.",
        segments: &[field("index", "the entry's number, from 0")],
        replies: &[reply(
            200,
            TEXT,
            BodyShape::Text,
            "the proof with its checkpoint",
        )],
        handler: &inclusion,
        ..OPEN
    },
    Route {
        path: "/log/proof/consistency/{old}/{new}",
        name: "consistencyProof",
        summary: "The proof that the log of one size is the beginning of the log of a larger size",
        about: "Shows a caller who stored an earlier checkpoint that no entry before this checkpoint was changed \
             (RFC 6962, section 2.1.2).",
        segments: &[
            field("old", "the smaller size"),
            field("new", "the larger size, at most the size of the log"),
        ],
        replies: &[ok::<ConsistencyProof>("the proof")],
        handler: &consistency,
        ..OPEN
    },
    Route {
        path: "/log/blob/sha256/{hex}",
        name: "blob",
        summary: "A document that an entry names by its digest",
        about: "Step definitions, files of steps, policies, rosters and recorded configurations. The caller needs the scope \
             `read`. For a file of a step in force, a caller who may see the step needs no scope `read`. The digest \
             proves that the bytes are right.",
        segments: &[field(
            "hex",
            "the SHA-256 of the document, 64 lower-case hexadecimal digits",
        )],
        access: RouteAccess::Known,
        replies: &[reply(
            200,
            OCTETS,
            BodyShape::Bytes,
            "the bytes of the document",
        )],
        handler: &blob,
        ..OPEN
    },
];

async fn checkpoint(call: RouteCall) -> HandlerResult {
    Ok(bytes(TEXT, call.app.boundary.evidence.checkpoint()?))
}

async fn hashes(call: RouteCall) -> HandlerResult {
    let tile = tile(&call, "tile")?;
    if tile.kind() == TileKind::Entries {
        // The path `/log/tile/entries/…` has its own route, which checks the caller.
        return Err(no_tile());
    }
    Ok(unchanging(
        call.app.boundary.evidence.tile(&tile)?,
        IMMUTABLE,
    ))
}

async fn entries(call: RouteCall) -> HandlerResult {
    let tile = tile(&call, "tile/entries")?;
    let entries = call
        .blocking(move |boundary, caller| boundary.evidence.entries(caller, &tile))
        .await?;
    Ok(unchanging(entries, IMMUTABLE_PRIVATE))
}

fn tile(call: &RouteCall, below: &str) -> RequestResult<TilePath> {
    TilePath::parse(&format!("{below}/{}", call.raw_path("tile")?)).ok_or_else(no_tile)
}

fn no_tile() -> Stopped {
    let detail = "not a tile's path: expected <level>/<index>[.p/<width>] with the index in groups of three digits, \
                  such as 0/x001/234.p/56";
    refuse(Code::NotFound, detail)
}

async fn inclusion(call: RouteCall) -> HandlerResult {
    let index: u64 = call.path("index")?;
    Ok(bytes(
        TEXT,
        call.app.boundary.evidence.inclusion_proof(index)?,
    ))
}

async fn consistency(call: RouteCall) -> HandlerResult {
    let (old, new) = (call.path("old")?, call.path("new")?);
    let hashes = call.app.boundary.evidence.consistency_proof(old, new)?;
    let hashes = hashes.iter().map(|hash| hex(hash)).collect();
    answer(&ConsistencyProof { old, new, hashes })
}

async fn blob(call: RouteCall) -> HandlerResult {
    let digest = unhex32(call.raw_path("hex")?)
        .map(BlobDigest::from_bytes)
        .ok_or_else(|| {
            refuse(
                Code::Malformed,
                "{hex} in the path: expected 64 lower-case hex digits",
            )
        })?;
    let blob = call
        .blocking(move |boundary, caller| boundary.evidence.blob(caller, &digest))
        .await?;
    Ok(unchanging(blob, IMMUTABLE_PRIVATE))
}

fn unchanging(body: Vec<u8>, caching: HeaderValue) -> Response {
    let mut response = bytes(OCTETS, body);
    response.headers_mut().insert(CACHE_CONTROL, caching);
    response
}
