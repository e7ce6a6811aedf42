//! Which events the targets of messages get, what a message says, and the state of the targets for the operator.

use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::{Proposals, feed::kind_of};
use crossing::RequestResult;
use documents::{
    Authorization, BoundaryName, GrantId, Name, Permission, PermissionReason, Statement, StepRef,
    Timestamp, hex, joined, locked,
};
use reading::Pattern;
use store::{EventFact, StoredEvent};
use wire::{
    ApprovalsView, FeedEvent, FeedKind, GrantStatus, GrantView, ProposalStatus, ProposalView,
    SignedBy,
};

/// Number of digits of a digest that a message contains.
const DIGITS: usize = 8;

/// The events that a target wants.
#[derive(Clone)]
pub struct NoticeFilter {
    /// Kinds of events.
    pub events: Vec<FeedKind>,
    /// Patterns of steps. An empty list means every step. Only requests and other events of proposals have a step.
    pub steps: Vec<Pattern>,
    /// Names of approvers, groups and proposers. The target gets a request if a signature of a named approver or group
    /// can advance the request, a signature in the name of a named approver, and the end of a proposal of a named
    /// proposer. An empty list means everybody.
    pub people: Vec<String>,
    /// If set, the target gets only requests, and gets a request only after this number of seconds.
    pub after_s: Option<i64>,
    /// True if people read the messages. A program also gets the requests that need no approver.
    pub to_people: bool,
    /// Address of the desk at which people of the target sign.
    pub desk: Option<String>,
}

/// What a target does with an event.
pub enum NoticeNext {
    /// The target does not want the event.
    Skip,
    /// The event is due at this time.
    Wait(Timestamp),
    /// The target gets the message.
    Send(Box<Notice>),
}

/// A message about an event.
pub struct Notice {
    /// The event.
    pub event: FeedEvent,
    /// The first line, which says what waits or what happened.
    pub title: String,
    /// The other lines. They contain no parameters, no reason and no output.
    pub lines: Vec<String>,
    /// True if somebody must act.
    pub urgent: bool,
}

impl NoticeFilter {
    fn wants(&self, event: &StoredEvent) -> bool {
        let kind = kind_of(&event.what);
        // An event about a signature concerns the signer. Any other event concerns the proposer.
        let name = match &event.what {
            EventFact::Signed(_, person, _) => Some(person),
            _ => event.proposed.as_ref().map(|(_, proposer)| proposer),
        };
        self.events.contains(&kind)
            && event
                .proposed
                .as_ref()
                .is_none_or(|(step, _)| self.wants_step(step))
            && (self.after_s.is_none() || kind.is_request())
            && (self.people.is_empty() || self.concerns(kind, name))
    }

    fn wants_step(&self, step: &StepRef) -> bool {
        self.steps.is_empty()
            || self
                .steps
                .iter()
                .any(|pattern| pattern.matches(step.as_str()))
    }

    /// Returns true if an event can concern the named people. For a request, the rules in force decide later.
    fn concerns(&self, kind: FeedKind, name: Option<&Name>) -> bool {
        match kind {
            FeedKind::Frozen | FeedKind::Thawed => true,
            kind if kind.is_request() => true,
            kind if kind.is_end() || kind == FeedKind::Signed => {
                name.is_some_and(|name| self.names(name.as_str()))
            }
            _ => false,
        }
    }

    fn names(&self, name: &str) -> bool {
        self.people.iter().any(|person| person == name)
    }
}

