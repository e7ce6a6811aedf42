//! Several nodes on PostgreSQL, of which one is active. The model has no transaction lock, because the unique keys must
//! carry correctness: every order of batches that the keys allow is possible here.

use stateright::Model;

use crate::checking::Story;
use crate::promises::{History, MOST_RUNS, Promise};
use crate::rules::{Rules, Scene};

const MOST_NODES: usize = 3;
/// The run whose session lives in the memory of the first node.
const SESSION_RUN: u8 = 1;

/// The model, with the faults of a scene. All runs have the same exclusive name.
#[derive(Clone)]
pub struct Cluster {
    pub rules: Rules,
    pub faults: u8,
    pub nodes: usize,
    pub runs: usize,
    pub scene: Scene,
}

/// The content of a batch. Every batch takes the next batch number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    Consume(u8),
    Receipt(u8),
    Cancel(u8),
    Settle,
    Takeover,
    Roster,
    Epoch,
}

/// A batch. Its number, its node and the start of the server identify it, as the id of a batch does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Batch {
    content: Content,
    node: u8,
    server: u8,
}

/// A batch with its number. It stands for the signed head that covers the batch, because no two logs have the same one.
type Head = (u8, Batch);

/// The writer of a node. `None` is a number that is not yet read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Writer {
    Idle,
    Judged(Option<u8>, Batch),
    Committing(Head),
    Unknown(Head),
    Settling(Head, bool),
    /// The consumption is durable, and its run has not started.
    Durable(Head),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Posted {
    Missing,
    InLog,
    NotInLog,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Node {
    up: bool,
    frozen: bool,
    restarted: bool,
    lost: bool,
    /// The start of the server that the node is connected to.
    server: u8,
    writer: Writer,
    /// A batch that a lost connection may still bring to the server.
    flight: Option<Head>,
    running: Option<u8>,
    ended: Option<u8>,
    /// The head in the file of the node, and what the node told the other nodes about it since the server started.
    kept: Option<Head>,
    posted: Posted,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    log: Vec<Batch>,
    /// The last batch waits for the replica, and nobody sees it.
    waits: bool,
    replicated: usize,
    /// Counts the starts, promotions and restores of the server.
    server: u8,
    nodes: Vec<Node>,
    /// Runs whose deadline is over, as bits.
    over: u8,
    faults: u8,
    history: History,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Judge(usize, Content),
    ReadNumber(usize),
    Commit(usize),
    Arrives(usize),
    Replicate,
    EndBackend(usize),
    Settle(usize),
    Start(usize),
    KeepHead(usize),
    TooLate(usize),
    End(usize),
    Reconnect(usize),
    Restart(usize),
    Thaw(usize),
    Deadline(u8),
    NodeLost(usize),
    Crash(usize),
    Freeze(usize),
    LoseConnection(usize),
    Warn,
    RestartServer,
    Promote,
    Restore(usize),
}

impl State {
    fn seen(&self) -> &[Batch] {
        &self.log[..self.log.len() - usize::from(self.waits)]
    }

    fn has(&self, content: Content) -> bool {
        self.seen().iter().any(|batch| batch.content == content)
    }

    /// Returns the number and the node of the consumption.
    fn consumption(&self, run: u8) -> Option<(usize, u8)> {
        let number = self.seen().iter().position(|batch| batch.content == Content::Consume(run))?;
        Some((number, self.seen()[number].node))
    }

    /// Returns the node of the consumption, if the run has no receipt.
    fn open(&self, run: u8) -> Option<u8> {
        self.consumption(run).filter(|_| !self.has(Content::Receipt(run))).map(|(_, node)| node)
    }

    fn active(&self) -> u8 {
        self.seen().iter().rfind(|batch| batch.content == Content::Takeover).map_or(0, |batch| batch.node)
    }

    fn session_over(&self) -> bool {
        self.active() != 0 || self.nodes[0].restarted || !self.nodes[0].up
    }

    /// Returns true if the seal of the consumption lacks the key of the later node.
    fn sealed_before_roster(&self, run: u8) -> bool {
        let roster = self.seen().iter().position(|batch| batch.content == Content::Roster);
        self.consumption(run).is_some_and(|(number, _)| roster.is_none_or(|roster| number < roster))
    }

    fn contains(&self, head: Head) -> bool {
        self.seen().get(usize::from(head.0)) == Some(&head.1)
    }

    /// Returns true if the kept heads allow the node to consume.
    fn heads_agree(&self, model: &Cluster, node: usize) -> bool {
        let rules = &model.rules;
        let epoch = self.seen().iter().any(|batch| batch.content == Content::Epoch && batch.server == self.server);
        let allows = |(number, other): (usize, &Node)| match other.posted {
            Posted::InLog => true,
            Posted::NotInLog => false,
            Posted::Missing if other.lost => epoch || !rules.new_epoch_after_lost,
            Posted::Missing => !rules.missing_head_blocks && !other.up || !rules.heads_of_all && number != node,
        };
        !rules.heads_compared || self.nodes.iter().enumerate().all(allows)
    }

    /// Returns what the node can put into its next batch, according to the state that it reads.
    fn judge(&self, model: &Cluster, node: usize) -> Vec<Content> {
        let (rules, me, own) = (&model.rules, &self.nodes[node], u8::try_from(node).unwrap_or_default());
        let later = model.scene == Scene::LaterKey;
        let active = self.active() == own;
        let was_active =
            node == 0 || self.log.iter().any(|batch| batch.content == Content::Takeover && batch.node == own);
        let has_role = active || !rules.older_term_fenced && was_active;
        let mut out = Vec::new();
        for run in 0..u8::try_from(model.runs).unwrap_or_default() {
            let bit = 1 << run;
            if me.ended == Some(run) && (!rules.late_receipt_kept || self.open(run).is_some()) {
                out.push(Content::Receipt(run));
            }
            if let Some(owner) = self.open(run) {
                let held = me.running == Some(run) || me.ended == Some(run) || matches!(me.writer, Writer::Durable(_));
                let key = !later || node == 0 || !rules.key_of_seal || !self.sealed_before_roster(run);
                let is_over = self.over & bit != 0 || self.nodes[usize::from(owner)].lost || !rules.over_by_deadline;
                if key
                    && (owner == own && me.restarted && !held || owner != own && active && is_over)
                    && me.ended != Some(run)
                {
                    out.push(Content::Receipt(run));
                }
            }
            let cancelled = self.has(Content::Cancel(run));
            let session = run != SESSION_RUN || node == 0 && !me.restarted;
            let holds = |other: u8| self.open(other).is_some_and(|owner| rules.exclusive_in_database || owner == own);
            let busy = (0..4).any(|other| other != run && holds(other));
            let free = self.consumption(run).is_none()
                && !cancelled
                && !self.seen().iter().any(|batch| batch.content == Content::Epoch);
            if has_role && session && !busy && free && self.heads_agree(model, node) {
                out.push(Content::Consume(run));
            }
            if active && run == 0 && !cancelled && self.consumption(run).is_none() && !later {
                out.push(Content::Cancel(run));
            }
        }
        let holder = &self.nodes[usize::from(self.active())];
        let role_free = !holder.up || holder.frozen || holder.server != self.server;
        let no_open_run = (0..4).all(|run| self.open(run).is_none() || !self.sealed_before_roster(run));
        let key = !later || node == 0 || self.has(Content::Roster) && (no_open_run || !rules.key_of_seal);
        if !active && role_free && key && me.posted == Posted::InLog {
            out.push(Content::Takeover);
        }
        if active && later && !self.has(Content::Roster) {
            out.push(Content::Roster);
        }
        let missing = self.nodes.iter().any(|other| other.lost && other.posted == Posted::Missing);
        if active
            && missing
            && rules.new_epoch_after_lost
            && !self.seen().iter().any(|batch| batch.content == Content::Epoch && batch.server == self.server)
        {
            out.push(Content::Epoch);
        }
        out
    }

    fn collides(&self, rules: &Rules, (number, batch): Head) -> bool {
        let is_leaf = |batch: &Batch| {
            matches!(batch.content, Content::Consume(_) | Content::Receipt(_) | Content::Roster | Content::Epoch)
        };
        let since = self.log.get(usize::from(number)..).unwrap_or_default();
        let nonce =
            self.log.iter().any(|other| matches!(batch.content, Content::Consume(_)) && other.content == batch.content);
        let by_number = rules.batch_number && self.log.len() != usize::from(number);
        rules.unique_keys && (by_number || nonce || is_leaf(&batch) && since.iter().any(is_leaf))
    }

    /// The server executes a commit.
    fn append(&mut self, model: &Cluster, batch: Batch) {
        let history = &mut self.history.clone();
        match batch.content {
            Content::Consume(run) => {
                history.demand(Promise::NeverAfterDenial, !self.has(Content::Cancel(run)));
                history.demand(Promise::SessionOpen, run != SESSION_RUN || !self.session_over());
            }
            Content::Receipt(run) => {
                history.demand(Promise::OneReceipt, !self.has(batch.content));
                let key = model.scene != Scene::LaterKey || batch.node == 0 || !self.sealed_before_roster(run);
                history.demand(Promise::KeyCounts, key);
            }
            _ => {}
        }
        self.history = history.clone();
        self.log.push(batch);
        self.waits = model.synchronous();
    }

    /// The node gets the answer that its batch is durable.
    fn answer(&mut self, node: usize, head: Head) {
        let node = &mut self.nodes[node];
        node.writer = match head.1.content {
            Content::Consume(_) => Writer::Durable(head),
            _ => Writer::Idle,
        };
        if head.1.content == Content::Receipt(node.ended.unwrap_or(u8::MAX)) {
            node.ended = None;
        }
    }

    fn settled(&mut self, node: usize, head: Head, found: bool) {
        if found {
            self.answer(node, head);
        } else {
            self.nodes[node].writer = Writer::Idle;
        }
    }

    /// All connections break, because another server or another start of the server answers from now on.
    fn change_server(&mut self) {
        self.server += 1;
        self.waits = false;
        for node in &mut self.nodes {
            node.flight = None;
            node.posted = Posted::Missing;
        }
    }
}

impl Cluster {
    fn synchronous(&self) -> bool {
        self.scene != Scene::Asynchronous
    }
}

const fn run_of(head: Head) -> u8 {
    match head.1.content {
        Content::Consume(run) | Content::Receipt(run) | Content::Cancel(run) => run,
        _ => u8::MAX,
    }
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let node = Node {
            up: true,
            frozen: false,
            restarted: false,
            lost: false,
            server: 0,
            writer: Writer::Idle,
            flight: None,
            running: None,
            ended: None,
            kept: None,
            posted: Posted::InLog,
        };
        let nodes = vec![node; self.nodes.min(MOST_NODES)];
        let history = History::default();
        vec![State {
            log: Vec::new(),
            waits: false,
            replicated: 0,
            server: 0,
            nodes,
            over: 0,
            faults: self.faults,
            history,
        }]
    }

    fn actions(&self, s: &State, out: &mut Vec<Action>) {
        let rules = &self.rules;
        let connected = |node: &Node| node.up && !node.frozen && node.server == s.server;
        for (i, node) in s.nodes.iter().enumerate() {
            if node.flight.is_some() && !s.waits {
                out.push(Action::Arrives(i));
            }
            if node.running.is_some() {
                out.push(Action::End(i));
            }
            if !node.up {
                if !node.lost {
                    out.push(Action::Restart(i));
                    if s.nodes.iter().any(|other| other.up) && (self.scene != Scene::LaterKey || i != 0) {
                        out.push(Action::NodeLost(i));
                    }
                }
                continue;
            }
            if node.frozen {
                out.push(Action::Thaw(i));
                continue;
            }
            if let Writer::Durable(head) = node.writer
                && node.running.is_none()
                && node.ended.is_none()
            {
                let over = s.over >> run_of(head) & 1 == 1;
                out.push(if over && rules.start_before_deadline { Action::TooLate(i) } else { Action::Start(i) });
            }
            if !rules.head_before_start && node.running.is_some() && node.kept.is_none() {
                out.push(Action::KeepHead(i));
            }
            if !connected(node) {
                out.push(Action::Reconnect(i));
                continue;
            }
            match node.writer {
                Writer::Idle => out.extend(s.judge(self, i).into_iter().map(|content| Action::Judge(i, content))),
                Writer::Judged(None, _) => out.push(Action::ReadNumber(i)),
                Writer::Judged(Some(_), _) if !s.waits => out.push(Action::Commit(i)),
                Writer::Unknown(head) => {
                    if node.flight.is_some() || s.waits && s.log.last() == Some(&head.1) {
                        out.push(Action::EndBackend(i));
                    }
                    if !s.waits {
                        out.push(Action::Settle(i));
                    }
                }
                _ => {}
            }
        }
        if self.synchronous() && s.replicated < s.log.len()
            || !self.synchronous() && s.faults > 0 && s.replicated < s.log.len()
        {
            out.push(Action::Replicate);
        }
        for run in 0..u8::try_from(self.runs).unwrap_or_default() {
            if s.open(run).is_some() && s.history.running[usize::from(run)] == 0 && s.over >> run & 1 == 0 {
                out.push(Action::Deadline(run));
            }
        }
        if s.faults == 0 {
            return;
        }
        for (i, node) in s.nodes.iter().enumerate() {
            if node.up {
                out.push(Action::Crash(i));
            }
            if connected(node) && self.scene == Scene::Synchronous {
                out.push(Action::Freeze(i));
            }
            if connected(node)
                && matches!(node.writer, Writer::Judged(Some(_), _) | Writer::Committing(_) | Writer::Settling(..))
            {
                out.push(Action::LoseConnection(i));
            }
        }
        if self.scene != Scene::LaterKey {
            if s.waits {
                out.push(Action::Warn);
            }
            out.extend([Action::RestartServer, Action::Promote]);
        }
        if self.scene == Scene::Asynchronous {
            out.extend((0..s.seen().len()).map(Action::Restore));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut s = last.clone();
        let rules = &self.rules;
        s.faults -= u8::from(Self::is_fault(&action));
        match action {
            Action::Judge(i, content) => {
                let number = rules.number_read_first.then_some(u8::try_from(s.seen().len()).ok()?);
                s.nodes[i].writer =
                    Writer::Judged(number, Batch { content, node: u8::try_from(i).ok()?, server: s.server });
            }
            Action::ReadNumber(i) => {
                let Writer::Judged(_, batch) = s.nodes[i].writer else { return None };
                s.nodes[i].writer = Writer::Judged(Some(u8::try_from(s.seen().len()).ok()?), batch);
            }
            Action::Commit(i) => {
                let Writer::Judged(Some(number), batch) = s.nodes[i].writer else { return None };
                if s.collides(rules, (number, batch)) {
                    s.nodes[i].writer = Writer::Idle;
                } else {
                    let head = (u8::try_from(s.log.len()).ok()?, batch);
                    s.append(self, batch);
                    s.nodes[i].writer = Writer::Committing(head);
                    if !s.waits {
                        s.answer(i, head);
                    }
                }
            }
            Action::Arrives(i) => {
                let head = s.nodes[i].flight.take()?;
                if !s.collides(rules, head) {
                    s.append(self, head.1);
                }
            }
            Action::Replicate | Action::Warn => {
                if action == Action::Replicate {
                    s.replicated = s.log.len();
                }
                if std::mem::take(&mut s.waits) {
                    for i in 0..s.nodes.len() {
                        match s.nodes[i].writer {
                            Writer::Committing(head) | Writer::Settling(head, _)
                                if action == Action::Warn && rules.warning_is_unknown =>
                            {
                                s.nodes[i].writer = Writer::Unknown(head);
                            }
                            Writer::Committing(head) => s.answer(i, head),
                            Writer::Settling(head, found) => s.settled(i, head, found),
                            _ => {}
                        }
                    }
                }
            }
            Action::EndBackend(i) => {
                s.nodes[i].flight = None;
                s.waits = false;
            }
            Action::Settle(i) => {
                let Writer::Unknown(head) = s.nodes[i].writer else { return None };
                let found = if rules.settle_by_own_batch { s.contains(head) } else { s.has(head.1.content) };
                s.nodes[i].writer = Writer::Settling(head, found);
                if !rules.settle_takes_number {
                    s.replicated = s.log.len();
                } else if rules.settle_commits {
                    s.append(self, Batch { content: Content::Settle, node: u8::try_from(i).ok()?, server: s.server });
                }
                if !s.waits {
                    s.settled(i, head, found);
                }
            }
            Action::Start(i) => {
                let Writer::Durable(head) = s.nodes[i].writer else { return None };
                let run = usize::from(run_of(head));
                if rules.head_before_start {
                    s.nodes[i].kept = Some(head);
                }
                let same = head.1.server == s.server;
                let durable = !self.synchronous() || !same || usize::from(head.0) < s.replicated && s.contains(head);
                s.history.start(run, run, durable, |_, _| true);
                let grows = s.nodes.iter().all(|node| node.lost || node.kept.is_none_or(|kept| s.contains(kept)));
                s.history.demand(Promise::LogGrows, !same || grows);
                s.nodes[i].running = Some(run_of(head));
                s.nodes[i].writer = Writer::Idle;
            }
            Action::KeepHead(i) => {
                let number = s.consumption(s.nodes[i].running?)?.0;
                s.nodes[i].kept = Some((u8::try_from(number).ok()?, s.log[number]));
            }
            Action::TooLate(i) => {
                let Writer::Durable(head) = s.nodes[i].writer else { return None };
                s.nodes[i].ended = Some(run_of(head));
                s.nodes[i].writer = Writer::Idle;
            }
            Action::End(i) => {
                let run = s.nodes[i].running.take()?;
                s.history.end(usize::from(run));
                s.nodes[i].ended = Some(run);
            }
            Action::Reconnect(i) => {
                let in_log = s.nodes[i].kept.is_none_or(|head| s.contains(head));
                let server = s.server;
                let node = &mut s.nodes[i];
                node.server = server;
                node.posted = if in_log { Posted::InLog } else { Posted::NotInLog };
                node.writer = match node.writer {
                    Writer::Committing(head) | Writer::Settling(head, _) => Writer::Unknown(head),
                    Writer::Durable(head) if rules.settle_after_change => Writer::Unknown(head),
                    Writer::Judged(..) => Writer::Idle,
                    writer => writer,
                };
            }
            Action::Restart(i) => {
                s.nodes[i].up = true;
                s.nodes[i].restarted = true;
                s.nodes[i].server = u8::MAX;
            }
            Action::Thaw(i) => s.nodes[i].frozen = false,
            Action::Deadline(run) => s.over |= 1 << run,
            Action::NodeLost(i) => s.nodes[i].lost = true,
            Action::Crash(i) => {
                let node = &mut s.nodes[i];
                if let Some(run) = node.running.take() {
                    s.history.end(usize::from(run));
                }
                let (kept, posted) = (node.kept, node.posted);
                let flight = node.flight;
                *node = Node {
                    up: false,
                    restarted: node.restarted,
                    kept,
                    posted,
                    flight,
                    writer: Writer::Idle,
                    frozen: false,
                    ended: None,
                    ..node.clone()
                };
            }
            Action::Freeze(i) => s.nodes[i].frozen = true,
            Action::LoseConnection(i) => match s.nodes[i].writer {
                Writer::Judged(Some(number), batch) => {
                    s.nodes[i].flight = Some((number, batch));
                    s.nodes[i].writer = Writer::Unknown((number, batch));
                }
                Writer::Committing(head) | Writer::Settling(head, _) => s.nodes[i].writer = Writer::Unknown(head),
                _ => return None,
            },
            Action::RestartServer => s.change_server(),
            Action::Promote | Action::Restore(_) => {
                s.log.truncate(if let Action::Restore(length) = action { length } else { s.replicated });
                s.replicated = s.log.len();
                s.change_server();
            }
        }
        Some(s)
    }
}

impl Story for Cluster {
    fn history(state: &State) -> &History {
        &state.history
    }

    fn is_fault(action: &Action) -> bool {
        use Action::{Crash, Freeze, LoseConnection, Promote, RestartServer, Restore, Warn};
        matches!(action, Crash(_) | Freeze(_) | LoseConnection(_) | Warn | RestartServer | Promote | Restore(_))
    }

    fn is_finished(&self, s: &State) -> bool {
        let refuses = s.nodes.iter().any(|node| node.up && node.posted == Posted::NotInLog);
        let ended = s.history.running == [0; MOST_RUNS];
        let epoch = s.seen().iter().any(|batch| batch.content == Content::Epoch);
        let done = |run: u8| {
            let closed = s.has(Content::Receipt(run)) || s.has(Content::Cancel(run)) || epoch;
            s.open(run).is_none() && (closed || run == SESSION_RUN && s.session_over())
        };
        ended && (refuses || (0..u8::try_from(self.runs).unwrap_or_default()).all(done))
    }

    fn words(&self, action: &Action) -> String {
        format!("{action:?}")
    }
}
