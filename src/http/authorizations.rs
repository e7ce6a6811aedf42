//! Routes for complete envelopes, which were signed elsewhere and whose crossing begins immediately.

use std::time::Duration;

use axum::http::StatusCode;
use schemars::SchemaGenerator;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::boundary::events::Events;
use crate::http::call::{RouteCall, bytes, joined, read};
use crate::http::events::{EventFormat, EventReader, NDJSON, ReaderPlace, names_lines, pump, reader_place, stream};
use crate::http::operation::{BodyShape, Field, Reply, RouteAccess, Verb};
use crate::http::problem::problem;
use crate::http::proposals::JUDGED;
use crate::http::route::{HandlerResult, Route};
use crate::seal::refusal::Stopped;
use documents::crypto::json as strict;
use documents::record::bundle::{Bundle, MEDIA_TYPE};
use documents::record::envelope::{Base64, Envelope};
use documents::record::ident::ProposalId;
use wire::api::view::{Event, ProposalStatus};

/// Maximum body size in bytes, enough for a payload of 20 KiB and sixteen signatures of 512 bytes in base64.
const MAX_ENVELOPE_BYTES: usize = 128 << 10;
/// Time limit for the last events after the receipt is written.
const LAST_EVENTS: Duration = Duration::from_secs(5);
/// First pause of the loop that waits until the envelope has become a proposal. The pause doubles after each attempt,
/// up to `LONGEST_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

pub(super) static ROUTES: &[Route] = &[Route {
    verb: Verb::Post,
    path: "/v1/authorizations",
    name: "submit",
    summary: "Runs a signed authorization once, and returns the receipt with its proofs",
    about: "For an envelope that was signed elsewhere, for example offline. The answer comes when the run has \
         ended. If the caller accepts `application/x-ndjson`, the answer comes as lines during the run.",
    segments: &[],
    access: RouteAccess::Known,
    query: &[Field {
        name: "shape",
        about: "only for lines: `simple` sends only {type: output|exit|error}, then the \
         bundle",
    }],
    headers: &[],
    body: Some(BodyShape::Json(SchemaGenerator::subschema_for::<Envelope>)),
    replies: &[
        Reply {
            status: 200,
            media: MEDIA_TYPE,
            shape: BodyShape::Json(SchemaGenerator::subschema_for::<Bundle>),
            about: "the receipt's bundle",
        },
        Reply {
            status: 200,
            media: NDJSON,
            shape: BodyShape::Json(SchemaGenerator::subschema_for::<Event>),
            about: "events during the run; the last line is {type: bundle, bundle} or {type: problem, problem}",
        },
    ],
    codes: JUDGED,
    handler: |call| Box::pin(submit(call)),
}];

async fn submit(mut call: RouteCall) -> HandlerResult {
    // The client gets event lines only if `Accept` names their media type. For `*/*` the client gets the bundle.
    let lines = names_lines(&call.headers)?;
    let form = EventFormat::of_lines(call.raw_query("shape"))?;
    // Read the body before taking the permit, so that a slow sender does not occupy a permit.
    let body = call.body(MAX_ENVELOPE_BYTES).await?;
    let permit = call.app.boundary.crossing.capacity().permit()?;
    let envelope: Envelope = read(&body)?;
    drop(body);
    call.charge_signatures(&envelope.signatures)?;
    // Without a place for a reader, the run does not begin, so that the caller can send the envelope again.
    let place = if lines { Some(reader_place(&call)?) } else { None };
    let watched = if lines { proposal_of(&envelope).filter(|id| !is_settled(&call, id)) } else { None };
    let (boundary, caller) = (call.app.boundary.clone(), call.caller.clone());
    // A separate task continues the crossing if the client disconnects.
    let crossing = call.app.work(async move {
        let receipted = boundary.proposals.submit(&caller, envelope, permit).await?;
        boundary.evidence.bundle_of(&receipted)
    })?;
    if lines {
        streamed(call, form, crossing, watched, place).await
    } else {
        Ok(bytes(StatusCode::OK, MEDIA_TYPE, joined(crossing.await)?))
    }
}

type Crossing = JoinHandle<Result<Vec<u8>, Stopped>>;