impl Proposals {
    /// Decides what a target does with an event at this time.
    ///
    /// # Errors
    /// Returns an error if the store can't be read.
    pub fn notice(&self, event: &StoredEvent, filter: &NoticeFilter) -> RequestResult<NoticeNext> {
        // An emergency goes to every target, at once.
        let is_emergency = self.is_emergency(event)?;
        if !is_emergency && !filter.wants(event) {
            return Ok(NoticeNext::Skip);
        }
        let everybody = NoticeFilter {
            people: Vec::new(),
            after_s: None,
            ..filter.clone()
        };
        let filter = if is_emergency { &everybody } else { filter };
        if let Some(due) = filter
            .after_s
            .map(|seconds| event.at.plus(seconds))
            .filter(|due| *due > self.crossing.now())
        {
            return Ok(NoticeNext::Wait(due));
        }
        let (view, boundary) = (
            self.event_view(event)?,
            &self.crossing.state().boundary.name,
        );
        if let EventFact::Grant(id, None) = &event.what {
            return self.draft_notice(view, id, filter);
        }
        if let EventFact::Signed(id, ..) = &event.what {
            let proposal = self
                .ledger
                .proposal(id)?
                .map(|row| self.view(&row))
                .transpose()?;
            return send(of_signed(view, boundary, proposal.as_ref()));
        }
        let EventFact::Proposal(id, status) = &event.what else {
            return send(of_entry(view, boundary));
        };
        let (for_all, row) = (
            filter.people.is_empty() && filter.after_s.is_none(),
            self.ledger.proposal(id)?,
        );
        let Some(row) = row else {
            // The proposal was deleted. Only unsigned proposals are deleted soon after their end.
            let skipped = *status == ProposalStatus::Pending && !for_all;
            return if skipped {
                Ok(NoticeNext::Skip)
            } else {
                send(of_end(view, boundary, None))
            };
        };
        let proposal = self.view(&row)?;
        if *status != ProposalStatus::Pending {
            return send(of_end(view, boundary, Some(&proposal)));
        }
        let waits = proposal.status == ProposalStatus::Pending;
        // A use of a grant needs only the signature of the grantee.
        if filter.to_people && proposal.approvals.required == 0 {
            return Ok(NoticeNext::Skip);
        }
        let wanted = for_all
            || waits && (filter.people.is_empty() || self.can_move(filter, &proposal.approvals));
        if !wanted {
            return Ok(NoticeNext::Skip);
        }
        let denied = count_denied(&self.statement(id)?.predicate.permissions);
        send(of_pending(view, boundary, (&proposal, denied), filter))
    }

    /// Decides whether a target gets the message about a draft of a grant.
    fn draft_notice(
        &self,
        event: FeedEvent,
        id: &GrantId,
        filter: &NoticeFilter,
    ) -> RequestResult<NoticeNext> {
        // A draft is deleted after its end.
        let Some(grant) = self
            .ledger
            .grant(id)?
            .map(|row| self.grant_view(&row))
            .transpose()?
        else {
            return Ok(NoticeNext::Skip);
        };
        let (for_all, waits) = (
            filter.people.is_empty(),
            grant.status == GrantStatus::Pending,
        );
        let wanted = grant
            .grant
            .steps
            .iter()
            .any(|step| filter.wants_step(&step.reference))
            && (waits || for_all && filter.after_s.is_none())
            && (for_all || self.can_move(filter, &grant.approvals));
        if !wanted {
            return Ok(NoticeNext::Skip);
        }
        let state = self.crossing.state();
        send(of_draft(event, &state.boundary.name, &grant))
    }

    /// Returns true if the event is about a new proposal or a run that is an emergency.
    fn is_emergency(&self, event: &StoredEvent) -> RequestResult<bool> {
        match &event.what {
            EventFact::Emergency(_) => Ok(true),
            EventFact::Proposal(id, ProposalStatus::Pending) => {
                // Most policies permit no emergencies, and the payload then need not be read.
                let state = self.crossing.state();
                let permits = |step| {
                    let found = state.step(step);
                    found.is_some_and(|(_, held)| held.ruling.emergency.is_some())
                };
                if event
                    .proposed
                    .as_ref()
                    .is_some_and(|(step, _)| !permits(step))
                {
                    return Ok(false);
                }
                let payload = self.ledger.payload(id)?;
                let statement = payload
                    .map(|payload| Statement::<Authorization>::from_payload(&payload))
                    .transpose()?;
                Ok(statement.is_some_and(|statement| statement.predicate.emergency.is_some()))
            }
            _ => Ok(false),
        }
    }

    /// Returns true if these approvals still need a signature of a named approver, or of a member of a named group.
    fn can_move(&self, filter: &NoticeFilter, approvals: &ApprovalsView) -> bool {
        let state = self.crossing.state();
        state.roster.approvers().any(|approver| {
            let named = filter.names(approver.name.as_str())
                || approver
                    .groups
                    .iter()
                    .any(|group| filter.names(group.as_str()));
            named && approvals.need(approver)
        })
    }
}

fn send(notice: Notice) -> RequestResult<NoticeNext> {
    Ok(NoticeNext::Send(Box::new(notice)))
}

fn count_denied(permissions: &[Permission]) -> usize {
    permissions
        .iter()
        .filter(|permission| permission.why == PermissionReason::BuiltInDeny)
        .count()
}

