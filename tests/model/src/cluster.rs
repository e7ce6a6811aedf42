//! Several nodes on PostgreSQL, of which one is active. The model has no transaction lock, because the unique keys must
//! carry correctness: it contains every order of batches that the keys allow.

use std::collections::BTreeSet;

use stateright::{Model, Property};

use crate::actions;
use crate::checking::{Event as _, Story, property};
use crate::names::Subject;
use crate::promises::{History, MOST_USES, Promise};
use crate::rules::{Rules, Scene};

/// The run whose session is in the memory of node 0.
const SESSION_RUN: u8 = 1;

/// The model of a scene. All runs have the same exclusive name, but not the uses of a grant and the emergencies.
#[derive(Clone)]
pub struct Cluster {
    pub rules: Rules,
    pub scene: Scene,
    pub nodes: u8,
    pub runs: u8,
    pub faults: u8,
    pub only: Option<Promise>,
}

/// The content of a batch. `Unknown` is a receipt of a run whose end nobody saw, `Roster` a seal with the key of node 1, and
/// `Epoch` a seal with a new epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[rustfmt::skip]
pub enum Content { Consume(u8), Receipt(u8), Unknown(u8), Review(u8), Cancel(u8), Revoke(Subject), Settle, Takeover, Roster, Epoch }

/// A batch. Its number, its node and the start of the server identify it, as the id of a batch does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Batch {
    content: Content,
    node: u8,
    server: u8,
    /// The number of the use that a consumption claims, or 0.
    claim: u8,
}

/// A batch with its number. A head also stands for the log up to this batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Head {
    number: u8,
    batch: Batch,
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Consume(run) => write!(f, "the consumption of run {run}"),
            Self::Receipt(run) => write!(f, "the receipt of run {run}"),
            Self::Unknown(run) => write!(f, "the receipt `unknown` of run {run}"),
            Self::Review(run) => write!(f, "the review of run {run}"),
            Self::Cancel(run) => write!(f, "the cancellation of run {run}"),
            Self::Revoke(Subject::Epoch) => f.write_str("the revocation of the epoch"),
            Self::Revoke(_) => f.write_str("the revocation of the key"),
            Self::Settle => f.write_str("a batch that settles an earlier one"),
            Self::Takeover => f.write_str("the takeover with a new term"),
            Self::Roster => f.write_str("a seal with the key of node 1"),
            Self::Epoch => f.write_str("a seal with a new epoch"),
        }
    }
}

impl std::fmt::Display for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} by node {}", self.content, self.node)
    }
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.number, self.batch)
    }
}

impl Head {
    const fn run(self) -> u8 {
        match self.batch.content {
            Content::Consume(run) | Content::Receipt(run) | Content::Unknown(run) => run,
            _ => u8::MAX,
        }
    }
}

/// The writer of a node. `Unread` is judged without the number of the last batch. `Durable` is a durable consumption whose
/// run has not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[rustfmt::skip]
enum Writer {
    #[default] Idle, Unread(Batch), Judged(Head), Committing(Head), Unknown(Head), Settling { head: Head, found: bool }, Durable(Head),
}

