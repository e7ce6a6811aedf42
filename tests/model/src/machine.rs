//! One machine with SQLite, as the program is today: one writer, batches, crashes, recovery, clocks.

use stateright::Model;

use crate::checking::Story;
use crate::names::{ConsumeStop, CrashPoint, Status};
use crate::promises::{History, MOST_RUNS, Promise};
use crate::rules::{Rules, Scene};

/// The first time at which the windows of all authorizations are closed, and the last time of the model.
const END: u8 = 2;
/// By how much a wrong clock is ahead or behind.
const LEAP: u8 = 8;
const MOST_CALLERS: usize = 4;

/// The model, with the work of a scene.
#[derive(Clone)]
pub struct Machine {
    pub rules: Rules,
    pub faults: u8,
    /// The run of each caller. Two callers of one run send the same envelope.
    callers: Vec<usize>,
    /// The runs that share one nonce, one exclusive name, one session, as bits.
    one_nonce: u8,
    exclusive: u8,
    in_session: u8,
    /// The second run applies the plan of the first run.
    plan: bool,
    deniable: u8,
    cancellable: u8,
    seals: u8,
    times: bool,
    rows_deleted: bool,
}

impl Machine {
    /// Builds the model of a scene. `runs` is the number of runs.
    pub fn new(scene: Scene, rules: Rules, runs: usize, faults: u8) -> Self {
        let all = (1 << runs) - 1;
        let none = Self {
            rules,
            faults,
            callers: (0..runs).collect(),
            one_nonce: 0,
            exclusive: 0,
            in_session: 0,
            plan: false,
            deniable: 0,
            cancellable: 0,
            seals: 0,
            times: false,
            rows_deleted: false,
        };
        match scene {
            Scene::Copies => Self { one_nonce: all, deniable: 0b11, seals: 1, times: true, rows_deleted: true, ..none },
            Scene::Names => Self {
                callers: none.callers.iter().copied().chain([0]).collect(),
                exclusive: all,
                cancellable: 0b11,
                seals: 1,
                ..none
            },
            _ => Self { in_session: all, plan: true, cancellable: 1, ..none },
        }
    }

    fn nonce(&self, run: usize) -> usize {
        if self.one_nonce >> run & 1 == 1 { 0 } else { run }
    }

    fn shares(&self, one: usize, other: usize) -> bool {
        let both = 1 << one | 1 << other;
        one < self.callers.len()
            && other < self.callers.len()
            && (self.exclusive & both == both || self.in_session & both == both)
    }
}

