//! One machine with SQLite, as the program is today: one writer, batches, crashes, recovery, clocks.

mod standing;

use std::collections::BTreeSet;

use stateright::{Model, Property};

use crate::actions;
use crate::checking::{Story, property};
use crate::machine::standing::{Counted, Standing};
use crate::names::{ConsumeStop, CrashPoint, Status, Subject};
use crate::promises::{History, Promise};
use crate::rules::{Rules, Scene};

/// The first time at which the windows of all authorizations are closed, and the last time of the model.
const END: u8 = 2;
/// The time of a clock that is ahead. A clock that is behind shows 0.
const AHEAD: u8 = 9;

/// The model of a scene. Run `r` belongs to caller `r`. In the scene `Names`, one more caller sends the envelope of run 0.
/// In the scene `Revocations`, all revocations concern run 0. The same key signs the other runs after the thaw.
/// In the scene `Uses`, all runs use one grant. In the scene `Emergencies`, all runs are emergencies.
#[derive(Clone)]
pub struct Machine {
    pub rules: Rules,
    pub scene: Scene,
    pub runs: usize,
    pub faults: u8,
    pub only: Option<Promise>,
}

impl Machine {
    const fn run_of(&self, caller: usize) -> usize {
        caller % self.runs
    }

    /// In the scene `Copies`, all authorizations have the same nonce.
    fn nonce(&self, run: usize) -> usize {
        if self.scene == Scene::Copies { 0 } else { run }
    }

    /// Returns the end that each nonce carries. Without `end_is_expiry`, it is before the end of the authorizations.
    const fn nonce_end(&self) -> u8 {
        if self.rules.end_is_expiry { END } else { END - 1 }
    }

    /// Returns the epoch in the authorization of the run.
    fn epoch(&self, run: usize) -> u8 {
        u8::from(self.scene == Scene::Revocations && run > 0)
    }

    /// Returns the subjects whose revocation ends the authorization of the run.
    fn subjects(&self, run: usize) -> u8 {
        match (self.scene, self.epoch(run)) {
            (Scene::Uses, _) => bit(Subject::Grant) | bit(Subject::Epoch),
            (_, 0) => bit(Subject::Key) | bit(Subject::Token) | bit(Subject::Epoch),
            _ => bit(Subject::Key),
        }
    }

    const fn callers(&self) -> usize {
        self.runs + matches!(self.scene, Scene::Names) as usize
    }
}

/// What the database contains. Sets of runs and nonces are bits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Disk {
    status: Vec<Status>,
    /// The rows of nonces, and the nonces whose consumptions are in the log.
    nonces: u8,
    logged: u8,
    /// The runs whose authorizations are in the log, and those whose receipts are.
    signed: u8,
    closed: u8,
    denied: u8,
    /// The subjects of the revocations in the log.
    revoked: u8,
    epoch: u8,
    seal: u8,
    version: u8,
    mark: u8,
    last_at: u8,
    standing: Standing,
}