/// What a node told the others about its kept head since the last start of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[rustfmt::skip]
enum Posted { #[default] InLog, Missing, NotInLog }

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Node {
    up: bool,
    suspended: bool,
    restarted: bool,
    lost: bool,
    /// The start of the server to which the node is connected.
    server: u8,
    writer: Writer,
    /// A batch that a broken connection may still bring to the server.
    flight: Option<Head>,
    /// The consumption of the run that runs, or that ended without a receipt.
    running: Option<Head>,
    ended: Option<Head>,
    /// The head in the file of the node.
    kept: Option<Head>,
    posted: Posted,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct State {
    log: Vec<Batch>,
    /// The last batch waits for the replica, and nobody sees it.
    waits: bool,
    replicated: usize,
    /// Counts the starts, promotions and restores of the server.
    server: u8,
    nodes: Vec<Node>,
    /// The consumptions whose deadline is over.
    over: BTreeSet<Head>,
    faults: u8,
    history: History,
}

actions! {
    expected {
        Judge(node: u8, content: Content) => "node {node} reads the state, and decides to write {content}";
        ReadNumber(node: u8, batch: Batch) => "node {node} reads the number of the last batch, for {batch}";
        Commit(node: u8, head: Head) => "node {node} sends COMMIT for its batch {head}";
        OldServer(node: u8, head: Head) => "the old primary still runs, and confirms to node {node} the batch {head}";
        Arrives(node: u8) => "a batch from the broken connection of node {node} reaches the server";
        Replicate => "the replica confirms everything";
        EndBackend(node: u8, head: Head) => "node {node} ends the backend of its batch {head}: if the batch waits, it becomes visible";
        Settle(node: u8, head: Head) => "node {node} settles: it looks for its batch {head}, and commits a batch of its own";
        Start(node: u8, head: Head) => "node {node} starts the run of the consumption {head}";
        TooLate(node: u8, head: Head) => "node {node} does not start the run of the consumption {head}, because it is too old";
        End(node: u8) => "the run on node {node} ends";
        KeepFile(node: u8) => "node {node} keeps its late receipt as a file";
        Reconnect(node: u8) => "node {node} connects to the server, and posts its kept head";
        Restart(node: u8) => "node {node} starts again";
        Resume(node: u8) => "node {node} goes on";
        Deadline(head: Head) => "the deadline of the run with the consumption {head} is over";
        NodeLost(node: u8) => "the operator says that node {node} is lost";
    }
    faults {
        Crash(node: u8) => "node {node} crashes";
        Suspend(node: u8) => "node {node} is suspended, and its beat is old";
        LoseConnection(node: u8) => "node {node} loses its connection before the answer to COMMIT";
        Warn => "the server ends the wait for the replica with a warning";
        RestartServer => "the primary restarts: the waiting batch becomes visible";
        Promote => "the replica is promoted";
        GoBack(length: usize) => "the server starts with the first {length} batches (restart, restore, or promotion)";
    }
}

impl State {
    fn seen(&self) -> &[Batch] {
        &self.log[..self.log.len() - usize::from(self.waits)]
    }

    fn number(&self, content: Content) -> Option<usize> {
        self.seen().iter().position(|batch| batch.content == content)
    }

    fn has(&self, content: Content) -> bool {
        self.number(content).is_some()
    }

    fn contains(&self, head: Head) -> bool {
        self.seen().get(usize::from(head.number)) == Some(&head.batch)
    }

    fn has_receipt(&self, run: u8) -> bool {
        self.has(Content::Receipt(run)) || self.has(Content::Unknown(run))
    }

    /// Returns the runs without the review that they need: emergencies from their consumption on, and unknown ends. Only the
    /// batches of `nodes` count.
    fn owed(&self, model: &Cluster, nodes: impl Fn(u8) -> bool) -> Vec<u8> {
        let begins =
            |run: u8| if model.scene == Scene::NodeUses { Content::Unknown(run) } else { Content::Consume(run) };
        let begun = |run: u8| self.seen().iter().any(|batch| batch.content == begins(run) && nodes(batch.node));
        (0..model.runs).filter(|run| model.is_reviewed() && begun(*run) && !self.has(Content::Review(*run))).collect()
    }

    /// Returns the number of uses of the grant.
    fn uses(&self, nodes: impl Fn(u8) -> bool) -> u8 {
        self.seen().iter().filter(|batch| batch.claim > 0 && nodes(batch.node)).map(|_| 1).sum()
    }

    /// Returns the consumption, if the run has no receipt.
    fn open(&self, run: u8) -> Option<Head> {
        let number = self.number(Content::Consume(run)).filter(|_| !self.has_receipt(run))?;
        Some(Head { number: u8::try_from(number).ok()?, batch: self.seen()[number] })
    }

    /// Returns true if a node of `nodes` revoked the key of the runs or the epoch.
    fn is_revoked(&self, nodes: impl Fn(u8) -> bool) -> bool {
        self.seen().iter().any(|batch| matches!(batch.content, Content::Revoke(_)) && nodes(batch.node))
    }

    /// Returns the node that was active when the log had `length` batches.
    fn active_at(&self, length: usize) -> u8 {
        let takeover = self.log[..length].iter().rfind(|batch| batch.content == Content::Takeover);
        takeover.map_or(0, |batch| batch.node)
    }

    fn active(&self) -> u8 {
        self.active_at(self.seen().len())
    }

    /// Returns true if the seal of the consumption lacks the key of node 1.
    fn needs_first_key(&self, run: u8) -> bool {
        let roster = self.number(Content::Roster).unwrap_or(usize::MAX);
        self.number(Content::Consume(run)).is_some_and(|number| number < roster)
    }

    /// Returns true if a seal with a new epoch came after the last start of the server.
    fn has_new_epoch(&self) -> bool {
        self.seen().iter().any(|batch| batch.content == Content::Epoch && batch.server == self.server)
    }

    /// Returns true if the kept heads allow the node to consume.
    fn heads_agree(&self, rules: &Rules, node: u8) -> bool {
        let allows = |(number, other): (u8, &Node)| match other.posted {
            Posted::InLog => true,
            _ if other.lost => self.has_new_epoch() || !rules.new_epoch_after_lost,
            Posted::NotInLog => false,
            Posted::Missing => !rules.missing_head_blocks && !other.up || !rules.heads_of_all && number != node,
        };
        !rules.heads_compared || (0..).zip(&self.nodes).all(allows)
    }

    /// Returns true if the node can write the receipt of a run that it does not run.
    fn can_close(&self, model: &Cluster, node: u8, run: u8) -> bool {
        let (rules, me) = (&model.rules, &self.nodes[usize::from(node)]);
        let Some(open) = self.open(run) else { return false };
        let key = model.has_key_of(self, node, run) || !rules.key_of_seal;
        let held = |head: &Option<Head>| head.is_some_and(|head| head.run() == run);
        let starts = matches!(me.writer, Writer::Durable(_));
        let own = open.batch.node == node;
        let holds = own && (starts || held(&me.running) || held(&me.ended));
        let due = (self.over.contains(&open) || !rules.over_by_deadline) && (!own || rules.own_by_deadline);
        let lost = self.nodes[usize::from(open.batch.node)].lost;
        key && !holds && (own && me.restarted || self.active() == node && (due || lost))
    }

    /// Returns what the node can write, according to the state that it reads.
    fn judge(&self, model: &Cluster, node: u8) -> Vec<Content> {
        let (rules, me) = (&model.rules, &self.nodes[usize::from(node)]);
        let (later, active) = (model.scene == Scene::LaterKey, self.active() == node);
        let was_active = || (0..=self.seen().len()).any(|length| self.active_at(length) == node);
        let has_role = active || !rules.older_term_fenced && was_active();
        let mut out = Vec::new();
        for run in 0..model.runs {
            let own = me.ended.is_some_and(|head| {
                let names = self.contains(head) || !rules.receipt_names_batch && self.has(Content::Consume(run));
                head.run() == run && names && (!rules.late_receipt_kept || self.open(run).is_some())
            });
            out.extend(own.then_some(Content::Receipt(run)));
            out.extend((!own && self.can_close(model, node, run)).then_some(Content::Unknown(run)));
            let fresh = !self.has(Content::Consume(run)) && !self.has(Content::Cancel(run));
            let session = !model.has_session(run) || node == 0 && !me.restarted;
            let holds = |open: Head| rules.exclusive_in_database || open.batch.node == node;
            let others = || (0..model.runs).filter(|other| *other != run && !model.is_reviewed());
            let busy = others().any(|other| self.open(other).is_some_and(holds)) || self.refuses(model, node);
            let revoked = self.is_revoked(|other| rules.takeover_reads_log || other == node);
            let stopped = busy || revoked || self.has(Content::Epoch);
            if has_role && fresh && session && !stopped && self.heads_agree(rules, node) {
                out.push(Content::Consume(run));
            }
            let reviewable = active && self.has_receipt(run) && self.owed(model, |_| true).contains(&run);
            out.extend(reviewable.then_some(Content::Review(run)));
            if active && fresh && run == 0 && model.scene == Scene::Synchronous {
                out.push(Content::Cancel(run));
            }
        }
        let holder = &self.nodes[usize::from(self.active())];
        let role_is_free = !holder.up || holder.suspended || holder.server != self.server;
        let open_runs = (0..model.runs).filter(|run| self.open(*run).is_some());
        let key = !later || node == 0 || self.has(Content::Roster);
        let waits = rules.key_of_seal && open_runs.into_iter().any(|run| !model.has_key_of(self, node, run));
        if !active && role_is_free && key && !waits && me.posted == Posted::InLog {
            out.push(Content::Takeover);
        }
        out.extend((active && later && !self.has(Content::Roster)).then_some(Content::Roster));
        let frozen = self.has(Content::Revoke(Subject::Epoch));
        for content in [Content::Revoke(Subject::Key), Content::Revoke(Subject::Epoch), Content::Epoch] {
            let possible = active && model.scene == Scene::Takeover && (frozen || content != Content::Epoch);
            out.extend((possible && !self.has(content) && !self.has(Content::Epoch)).then_some(content));
        }
        let missing = self.nodes.iter().any(|other| other.lost && other.posted != Posted::InLog);
        out.extend((active && missing && !self.has_new_epoch()).then_some(Content::Epoch));
        out
    }

    /// Returns true if the node refuses the next use or the next emergency. A node of the model holds one run at a time.
    fn refuses(&self, model: &Cluster, node: u8) -> bool {
        let counts = |rule: bool| move |other: u8| rule || other == node;
        let (rules, owed) = (&model.rules, |rule| !self.owed(model, counts(rule)).is_empty());
        let me = &self.nodes[usize::from(node)];
        let holds = me.running.is_some() || me.ended.is_some();
        match model.scene {
            Scene::NodeUses => holds || self.next_use(model, node) > MOST_USES || owed(rules.pause_in_database),
            Scene::NodeEmergencies => holds || owed(rules.open_in_database),
            _ => false,
        }
    }

    /// Returns the number of the next use, as the node counts.
    fn next_use(&self, model: &Cluster, node: u8) -> u8 {
        self.uses(|other| model.rules.uses_in_database || other == node) + 1
    }

    /// Returns true if a unique key of the database refuses the batch.
    fn collides(&self, rules: &Rules, Head { number, batch }: Head) -> bool {
        let is_leaf =
            |batch: &Batch| !matches!(batch.content, Content::Cancel(_) | Content::Settle | Content::Takeover);
        let since = self.log.get(usize::from(number)..).unwrap_or_default();
        let consumes = matches!(batch.content, Content::Consume(_));
        let used = |other: &Batch| batch.claim > 0 && other.claim == batch.claim && rules.uses_in_database;
        let spent = consumes && self.log.iter().any(|other| other.content == batch.content || used(other));
        let by_number = rules.batch_number && self.log.len() != usize::from(number);
        rules.unique_keys && (by_number || spent || is_leaf(&batch) && since.iter().any(is_leaf))
    }

    /// The server executes a commit.
    fn append(&mut self, model: &Cluster, batch: Batch) {
        if let Content::Receipt(run) | Content::Unknown(run) = batch.content {
            let twice = self.has_receipt(run);
            let key = model.has_key_of(self, batch.node, run);
            self.history.receipt(usize::from(run), twice);
            self.history.demand(Promise::KeyCounts, key);
        }
        if let Content::Consume(_) = batch.content {
            self.history.demand(Promise::NeverAfterRevocation, !self.is_revoked(|_| true));
            let (owed, uses) = (self.owed(model, |_| true), self.uses(|_| true));
            let follows = batch.claim == uses + 1 && batch.claim <= MOST_USES;
            self.history.demand(Promise::UsesCounted, batch.claim == 0 || follows);
            let promise = if batch.claim > 0 { Promise::NotWhilePaused } else { Promise::FewOpen };
            self.history.demand(promise, owed.is_empty());
        }
        self.log.push(batch);
        self.waits = model.is_synchronous();
    }

    /// The node knows that its batch is durable, or that its batch does not exist.
    fn answer(&mut self, node: u8, head: Head, durable: bool) {
        let node = &mut self.nodes[usize::from(node)];
        let consumed = durable && matches!(head.batch.content, Content::Consume(_));
        node.writer = if consumed { Writer::Durable(head) } else { Writer::Idle };
        let closes = |ended: &Head| head.batch.content == Content::Receipt(ended.run());
        node.ended = node.ended.filter(|ended| !(durable && closes(ended)));
    }

    /// The wait for the replica is over, with or without its confirmation.
    fn end_wait(&mut self, is_unknown: bool) {
        let server = self.server;
        for (number, node) in (0..).zip(self.nodes.clone()).filter(|(_, node)| node.server == server) {
            match node.writer {
                Writer::Committing(head) | Writer::Settling { head, .. } if is_unknown => {
                    self.nodes[usize::from(number)].writer = Writer::Unknown(head);
                }
                Writer::Committing(head) => self.answer(number, head, true),
                Writer::Settling { head, found } => self.answer(number, head, found),
                _ => {}
            }
        }
        self.waits = false;
    }

    fn start(&mut self, model: &Cluster, node: u8, head: Head) {
        let index = usize::from(node);
        if model.rules.head_before_start {
            self.nodes[index].kept = Some(head);
        }
        // On another start of the server, the log may lack the consumption, and only the kept heads protect.
        let same = head.batch.server == self.server;
        let confirmed = !model.is_synchronous() || usize::from(head.number) < self.replicated;
        let run = usize::from(head.run());
        self.history.start(run, run, !same || confirmed && self.contains(head), |_| !model.is_reviewed());
        if same {
            let kept = |node: &Node| node.lost || node.kept.is_none_or(|kept| self.contains(kept));
            let grows = self.nodes.iter().all(kept);
            let before = &self.log[..usize::from(head.number)];
            let cancelled = before.iter().any(|batch| batch.content == Content::Cancel(head.run()));
            let session = !model.has_session(head.run()) || self.active_at(before.len()) == 0;
            self.history.demand(Promise::LogGrows, grows);
            self.history.demand(Promise::NeverAfterDenial, !cancelled);
            self.history.demand(Promise::SessionOpen, session);
        }
        self.nodes[index].running = Some(head);
        self.nodes[index].writer = Writer::Idle;
    }

    /// Another server answers from now on, or another start of the server, with the first `length` batches. All connections
    /// to it are new.
    fn change_server(&mut self, length: usize) {
        let all = self.log.len();
        for node in &mut self.nodes {
            node.flight = None;
            node.posted = Posted::Missing;
            // The old primary, if it still runs, refuses a batch with a number that it has.
            node.writer = match node.writer {
                Writer::Judged(head) if usize::from(head.number) != all => Writer::Idle,
                writer => writer,
            };
        }
        self.server += 1;
        self.waits = false;
        self.log.truncate(length);
        self.replicated = self.replicated.min(length);
    }
}

impl Cluster {
    fn is_synchronous(&self) -> bool {
        !matches!(self.scene, Scene::Asynchronous | Scene::Takeover) && !self.is_reviewed()
    }

    /// Returns true if people review the runs.
    fn is_reviewed(&self) -> bool {
        matches!(self.scene, Scene::NodeUses | Scene::NodeEmergencies)
    }

    fn has_session(&self, run: u8) -> bool {
        run == SESSION_RUN && !self.is_reviewed()
    }

    /// Returns true if the seal of the run has the key of the node.
    fn has_key_of(&self, state: &State, node: u8, run: u8) -> bool {
        self.scene != Scene::LaterKey || node == 0 || !state.needs_first_key(run)
    }

    fn faults_of(&self, s: &State, out: &mut Vec<Action>) {
        for (i, node) in (0..).zip(&s.nodes).filter(|(_, node)| node.up) {
            out.push(Action::Crash(i));
            let connected = node.server == s.server && !node.suspended;
            let committing = matches!(node.writer, Writer::Judged(_) | Writer::Committing(_) | Writer::Settling { .. });
            out.extend((connected && committing).then_some(Action::LoseConnection(i)));
            out.extend((connected && self.scene == Scene::Synchronous).then_some(Action::Suspend(i)));
        }
        match self.scene {
            Scene::Synchronous => {
                out.extend(s.waits.then_some(Action::Warn));
                out.extend([Action::RestartServer, Action::Promote]);
            }
            Scene::Asynchronous => out.extend((0..=s.log.len()).map(Action::GoBack)),
            _ => {}
        }
    }
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let nodes = vec![Node { up: true, ..Node::default() }; usize::from(self.nodes)];
        vec![State { nodes, faults: self.faults, history: History::new(self.only), ..State::default() }]
    }

    fn actions(&self, s: &State, out: &mut Vec<Action>) {
        let rules = &self.rules;
        for (i, node) in (0..).zip(&s.nodes) {
            out.extend((node.flight.is_some() && !s.waits).then_some(Action::Arrives(i)));
            out.extend(node.running.is_some().then_some(Action::End(i)));
            if !node.up || node.suspended {
                let others = s.nodes.iter().any(|other| other.up) && (self.scene != Scene::LaterKey || i > 0);
                out.extend((!node.up && !node.lost).then_some(Action::Restart(i)));
                out.extend((!node.up && !node.lost && others).then_some(Action::NodeLost(i)));
                out.extend(node.suspended.then_some(Action::Resume(i)));
                continue;
            }
            if let (Writer::Durable(head), None, None) = (node.writer, node.running, node.ended) {
                let late = rules.start_before_deadline && s.over.contains(&head);
                out.push(if late { Action::TooLate(i, head) } else { Action::Start(i, head) });
            }
            if node.server != s.server {
                out.push(Action::Reconnect(i));
                if let (Writer::Judged(head), Scene::Asynchronous) = (node.writer, self.scene) {
                    out.push(Action::OldServer(i, head));
                }
                continue;
            }
            let commits = matches!(node.writer, Writer::Committing(_) | Writer::Unknown(_) | Writer::Settling { .. });
            let is_late = |head: Head| s.open(head.run()).is_none() || !s.contains(head);
            let files = rules.late_receipt_kept && !commits && node.ended.is_some_and(is_late);
            out.extend(files.then_some(Action::KeepFile(i)));
            match node.writer {
                Writer::Idle => out.extend(s.judge(self, i).into_iter().map(|content| Action::Judge(i, content))),
                Writer::Unread(batch) => out.push(Action::ReadNumber(i, batch)),
                Writer::Judged(head) => out.extend((!s.waits).then_some(Action::Commit(i, head))),
                Writer::Unknown(head) => {
                    let own = node.flight.is_some() || s.waits && s.log.last() == Some(&head.batch);
                    out.extend(own.then_some(Action::EndBackend(i, head)));
                    out.extend((!s.waits).then_some(Action::Settle(i, head)));
                }
                Writer::Committing(_) | Writer::Settling { .. } | Writer::Durable(_) => {}
            }
        }
        out.extend((self.is_synchronous() && s.replicated < s.log.len()).then_some(Action::Replicate));
        let waiting = s.nodes.iter().filter_map(|node| match node.writer {
            Writer::Durable(head) => Some(head),
            _ => None,
        });
        let heads: BTreeSet<Head> = (0..self.runs).filter_map(|run| s.open(run)).chain(waiting).collect();
        let runs = |head: &Head| s.nodes.iter().any(|node| node.running == Some(*head));
        out.extend(heads.into_iter().filter(|head| !runs(head) && !s.over.contains(head)).map(Action::Deadline));
        if s.faults > 0 {
            self.faults_of(s, out);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let (mut s, rules) = (last.clone(), &self.rules);
        s.faults -= u8::from(action.is_fault());
        let number = u8::try_from(s.seen().len()).ok()?;
        let index = usize::from;
        match action {
            Action::Judge(i, content) => {
                let uses = self.scene == Scene::NodeUses && matches!(content, Content::Consume(_));
                let claim = if uses { s.next_use(self, i) } else { 0 };
                let batch = Batch { content, node: i, server: s.server, claim };
                let judged = Writer::Judged(Head { number, batch });
                s.nodes[index(i)].writer = if rules.number_read_first { judged } else { Writer::Unread(batch) };
            }
            Action::ReadNumber(i, batch) => s.nodes[index(i)].writer = Writer::Judged(Head { number, batch }),
            Action::Commit(i, head) => {
                s.nodes[index(i)].writer = Writer::Idle;
                if !s.collides(rules, head) {
                    let head = Head { number, batch: head.batch };
                    s.append(self, head.batch);
                    s.nodes[index(i)].writer = Writer::Committing(head);
                    if !s.waits {
                        s.answer(i, head, true);
                    }
                }
            }
            Action::OldServer(i, head) => {
                // It refuses the batches of all other nodes, because they have the same number.
                let judged = |node: &&mut Node| node.server != last.server && matches!(node.writer, Writer::Judged(_));
                s.nodes.iter_mut().filter(judged).for_each(|node| node.writer = Writer::Idle);
                s.answer(i, head, true);
            }
            Action::Arrives(i) => {
                let head = s.nodes[index(i)].flight.take()?;
                if !s.collides(rules, head) {
                    s.append(self, head.batch);
                }
            }
            Action::Replicate => {
                s.replicated = s.log.len();
                s.end_wait(false);
            }
            Action::Warn => s.end_wait(rules.warning_is_unknown),
            Action::EndBackend(i, head) => {
                s.nodes[index(i)].flight = None;
                s.waits &= s.log.last() != Some(&head.batch);
            }
            Action::Settle(i, head) => {
                let found = if rules.settle_by_own_batch { s.contains(head) } else { s.has(head.batch.content) };
                s.nodes[index(i)].writer = Writer::Settling { head, found };
                if rules.settle_commits {
                    s.append(self, Batch { content: Content::Settle, node: i, server: s.server, claim: 0 });
                }
                if !s.waits {
                    s.answer(i, head, found);
                }
            }
            Action::Start(i, head) => s.start(self, i, head),
            Action::TooLate(i, head) => {
                s.nodes[index(i)].ended = Some(head);
                s.nodes[index(i)].writer = Writer::Idle;
            }
            Action::End(i) => {
                let node = &mut s.nodes[index(i)];
                node.ended = node.running.take();
                node.kept = node.ended.or(node.kept);
                s.history.end(index(node.ended?.run()));
            }
            Action::KeepFile(i) => s.nodes[index(i)].ended = None,
            Action::Reconnect(i) => {
                let in_log = s.nodes[index(i)].kept.is_none_or(|head| s.contains(head));
                let node = &mut s.nodes[index(i)];
                node.server = s.server;
                node.posted = if in_log { Posted::InLog } else { Posted::NotInLog };
                node.writer = match node.writer {
                    Writer::Committing(head) | Writer::Settling { head, .. } => Writer::Unknown(head),
                    Writer::Durable(head) if rules.settle_after_change => Writer::Unknown(head),
                    Writer::Judged(_) | Writer::Unread(_) => Writer::Idle,
                    writer => writer,
                };
            }
            Action::Restart(i) => (s.nodes[index(i)].up, s.nodes[index(i)].server) = (true, u8::MAX),
            Action::Resume(i) => s.nodes[index(i)].suspended = false,
            Action::Deadline(head) => s.over.extend([head]),
            Action::NodeLost(i) => s.nodes[index(i)].lost = true,
            Action::Crash(i) => {
                let node = &mut s.nodes[index(i)];
                (node.up, node.suspended, node.restarted) = (false, false, true);
                (node.writer, node.ended) = (Writer::Idle, None);
                if let Some(head) = node.running.take() {
                    s.history.end(index(head.run()));
                }
            }
            Action::Suspend(i) => s.nodes[index(i)].suspended = true,
            Action::LoseConnection(i) => {
                let node = &mut s.nodes[index(i)];
                node.writer = match node.writer {
                    Writer::Judged(head) => Writer::Unknown(*node.flight.insert(head)),
                    Writer::Committing(head) | Writer::Settling { head, .. } => Writer::Unknown(head),
                    writer => writer,
                };
            }
            Action::RestartServer => s.change_server(s.log.len()),
            Action::Promote => s.change_server(s.replicated),
            Action::GoBack(length) => s.change_server(length),
        }
        Some(s)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        property()
    }
}

impl Story for Cluster {
    fn history(state: &State) -> &History {
        &state.history
    }

    fn is_finished(&self, s: &State) -> bool {
        let refuses = s.nodes.iter().any(|node| !node.lost && node.posted == Posted::NotInLog);
        let session_over = s.active() != 0 || s.nodes[0].restarted;
        let over = |run: u8| {
            let never = s.has(Content::Cancel(run)) || s.has(Content::Epoch) || self.has_session(run) && session_over;
            let never = never || s.is_revoked(|_| true) || s.uses(|_| true) >= MOST_USES;
            s.has_receipt(run) || never && s.open(run).is_none()
        };
        s.history.nothing_runs() && s.owed(self, |_| true).is_empty() && (refuses || (0..self.runs).all(over))
    }
}
