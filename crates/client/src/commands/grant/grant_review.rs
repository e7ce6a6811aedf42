//! Builds the review of a standing grant: what can happen without another question to a person.
//!
//! The lines and remarks about a step are the same as in the review of a run.

use serde_json::{Map, Value};

use crate::{
    ChosenTrust, Client, CommandFailure, CommandResult, Derived, Exit, LineTone, LineWeight,
    MOST_LINES, PagerChoice, PrintableText, RemarkSeverity, ReportedState, ReviewLine,
    ReviewSources, SIGNED, Screen, StatementVerdict, Terminal, check_standing,
    commands::grant::varying_values::VaryingValues,
    now, read_statement,
    remote::proposals::list,
    review::{
        derive::comparisons::derive_granted,
        gather::{gather_granted, sealed_tokens},
        render::{DEFINITION, checks, contents, draw, escapes, further, not_to_be_signed, remarks},
        value_words::{grouped, listed, span},
    },
    text_lines,
};
use documents::{
    Authorization, Base64, ContentDigest, Grant, GrantedStep, Grantee, KeyGrantee, NetworkMode,
    Nonce, ProposalId, RenderedDigest, SealedToken, Status, StepRef, StepReference, Timestamp,
    TokenGrantee, joined, json,
};
use verdict::{Tokens, TrustedRoster, check_grantee};
use wire::{GrantList, GrantStatus, GrantView};

/// Number of hex digits of the digest that a person must type.
const DIGITS: usize = 8;
/// First line of the screen and of the decision.
const HEADING: &str = "== STANDING GRANT: nobody is asked again ==";
/// Weight of a remark that is shown below its step.
const REACHES: LineWeight = LineWeight::Remark(RemarkSeverity::Network);

/// A grant with everything that an approver must see.
pub struct GrantReview {
    /// The exact bytes of the statement.
    pub payload: Vec<u8>,
    /// Digest of the statement.
    pub digest: ContentDigest,
    /// The terms in the statement.
    pub terms: Grant,
    document: Value,
    /// The steps of the grant, each with its documents and the results of the checks.
    steps: Vec<(ReviewSources, Derived)>,
    /// Remarks about the grant and its steps, most important first.
    remarks: Vec<ReviewLine>,
    /// What happened so far, as the boundary reports it.
    so_far: Vec<ReviewLine>,
}

impl GrantReview {
    /// Reads the statement and the documents of its steps, and makes the checks.
    ///
    /// # Errors
    /// Returns an error if the statement can't be read.
    pub fn make(view: &GrantView, client: &Client, trust: &[ChosenTrust]) -> CommandResult<Self> {
        let (payload, statement) =
            read_statement::<Grant>(Base64::Strict, &view.payload).map_err(odd)?;
        let grant = statement.predicate;
        if grant.grant != view.id {
            return Err(odd(format!(
                "the boundary returned the statement of {}",
                grant.grant
            )));
        }
        let document = json::parse(&payload, payload.len()).map_err(odd)?;
        let digest = ContentDigest::of(&payload);
        let why = view.why.as_ref().map_or(String::new(), |why| {
            format!(" ({}: {})", why.code, why.detail)
        });
        let told = ReportedState {
            status: format!("{}{why}", view.status.word()),
            held_up: None,
            approvals: view.approvals.clone(),
        };
        let step = |(index, granted): (usize, &GrantedStep)| {
            let run = run_of(&grant, granted, digest);
            let mut sources = ReviewSources {
                told: Some(told.clone()),
                ..gather_granted(&run, client, trust)
            };
            // All steps have the same grantee, so the list of tokens is read once.
            let seal = sources.seal.as_ref();
            let seal = seal.filter(|_| index == 0 && grant.grantee.token().is_some());
            sources.tokens = seal.and_then(|seal| sealed_tokens(client, seal));
            let found = derive_granted(&sources, &run, now());
            (sources, found)
        };
        let steps: Vec<_> = grant.steps.iter().enumerate().map(step).collect();
        let so_far = so_far(&grant, view, client);
        let mut review = Self {
            digest,
            payload,
            terms: grant,
            document,
            steps,
            remarks: Vec::new(),
            so_far,
        };
        review.remarks = review.all_remarks();
        Ok(review)
    }

