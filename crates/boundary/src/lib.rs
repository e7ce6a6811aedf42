//! The boundary around the crossing: proposals, evidence, admission and housekeeping, and the HTTP API.
//!
//! `assembled` builds the parts, and `http` has the routes.
#![forbid(unsafe_code)]

mod admission;
mod assembled;
mod caller;
mod data_growth;
mod denials;
mod dispatch;
mod events;
mod evidence;
mod feed;
mod grants;
mod health;
mod housekeeping;
pub mod http;
mod logged_documents;
mod notices;
mod oidc;
mod proposal_view;
mod proposals;
mod refusal_log;
mod refusing;
mod result_access;
mod reviews;
mod sealing;
pub mod secret_sources;
mod step_search;
mod surroundings;
mod tokens;
mod witnesses;

pub use assembled::{Boundary, MonitoringStatus, WitnessStatus};

pub use admission::bearer;
pub use caller::Caller;
pub use data_growth::{DataGrowth, MeasuredGrowth};
pub use health::{
    NoteSource, SeenNodes, frozen_note, notes_about_people, notes_of, silence, some_of,
    steps_beyond_the_host, unapprovable_steps, unmet_people_rules,
};
pub use http::{
    app::HttpConfig,
    limit::Rates,
    metrics_listener,
    openapi::{openapi, routes},
    standby::{self, StandbyReason},
};
pub use notices::{Notice, NoticeFilter, NoticeNext, TargetStatus, ToldTargets};
pub use oidc::{
    binding_rules::steps_without_parameter,
    id_token::{IdToken, IssuerKeys, MAX_DOCUMENT_BYTES, MAX_ID_TOKEN_BYTES},
};
pub use sealing::{
    check_on_host, material_of, refused_steps, restore, sound_registry, tokens_in_force,
    told_steps, without_maximum, write_seal,
};
pub use secret_sources::{ConfiguredSecret, SecretSource, json_note};
pub use surroundings::Surroundings;
pub use witnesses::{NamedWitness, WitnessNext, WitnessRequest};

pub(crate) use admission::Admission;
pub(crate) use assembled::Monitoring;
pub(crate) use caller::{AdmittedCaller, BoundParameter, claim_text};
pub(crate) use denials::{MOST_TRIES, changes_too_often, check_again, not_logged};
pub(crate) use evidence::{
    Evidence, RosterPart,
    earlier_seal::{earlier_seal, rosters_under},
};
pub(crate) use health::Health;
pub(crate) use http::{
    access::Hosts,
    app::{App, Phase, RequestSummary},
    call::{HandlerResult, MAX_BODY_BYTES, RouteCall},
    events::{NDJSON, SSE},
    operation::{BodyShape, Field, JSON, Reply, RouteAccess, Verb},
    outputs::OCTETS,
    problem::MEDIA_TYPE,
    proposals::PROPOSAL_ID,
    route::Route,
    with_common_headers,
};
pub(crate) use logged_documents::{blob_text, envelope_in, leaf_data, manifest_of};
pub(crate) use oidc::id_token::FetchDocument;
pub(crate) use proposals::{Proposals, unknown_step, verified_of, wrong_state};
pub(crate) use refusal_log::RefusalLog;
pub(crate) use refusing::{fail, fail_at};
pub(crate) use sealing::Sealing;
pub(crate) use step_search::StepSearch;
pub(crate) use witnesses::Witnessing;
