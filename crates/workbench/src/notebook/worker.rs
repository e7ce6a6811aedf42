//! Runs the steps of the open pages, one at a time. All steps of a page share a session, as in `countersign run`.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use serde_json::Map;

use crate::{
    Board, HostSandbox, LocalSecrets, LoopLists, OpenFiles, OpenPage, PageRules, Project,
    RunbookWalk, Signals, WalkSession, WalkStep, WorkflowRun,
};
use client::{CommandResult, Terminal, fail_usage, value_words};
use documents::joined;

/// What the worker does next.
pub enum Order {
    /// Run the step with this number and these parameters, from the page that the person saw.
    Run(usize, Arc<OpenPage>, usize, Vec<String>),
    /// Walk through the whole workflow of this page, with these lists for its loops.
    Walk(usize, Arc<OpenPage>, Vec<String>),
    /// Begin a new session of this page.
    Reset(usize),
}

/// The session of a page, with the time of its last use.
type UsedWalk<'a> = (RunbookWalk<'a>, Instant);

/// What the worker needs as long as it runs.
pub struct Workshop {
    /// The open pages.
    pub files: Arc<OpenFiles>,
    /// The board that shows the runs.
    pub board: Arc<Board>,
    /// Directories.
    pub project: Project,
    /// Policy for each page.
    pub rules: PageRules,
    /// Sandbox of this host.
    pub hold: HostSandbox,
    /// Handler of signals.
    pub signals: Signals,
    /// Options `--secret`.
    pub secrets: Vec<String>,
    /// Time after which an unused session ends.
    pub idle: Duration,
}

impl Workshop {
    /// Takes orders until all senders are dropped.
    pub fn work(&self, orders: &Receiver<Order>) {
        let terminal = Terminal::of_audience(self.board.clone());
        let mut walks: BTreeMap<usize, UsedWalk<'_>> = BTreeMap::new();
        loop {
            let oldest = walks
                .values()
                .map(|(_, used)| used.elapsed())
                .max()
                .unwrap_or_default();
            let order = match orders.recv_timeout(self.idle.saturating_sub(oldest).max(LEAST_WAIT))
            {
                Ok(order) => order,
                Err(RecvTimeoutError::Timeout) => {
                    self.end_idle(&mut walks);
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            match order {
                Order::Reset(page) => {
                    walks.remove(&page);
                    self.board.reset(page);
                }
                Order::Run(page, open, number, given) => {
                    let result = self.walk(&mut walks, page, &open, &terminal, |walk| {
                        let Some(step) = open.step(number) else {
                            return fail_usage("no such step");
                        };
                        walk.walk_step(&WalkStep::new(&step.step, &given, &Map::new())?)
                    });
                    self.end(&walks, page, &open, result);
                }
                Order::Walk(page, open, lists) => {
                    let result = self.walk(&mut walks, page, &open, &terminal, |walk| {
                        let Some(workflow) = &open.runbook.workflow else {
                            return fail_usage("the page has no workflow");
                        };
                        let lists = LoopLists::read(&lists, &workflow.workflow, &self.project)?;
                        WorkflowRun::run(workflow, &lists, walk)
                    });
                    self.end(&walks, page, &open, result);
                }
            }
            // Ctrl-C during a step stops the step, and then ends the program as at any other time.
            self.signals.end_if_caught();
        }
    }

    /// Ends each session that nobody has used for the idle time.
    fn end_idle(&self, walks: &mut BTreeMap<usize, UsedWalk<'_>>) {
        let pages = walks
            .iter()
            .filter(|(_, (_, used))| used.elapsed() >= self.idle);
        let pages: Vec<usize> = pages.map(|(page, _)| *page).collect();
        for page in pages {
            walks.remove(&page);
            self.board.reset(page);
            let idle = value_words::span(i64::try_from(self.idle.as_secs()).unwrap_or(i64::MAX));
            let why = format!(
                "the session ended, because no step ran for {idle}; the next run begins a new session"
            );
            self.board.session(page, vec![why]);
        }
    }

    fn walk<'a>(
        &'a self,
        walks: &mut BTreeMap<usize, UsedWalk<'a>>,
        page: usize,
        open: &OpenPage,
        terminal: &'a Terminal,
        run: impl FnOnce(&mut RunbookWalk<'a>) -> CommandResult,
    ) -> CommandResult {
        let rules = self.rules.of(page, &self.files)?;
        let (walk, used) = match walks.entry(page) {
            Entry::Occupied(place) => place.into_mut(),
            Entry::Vacant(place) => {
                let carried = WalkSession {
                    carries_state: open.runbook.carries_state(),
                    files: Some(BTreeMap::new()),
                    only_last_files: true,
                    ..WalkSession::default()
                };
                let walk = RunbookWalk::new(
                    LocalSecrets::of_options(&self.secrets)?,
                    Some(carried),
                    &self.project,
                    rules,
                    &self.hold,
                    &self.signals,
                    terminal,
                );
                place.insert((walk, Instant::now()))
            }
        };
        let result = run(walk);
        *used = Instant::now();
        result
    }

    /// Shows the end of a run, and what the session has now.
    fn end(
        &self,
        walks: &BTreeMap<usize, UsedWalk<'_>>,
        page: usize,
        open: &OpenPage,
        result: CommandResult,
    ) {
        let has_secrets = open
            .steps
            .iter()
            .any(|one| !one.step.definition.needed_secrets().is_empty());
        let (mut facts, mut files, mut shared) = (Vec::new(), Vec::new(), Vec::new());
        if let Some(session) = walks.get(&page).and_then(|(walk, _)| walk.carried.as_ref()) {
            let outputs = session.outputs.iter();
            facts.extend(outputs.map(|(name, value)| format!("output {name} = {value}")));
            // If the page needs secrets, a file can contain a secret. Then the files are not sent to the browser.
            if result.is_ok() && !has_secrets {
                files.extend(session.files.iter().flat_map(BTreeMap::values).cloned());
            }
            let state = &session.state;
            shared.push(match &state.cwd {
                Some(cwd) => format!("directory: {}", String::from_utf8_lossy(cwd)),
                None => "directory: the work directory of the step".to_owned(),
            });
            let text = |name: &Vec<u8>| String::from_utf8_lossy(name).into_owned();
            shared.push(match state.env.len() {
                0 => "variables: none".to_owned(),
                _ => format!("variables: {}", joined(state.env.keys().map(text), ", ")),
            });
            if !state.unset.is_empty() {
                let names = joined(state.unset.iter().map(text), ", ");
                shared.push(format!("removed variables: {names}"));
            }
        }
        self.board.session(page, shared);
        self.board.end(result, facts, files);
    }
}

/// Minimum time between two checks for unused sessions.
const LEAST_WAIT: Duration = Duration::from_millis(50);