    /// Returns the roster that the approver trusts.
    pub fn roster(&self) -> Option<&TrustedRoster> {
        self.steps.first()?.0.roster.trusted()
    }

    /// Returns the roster, trusted or not.
    fn known_roster(&self) -> Option<&TrustedRoster> {
        self.steps.first()?.0.roster.roster()
    }

    /// Returns the text that a person must type: the maximum number of uses and the end of the digest. The answer for a
    /// run never fits a grant.
    pub fn asked_text(&self) -> String {
        let hex = self.digest.hex();
        format!("{} {}", self.terms.max_uses, &hex[hex.len() - DIGITS..])
    }

    /// Returns the tokens of the seal.
    fn tokens(&self) -> Option<&[SealedToken]> {
        self.steps.first()?.1.tokens.as_deref()
    }

    /// Returns the sealed entry of the token that may use the grant.
    fn token(&self) -> Option<&SealedToken> {
        let name = self.terms.grantee.token()?;
        self.tokens()?.iter().find(|token| token.name == *name)
    }

    /// Returns why the grantee can't be the holder of the key, or the token with the credential.
    fn grantee_flaw(&self) -> Option<String> {
        let roster = self.known_roster()?;
        let tokens = match self.tokens() {
            None if self.terms.grantee.token().is_some() => {
                return Some("the sealed list of tokens can't be read".to_owned());
            }
            tokens => Tokens::Sealed(tokens.unwrap_or_default(), self.terms.issued_at),
        };
        if let Some(Err(error)) = self.token().map(SealedToken::check) {
            return Some(error.message);
        }
        let checked = check_grantee(&self.terms, roster, tokens);
        checked.err().map(|error| error.to_string())
    }

    /// Returns who may use the grant, in words.
    fn grantee_words(&self) -> String {
        let name = self.terms.grantee.name();
        let owners = match self.token() {
            Some(token) => Some(&token.owners),
            None => {
                let roster = self.known_roster();
                let proposer = roster.and_then(|roster| roster.proposer(name));
                proposer.map(|proposer| &proposer.owners)
            }
        };
        let owners = owners.map_or(String::new(), |owners| {
            format!(" (owner {})", listed(&owners.iter().collect::<Vec<_>>()))
        });
        match (&self.terms.grantee, self.token()) {
            (Grantee::Key(_), _) => format!("\"{name}\"{owners}"),
            (Grantee::Token(_), Some(SealedToken { oidc: Some(_), .. })) => {
                format!("each CI job that opens the token \"{name}\"{owners}")
            }
            (Grantee::Token(_), _) => format!("anyone who has the token \"{name}\"{owners}"),
        }
    }

    /// Draws what the grantee must present.
    fn draw_grantee(&self, screen: &mut Screen) {
        let credential = match &self.terms.grantee {
            Grantee::Key(grantee) => return field(screen, "grantee key", grantee.key.as_str()),
            Grantee::Token(grantee) => grantee.credential,
        };
        bad(
            screen,
            "uses",
            "each use is the word of the boundary: no key signs it",
        );
        field(screen, "credential", &credential.to_string());
        let Some(binding) = self.token().and_then(|token| token.oidc.as_ref()) else {
            return;
        };
        field(screen, "issuer", &binding.issuer);
        for (name, value) in &binding.claims {
            field(screen, "claim", &format!("{name} is {value}"));
        }
        for (parameter, claim) in &binding.bind {
            field(
                screen,
                "bind",
                &format!("the parameter {parameter} is the claim {claim}"),
            );
        }
        for (what, file, default) in [
            (
                "issuer keys",
                binding.jwks,
                "those that the issuer publishes",
            ),
            ("issuer ca", binding.ca, "those of the boundary's system"),
        ] {
            let words = file.map_or(default.to_owned(), |file| file.to_string());
            field(screen, what, &words);
        }
    }