/// The request of a caller. `Asked`, `Ran`, `Lost` and `Stopped` wait in the queue of the writer. `Read` is a verdict that
/// has not read the state version yet. `counted` is what a weakened verdict counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[rustfmt::skip]
enum Caller {
    #[default] Idle, Read, Asked { version: u8, seal: u8, counted: Counted }, Consumed, Running, Ran, Lost, Stopped, Done,
    SessionStale, Refused(ConsumeStop),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[rustfmt::skip]
enum Service { #[default] Serving, Down, Recovering }

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[rustfmt::skip]
pub enum Clock { #[default] Right, Ahead, Behind }

/// The other messages in the queue of the writer, in the order in which a batch takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[rustfmt::skip]
pub enum Message {
    Seal, Deny(usize), Revoke(Subject), Grant, Review { run: usize, person: u8, version: u8, ends: bool }, Thaw,
    Cancel(usize), Expire, Prune,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct State {
    disk: Disk,
    service: Service,
    callers: Vec<Caller>,
    queue: BTreeSet<Message>,
    /// The open nonces in the memory of the writer.
    open: u8,
    /// The revoked subjects in the memory of the service.
    known: u8,
    /// The emergencies in the memory of the writer whose review is open.
    emergencies: u8,
    /// Uses without a row. Only the weakened form of `use_with_nonce` has such uses.
    rowless: u8,
    /// The runs that a freeze met. Only the weakened form of `late_start_stopped` needs them.
    met: u8,
    session: bool,
    time: u8,
    clock: Clock,
    faults: u8,
    /// Runs whose denial or cancellation was answered before their consumption.
    told: u8,
    /// Subjects whose revocation is in the log or was answered.
    revoked: u8,
    /// The latest time of an entry or of the low-water mark.
    seen: u8,
    history: History,
}

actions! {
    expected {
        ReadRevocations(caller: usize) => "the crossing reads the revocations for the envelope of caller {caller}";
        Verify(caller: usize) => "the crossing verifies the envelope of caller {caller}, and asks the writer to spend the nonce";
        Ask(message: Message) => "the writer gets the message {message:?}";
        Batch => "the writer commits all queued messages, and answers";
        Start(caller: usize) => "the run of caller {caller} starts";
        End(caller: usize) => "the run of caller {caller} ends, and its receipt waits in the queue";
        Stop(caller: usize) => "the service stops the run of caller {caller}, and the receipt `cancelled` waits in the queue";
        EndSession => "the proposer ends the session";
        OldRunDies(run: usize) => "the processes of run {run} from before the crash are dead";
        Open => "the service starts, and opens the store";
        Recover(run: usize) => "recovery closes run {run}";
        Restore(run: usize) => "the operator restores the row of run {run}, because the start refuses it";
        Serve => "the service accepts requests";
        Tick => "time passes";
        CorrectClock => "the clock is set right";
    }
    faults {
        Crash(point: CrashPoint) => "the process is killed at the crash point {point:?}";
        Kill => "the process is killed while its queue is empty";
        Lose(caller: usize) => "the service misses the end of the run of caller {caller}, and the receipt `unknown` waits";
        SyncFails => "the sync of the commit fails";
        Thaw => "the operator asks for a thaw, for which nothing may wait";
        SetClock(clock: Clock) => "the clock is wrong: {clock:?}";
        DeleteRows => "somebody deletes the rows of the nonce and of run 0 by hand";
        RunsAgain => "somebody makes the row of run 0 say that the run has no receipt";
    }
}

const fn bit(subject: Subject) -> u8 {
    1 << subject as u8
}

impl State {
    fn crash(&mut self) {
        self.service = Service::Down;
        self.queue.clear();
        self.open = 0;
        self.known = 0;
        self.emergencies = 0;
        self.rowless = 0;
        self.session = false;
        let over = |caller: &Caller| matches!(caller, Caller::Done | Caller::SessionStale | Caller::Refused(_));
        self.callers.iter_mut().filter(|caller| !over(caller)).for_each(|caller| *caller = Caller::Idle);
    }

    /// Returns true if a freeze ended the epoch of the run.
    fn is_void(&self, model: &Machine, run: usize) -> bool {
        self.known & model.subjects(run) & bit(Subject::Epoch) != 0
    }

    fn is_frozen(&self) -> bool {
        self.known & bit(Subject::Epoch) != 0 && self.disk.epoch == 0
    }

    /// Returns the verdict about the authorization of a run, with the revocations that the service knows.
    fn allows(&self, model: &Machine, run: usize) -> bool {
        let rules = &model.rules;
        let counted = [
            (rules.revoked_key_skipped, Subject::Key),
            (rules.revoked_token_refused, Subject::Token),
            (rules.frozen_refuses, Subject::Epoch),
            (rules.revoked_grant_refused, Subject::Grant),
        ];
        let known = self.known & if rules.freeze_names_epoch { model.subjects(run) } else { u8::MAX };
        let revoked = counted.into_iter().any(|(counts, subject)| counts && known & bit(subject) != 0);
        model.epoch(run) == self.disk.epoch && !revoked && self.has_grant(model)
    }

    const fn clock(&self) -> u8 {
        match self.clock {
            Clock::Right => self.time,
            Clock::Ahead => AHEAD,
            Clock::Behind => 0,
        }
    }

