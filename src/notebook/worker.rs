//! Runs the steps of the open pages, one at a time. All steps of a page share a session, as in `countersign run`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use serde_json::Map;

use crate::local::decide::LocalRules;
use crate::local::host_sandbox::HostSandbox;
use crate::local::local_secrets::LocalSecrets;
use crate::local::loop_lists::LoopLists;
use crate::local::project::Project;
use crate::local::runbook::WalkStep;
use crate::local::signals::Signals;
use crate::local::step_run::RunbookWalk;
use crate::local::walk_session::WalkSession;
use crate::local::workflow_run::WorkflowRun;
use crate::notebook::board::Board;
use crate::notebook::open_pages::{ListedFile, OpenPage};
use client::terminal::exit::{CommandFailure, Exit};
use client::terminal::streams::Terminal;

/// Time after which a session ends that nobody uses.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// What the worker does next.
#[derive(Debug)]
pub enum Order {
    /// Run this step of this page with these parameters.
    Run(usize, usize, Vec<String>),
    /// Walk through the whole workflow of this page, with these lists for its loops.
    Walk(usize, Vec<String>),
    /// Begin a new session of this page.
    Reset(usize),
}

/// What the worker needs for the whole time.
pub struct Workshop {
    /// The open pages.
    pub files: Arc<Vec<ListedFile>>,
    /// The board that shows the runs.
    pub board: Arc<Board>,
    /// Directories.
    pub project: Project,
    /// Policy for each page.
    pub rules: BTreeMap<usize, LocalRules>,
    /// Sandbox of this host.
    pub hold: HostSandbox,
    /// Handler of signals.
    pub signals: Signals,
    /// Options `--secret`.
    pub secrets: Vec<String>,
}

impl Workshop {
    fn page(&self, at: usize) -> Option<&OpenPage> {
        self.files.get(at)?.page.as_ref().ok()
    }

    /// Takes orders until nobody can give one.
    pub fn work(&self, orders: &Receiver<Order>) {
        let terminal = Terminal::of_audience(self.board.clone());
        let mut walks: BTreeMap<usize, RunbookWalk<'_>> = BTreeMap::new();
        loop {
            let order = match orders.recv_timeout(IDLE) {
                Ok(order) => order,
                Err(RecvTimeoutError::Timeout) => {
                    for (page, _) in std::mem::take(&mut walks) {
                        self.board.reset(page);
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            match order {
                Order::Reset(page) => {
                    walks.remove(&page);
                    self.board.reset(page);
                }
                Order::Run(page, step, given) => {
                    let result = self.walk(&mut walks, page, &terminal, |walk, open| {
                        let Some(step) = open.steps.get(step) else {
                            return Err(CommandFailure::usage("no such step"));
                        };
                        walk.walk_step(&WalkStep::new(step, &given, &Map::new())?)
                    });
                    self.end(&walks, page, result);
                }
                Order::Walk(page, lists) => {
                    let result = self.walk(&mut walks, page, &terminal, |walk, open| {
                        let Some(workflow) = &open.runbook.workflow else {
                            return Err(CommandFailure::usage("the page has no workflow"));
                        };
                        let lists = LoopLists::read(&lists, &workflow.workflow, &self.project)?;
                        let rules = &self.rules[&page];
                        WorkflowRun::prepare(workflow, &lists, rules, &self.signals, &terminal)?.run(walk)
                    });
                    self.end(&walks, page, result);
                }
            }
        }
    }

    fn walk<'a>(
        &'a self,
        walks: &mut BTreeMap<usize, RunbookWalk<'a>>,
        page: usize,
        terminal: &'a Terminal,
        run: impl FnOnce(&mut RunbookWalk<'a>, &'a OpenPage) -> Result<Exit, CommandFailure>,
    ) -> Result<Exit, CommandFailure> {
        let (Some(open), Some(rules)) = (self.page(page), self.rules.get(&page)) else {
            return Err(CommandFailure::usage("no such page"));
        };
        if let std::collections::btree_map::Entry::Vacant(place) = walks.entry(page) {
            let carried = WalkSession::default().carrying(open.runbook.carries_state()).keeping_last_files();
            let secrets = LocalSecrets::of_options(&self.secrets)?;
            let walk = RunbookWalk::new(Some(carried), &self.project, rules, &self.hold, None, &self.signals, terminal);
            place.insert(walk.with_secrets(secrets));
        }
        let Some(walk) = walks.get_mut(&page) else { return Err(CommandFailure::usage("no such page")) };
        run(walk, open)
    }

    /// Shows the end of a run, and what the session has now.
    fn end(&self, walks: &BTreeMap<usize, RunbookWalk<'_>>, page: usize, result: Result<Exit, CommandFailure>) {
        let steps = self.page(page).map(|open| open.steps.as_slice()).unwrap_or_default();
        let has_secrets = steps.iter().any(|step| !step.definition.secrets.is_empty());
        let (mut facts, mut files) = (Vec::new(), Vec::new());
        if let Some(session) = walks.get(&page).and_then(RunbookWalk::carried) {
            facts.extend(session.outputs().iter().map(|(name, value)| format!("output {name} = {value}")));
            // A file of a page with secrets may contain one, and the files would go to the browser.
            if result.is_ok() && !has_secrets {
                files.extend(session.files().cloned());
            }
            let state = session.state();
            let names: Vec<String> = state.env.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
            if !names.is_empty() {
                facts.push(format!("variables of the session: {}", names.join(", ")));
            }
            if let Some(cwd) = &state.cwd {
                facts.push(format!("directory of the session: {}", String::from_utf8_lossy(cwd)));
            }
        }
        self.board.end(result, facts, files);
    }
}