    /// Returns whether the approver may sign.
    fn standing(&self) -> StatementVerdict {
        let steps = self.steps.iter().map(|(_, found)| found.standing);
        let flaw = self.grantee_flaw().map(|_| StatementVerdict::Unsound);
        steps.chain(flaw).max().unwrap_or(StatementVerdict::Sound)
    }

    /// Checks that nothing forbids a signature.
    ///
    /// # Errors
    /// Returns the first flaw, or that no roster is trusted.
    pub fn check_sound(&self) -> CommandResult<()> {
        let failed = self.steps.iter().flat_map(|(_, found)| found.flaws());
        let flaws: Vec<_> = self.grantee_flaw().into_iter().chain(failed).collect();
        check_standing(self.standing(), self.known_roster(), &flaws)
    }

    /// Returns the exit code of a command that only shows the grant.
    pub fn exit(&self) -> Exit {
        self.check_sound()
            .map_or_else(|failure| failure.exit, |()| Exit::Done)
    }

    /// Shows the screen. At a terminal, long texts open in the pager, and the decision follows below.
    ///
    /// # Errors
    /// Returns an error if the standard output cannot be written.
    pub fn show(&self, terminal: &Terminal, pager: PagerChoice, full: bool) -> CommandResult<()> {
        if full {
            return terminal.page(&self.full(now()));
        }
        let lines: usize = self.steps.iter().map(|(_, found)| text_lines(found)).sum();
        if pager.no_pager || lines <= MOST_LINES {
            return terminal.show(&self.screen(now()));
        }
        terminal.page(&self.texts())?;
        terminal.show(&self.block(now()))
    }

    /// Draws the texts and the decision.
    pub fn screen(&self, now: Timestamp) -> Screen {
        let mut screen = self.texts();
        let block = self.block(now);
        if screen.has_escapes() || block.has_escapes() {
            escapes(&mut screen);
        }
        screen.blank();
        screen.extend(block);
        screen
    }

    /// Draws each signed field and all checks, and then the screen.
    pub fn full(&self, now: Timestamp) -> Screen {
        let mut screen = Screen::default();
        for (_, found) in &self.steps {
            if let Some(definition) = found.document() {
                screen.heading(DEFINITION);
                screen.exact(definition, &[]);
            }
            checks(&mut screen, found);
        }
        screen.heading(SIGNED);
        screen.exact(&self.document, &[]);
        screen.blank();
        screen.extend(self.screen(now));
        screen
    }

    /// Draws what may scroll off the screen.
    fn texts(&self) -> Screen {
        let mut screen = Screen::default();
        screen.push(LineTone::Bad, "", HEADING);
        screen.push(LineTone::Plain, "  digest ", self.digest.to_string());
        let grant = &self.terms;
        let mut window = format!("{} to {}", grant.not_before, grant.expires_at);
        if grant.issued_at != grant.not_before {
            window += &format!(", issued {}", grant.issued_at);
        }
        field(&mut screen, "grant", grant.grant.as_str());
        field(&mut screen, "window", &window);
        let further = further(&mut screen, &self.remarks);
        for (granted, (sources, found)) in grant.steps.iter().zip(&self.steps) {
            field(
                &mut screen,
                "step",
                &format!("{}, {}", granted.reference, granted.digest),
            );
            for line in &found.lines.above {
                draw(&mut screen, line);
            }
            contents(
                &mut screen,
                sources,
                found,
                further || grant.steps.len() > 1,
            );
        }
        screen
    }