    /// The time of every decision. A running service knows the time since boot, so a clock that leaps ahead has no effect.
    fn now(&self, rules: &Rules) -> u8 {
        let clock = if rules.leap_refused { self.clock().min(self.time) } else { self.clock() };
        let entry = if rules.log_time_counts { self.disk.last_at } else { 0 };
        clock.max(entry).max(if rules.mark_counts { self.disk.mark } else { 0 })
    }

    /// Checks whether a run can start now, in the order of `judge_run` in the program.
    fn judge(&self, model: &Machine, run: usize, verdict: (u8, u8), counted: Counted) -> Result<(), ConsumeStop> {
        let (rules, disk, nonce) = (&model.rules, &self.disk, model.nonce(run));
        let other_runs = || (0..model.runs).any(|other| other != run && disk.status[other] == Status::Running);
        let stops = [
            (rules.leap_refused && self.clock == Clock::Ahead, ConsumeStop::ClockAhead),
            (rules.nonce_looked_up && disk.nonces >> nonce & 1 == 1, ConsumeStop::Replayed),
            (rules.nonce_looked_up && self.open >> nonce & 1 == 1, ConsumeStop::RowLost),
            (rules.state_compared && verdict != (disk.version, disk.seal), ConsumeStop::Moved),
            (rules.denial_looked_up && disk.denied >> run & 1 == 1, ConsumeStop::Denied),
            (rules.status_compared && disk.status[run] != Status::Approved, ConsumeStop::WrongState),
            (rules.end_compared && self.now(rules) >= END, ConsumeStop::Expired),
            (rules.exclusive_claimed && model.scene == Scene::Names && other_runs(), ConsumeStop::ExclusiveBusy),
        ];
        let of_people = self.stops_of_people(model, counted);
        stops.into_iter().chain(of_people).find(|(stops, _)| *stops).map_or(Ok(()), |(_, stop)| Err(stop))
    }

    /// Commits the queue: receipts are second to last, new runs last. `answered` is false if the process ends between
    /// the commit and the answers.
    fn batch(&mut self, model: &Machine, answered: bool) {
        let now = self.now(&model.rules);
        let before = self.begin_batch(model);
        for message in std::mem::take(&mut self.queue) {
            match message {
                Message::Seal | Message::Thaw => {
                    self.disk.seal += 1;
                    self.disk.version += 1;
                    self.disk.last_at = now;
                    if message == Message::Thaw {
                        self.thaw(&model.rules);
                    } else if !model.rules.seal_keeps_freeze {
                        self.disk.revoked &= !bit(Subject::Epoch);
                        self.known = self.disk.revoked;
                    }
                }
                Message::Revoke(subject) => self.revoke(&model.rules, subject, answered),
                Message::Grant => {
                    self.disk.standing.granted = true;
                    self.disk.version += 1;
                }
                Message::Review { run, person, version, ends } => {
                    if version == self.disk.version || !model.rules.review_compared {
                        self.review(&model.rules, run, person, ends);
                    }
                }
                Message::Deny(run) | Message::Cancel(run) => {
                    if self.disk.status[run] == Status::Approved && answered {
                        self.told |= 1 << run;
                    }
                    self.disk.version += 1;
                    let denial = matches!(message, Message::Deny(_));
                    self.disk.denied |= u8::from(denial) << run;
                    // The store knows the proposal of run 0. The other runs come as complete envelopes after the denial.
                    if self.disk.status[run] == Status::Approved && (!denial || run == 0) {
                        self.disk.status[run] = if denial { Status::Denied } else { Status::Cancelled };
                    }
                }
                Message::Expire if now >= END => {
                    let open = self.disk.status.iter_mut().filter(|status| **status == Status::Approved);
                    open.for_each(|status| *status = Status::Expired);
                    self.history.demand(Promise::WindowOpen, self.time >= END);
                }
                Message::Expire => {}
                Message::Prune => self.prune(model),
            }
        }
        for caller in 0..model.callers() {
            let ended = matches!(self.callers[caller], Caller::Ran | Caller::Lost | Caller::Stopped);
            if ended && (model.rules.frozen_takes_receipts || !self.is_frozen()) {
                self.finish(model, model.run_of(caller), self.callers[caller]);
                self.callers[caller] = Caller::Done;
            }
        }
        for caller in 0..model.callers() {
            if let Caller::Asked { version, seal, counted } = self.callers[caller] {
                let counted = self.count_again(model, counted, before);
                self.callers[caller] = self.consume(model, model.run_of(caller), (version, seal), counted);
            }
        }
        self.seen = self.seen.max(self.disk.last_at);
    }