/// What the database contains.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Disk {
    status: [Status; MOST_RUNS],
    /// Rows of nonces, and nonces whose consumptions are in the log, as bits.
    nonces: u8,
    logged: u8,
    denied: u8,
    seal: u8,
    version: u8,
    mark: u8,
    last_at: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Caller {
    Idle,
    /// The crossing has a verdict, and the request waits in the queue of the writer.
    Asked {
        version: u8,
        seal: u8,
    },
    Consumed,
    Running,
    /// The run ended, and its receipt waits in the queue of the writer.
    Ran,
    Done,
    SessionStale,
    Refused(ConsumeStop),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Service {
    Down,
    Recovering,
    Serving,
    /// The start refuses the store.
    Refuses,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Clock {
    Right,
    Ahead,
    Behind,
}

/// Messages in the queue of the writer, without runs and receipts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Queue {
    deny: u8,
    cancel: u8,
    seal: bool,
    expire: bool,
    prune: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    disk: Disk,
    service: Service,
    callers: [Caller; MOST_CALLERS],
    queue: Queue,
    /// The nonces that the writer has in memory.
    open: u8,
    session: bool,
    time: u8,
    clock: Clock,
    faults: u8,
    /// Runs whose denial or cancellation was answered before their consumption.
    told: u8,
    /// The latest time that an entry or the low-water mark had.
    seen: u8,
    by_hand: bool,
    history: History,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Verify(usize),
    Deny(usize),
    Cancel(usize),
    Seal,
    Expire,
    Prune,
    Batch,
    Start(usize),
    End(usize),
    EndSession,
    Crash(CrashPoint),
    Kill,
    SyncFails,
    OldRunDies(usize),
    Open,
    Recover(usize),
    Serve,
    Tick,
    SetClock(Clock),
    DeleteRows(usize),
}

impl State {
    fn crash(&mut self) {
        self.service = Service::Down;
        self.queue = Queue::default();
        self.open = 0;
        self.session = false;
        for caller in &mut self.callers {
            if !matches!(caller, Caller::Done | Caller::Refused(_) | Caller::SessionStale) {
                *caller = Caller::Idle;
            }
        }
    }

    /// Time of every decision of the boundary.
    fn now(&self, rules: &Rules) -> u8 {
        let clock = match self.clock {
            Clock::Right => self.time,
            Clock::Ahead if rules.leap_refused => self.time,
            Clock::Ahead => self.time + LEAP,
            Clock::Behind => 0,
        };
        let entry = if rules.log_time_counts { self.disk.last_at } else { 0 };
        clock.max(entry).max(if rules.mark_counts { self.disk.mark } else { 0 })
    }

    fn judge(&self, model: &Machine, run: usize, version: u8, seal: u8) -> Result<(), ConsumeStop> {
        let (rules, disk, nonce) = (&model.rules, &self.disk, model.nonce(run));
        if self.clock == Clock::Ahead && rules.leap_refused {
            return Err(ConsumeStop::ClockAhead);
        }
        if rules.nonce_looked_up && disk.nonces >> nonce & 1 == 1 {
            return Err(ConsumeStop::Replayed);
        }
        if rules.nonce_looked_up && rules.open_nonces_in_memory && self.open >> nonce & 1 == 1 {
            return Err(ConsumeStop::RowLost);
        }
        if rules.state_compared && (version, seal) != (disk.version, disk.seal) {
            return Err(ConsumeStop::Moved);
        }
        if rules.denial_looked_up && disk.denied >> run & 1 == 1 {
            return Err(ConsumeStop::Denied);
        }
        if rules.status_compared && disk.status[run] != Status::Approved {
            return Err(ConsumeStop::WrongState);
        }
        if self.now(rules) >= END {
            return Err(ConsumeStop::Expired);
        }
        let busy = |other: usize| other != run && disk.status[other] == Status::Running;
        if rules.exclusive_claimed && model.exclusive >> run & 1 == 1 && (0..MOST_RUNS).any(busy) {
            return Err(ConsumeStop::ExclusiveBusy);
        }
        Ok(())
    }

    /// Commits all queued messages: receipts are second to last, new runs last. `answered` is false if the process ends
    /// between the commit and the answers.
    fn batch(&mut self, model: &Machine, answered: bool) {
        let rules = &model.rules;
        let queue = std::mem::take(&mut self.queue);
        if queue.seal {
            self.disk.seal += 1;
            self.disk.version += 1;
            self.disk.last_at = self.now(rules);
        }
        for run in 0..MOST_RUNS {
            let bit = 1 << run;
            let waits = self.disk.status[run] == Status::Approved;
            if queue.deny & bit != 0 {
                self.disk.denied |= bit;
                self.disk.version += 1;
                // The store knows the proposal of the first run. The others come as complete envelopes.
                if waits && run == 0 {
                    self.disk.status[run] = Status::Denied;
                }
            }
            if queue.cancel & bit != 0 && waits {
                self.disk.status[run] = Status::Cancelled;
                self.disk.version += 1;
            }
            if (queue.deny | queue.cancel) & bit != 0 && answered && waits {
                self.told |= bit;
            }
            if queue.expire && self.disk.status[run] == Status::Approved && self.now(rules) >= END {
                self.disk.status[run] = Status::Expired;
                self.history.demand(Promise::WindowOpen, self.time >= END);
            }
        }
        if queue.prune {
            self.prune(rules);
        }
        for caller in 0..model.callers.len() {
            if self.callers[caller] == Caller::Ran {
                self.disk.status[model.callers[caller]] = Status::Finished;
                self.history.receipt(model.callers[caller]);
                self.callers[caller] = Caller::Done;
            }
        }
        for caller in 0..model.callers.len() {
            if let Caller::Asked { version, seal } = self.callers[caller] {
                self.callers[caller] = self.consume(model, model.callers[caller], version, seal);
            }
        }
        self.seen = self.seen.max(self.disk.last_at).max(self.disk.mark);
    }

    fn consume(&mut self, model: &Machine, run: usize, version: u8, seal: u8) -> Caller {
        let rules = &model.rules;
        let (session, nonce) = (model.in_session >> run & 1 == 1, model.nonce(run));
        let claimed = |other: usize| other != run && self.disk.status[other] == Status::Running;
        if session && rules.session_claimed && (!self.session || (0..MOST_RUNS).any(claimed)) {
            return Caller::SessionStale;
        }
        match self.judge(model, run, version, seal) {
            Ok(()) => {
                self.history.demand(Promise::VerdictInForce, seal == self.disk.seal);
                self.history.demand(Promise::SessionOpen, !session || self.session);
                self.history.demand(Promise::WindowClosed, self.seen < END);
                self.disk.last_at = self.now(rules);
                self.disk.status[run] = Status::Running;
                self.disk.nonces |= 1 << nonce;
                self.disk.logged |= 1 << nonce;
                self.open |= 1 << nonce;
                Caller::Consumed
            }
            // The caller verifies or tries again.
            Err(ConsumeStop::Moved | ConsumeStop::ExclusiveBusy | ConsumeStop::ClockAhead) => Caller::Idle,
            Err(stop) => {
                self.history.demand(Promise::WindowOpen, stop != ConsumeStop::Expired || self.time >= END);
                Caller::Refused(stop)
            }
        }
    }

    fn prune(&mut self, rules: &Rules) {
        let clock = match self.clock {
            Clock::Right => self.time,
            Clock::Ahead => self.time + LEAP,
            Clock::Behind => 0,
        };
        let mark = self.disk.mark.max(if rules.mark_by_boot_clock { self.now(rules).min(self.time) } else { clock });
        if mark.min(clock) >= END {
            self.disk.nonces = 0;
        }
        if mark >= END {
            self.open = 0;
        }
        self.seen = self.seen.max(mark);
        if rules.mark_durable {
            self.disk.mark = mark;
        }
    }

    /// Returns the crash points that the queued batch passes.
    fn points(&self) -> Vec<CrashPoint> {
        use CrashPoint::*;
        let queue = &self.queue;
        let has = |wanted: fn(&Caller) -> bool| self.callers.iter().any(wanted);
        let kinds = [
            (queue.seal, [BeforeSealCommit, AfterSealCommit]),
            (queue.deny != 0, [BeforeDenialCommit, AfterDenialCommit]),
            (has(|caller| matches!(caller, Caller::Asked { .. })), [BeforeConsumeCommit, AfterConsumeCommit]),
            (has(|caller| *caller == Caller::Ran), [BeforeReceiptCommit, AfterReceiptCommit]),
            (queue.cancel != 0 || queue.expire, [BeforeAdvanceCommit, AfterAdvanceCommit]),
            (queue.prune, [BeforePruneCommit, AfterPruneCommit]),
        ];
        kinds.into_iter().filter(|(queued, _)| *queued).flat_map(|(_, points)| points).collect()
    }
}

impl Model for Machine {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            disk: Disk {
                status: [Status::Approved; MOST_RUNS],
                nonces: 0,
                logged: 0,
                denied: 0,
                seal: 0,
                version: 0,
                mark: 0,
                last_at: 0,
            },
            service: Service::Serving,
            callers: [Caller::Idle; MOST_CALLERS],
            queue: Queue::default(),
            open: 0,
            session: true,
            time: 0,
            clock: Clock::Right,
            faults: self.faults,
            told: 0,
            seen: 0,
            by_hand: false,
            history: History::default(),
        }]
    }

    fn actions(&self, s: &State, out: &mut Vec<Action>) {
        let (rules, disk) = (&self.rules, &s.disk);
        let serves = s.service == Service::Serving;
        for (caller, run) in self.callers.iter().copied().enumerate() {
            let planned = !self.plan || run != 1 || disk.status[0] == Status::Finished || !rules.plan_has_receipt;
            let open = self.in_session >> run & 1 == 0 || s.session;
            match s.callers[caller] {
                Caller::Idle if serves && planned && open => out.push(Action::Verify(caller)),
                Caller::Asked { .. } if !rules.start_after_commit && !s.history.started(run) => {
                    out.push(Action::Start(caller))
                }
                Caller::Consumed => out.push(Action::Start(caller)),
                Caller::Running => out.push(Action::End(caller)),
                _ => {}
            }
        }
        let queued = s.queue != Queue::default()
            || s.callers.iter().any(|caller| matches!(caller, Caller::Asked { .. } | Caller::Ran));
        for run in 0..MOST_RUNS {
            let (bit, running) = (1 << run, disk.status[run] == Status::Running);
            if serves && self.deniable & bit != 0 && (disk.denied | s.queue.deny) & bit == 0 {
                out.push(Action::Deny(run));
            }
            if serves && self.cancellable & !s.queue.cancel & bit != 0 && disk.status[run] == Status::Approved {
                out.push(Action::Cancel(run));
            }
            let by_start = s.service == Service::Recovering || !rules.recovery_first && serves;
            if by_start && rules.recovery_closes && running {
                out.push(Action::Recover(run));
            }
            if s.service == Service::Down && s.history.running[run] > 0 {
                out.push(Action::OldRunDies(run));
            }
            if s.faults > 0 && self.rows_deleted && run == 0 && serves && disk.nonces & 1 == 1 && !running {
                out.push(Action::DeleteRows(run));
            }
        }
        if serves {
            if disk.seal < self.seals && !s.queue.seal {
                out.push(Action::Seal);
            }
            if self.times
                && !s.queue.expire
                && s.now(rules) >= END
                && disk.status[..self.callers.len()].contains(&Status::Approved)
            {
                out.push(Action::Expire);
            }
            if self.times && !s.queue.prune && disk.mark < END {
                out.push(Action::Prune);
            }
            if self.in_session != 0 && s.session {
                out.push(Action::EndSession);
            }
            if queued {
                out.push(Action::Batch);
            }
        }
        let finished = !disk.status.contains(&Status::Running);
        match s.service {
            Service::Down if !rules.old_runs_dead || s.history.running == [0; MOST_RUNS] => {
                // A start can't see that the clock is ahead. The operator must set the clock first.
                if s.clock != Clock::Ahead {
                    out.push(Action::Open);
                }
            }
            Service::Recovering if finished || !rules.recovery_first || !rules.recovery_closes => {
                out.push(Action::Serve)
            }
            _ => {}
        }
        if self.times && s.time < END {
            out.push(Action::Tick);
        }
        if s.clock != Clock::Right {
            out.push(Action::SetClock(Clock::Right));
        }
        if s.faults == 0 {
            return;
        }
        if serves {
            out.extend(s.points().into_iter().map(Action::Crash));
            out.push(if queued { Action::SyncFails } else { Action::Kill });
        }
        if self.times && s.clock == Clock::Right && matches!(s.service, Service::Serving | Service::Down) {
            out.push(Action::SetClock(if serves { Clock::Ahead } else { Clock::Behind }));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut s = last.clone();
        let rules = &self.rules;
        s.faults -= u8::from(Self::is_fault(&action));
        match action {
            Action::Verify(caller) => {
                s.callers[caller] = Caller::Asked { version: s.disk.version, seal: s.disk.seal };
            }
            Action::Deny(run) | Action::Cancel(run) => {
                let queue = if matches!(action, Action::Deny(_)) { &mut s.queue.deny } else { &mut s.queue.cancel };
                *queue |= 1 << run;
                if !rules.answer_after_commit && s.disk.status[run] == Status::Approved {
                    s.told |= 1 << run;
                }
            }
            Action::Seal => s.queue.seal = true,
            Action::Expire => s.queue.expire = true,
            Action::Prune => s.queue.prune = true,
            Action::Batch => s.batch(self, true),
            Action::Start(caller) => {
                let run = self.callers[caller];
                let durable = s.disk.logged >> self.nonce(run) & 1 == 1;
                s.history.start(run, self.nonce(run), durable, |one, other| self.shares(one, other));
                s.history.demand(Promise::NeverAfterDenial, s.told >> run & 1 == 0);
                s.history.demand(Promise::PlanFirst, !self.plan || run != 1 || s.disk.status[0] == Status::Finished);
                if s.callers[caller] == Caller::Consumed {
                    s.callers[caller] = Caller::Running;
                }
            }
            Action::End(caller) => {
                s.history.end(self.callers[caller]);
                s.callers[caller] = Caller::Ran;
            }
            Action::EndSession => s.session = false,
            Action::Kill => s.crash(),
            Action::Crash(point) => {
                if format!("{point:?}").starts_with("After") {
                    s.batch(self, false);
                }
                s.crash();
            }
            Action::SyncFails if rules.failed_sync_ends => s.crash(),
            Action::SyncFails => {
                // The writer believes the commit, and the disk has nothing of it.
                s.batch(self, true);
                s.disk = last.disk.clone();
            }
            Action::OldRunDies(run) => s.history.end(run),
            Action::Open => {
                let missing = s.disk.logged & !s.disk.nonces != 0 && s.disk.mark < END;
                s.open = if s.disk.mark < END { s.disk.logged } else { 0 };
                s.service = if missing && rules.start_reads_nonces { Service::Refuses } else { Service::Recovering };
            }
            Action::Recover(run) => {
                if !rules.recovery_never_starts {
                    s.history.start(run, self.nonce(run), true, |one, other| self.shares(one, other));
                }
                s.disk.status[run] = Status::Finished;
                s.history.receipt(run);
            }
            Action::Serve => s.service = Service::Serving,
            Action::Tick => s.time += 1,
            Action::SetClock(clock) => s.clock = clock,
            Action::DeleteRows(run) => {
                s.disk.nonces = 0;
                s.disk.status[run] = Status::Approved;
                s.by_hand = true;
            }
        }
        Some(s)
    }
}