    /// Draws the decision, which stays on the screen with the question.
    fn block(&self, now: Timestamp) -> Screen {
        let mut screen = Screen::default();
        let grant = &self.terms;
        screen.push(LineTone::Bad, "", HEADING);
        let (grantee, boundary) = (self.grantee_words(), &grant.boundary.name);
        screen.say(
            LineTone::Bad,
            &format!("after this, {grantee} may run WITHOUT ASKING at {boundary}"),
        );
        let (checks, changes): (Vec<_>, Vec<_>) = self
            .granted()
            .partition(|(step, found)| is_check(step, found));
        for (title, steps) in [("checks, says their author", checks), ("changes", changes)] {
            if !steps.is_empty() {
                screen.heading(title);
            }
            for (step, found) in steps {
                draw_step(&mut screen, step, found);
            }
        }
        screen.heading("all runs together");
        self.draw_grantee(&mut screen);
        bad(&mut screen, "how often", &self.limits(now));
        if !grant.artifacts.is_empty() {
            let each = grant
                .artifacts
                .iter()
                .map(|one| format!("{}, {} bytes, {}", one.name, grouped(one.bytes), one.digest));
            bad(
                &mut screen,
                "uploads",
                &format!("{}: NOT SHOWN", joined(each, "; ")),
            );
        }
        field(&mut screen, "sessions", grant.session.word());
        field(&mut screen, "asked by", grant.proposer.as_str());
        let proposer = PrintableText::text(grant.proposer.as_str());
        let reason = match &*grant.reason {
            "" => PrintableText::words("none is given"),
            reason => PrintableText::quoted_prose(reason)
                .and("  (")
                .then(&proposer)
                .and("'s words, not checked)"),
        };
        draw(&mut screen, &ReviewLine::always("reason", reason));
        field(&mut screen, "worst case", &self.worst_case());
        for line in &self.so_far {
            draw(&mut screen, line);
        }
        let revoke = format!("countersign revoke {}", grant.grant);
        let stop = match &grant.grantee {
            Grantee::Key(KeyGrantee { name, .. }) => {
                format!("{revoke} (an approver of a step, {name}, or an operator)")
            }
            Grantee::Token(TokenGrantee { token, .. }) => format!(
                "{revoke} (an approver of a step, or an operator), or countersign token revoke {token} on the host"
            ),
        };
        field(&mut screen, "to stop it", &stop);
        remarks(&mut screen, &self.remarks);
        not_to_be_signed(&mut screen, self.standing());
        screen
    }

    /// Returns each step of the grant with the results of its checks.
    fn granted(&self) -> impl Iterator<Item = (&GrantedStep, &Derived)> {
        let found = self.steps.iter().map(|(_, found)| found);
        self.terms.steps.iter().zip(found)
    }

    fn limits(&self, now: Timestamp) -> String {
        let grant = &self.terms;
        let rate = grant.rate.as_ref().map_or(String::new(), |rate| {
            // Only a time that is shown exactly is shown in minutes and hours.
            let exact = rate.seconds < 3600 || rate.seconds.is_multiple_of(3600);
            let time = if exact {
                span(rate.seconds as i64)
            } else {
                format!("{} s", rate.seconds)
            };
            format!(", at most {} in {time}", rate.uses)
        });
        let left = grant.expires_at.unix() - now.unix();
        format!(
            "up to {} times{rate}, until {} ({} left)",
            grant.max_uses,
            grant.expires_at,
            span(left)
        )
    }

    /// Returns the most uses within 24 hours. The rate limits each period of its length, whenever the period begins, so
    /// a day has no more than all uses of the periods that cover it.
    fn worst_case(&self) -> String {
        let grant = &self.terms;
        let lasts = grant.expires_at.unix() - grant.not_before.unix();
        let day = lasts.clamp(1, 86_400).unsigned_abs();
        let most = grant.rate.as_ref().map_or(grant.max_uses, |rate| {
            grant.max_uses.min(rate.uses * day.div_ceil(rate.seconds))
        });
        let values = if self.granted().any(|(step, found)| is_free(step, found)) {
            "; some values have no bounds"
        } else {
            ""
        };
        format!(
            "{} uses a day, {} in all{values}",
            grouped(most),
            grouped(grant.max_uses)
        )
    }