fn of_pending(
    event: FeedEvent,
    boundary: &BoundaryName,
    (proposal, denied): (&ProposalView, usize),
    filter: &NoticeFilter,
) -> Notice {
    let waits = proposal.status == ProposalStatus::Pending;
    let mut lines = of_request(
        &proposal.proposer,
        &proposal.approvals,
        (!waits).then(|| proposal.status.word()),
    );
    lines.extend(of_content(
        proposal.expires_at,
        denied,
        proposal.digest.as_bytes(),
    ));
    lines.extend(of_command("review", proposal.id.as_str(), boundary));
    // The address is the last line, because programs on a phone make a link of it.
    lines.extend(
        filter
            .desk
            .iter()
            .filter(|_| waits)
            .map(|desk| format!("{desk}/p/{boundary}/{}", proposal.id)),
    );
    Notice {
        title: title_of(proposal),
        lines,
        urgent: waits,
        event,
    }
}

fn title_of(proposal: &ProposalView) -> String {
    format!(
        "{} {}",
        if proposal.emergency {
            "EMERGENCY"
        } else {
            "RUN"
        },
        proposal.step
    )
}

/// Returns the message about a signature, for the person in whose name it was made.
fn of_signed(event: FeedEvent, boundary: &BoundaryName, proposal: Option<&ProposalView>) -> Notice {
    let mut lines: Vec<String> = event
        .proposer
        .iter()
        .map(|proposer| format!("asked by: {proposer}"))
        .collect();
    let (mut waits, mut title) = (
        false,
        event
            .step
            .as_ref()
            .map(|step| format!("RUN {step}"))
            .unwrap_or_default(),
    );
    let mut about = Vec::new();
    if let Some(proposal) = proposal {
        waits = proposal.status.waits();
        title = title_of(proposal);
        about.push(digits_of(proposal.digest.as_bytes()));
        about.extend((!waits).then(|| format!("no longer waits: {}", proposal.status)));
    }
    if let Some(SignedBy {
        person,
        keyid,
        passkey,
    }) = &event.signed
    {
        let key = passkey
            .as_ref()
            .map_or("a key that is no passkey".to_owned(), |host| {
                format!("a passkey of {host}")
            });
        lines.push(format!("signed by: {person}, with {key}"));
        lines.append(&mut about);
        lines.push(format!("if {person} did not sign this:"));
        lines.extend(
            event
                .proposal
                .iter()
                .filter(|_| waits)
                .map(|id| format!("countersign deny {id}")),
        );
        let operator = if passkey.is_some() {
            "an operator ends the key: "
        } else {
            ""
        };
        lines.push(format!("{operator}countersign revoke {keyid}"));
    }
    lines.push(format!("boundary: {boundary}"));
    Notice {
        title: format!("SIGNED {title}"),
        lines,
        urgent: false,
        event,
    }
}

fn of_draft(event: FeedEvent, boundary: &BoundaryName, view: &GrantView) -> Notice {
    let (grant, waits) = (&view.grant, view.status == GrantStatus::Pending);
    let steps: Vec<&str> = grant
        .steps
        .iter()
        .map(|step| step.reference.as_str())
        .collect();
    let denied = grant
        .steps
        .iter()
        .map(|step| count_denied(&step.permissions))
        .sum();
    let mut lines = of_request(
        &grant.proposer,
        &view.approvals,
        (!waits).then(|| view.status.word()),
    );
    lines.insert(
        1,
        format!(
            "for: {}, at most {} runs without asking",
            grant.grantee, grant.max_uses
        ),
    );
    lines.extend(of_content(grant.expires_at, denied, view.digest.as_bytes()));
    lines.extend(of_command("approve", view.id.as_str(), boundary));
    Notice {
        title: format!("STANDING GRANT {}", steps.join(", ")),
        lines,
        urgent: waits,
        event,
    }
}

/// Returns who asks, and whose signatures are still needed. `ended` is the status of a request that no longer waits.
fn of_request(proposer: &Name, approvals: &ApprovalsView, ended: Option<&str>) -> Vec<String> {
    let needed = match ended {
        None => {
            let key = if approvals.own_program {
                ", with another key than a passkey"
            } else {
                ""
            };
            let missing = joined(&approvals.missing, ", ");
            format!(
                "still needed: {missing}{key} ({} of {} have signed)",
                approvals.have, approvals.required
            )
        }
        Some(ended) => format!("no longer waits: {ended}"),
    };
    vec![format!("asked by: {proposer}"), needed]
}

fn of_content(until: Timestamp, denied: usize, digest: &[u8]) -> [String; 3] {
    [
        format!("until: {}", utc(until)),
        match denied {
            0 => "no permission is denied by a built-in list".to_owned(),
            1 => "1 permission is denied by a built-in list".to_owned(),
            more => format!("{more} permissions are denied by a built-in list"),
        },
        digits_of(digest),
    ]
}