impl Story for Machine {
    fn history(state: &State) -> &History {
        &state.history
    }

    fn is_fault(action: &Action) -> bool {
        match action {
            Action::SetClock(clock) => *clock != Clock::Right,
            Action::Crash(_) | Action::Kill | Action::SyncFails | Action::DeleteRows(_) => true,
            _ => false,
        }
    }

    fn is_finished(&self, s: &State) -> bool {
        let over = |run: &usize| match s.disk.status[*run] {
            Status::Running => false,
            Status::Approved => {
                s.disk.denied >> run & 1 == 1
                    || s.disk.logged >> self.nonce(*run) & 1 == 1
                    || !s.session && self.in_session != 0
            }
            Status::Finished | Status::Denied | Status::Expired | Status::Cancelled => true,
        };
        let idle =
            s.history.running == [0; MOST_RUNS] && s.service == Service::Serving && self.callers.iter().all(over);
        idle || s.service == Service::Refuses && s.by_hand
    }

    fn words(&self, action: &Action) -> String {
        let run = |caller: &usize| format!("run {} (caller {caller})", self.callers[*caller]);
        match action {
            Action::Verify(caller) => {
                format!("the crossing verifies {} and asks the writer to spend the nonce", run(caller))
            }
            Action::Deny(run) => format!("an approver denies run {run}"),
            Action::Cancel(run) => format!("the proposer cancels run {run}"),
            Action::Seal => "an operator seals changed runbooks".to_owned(),
            Action::Expire => "the boundary looks for expired proposals".to_owned(),
            Action::Prune => "the boundary raises the low-water mark and prunes nonces".to_owned(),
            Action::Batch => "the writer commits the queued messages and answers".to_owned(),
            Action::Start(caller) => format!("{} starts", run(caller)),
            Action::End(caller) => format!("{} ends", run(caller)),
            Action::EndSession => "the proposer ends the session".to_owned(),
            Action::Crash(point) => format!("the process is killed at the crash point {point:?}"),
            Action::Kill => "the process is killed".to_owned(),
            Action::SyncFails => "the sync of the commit fails".to_owned(),
            Action::OldRunDies(run) => format!("the processes of run {run} are dead"),
            Action::Open => "the service starts and opens the store".to_owned(),
            Action::Recover(run) => format!("recovery closes run {run}"),
            Action::Serve => "the service accepts requests".to_owned(),
            Action::Tick => "time passes".to_owned(),
            Action::SetClock(Clock::Right) => "the clock is set right".to_owned(),
            Action::SetClock(clock) => format!("the clock is wrong: {clock:?}"),
            Action::DeleteRows(run) => format!("somebody deletes the rows of run {run} by hand"),
        }
    }
}