    fn revoke(&mut self, rules: &Rules, subject: Subject, answered: bool) {
        let in_log = rules.freeze_in_log || subject != Subject::Epoch;
        self.known |= bit(subject);
        self.disk.revoked |= if in_log { bit(subject) } else { 0 };
        self.revoked |= if in_log || answered { bit(subject) } else { 0 };
        self.disk.version += u8::from(rules.new_state_version);
        if !rules.late_start_stopped && subject == Subject::Epoch {
            let running = |run: &usize| self.callers[*run] == Caller::Running;
            self.met = (0..self.callers.len()).filter(running).map(|run| 1_u8 << run).sum();
        }
    }

    fn thaw(&mut self, rules: &Rules) {
        let kept = if !rules.thaw_has_new_epoch {
            !bit(Subject::Epoch)
        } else if !rules.thaw_keeps_keys {
            !bit(Subject::Key)
        } else {
            u8::MAX
        };
        self.disk.epoch += u8::from(rules.thaw_has_new_epoch);
        self.disk.revoked &= kept;
        self.known = self.disk.revoked;
    }

    fn finish(&mut self, model: &Machine, run: usize, end: Caller) {
        self.history.demand(Promise::EndSeen, end != Caller::Stopped || self.callers[run] == Caller::Stopped);
        self.history.receipt(run, self.disk.closed >> run & 1 == 1);
        self.disk.status[run] = Status::Finished;
        self.disk.closed |= 1 << run;
        self.owe_review(model, run, end == Caller::Lost);
    }

    fn consume(&mut self, model: &Machine, run: usize, verdict: (u8, u8), counted: Counted) -> Caller {
        let needs_session = model.scene == Scene::Inputs;
        let no_claim = !self.session || self.disk.status.contains(&Status::Running);
        if needs_session && model.rules.session_claimed && no_claim {
            return Caller::SessionStale;
        }
        match self.judge(model, run, verdict, counted) {
            Ok(()) => {
                self.history.demand(Promise::VerdictInForce, verdict.1 == self.disk.seal);
                self.history.demand(Promise::NeverAfterRevocation, self.revoked & model.subjects(run) == 0);
                self.history.demand(Promise::SessionOpen, !needs_session || self.session);
                self.history.demand(Promise::WindowClosed, self.seen < END);
                self.disk.last_at = self.now(&model.rules);
                self.disk.status[run] = Status::Running;
                self.disk.nonces |= 1 << model.nonce(run);
                self.disk.logged |= 1 << model.nonce(run);
                self.disk.signed |= u8::from(model.rules.authorization_in_commit) << run;
                self.open |= 1 << model.nonce(run);
                self.claim(model, run, counted);
                Caller::Consumed
            }
            // The caller verifies again, or tries again.
            Err(ConsumeStop::Moved | ConsumeStop::ExclusiveBusy | ConsumeStop::ClockAhead) => Caller::Idle,
            Err(ConsumeStop::GrantPaused | ConsumeStop::Unreviewed) => Caller::Idle,
            Err(stop) => {
                self.history.demand(Promise::WindowOpen, stop != ConsumeStop::Expired || self.time >= END);
                Caller::Refused(stop)
            }
        }
    }

    fn prune(&mut self, model: &Machine) {
        let (rules, end) = (&model.rules, model.nonce_end());
        let raised = if rules.mark_by_boot_clock { self.now(rules).min(self.time) } else { self.clock() };
        let mark = self.disk.mark.max(raised);
        if mark.min(self.clock()) >= end {
            self.disk.nonces = 0;
        }
        if mark >= end {
            self.open = 0;
        }
        self.seen = self.seen.max(mark);
        if rules.mark_durable {
            self.disk.mark = mark;
        }
    }

