//! The route for the events of the whole boundary.

use crate::{
    HandlerResult, NDJSON, Route, RouteCall, SSE, fail,
    feed::Feed,
    http::{
        events::{
            EventFormat, EventSource, StreamedEvent, answer_events, last_event, line_of,
            reader_place,
        },
        operation::{field, json, reply},
    },
};
use crossing::refuse;
use documents::Code;
use wire::FeedEvent;

pub static ROUTES: &[Route] = &[Route {
    summary: "Follow what happens at the boundary",
    about: "The answer is a stream without an end: first the stored events with numbers above `after`, then each new \
         event. An event never contains parameters, a reason or output. It is stored in the same commit as the change, \
         and kept for 30 days. A caller sees the events of the proposals that it may see. The other events are only for \
         callers with the scope `read` or `operate` whose token is not limited to some steps.",
    query: &[
        field(
            "after",
            "Number of the last event that the client has; 0 for all stored events. Without it, the stream begins \
                 with new events",
        ),
        field(
            "for",
            "`me`: only new proposals that the signature of the caller can move, and the beginning and the end of a \
                 freeze. For approvers who read with their own key",
        ),
    ],
    headers: &[field(
        "last-event-id",
        "Instead of `after`, after an interrupted stream",
    )],
    replies: &[
        reply(
            200,
            SSE,
            json::<FeedEvent>(),
            "server-sent events; the name of an event is its kind",
        ),
        reply(
            200,
            NDJSON,
            json::<FeedEvent>(),
            "one event on each line, if `Accept` prefers it",
        ),
    ],
    codes: &[
        Code::Forbidden,
        Code::NotFound,
        Code::Busy,
        Code::Standby,
        Code::Database,
    ],
    ..Route::get("/v1/events", "boundary-events", &events)
}];

async fn events(call: RouteCall) -> HandlerResult {
    let form = EventFormat::of(&call)?;
    let number = |text: &str| {
        text.parse()
            .map_err(|_| refuse(Code::Malformed, "?after= accepts only a number"))
    };
    let after = match last_event(&call)? {
        Some(last) => Some(last),
        None => call.raw_query("after").map(number).transpose()?,
    };
    let for_me = match call.raw_query("for") {
        None => false,
        Some("me") => true,
        Some(_) => return fail(Code::Malformed, "?for= accepts only `me`"),
    };
    let place = reader_place(&call)?;
    let feed = call
        .app
        .boundary
        .proposals
        .feed(&call.caller, after, for_me)?;
    Ok(answer_events(&call, form, place, feed))
}

impl StreamedEvent for FeedEvent {
    fn word(&self) -> &'static str {
        self.kind.word()
    }

    fn line(&self, _: u64) -> Vec<u8> {
        line_of(self)
    }
}

impl EventSource for Feed {
    type Event = FeedEvent;

    async fn next(&mut self) -> Option<(u64, FeedEvent)> {
        Feed::next(self).await.map(|event| (event.seq, event))
    }
}