/// Streams the events of the crossing. The stream begins when the run begins, because only an earlier refusal can still
/// have its own HTTP status.
async fn streamed(
    call: RouteCall,
    form: EventFormat,
    mut crossing: Crossing,
    watched: Option<ProposalId>,
    place: Option<ReaderPlace>,
) -> HandlerResult {
    let mut seen = Vec::new();
    let mut events = None;
    if let Some(id) = watched {
        match until_it_runs(&call, &id, &mut crossing, &mut seen).await {
            Began::Running(running) => events = Some(*running),
            Began::Over(bundle) => {
                let bundle = bundle?;
                let (reader, response) = stream(form);
                tokio::spawn(async move { last_line(&reader, Ok(bundle)).await });
                return Ok(response);
            }
        }
    }
    let Some(mut events) = events else {
        let bundle = joined(crossing.await)?;
        let (reader, response) = stream(form);
        tokio::spawn(async move { last_line(&reader, Ok(bundle)).await });
        return Ok(response);
    };
    let (mut reader, response) = stream(form);
    let app = call.app.clone();
    tokio::spawn(async move {
        for (id, event) in seen {
            if reader.event(id, &event).await.is_err() {
                return;
            }
        }
        let bundle = {
            let mut live = std::pin::pin!(pump(&app, &mut events, &mut reader, false));
            tokio::select! {
                () = &mut live => joined(crossing.await),
                bundle = &mut crossing => {
                    // At this point, the remaining events are either available or will never come.
                    let _ = timeout(LAST_EVENTS, live).await;
                    joined(bundle)
                }
            }
        };
        if let Err(Stopped::Refused(refusal)) = &bundle {
            // The answer has already begun with status 200, so only the last line contains the refusal.
            app.boundary.monitoring.metrics().refusal(refusal.code);
        }
        last_line(&reader, bundle).await;
        drop(place);
    });
    Ok(response)
}

enum Began {
    Running(Box<Events>),
    Over(Result<Vec<u8>, Stopped>),
}

async fn until_it_runs(
    call: &RouteCall,
    id: &ProposalId,
    crossing: &mut Crossing,
    seen: &mut Vec<(u64, Event)>,
) -> Began {
    let mut pause = FIRST_PAUSE;
    let mut events = loop {
        tokio::select! {
            biased;
            over = &mut *crossing => return Began::Over(joined(over)),
            () = sleep(pause) => {
                if let Ok(events) = call.app.boundary.proposals.events(&call.caller, id, 0) {
                    break events;
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    };
    loop {
        tokio::select! {
            biased;
            next = events.next() => {
                let Some((number, event)) = next else { return Began::Over(joined(crossing.await)) };
                let runs = !matches!(
                    event,
                    Event::Signature { .. }
                        | Event::HeldUp { .. }
                        | Event::Status { status: ProposalStatus::Pending | ProposalStatus::Approved, .. }
                );
                let ran = matches!(
                    event,
                    Event::Output { .. } | Event::Exit { .. } | Event::Receipt { .. }
                        | Event::Status { status: ProposalStatus::Running | ProposalStatus::Finished, .. }
                );
                seen.push((number, event));
                if ran {
                    return Began::Running(Box::new(events));
                }
                if runs {
                    // The proposal was denied, expired, cancelled or refused. The result of the crossing contains the
                    // correct status.
                    return Began::Over(joined(crossing.await));
                }
            }
            over = &mut *crossing => return Began::Over(joined(over)),
        }
    }
}

async fn last_line(reader: &EventReader, bundle: Result<Vec<u8>, Stopped>) {
    let line = match bundle {
        Ok(bundle) => [b"{\"type\":\"bundle\",\"bundle\":", bundle.as_slice(), b"}"].concat(),
        Err(stopped) => {
            let problem = problem(&stopped);
            let line = if reader.form() == EventFormat::Simple {
                json!({"type": "error", "message": problem.detail})
            } else {
                json!({"type": "problem", "problem": problem})
            };
            line.to_string().into_bytes()
        }
    };
    // A client that has disconnected can later fetch the bundle with the id of the receipt.
    let _ = reader.line(line).await;
}

/// Returns the proposal's id in an unverified envelope. The id only selects the events for the stream.
fn proposal_of(envelope: &Envelope) -> Option<ProposalId> {
    let payload = Base64::Lenient.decode("/payload", &envelope.payload).ok()?;
    let statement = strict::parse(&payload, MAX_ENVELOPE_BYTES).ok()?;
    statement.pointer("/predicate/proposal")?.as_str()?.parse().ok()
}

/// Returns true if the proposal has run or has ended before this call. Old events are not part of the answer.
fn is_settled(call: &RouteCall, id: &ProposalId) -> bool {
    let before = call.app.boundary.proposals.proposal(&call.caller, id);
    before.is_ok_and(|view| !matches!(view.status, ProposalStatus::Pending | ProposalStatus::Approved))
}