    /// Returns the crash points of the queued batch, before and after its commit.
    fn points(&self) -> Vec<[CrashPoint; 2]> {
        use CrashPoint::*;
        let messages = self.queue.iter().map(|message| match message {
            Message::Seal | Message::Thaw => [BeforeSealCommit, AfterSealCommit],
            Message::Deny(_) => [BeforeDenialCommit, AfterDenialCommit],
            Message::Revoke(_) => [BeforeRevocationCommit, AfterRevocationCommit],
            Message::Grant => [BeforeGrantCommit, AfterGrantCommit],
            Message::Review { .. } => [BeforeReviewCommit, AfterReviewCommit],
            Message::Cancel(_) | Message::Expire => [BeforeAdvanceCommit, AfterAdvanceCommit],
            Message::Prune => [BeforePruneCommit, AfterPruneCommit],
        });
        let runs = self.callers.iter().filter_map(|caller| match caller {
            Caller::Asked { .. } => Some([BeforeConsumeCommit, AfterConsumeCommit]),
            Caller::Ran | Caller::Lost | Caller::Stopped => Some([BeforeReceiptCommit, AfterReceiptCommit]),
            _ => None,
        });
        messages.chain(runs).collect()
    }

    /// Returns the messages that can arrive now. The scene decides which messages there are.
    fn messages(&self, model: &Machine) -> Vec<Message> {
        use Message::{Cancel, Deny, Expire, Grant, Prune, Revoke, Seal};
        let (disk, times, stops) = (&self.disk, model.scene == Scene::Copies, model.scene == Scene::Revocations);
        let (uses, granted) = (model.scene == Scene::Uses, disk.standing.granted);
        let waits = |run: usize| disk.status.get(run) == Some(&Status::Approved);
        // Nothing is revoked after the thaw, so that the later runs have no other end than their receipts.
        let revocable = |subject: Subject| disk.epoch == 0 && self.known & bit(subject) == 0;
        let possible = [
            (disk.seal == 0 && (model.scene == Scene::Names || stops || times && self.time >= END), Seal),
            (times && disk.denied & 1 == 0, Deny(0)),
            (times && disk.denied & 2 == 0, Deny(1)),
            (stops && waits(0) && (model.rules.frozen_takes_denials || !self.is_frozen()), Deny(0)),
            (uses && !granted, Grant),
            (uses && granted && revocable(Subject::Grant), Revoke(Subject::Grant)),
            (stops && revocable(Subject::Key), Revoke(Subject::Key)),
            (stops && revocable(Subject::Token), Revoke(Subject::Token)),
            ((stops || uses) && revocable(Subject::Epoch), Revoke(Subject::Epoch)),
            (matches!(model.scene, Scene::Names | Scene::Inputs) && waits(0), Cancel(0)),
            (model.scene == Scene::Names && waits(1), Cancel(1)),
            (times && self.now(&model.rules) >= END && disk.status.contains(&Status::Approved), Expire),
            (times && disk.mark < END, Prune),
        ];
        let new = |message: &Message| !self.queue.contains(message);
        let possible = possible.into_iter().filter(|(possible, _)| *possible).map(|(_, message)| message);
        possible.filter(new).chain(self.reviews(model)).collect()
    }
}

impl Model for Machine {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let disk = Disk { status: vec![Status::Approved; self.runs], ..Disk::default() };
        let callers = vec![Caller::Idle; self.callers()];
        let history = History::new(self.only);
        vec![State { disk, callers, session: true, faults: self.faults, history, ..State::default() }]
    }

