//! The nodes of the boundary, as this node reads them from the database every few seconds.

use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use documents::{Name, locked};
use store::{NodeState, NodesReader, NodesReport, Replicas, StoreFault};
use wire::{NodeView, NodesView};

/// Pause between two reads, which is also the pause between two beats of a node.
const PAUSE: Duration = Duration::from_secs(5);

/// The newest report about the nodes.
pub struct SeenNodes {
    me: Name,
    replicas: Replicas,
    last: Mutex<LastReport>,
}

struct LastReport {
    report: Option<NodesReport>,
    /// Time of the report, or of the start.
    at: Instant,
    /// The reason why the last read failed.
    fault: Option<StoreFault>,
}

impl SeenNodes {
    /// Begins to read the nodes with a thread of its own, which ends after the value was dropped. `me` is the name of this
    /// node.
    ///
    /// # Errors
    /// Returns an error if the thread can't be started.
    pub fn watch(me: &Name, replicas: Replicas, reader: NodesReader) -> std::io::Result<Arc<Self>> {
        let last = Mutex::new(LastReport {
            report: None,
            at: Instant::now(),
            fault: None,
        });
        let seen = Arc::new(Self {
            me: me.clone(),
            replicas,
            last,
        });
        let kept = Arc::downgrade(&seen);
        std::thread::Builder::new()
            .name("store-nodes".to_owned())
            .spawn(move || keep_reading(&reader, &kept))?;
        Ok(seen)
    }

    /// Returns the last report, with the ages of the beats now.
    pub fn report(&self) -> Option<NodesReport> {
        let last = locked(&self.last);
        let mut report = last.report.clone()?;
        let since = i64::try_from(last.at.elapsed().as_secs()).unwrap_or(i64::MAX);
        report
            .nodes
            .iter_mut()
            .for_each(|node| node.beat_age_s = node.beat_age_s.saturating_add(since));
        Some(report)
    }

    /// Returns the nodes for `/ready`. The list is empty before the first report.
    pub fn view(&self) -> NodesView {
        let nodes = self.report().map(|report| report.nodes).unwrap_or_default();
        let view = |node: NodeState| NodeView {
            state: node.word().to_owned(),
            name: node.name,
            beat_age_s: node.beat_age_s,
            open_runs: node.open_runs,
        };
        NodesView {
            node: self.me.clone(),
            replicas: self.replicas.word().to_owned(),
            nodes: nodes.into_iter().map(view).collect(),
        }
    }

    /// Returns the reasons why no node can work now: a database without an answer, or a hanging server process.
    pub fn trouble(&self) -> Vec<String> {
        let last = locked(&self.last);
        let age_s = last.at.elapsed().as_secs();
        if age_s >= NodeState::SILENT_S.unsigned_abs() {
            let why = last
                .fault
                .as_ref()
                .map(|fault| format!(": {fault}"))
                .unwrap_or_default();
            return vec![format!("the database has not answered for {age_s} s{why}")];
        }
        last.report
            .as_ref()
            .map(|report| report.hanging.clone())
            .unwrap_or_default()
    }

    /// Returns a note about each node that gives no sign.
    pub fn notes(&self) -> Vec<String> {
        let nodes = self.report().map(|report| report.nodes).unwrap_or_default();
        nodes
            .iter()
            .filter(|node| node.name != self.me)
            .filter_map(silence)
            .collect()
    }

    /// Returns the nodes in one line, for a node that stands by.
    pub fn summary(&self) -> String {
        let nodes = self.view().nodes.into_iter();
        let nodes = nodes.map(|node| {
            format!(
                "; {}: {}, last sign {} s ago",
                node.name, node.state, node.beat_age_s
            )
        });
        let trouble = self.trouble().into_iter().map(|why| format!("; {why}"));
        format!(
            "; this node: {}; replicas: {}{}",
            self.me,
            self.replicas.word(),
            nodes.chain(trouble).collect::<String>()
        )
    }
}

/// Returns what to do about a node that gives no sign.
pub fn silence(node: &NodeState) -> Option<String> {
    let (name, sign) = (&node.name, node.last_sign());
    node.is_silent().then(|| {
        format!(
            "the node {name} is silent ({sign}); start it, or if it will never come back, run `countersign node \
             lost {name}`: otherwise no run starts after a restart of the database"
        )
    })
}

fn keep_reading(reader: &NodesReader, kept: &Weak<SeenNodes>) {
    while let Some(seen) = kept.upgrade() {
        let read = reader.read();
        let mut last = locked(&seen.last);
        match read {
            Ok(report) => {
                *last = LastReport {
                    report: Some(report),
                    at: Instant::now(),
                    fault: None,
                }
            }
            Err(fault) => last.fault = Some(fault),
        }
        drop(last);
        drop(seen);
        std::thread::sleep(PAUSE);
    }
}