    /// Returns the remarks about the grant and about each step, most important first.
    fn all_remarks(&self) -> Vec<ReviewLine> {
        let flaw = self.grantee_flaw().into_iter();
        let mut all: Vec<_> = flaw
            .map(|why| ReviewLine::remark(RemarkSeverity::Fails, format!("NOT TRUE: {why}")))
            .collect();
        let many = self.terms.steps.len() > 1;
        for (step, found) in self.granted() {
            let name = &step.reference;
            if let Some(reach) = reach(step).filter(|_| is_free(step, found)) {
                let words =
                    format!("some values of {name} have no bounds, and the runs reach {reach}");
                all.push(ReviewLine::remark(RemarkSeverity::SandboxOff, words));
            }
            let about = if many {
                format!("{name}: ")
            } else {
                String::new()
            };
            let remarks = &found.lines.remarks;
            for line in remarks.iter().filter(|line| line.weight != REACHES) {
                let text = PrintableText::text(&about).then(&line.text);
                all.push(ReviewLine {
                    text,
                    ..line.clone()
                });
            }
        }
        all.sort_by_key(|line| line.weight);
        all
    }
}

fn odd(what: impl std::fmt::Display) -> CommandFailure {
    CommandFailure::refused(format!("nothing was signed: {what}"))
}

fn field(screen: &mut Screen, name: &'static str, words: &str) {
    draw(screen, &ReviewLine::always(name, words));
}

fn bad(screen: &mut Screen, name: &'static str, words: &str) {
    draw(
        screen,
        &ReviewLine::always(name, words).toned(LineTone::Bad),
    );
}

/// Returns true if the step's author calls it a check, and if its runs can change nothing on the host itself.
fn is_check(step: &GrantedStep, found: &Derived) -> bool {
    let sandbox = &step.sandbox;
    found.step().is_some_and(|one| one.check)
        && sandbox.write.is_empty()
        && sandbox.sockets.is_empty()
        && sandbox.network.mode != NetworkMode::Host
        && sandbox.off_reason.is_none()
}

/// Draws what the runs of a step get and reach, and what may vary.
fn draw_step(screen: &mut Screen, step: &GrantedStep, found: &Derived) {
    let checks = is_check(step, found);
    let draw_name = if checks { field } else { bad };
    draw_name(screen, "step", step.reference.as_str());
    for line in &found.lines.always {
        draw(screen, line);
    }
    let remarks = found.lines.remarks.iter();
    for line in remarks.filter(|line| line.weight == REACHES) {
        let name = "reaches";
        draw(
            screen,
            &ReviewLine {
                name,
                ..line.clone()
            },
        );
    }
    let varying = values(step, found);
    if varying.is_empty() {
        field(screen, "what varies", "nothing: it has no parameters");
    }
    for (name, values) in varying {
        let draw = if values.unbounded { bad } else { field };
        draw(screen, "what varies", &format!("{name}: {}", values.words));
    }
    let has_secrets = found.step().is_some_and(|one| !one.secrets.is_empty());
    if checks && (has_secrets || !step.sandbox.network.hosts.is_empty()) {
        bad(
            screen,
            "",
            "can change what these hosts and secrets let it change",
        );
    }
}

/// Returns each parameter of a step, with the values that it may have.
fn values<'g>(step: &'g GrantedStep, found: &Derived) -> Vec<(&'g str, VaryingValues)> {
    let values = step.params.keys().map(|(name, declared)| {
        let of_step = found.step().and_then(|one| one.params.key(name));
        (name.as_str(), VaryingValues::of(declared, of_step))
    });
    values.collect()
}

/// Returns true if nothing bounds the values of a parameter.
fn is_free(step: &GrantedStep, found: &Derived) -> bool {
    values(step, found)
        .iter()
        .any(|(_, values)| values.unbounded)
}