    fn actions(&self, s: &State, out: &mut Vec<Action>) {
        let (rules, times) = (&self.rules, self.scene == Scene::Copies);
        let serves = s.service == Service::Serving;
        let plan = s.disk.status[0] == Status::Finished || !rules.plan_has_receipt;
        let has_inputs = |run: usize| self.scene != Scene::Inputs || s.session && (run == 0 || plan);
        let stops = |run: usize| rules.freeze_stops_runs && (rules.late_start_stopped || s.met >> run & 1 == 1);
        for caller in 0..self.callers() {
            match s.callers[caller] {
                Caller::Idle if serves && has_inputs(self.run_of(caller)) && s.allows(self, self.run_of(caller)) => {
                    let first = rules.version_read_first;
                    out.push(if first { Action::Verify(caller) } else { Action::ReadRevocations(caller) });
                }
                Caller::Read => out.push(Action::Verify(caller)),
                Caller::Asked { .. } if !rules.start_after_commit && s.history.nothing_runs() => {
                    out.push(Action::Start(caller))
                }
                Caller::Consumed => out.push(Action::Start(caller)),
                // In the worst case, a run of a revoked epoch never ends by itself.
                Caller::Running if s.is_void(self, self.run_of(caller)) => {
                    out.extend(stops(self.run_of(caller)).then_some(Action::Stop(caller)));
                }
                Caller::Running => out.push(Action::End(caller)),
                _ => {}
            }
        }
        let points = s.points();
        if serves {
            out.extend(s.messages(self).into_iter().map(Action::Ask));
            out.extend((self.scene == Scene::Inputs && s.session).then_some(Action::EndSession));
            out.extend((!points.is_empty()).then_some(Action::Batch));
        }
        let unfinished = (0..self.runs).filter(|run| s.disk.status[*run] == Status::Running);
        if rules.recovery_closes && (s.service == Service::Recovering || !rules.recovery_first && serves) {
            // The receipt states who signed, so recovery needs the authorization.
            let signed = unfinished.clone().filter(|run| s.disk.signed >> run & 1 == 1);
            out.extend(signed.map(|run| {
                let refused = rules.recovery_reads_log && s.disk.closed >> run & 1 == 1;
                if refused { Action::Restore(run) } else { Action::Recover(run) }
            }));
        }
        if s.service == Service::Recovering
            && (!rules.recovery_closes || !rules.recovery_first || unfinished.count() == 0)
        {
            out.push(Action::Serve);
        }
        if s.service == Service::Down {
            out.extend((0..self.runs).filter(|run| s.history.running[*run] > 0).map(Action::OldRunDies));
            // A start can't see that the clock is ahead, so an operator must set the clock first.
            let ready = s.clock != Clock::Ahead && (s.history.nothing_runs() || !rules.old_runs_dead);
            out.extend(ready.then_some(Action::Open));
            let ended = self.scene == Scene::Names && s.faults > 0 && s.disk.status[0] == Status::Finished;
            out.extend(ended.then_some(Action::RunsAgain));
        }
        out.extend((times && s.time < END).then_some(Action::Tick));
        out.extend((s.clock != Clock::Right).then_some(Action::CorrectClock));
        if s.faults == 0 {
            return;
        }
        if serves {
            out.push(if points.is_empty() { Action::Kill } else { Action::SyncFails });
            out.extend(points.into_iter().flatten().map(Action::Crash));
            out.extend(
                (times && s.disk.nonces != 0 && s.disk.status[0] != Status::Running).then_some(Action::DeleteRows),
            );
        }
        let lost = |caller: &usize| self.scene == Scene::Uses && s.callers[*caller] == Caller::Running;
        out.extend((0..self.callers()).filter(lost).map(Action::Lose));
        let thaws = self.scene == Scene::Revocations && serves && s.is_frozen();
        out.extend((thaws && !s.queue.contains(&Message::Thaw)).then_some(Action::Thaw));
        if times && s.clock == Clock::Right {
            out.push(Action::SetClock(if serves { Clock::Ahead } else { Clock::Behind }));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        use crate::checking::Event as _;
        let (mut s, rules) = (last.clone(), &self.rules);
        s.faults -= u8::from(action.is_fault());
        match action {
            Action::ReadRevocations(caller) => s.callers[caller] = Caller::Read,
            Action::Verify(caller) => {
                let (version, seal, counted) = (s.disk.version, s.disk.seal, s.count_early(self));
                s.callers[caller] = Caller::Asked { version, seal, counted };
            }
            Action::Ask(message) => {
                if let Message::Deny(run) | Message::Cancel(run) = message
                    && !rules.answer_after_commit
                    && s.disk.status[run] == Status::Approved
                {
                    s.told |= 1 << run;
                }
                s.queue.insert(message);
            }
            Action::Batch => s.batch(self, true),
            Action::Start(caller) => {
                let run = self.run_of(caller);
                let durable = s.disk.logged >> self.nonce(run) & 1 == 1;
                s.history.start(run, self.nonce(run), durable, |_| matches!(self.scene, Scene::Names | Scene::Inputs));
                s.history.demand(Promise::NeverAfterDenial, s.told >> run & 1 == 0);
                let planned = self.scene != Scene::Inputs || run == 0 || s.disk.status[0] == Status::Finished;
                s.history.demand(Promise::PlanFirst, planned);
                s.callers[caller] = Caller::Running;
                s.disk.signed |= 1 << run;
            }
            Action::End(caller) => {
                s.history.end(self.run_of(caller));
                s.callers[caller] = Caller::Ran;
            }
            Action::Stop(caller) => {
                s.history.end(self.run_of(caller));
                s.callers[caller] = Caller::Stopped;
            }
            Action::Lose(caller) => {
                s.history.end(self.run_of(caller));
                s.callers[caller] = Caller::Lost;
            }
            Action::EndSession => s.session = false,
            Action::Crash(point) => {
                if last.points().iter().any(|[_, after]| *after == point) {
                    s.batch(self, false);
                }
                s.crash();
            }
            Action::SyncFails if !rules.failed_sync_ends => {
                // The writer believes the commit, and the disk has nothing of it.
                s.batch(self, true);
                s.disk = last.disk.clone();
            }
            Action::Kill | Action::SyncFails => s.crash(),
            Action::OldRunDies(run) => s.history.end(run),
            Action::Open => {
                let from_log = rules.open_nonces_of_log && s.disk.mark < self.nonce_end();
                s.open = if from_log { s.disk.logged } else { s.disk.nonces };
                s.known = if rules.revocations_at_start { s.disk.revoked } else { 0 };
                s.emergencies = if rules.emergencies_at_start { s.disk.standing.emergencies(self) } else { 0 };
                s.service = Service::Recovering;
            }
            Action::Recover(run) => {
                if !rules.recovery_never_starts {
                    s.history.start(run, self.nonce(run), true, |_| false);
                }
                let cancels = !rules.unknown_after_crash && s.is_void(self, run);
                s.finish(self, run, if cancels { Caller::Stopped } else { Caller::Lost });
            }
            Action::Restore(run) => s.disk.status[run] = Status::Finished,
            Action::RunsAgain => s.disk.status[0] = Status::Running,
            Action::Serve => s.service = Service::Serving,
            Action::Tick => s.time += 1,
            Action::Thaw => {
                s.queue.insert(Message::Thaw);
            }
            Action::CorrectClock => s.clock = Clock::Right,
            Action::SetClock(clock) => s.clock = clock,
            Action::DeleteRows => {
                s.disk.nonces = 0;
                s.disk.status[0] = Status::Approved;
            }
        }
        Some(s)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        property()
    }
}

impl Story for Machine {
    fn history(state: &State) -> &History {
        &state.history
    }

    fn is_finished(&self, s: &State) -> bool {
        let over = |run: usize| match s.disk.status[run] {
            Status::Running => false,
            Status::Approved => {
                let stopped = s.disk.denied >> run & 1 == 1 || s.disk.logged >> self.nonce(run) & 1 == 1;
                // Nothing denies the later runs. They can run only after a thaw, and only if the key is not revoked.
                let undenied = run > 0 || self.scene == Scene::Uses;
                let later = undenied && s.disk.revoked & self.subjects(run) != 0 || s.disk.epoch < self.epoch(run);
                let session_over = self.scene == Scene::Inputs && !s.session;
                stopped || later || session_over || s.disk.standing.is_exhausted()
            }
            Status::Finished | Status::Denied | Status::Expired | Status::Cancelled => true,
        };
        let reviewed = s.disk.standing.needs_no_review();
        s.service == Service::Serving && s.history.nothing_runs() && reviewed && (0..self.runs).all(over)
    }
}