fn digits_of(digest: &[u8]) -> String {
    let digest = hex(digest);
    format!("digest ends with: {}", &digest[digest.len() - DIGITS..])
}

/// Returns the message about another change of a proposal.
fn of_end(event: FeedEvent, boundary: &BoundaryName, proposal: Option<&ProposalView>) -> Notice {
    let step = event
        .step
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let how = match (event.kind, event.outcome, event.code) {
        (FeedKind::Finished, Some(outcome), _) => outcome.word().to_owned(),
        (FeedKind::Refused, _, Some(code)) => format!("refused ({code})"),
        (kind, ..) => kind.word().trim_start_matches("proposal.").to_owned(),
    };
    let mut lines: Vec<String> = event
        .proposer
        .iter()
        .map(|proposer| format!("asked by: {proposer}"))
        .collect();
    if event.kind == FeedKind::Denied {
        let who: Vec<&str> = proposal
            .iter()
            .flat_map(|p| &p.denials)
            .map(|denial| denial.approver.as_str())
            .collect();
        lines.push(format!("denied by: {}", who.join(", ")));
    }
    if let Some(id) = &event.proposal {
        lines.extend(of_command("wait", id.as_str(), boundary));
    }
    Notice {
        title: format!("RUN {step}: {how}"),
        lines,
        urgent: false,
        event,
    }
}

fn of_entry(event: FeedEvent, boundary: &BoundaryName) -> Notice {
    let mut lines: Vec<String> = Vec::new();
    let title = match event.kind {
        FeedKind::Frozen => "FROZEN: nothing is proposed or run".to_owned(),
        FeedKind::Thawed => {
            "THAWED: a new epoch has begun, and everything that was signed before is void"
                .to_owned()
        }
        FeedKind::Revocation => match &event.subject {
            Some(subject) => format!("REVOKED: {subject}"),
            None => "REVOKED".to_owned(),
        },
        FeedKind::Attention => {
            lines.extend(event.words.clone());
            "ATTENTION".to_owned()
        }
        FeedKind::Emergency => {
            lines.extend(
                event
                    .proposal
                    .iter()
                    .map(|id| format!("countersign wait {id}")),
            );
            let step = event
                .step
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            format!("EMERGENCY {step}: runs, and people must review it")
        }
        FeedKind::Review => "REVIEWED: a person has reviewed a run".to_owned(),
        FeedKind::GrantActive => "STANDING GRANT: in force".to_owned(),
        _ => "SEAL: a new seal is in force".to_owned(),
    };
    lines.extend(event.entry.map(|entry| format!("log entry: {entry}")));
    lines.push(format!("boundary: {boundary}"));
    Notice {
        title,
        lines,
        urgent: matches!(
            event.kind,
            FeedKind::Frozen | FeedKind::Attention | FeedKind::Emergency
        ),
        event,
    }
}

fn of_command(command: &str, id: &str, boundary: &BoundaryName) -> [String; 2] {
    [
        format!("countersign {command} {id}"),
        format!("boundary: {boundary}"),
    ]
}

fn utc(at: Timestamp) -> String {
    at.to_string().replace('T', " ").replace('Z', " UTC")
}

/// The state of a target.
#[derive(Clone, Serialize, Deserialize)]
pub struct TargetStatus {
    /// Name of the target.
    pub name: Name,
    /// Form of its messages.
    pub kind: String,
    /// Number of the last event that the target got, did not want, or lost.
    pub seq: u64,
    /// Number of events that the service stopped trying to send.
    pub given_up: u64,
    /// Number of events after `seq`.
    #[serde(default)]
    pub behind: u64,
    /// Time of the event that the target did not accept and that the service sends again.
    pub waits_since: Option<Timestamp>,
    /// Reason why the last attempt failed.
    pub trouble: Option<String>,
}

/// The state of all targets.
#[derive(Default)]
pub struct ToldTargets(Mutex<Vec<TargetStatus>>);

impl ToldTargets {
    /// Records the state of a target.
    pub fn note(&self, status: TargetStatus) {
        let mut all = locked(&self.0);
        match all.iter_mut().find(|known| known.name == status.name) {
            Some(known) => *known = status,
            None => all.push(status),
        }
    }

    /// Returns the state of each target. `newest` is the number of the newest event.
    pub fn status(&self, newest: u64) -> Vec<TargetStatus> {
        let all = locked(&self.0).clone();
        all.into_iter()
            .map(|one| TargetStatus {
                behind: newest.saturating_sub(one.seq),
                ..one
            })
            .collect()
    }
}