/// Returns an authorization with what all runs of a step under a grant have in common. The other fields have
/// placeholder values.
fn run_of(grant: &Grant, granted: &GrantedStep, digest: ContentDigest) -> Authorization {
    Authorization {
        boundary: grant.boundary.clone(),
        proposal: ProposalId::new(0, [0; 10]),
        nonce: Nonce::new(Timestamp::from_unix(0), [0; 16]),
        step: StepReference {
            reference: granted.reference.clone(),
            digest: granted.digest,
        },
        params: Value::Object(Map::new()),
        rendered: RenderedDigest::of(b""),
        permissions: granted.permissions.clone(),
        sandbox: granted.sandbox.clone(),
        proposer: grant.grantee.name().clone(),
        reason: String::new(),
        issued_at: grant.issued_at,
        not_before: grant.not_before,
        expires_at: grant.expires_at,
        session: None,
        artifacts: None,
        plan: None,
        grant: Some(digest),
        emergency: None,
        by: None,
    }
}

/// Returns what the runs can reach outside of their sandbox.
fn reach(step: &GrantedStep) -> Option<String> {
    let sandbox = &step.sandbox;
    let found = joined(
        [
            (
                sandbox.off_reason.is_some(),
                "everything: the sandbox is off",
            ),
            (sandbox.network.mode != NetworkMode::None, "a network"),
            (
                sandbox
                    .read
                    .iter()
                    .chain(&sandbox.write)
                    .any(|path| path.starts_with('/')),
                "files of the host",
            ),
        ]
        .into_iter()
        .filter_map(|(reaches, what)| reaches.then_some(what)),
        ", ",
    );
    (!found.is_empty()).then_some(found)
}

/// Returns the query for the proposals of a step with this status, of all proposers.
pub fn all_of<'q>(step: &'q StepRef, status: &'q str) -> [(&'static str, &'q str); 3] {
    [("all", "true"), ("status", status), ("step", step.as_str())]
}

/// Returns what the boundary reports about earlier runs and denials of all proposers, and about other grants.
fn so_far(grant: &Grant, view: &GrantView, client: &Client) -> Vec<ReviewLine> {
    let mut found = Vec::new();
    let mut say = |tone, words: String| {
        found.push(ReviewLine::always("so far", &words).toned(tone));
    };
    for step in &grant.steps {
        let of = |status| list(client, &all_of(&step.reference, status));
        let (runs, denied) = match (of("finished"), of("denied")) {
            (Ok(runs), Ok(denied)) => (runs, denied.len()),
            (Err(failure), _) | (_, Err(failure)) => {
                say(
                    LineTone::Bad,
                    format!(
                        "the runs of {} can't be read: {}",
                        step.reference, failure.message
                    ),
                );
                continue;
            }
        };
        let ended = |fits: fn(Status) -> bool| {
            runs.iter()
                .filter(|run| run.outcome.as_ref().is_some_and(|end| fits(end.status)))
                .count()
        };
        let succeeded = ended(|status| status == Status::Succeeded);
        let unknown = ended(|status| status == Status::Unknown);
        let failed = runs.len() - succeeded - unknown;
        let tone = if failed + unknown + denied > 0 {
            LineTone::Bad
        } else {
            LineTone::Plain
        };
        say(
            tone,
            format!(
                "{} runs of {}, {succeeded} succeeded, {failed} failed, {unknown} with an unknown end; {denied} \
                 proposals were denied (all proposers; the boundary's word)",
                runs.len(),
                step.reference
            ),
        );
    }
    match client.get::<GrantList>("/v1/grants") {
        Ok(all) => {
            let shares = |other: &Grant| {
                other.steps.iter().any(|one| {
                    grant
                        .steps
                        .iter()
                        .any(|step| step.reference == one.reference)
                })
            };
            let active = all.grants.iter().filter(|other| {
                other.id != view.id && other.status == GrantStatus::Active && shares(&other.grant)
            });
            match active.count() {
                0 => {}
                active => say(
                    LineTone::Plain,
                    format!("{active} other active grants name a step of this one"),
                ),
            }
        }
        Err(failure) => say(
            LineTone::Bad,
            format!("the other grants can't be read: {}", failure.message),
        ),
    }
    if view.uses > 0 {
        say(
            LineTone::Plain,
            format!("{} of {} uses are spent", view.uses, grant.max_uses),
        );
    }
    found
}

#[cfg(test)]
mod tests;
