//! The pages of a person who is logged in. The person's passkey signs an approval or a denial in the browser, and the desk sends
//! it.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Form, Path, State},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use client::{
    AskedText, CommandFailure, PrintableText, ProposalReview, approve, deny, now, render::brief,
};
use documents::{Envelope, ProposalId};
use maud::{Markup, html};

use crate::{
    BoundaryInbox, DeskPerson, HeldReview, LOG_OUT, MadeReview, NavPlace, PageAnswer, PageState,
    ReachedBoundary, RefusedReview, Sent, SentSignature, browser_answer,
    companion::{
        held::HeldReviews,
        requests::{after_review, failed, take_review, ways},
        run_pages,
        views::inbox,
    },
    desk::{
        shown_pages,
        stop_pages::{self, StopPages},
    },
    screen_lines, shown_review, signing_page, still_open,
    web::secrets::FormKey,
};

/// What the pages of a person need.
struct PasskeyPages {
    pages: Arc<PageState>,
    person: DeskPerson,
    held: HeldReviews<ProposalId, ProposalReview>,
    denials: HeldReviews<ProposalId, (ProposalReview, Vec<u8>)>,
}

type Own = State<Arc<PasskeyPages>>;

/// Returns the pages of this person, with the access of this person to one boundary.
pub fn routes(place: ReachedBoundary, person: DeskPerson) -> std::io::Result<Router> {
    let pages = Arc::new(PageState::new(vec![Arc::new(place)], FormKey::random()?));
    let stops = StopPages::new(pages.clone(), person.clone());
    let (held, denials) = Default::default();
    let own = Arc::new(PasskeyPages {
        pages: pages.clone(),
        person,
        held,
        denials,
    });
    Ok(Router::new()
        .route("/", get(first))
        .route("/b/{at}/review/{id}", get(review))
        .route("/b/{at}/sign/{id}", post(sign))
        .route("/b/{at}/deny/{id}", post(deny))
        .route("/b/{at}/denial/{id}", post(send_denial))
        .with_state(own)
        .merge(stop_pages::routes().with_state(Arc::new(stops)))
        .merge(shown_pages::routes().with_state(pages.clone()))
        .merge(run_pages::routes().with_state(pages)))
}

async fn first(State(own): Own) -> PageAnswer<Markup> {
    let (place, person, time) = (own.pages.place(0)?, own.person.clone(), now());
    let read = place
        .read(move |place, client| {
            BoundaryInbox::read((place, client), person.approver(place, client), time)
        })
        .await;
    let log_out =
        html! { form method="post" action=(LOG_OUT) { button type="submit" { "Log out" } } };
    Ok(inbox(&[(place.shown_name(), read)], time, &log_out))
}

async fn review(
    State(own): Own,
    Path((at, id)): Path<(usize, ProposalId)>,
) -> PageAnswer<Response> {
    show_review(&own, at, id, &RefusedReview::default()).await
}

/// Makes a new review, and shows what was wrong with an earlier form.
async fn show_review(
    own: &PasskeyPages,
    at: usize,
    id: ProposalId,
    refused: &RefusedReview,
) -> PageAnswer<Response> {
    let (place, person, asked) = (own.pages.place(at)?, own.person.clone(), id.clone());
    let made = place.read(move |place, client| {
        let keyid = person.key.keyid();
        MadeReview::read(
            (&asked, &place.trust, client),
            |subject| ProposalReview::make_for(subject, client, place.trust.options(), keyid, now()),
            |review| {
                let approver = person.approver_of(review.sources.roster.trusted())?;
                match review.found.passkeys {
                    Some(_) => Ok(approver.name.clone()),
                    None => Err(CommandFailure::refused("nothing was signed: the policy in force counts no passkey: sign with `countersign approve` on your own \
                         machine",
                    )),
                }
            },
        )
    });
    let question = |made: &MadeReview| Some(own.person.question(&made.review.sources.payload));
    shown_review(
        (&own.pages, &own.held),
        (at, id),
        made.await,
        question,
        refused,
    )
}

async fn sign(
    State(own): Own,
    Path((at, id)): Path<(usize, ProposalId)>,
    Form(sent): Sent,
) -> PageAnswer<Response> {
    let place = own.pages.place(at)?;
    let held = take_review(&own.pages, &own.held, (at, "sign", &id), &sent)?;
    let refused = RefusedReview::of_signature(&AskedText::of(&held.review), sent);
    if refused.is_refused() {
        return show_review(&own, at, id, &refused).await;
    }
    let (typed, answer, person) = (
        refused.typed(),
        browser_answer(&refused.sent),
        own.person.clone(),
    );
    let done = place.act(move |place, client| {
        let HeldReview { id, review, .. } = held;
        let review = still_open(&id, review, false, &place.trust, client)?;
        let sound = review.check_sound()?;
        let _consent = AskedText::of(&review).check(&typed, sound)?;
        let signature = person.signature(&review.sources.payload, answer.as_ref())?;
        let name = &person.approver_of(review.sources.roster.trusted())?.name;
        Ok(SentSignature(
            approve::hand_in(client, &id, signature),
            format!("You signed as {name}"),
        ))
    });
    after_review(&own.pages, done.await, at, &id)
}

/// Shows the denial that the passkey signs next.
async fn deny(
    State(own): Own,
    Path((at, id)): Path<(usize, ProposalId)>,
    Form(sent): Sent,
) -> PageAnswer<Response> {
    let held = take_review(&own.pages, &own.held, (at, "deny", &id), &sent)?;
    let refused = RefusedReview::of_denial(&held.review, sent);
    if refused.is_refused() {
        return show_review(&own, at, id, &refused).await;
    }
    let HeldReview {
        boundary,
        id,
        digest,
        review,
        made,
    } = held;
    let reason = refused.value("reason").trim();
    let payload = deny::payload(&review, reason).map_err(|failure| {
        failed(
            NavPlace::at(at),
            "Nothing was signed",
            &failure,
            ways(at, &id),
        )
    })?;
    let (number, question) = (own.pages.forms.issue(), own.person.question(&payload));
    let path = format!("/b/{at}/denial/{id}");
    let statement = html! {
        p { "You deny this statement, which then never runs. A denial can't be undone." }
        (screen_lines(&brief(&review.found), 2))
        dl.pairs { dt { "Reason" } dd { (PrintableText::quoted_prose(reason).as_str()) } }
    };
    let page = signing_page(
        &own.pages,
        (at, "Sign a denial"),
        &statement,
        (&path, &number, &digest),
        &question,
    );
    own.denials.keep(
        &number,
        HeldReview {
            boundary,
            id,
            digest,
            review: (review, payload),
            made,
        },
    );
    Ok(page.into_response())
}

async fn send_denial(
    State(own): Own,
    Path((at, id)): Path<(usize, ProposalId)>,
    Form(sent): Sent,
) -> PageAnswer<Response> {
    let place = own.pages.place(at)?;
    let held = take_review(&own.pages, &own.denials, (at, "denial", &id), &sent)?;
    let (answer, person) = (browser_answer(&sent), own.person.clone());
    let done = place.act(move |place, client| {
        let (review, payload) = held.review;
        let review = still_open(&held.id, review, true, &place.trust, client)?;
        let signature = person.signature(&payload, answer.as_ref())?;
        let name = &person.approver_of(review.sources.roster.trusted())?.name;
        let sent = deny::send(&review, &Envelope::new(&payload, vec![signature]), client);
        Ok(SentSignature(sent, format!("You denied as {name}")))
    });
    after_review(&own.pages, done.await, at, &id)
}
