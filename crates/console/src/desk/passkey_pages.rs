//! The pages of a person who is logged in. The person's passkey signs an approval or a denial in the browser, and the
//! desk sends it.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Form, Path, State},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use client::{
    AskedText, Client, CommandResult, PrintableText, ProposalReview, approve, deny, fail_refused,
    now, render::brief,
};
use documents::{Envelope, ProposalId};
use maud::{Markup, html};

use crate::{
    BoundaryInbox, DeskPerson, HeldReview, LOG_OUT, MadeReview, PageAnswer, PageState,
    PasskeyQuestion, PlaceAndId, ReachedBoundary, RefusedReview, Sent, SentSignature,
    browser_answer,
    companion::{
        requests::{after_review, not_done, take_review, ways},
        review_view::{Reviewer, answered, review},
        reviews::HeldReviews,
        run_pages,
        views::inbox,
    },
    desk::{
        shown_pages,
        stop_pages::{self, StopPages},
    },
    screen_lines, signing_page, still_open,
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
        .route("/b/{at}/review/{id}", get(review::<PasskeyPages>))
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

impl Reviewer for PasskeyPages {
    fn pages(&self) -> &PageState {
        &self.pages
    }

    fn held(&self) -> &HeldReviews<ProposalId, ProposalReview> {
        &self.held
    }

    fn make(
        &self,
        id: ProposalId,
    ) -> impl FnOnce(&ReachedBoundary, &Client) -> CommandResult<MadeReview> + Send + 'static {
        let person = self.person.clone();
        move |place, client| {
            let keyid = person.key.keyid();
            MadeReview::read(
                (&id, &place.trust, client),
                |subject| {
                    ProposalReview::make(subject, client, place.trust.options(), &[keyid], now())
                },
                |review| {
                    let approver = person.approver_of(review.sources.roster.trusted())?;
                    match review.found.passkeys {
                        Some(_) => Ok(approver.name.clone()),
                        None => fail_refused(
                            "nothing was signed: the policy in force counts no passkey: sign with `countersign approve` on your own \
                             machine",
                        ),
                    }
                },
            )
        }
    }

    fn question(&self, made: &MadeReview) -> Option<PasskeyQuestion> {
        Some(self.person.question(&made.review.sources.payload))
    }
}

async fn sign(
    State(own): Own,
    Path((at, id)): PlaceAndId<ProposalId>,
    Form(sent): Sent,
) -> PageAnswer<Response> {
    let place = own.pages.place(at)?;
    let (held, sent) =
        answered(&*own, (at, "sign", &id), sent, RefusedReview::of_signature).await?;
    let (typed, answer, person) = (sent.typed(), browser_answer(&sent.sent), own.person.clone());
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
    Path((at, id)): PlaceAndId<ProposalId>,
    Form(sent): Sent,
) -> PageAnswer<Response> {
    let (held, sent) = answered(&*own, (at, "deny", &id), sent, RefusedReview::of_denial).await?;
    let HeldReview {
        boundary,
        id,
        digest,
        review,
        made,
    } = held;
    let reason = sent.reason();
    let payload = deny::payload(&review, reason).map_err(not_done(
        at,
        "Nothing was signed",
        ways(at, &id),
    ))?;
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
    Path((at, id)): PlaceAndId<ProposalId>,
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
