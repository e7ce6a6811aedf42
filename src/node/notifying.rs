//! Sends messages to the targets of the configuration while the service runs.
//!
//! Each target has a thread, so a dead target delays nobody. A target gets its events in order, and each at least once:
//! the number of its last event is stored after the delivery.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use tokio::{runtime::Handle, time::Instant};
use tracing::{error, warn};
use ureq::Agent;
use zeroize::Zeroizing;

use crate::{
    Config, NotifyTable, TargetKind,
    node::{
        notice_bodies::{self, WebhookKeys},
        witnessing::{agent, why},
    },
    ntfy_topic, read_certificates, read_private,
};
use boundary::{Boundary, Notice, NoticeFilter, NoticeNext, TargetStatus};
use crossing::{Refusal, Stopped, fault};
use documents::{BoundaryRef, Code, Name, Timestamp, joined};
use store::{Ledger, StoreFault, StoreResult, StoredEvent, Telling, ToldTarget, crash_points};
use wire::{FeedEvent, FeedKind, ProxyAddress, client_config};

/// Pauses before the next attempt to send a message. The last pause repeats.
const PAUSES: [Duration; 6] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
    Duration::from_secs(3600),
    Duration::from_secs(6 * 3600),
];
/// Age of an event in seconds after which no further attempt is made.
const GIVEN_UP_S: i64 = 3 * 86_400;
/// Time between two stored positions while there are more events.
const STORE: Duration = Duration::from_secs(1);
/// Longest sleep, after which the thread looks at the clock again.
const NAP: Duration = Duration::from_secs(1);
/// Sleep after events, so that a thread of a busy boundary reads several commits at once.
const GATHER: Duration = Duration::from_millis(20);
/// Number of events that one read returns.
const PAGE: usize = 256;
/// Number of bytes of an answer that are read, so that the connection can be used again.
const MOST_ANSWER: u64 = 64 << 10;
/// The program that takes mail. Its place is fixed, so that no variable can name another program.
const SENDMAIL: &str = "/usr/sbin/sendmail";
/// Exit code of sendmail for a temporary failure (EX_TEMPFAIL of sysexits.h).
const TEMPORARY: i32 = 75;

/// Result of an attempt to send a message.
enum Delivery {
    /// The target has the message.
    Done,
    /// Another attempt can succeed.
    Later(String),
    /// No further attempt can succeed.
    Never(String),
}

/// A target with the values of its files.
struct Target {
    table: NotifyTable,
    agent: Agent,
    /// The address to which messages go.
    url: Zeroizing<String>,
    keys: Option<WebhookKeys>,
    bearer: Option<Zeroizing<String>>,
}

impl Target {
    /// Reads the files of a target.
    ///
    /// # Errors
    /// Returns which file can't be used, and why.
    fn open(table: &NotifyTable, proxy: Option<&ProxyAddress>) -> Result<Self, String> {
        let of = |what: String| format!("the target {}: {what}", table.name);
        let secret = table
            .secret
            .as_deref()
            .map(|path| read_private(path, false))
            .transpose();
        let secret = secret.map_err(|problem| of(problem.to_string()))?;
        let line = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes)
                .map(str::trim)
                .unwrap_or_default();
            let plain = !text.is_empty() && text.bytes().all(|c| c.is_ascii_graphic());
            plain
                .then(|| Zeroizing::new(text.to_owned()))
                .ok_or_else(|| of("its secret is not one line of text".into()))
        };
        let (mut keys, mut bearer) = (None, None);
        let mut url = table.url.clone().map(Zeroizing::new);
        match (table.kind, &secret) {
            (TargetKind::CloudEvents, Some(bytes)) => {
                keys = Some(
                    WebhookKeys::parse(bytes)
                        .map_err(|why| of(format!("its secret can't be used: {why}")))?,
                );
            }
            (TargetKind::Ntfy, Some(bytes)) => bearer = Some(line(bytes)?),
            (TargetKind::Slack, Some(bytes)) => url = Some(line(bytes)?),
            _ => {}
        }
        let url = url.unwrap_or_default();
        let tls = if url.starts_with("https://") {
            let authorities = table.ca.as_deref().map(read_certificates).transpose();
            let authorities = authorities.map_err(|problem| of(problem.to_string()))?;
            Some(
                client_config(authorities.as_deref(), None)
                    .map_err(|error| of(error.to_string()))?,
            )
        } else {
            None
        };
        Ok(Self {
            table: table.clone(),
            agent: agent(tls, proxy),
            url,
            keys,
            bearer,
        })
    }

    /// Sends a message.
    fn deliver(&self, boundary: &BoundaryRef, notice: &Notice, now: Timestamp) -> Delivery {
        match self.table.kind {
            TargetKind::CloudEvents => {
                let body = notice_bodies::cloud_event(boundary, notice);
                let id = format!("evt_{}", notice.event.seq);
                let mut headers = vec![("content-type", "application/cloudevents+json".to_owned())];
                if let Some(keys) = &self.keys {
                    headers.push(("webhook-signature", keys.sign(&id, now, &body)));
                    headers.push(("webhook-timestamp", now.unix().to_string()));
                    headers.push(("webhook-id", id));
                }
                self.post(&self.url, &headers, &body)
            }
            TargetKind::Slack => {
                self.post(&self.url, &[json_type()], &notice_bodies::slack(notice))
            }
            TargetKind::Ntfy => {
                let (server, topic) = ntfy_topic(&self.url).unwrap_or_default();
                let bearer = self
                    .bearer
                    .iter()
                    .map(|token| ("authorization", format!("Bearer {}", token.as_str())));
                let headers: Vec<_> = std::iter::once(json_type()).chain(bearer).collect();
                self.post(
                    &format!("{server}/"),
                    &headers,
                    &notice_bodies::ntfy(topic, notice),
                )
            }
            TargetKind::Mail => {
                let to = self.url.strip_prefix("mailto:").unwrap_or_default();
                hand_to_sendmail(&notice_bodies::mail(boundary, to, notice))
            }
        }
    }

    fn post(&self, url: &str, headers: &[(&str, String)], body: &[u8]) -> Delivery {
        let mut request = self.agent.post(url);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        match request.send(body) {
            Ok(mut answer) => {
                let status = answer.status().as_u16();
                // Read the answer only so that the connection can be used again.
                let _ = answer
                    .body_mut()
                    .with_config()
                    .limit(MOST_ANSWER)
                    .read_to_vec();
                of_status(status)
            }
            Err(error) => Delivery::Later(why(&error, url)),
        }
    }
}

fn json_type() -> (&'static str, String) {
    ("content-type", "application/json".to_owned())
}

fn of_status(status: u16) -> Delivery {
    match status {
        200..300 => Delivery::Done,
        300..400 => Delivery::Never(format!(
            "the answer is a redirect ({status}): write the new address"
        )),
        408 | 429 | 500.. => Delivery::Later(format!("the answer has the status {status}")),
        _ => Delivery::Never(format!("the answer has the status {status}")),
    }
}

fn hand_to_sendmail(message: &[u8]) -> Delivery {
    let run = || {
        let mut child = Command::new(SENDMAIL)
            .args(["-t", "-i"])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(message)?;
        }
        child.wait()
    };
    match run() {
        Ok(status) if status.success() => Delivery::Done,
        Ok(status) if status.code().is_none_or(|code| code == TEMPORARY) => {
            Delivery::Later(format!("{SENDMAIL}: {status}"))
        }
        Ok(status) => Delivery::Never(format!("{SENDMAIL}: {status}")),
        Err(error) => Delivery::Later(format!("{SENDMAIL} can't be used: {error}")),
    }
}

/// Sends a test message to a target.
///
/// # Errors
/// Returns `not-found` if the configuration has no such target, and `wrong-state` if the target does not take the message.
pub async fn test(boundary: &Boundary, config: &Config, name: &Name) -> Result<(), Stopped> {
    let mut targets = config.notify.iter();
    let Some(table) = targets.find(|table| table.name == *name).cloned() else {
        let known = config.notify.iter().map(|table| &table.name);
        let detail = format!(
            "there is no target {name}; the targets are: {}",
            joined(known, ", ")
        );
        return Err(Refusal::new(Code::NotFound, detail).into());
    };
    let here = boundary.crossing.state().boundary.clone();
    let now = boundary.crossing.now();
    let proxy = config.proxy.clone();
    let sent = tokio::task::spawn_blocking(move || {
        let target = Target::open(&table, proxy.as_ref())?;
        match target.deliver(&here, &test_notice(&here, now), now) {
            Delivery::Done => Ok(()),
            Delivery::Later(why) | Delivery::Never(why) => Err(why),
        }
    });
    let sent = sent.await.map_err(fault)?;
    sent.map_err(|why| {
        Refusal::new(
            Code::WrongState,
            format!("the target does not take the message: {why}"),
        )
        .into()
    })
}

/// Returns a message that only tests a target.
fn test_notice(boundary: &BoundaryRef, now: Timestamp) -> Notice {
    let words = "this is a test of the target, and nothing must be done".to_owned();
    let mut event = FeedEvent::new(0, now, FeedKind::Attention);
    event.words = Some(words.clone());
    Notice {
        event,
        title: "TEST".to_owned(),
        lines: vec![words, format!("boundary: {}", boundary.name)],
        urgent: false,
    }
}

/// Starts a thread for each target. If the files of a target can't be used, its thread reads them again every 30 s, and
/// the messages wait.
pub fn start(boundary: &Boundary, ledger: &Ledger, config: &Config) -> StoreResult {
    if config.notify.is_empty() {
        return Ok(());
    }
    let (told, newest, runtime) = (
        ledger.reads().told()?,
        ledger.reads().newest_event()?,
        Handle::current(),
    );
    for table in &config.notify {
        warn_of_unknown(boundary, table);
        let known = told.iter().find(|known| known.name == table.name).cloned();
        let mut told = known.unwrap_or_else(|| ToldTarget {
            name: table.name.clone(),
            seq: newest,
            given_up: 0,
        });
        // After a restore, the stored number can be larger than that of the newest event.
        told.seq = told.seq.min(newest);
        let teller = Teller {
            boundary: boundary.clone(),
            ledger: ledger.clone(),
            runtime: runtime.clone(),
            told,
            stored: 0,
            stored_at: Instant::now(),
            attention: Vec::new(),
            refuses: None,
            filter: table.filter(),
            table: table.clone(),
            proxy: config.proxy.clone(),
        };
        let thread = std::thread::Builder::new().name("notify".to_owned());
        if let Err(error) = thread.spawn(move || teller.keep_telling()) {
            error!(target = %table.name, "no messages are sent, because no thread can be started: {error}");
        }
    }
    Ok(())
}

/// Warns if a target is for people whom neither the roster nor the tokens name, for example after a typing error.
fn warn_of_unknown(boundary: &Boundary, table: &NotifyTable) {
    let state = boundary.crossing.state();
    let roster = state.roster.tables();
    let known = |name: &str| {
        let mut people = roster.approvers.keys().chain(roster.proposers.keys());
        let mut groups = roster.approvers.values().flat_map(|one| &one.groups);
        people.any(|one| one.as_str() == name)
            || groups.any(|group| group.as_str() == name)
            || state.tokens.iter().any(|one| one.name.as_str() == name)
    };
    for name in table.people.iter().filter(|name| !known(name)) {
        warn!(
            target = %table.name,
            "`for` names {name}, but no approver, group or proposer has this name: no message comes for it"
        );
    }
}

/// The thread of one target.
struct Teller {
    boundary: Boundary,
    ledger: Ledger,
    runtime: Handle,
    told: ToldTarget,
    /// The stored position.
    stored: u64,
    stored_at: Instant,
    attention: Vec<(Timestamp, String)>,
    /// Reason why the last message was given up, or `None` since the target took a message.
    refuses: Option<String>,
    filter: NoticeFilter,
    table: NotifyTable,
    proxy: Option<ProxyAddress>,
}

/// Error: the store is closed, or can't be used.
struct Ended;

impl Teller {
    fn keep_telling(mut self) {
        let target = loop {
            match Target::open(&self.table, self.proxy.as_ref()) {
                Ok(target) => break target,
                Err(why) => {
                    error!("messages wait: {why}");
                    self.note(None, Some(why));
                    std::thread::sleep(PAUSES[1]);
                }
            }
        };
        self.note(None, None);
        while self.tell_next(&target).is_ok() {}
    }

    fn tell_next(&mut self, target: &Target) -> Result<(), Ended> {
        let mut news = self.ledger.event_news();
        let events = match self.ledger.reads().events(self.told.seq, PAGE) {
            Ok(events) => events,
            Err(error) => {
                warn!(target = %self.told.name, "messages wait: {error}");
                std::thread::sleep(NAP);
                return self.store();
            }
        };
        if events.is_empty() {
            self.store()?;
            let wait = async { tokio::time::timeout(NAP, news.changed()).await };
            let _ = self.runtime.block_on(wait);
        }
        let gather = !events.is_empty() && events.len() < PAGE;
        for event in events {
            self.tell(target, &event)?;
            if self.stored_at.elapsed() >= STORE {
                self.store()?;
            }
        }
        if gather {
            std::thread::sleep(GATHER);
        }
        Ok(())
    }

    /// Sends the message about an event, and tries again until the target has the message or the message is given up.
    fn tell(&mut self, target: &Target, event: &StoredEvent) -> Result<(), Ended> {
        let mut attempts = 0;
        loop {
            let notice = match self.boundary.proposals.notice(event, &self.filter) {
                Ok(NoticeNext::Skip) => break,
                Ok(NoticeNext::Wait(due)) => {
                    let left = due.unix() - self.boundary.crossing.now().unix();
                    self.pause(Duration::from_secs(left.try_into().unwrap_or(0)))?;
                    continue;
                }
                Ok(NoticeNext::Send(notice)) => notice,
                Err(stopped) => {
                    warn!(target = %self.told.name, "a message waits: {stopped}");
                    self.pause(NAP)?;
                    continue;
                }
            };
            // A target gets no message about its own errors.
            let words = notice.event.words.as_deref().unwrap_or_default();
            if words.starts_with(&self.words_about()) {
                break;
            }
            let (state, now) = (self.boundary.crossing.state(), self.boundary.crossing.now());
            crash_points::point("before-message");
            let done = target.deliver(&state.boundary, &notice, now);
            crash_points::point("after-message");
            let why = match done {
                Delivery::Done => {
                    self.refuses = None;
                    break;
                }
                Delivery::Later(why) if now.unix() - event.at.unix() < GIVEN_UP_S => {
                    self.note(Some(event.at), Some(why));
                    self.pause(PAUSES[attempts.min(PAUSES.len() - 1)])?;
                    attempts += 1;
                    continue;
                }
                Delivery::Later(why) | Delivery::Never(why) => why,
            };
            self.give_up(event, &notice, why);
            return Ok(());
        }
        self.told.seq = event.seq;
        self.note(None, self.refuses.clone());
        Ok(())
    }

    fn give_up(&mut self, event: &StoredEvent, notice: &Notice, why: String) {
        let words = format!(
            "{} event {} is given up: {why}",
            self.words_about(),
            event.seq
        );
        error!("{words}");
        self.told.seq = event.seq;
        self.told.given_up += 1;
        // Report only the first message that is given up, so that a broken target does not flood the other targets. Do
        // not report a message about such a report, because two broken targets would then report each other for ever.
        if notice.event.kind != FeedKind::Attention && self.refuses.is_none() {
            self.attention.push((self.boundary.crossing.now(), words));
        }
        self.refuses = Some(why.clone());
        self.note(None, Some(why));
    }

    /// Returns the beginning of each event about this target.
    fn words_about(&self) -> String {
        format!("the target {} of messages:", self.told.name)
    }

    /// Sleeps, and stores the position before a long sleep.
    fn pause(&mut self, pause: Duration) -> Result<(), Ended> {
        let end = Instant::now() + pause;
        while let left = end.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            self.store()?;
            std::thread::sleep(left.min(NAP));
        }
        Ok(())
    }

    /// Stores the position, and the events about messages that were given up.
    fn store(&mut self) -> Result<(), Ended> {
        self.stored_at = Instant::now();
        if self.stored == self.told.seq && self.attention.is_empty() {
            return Ok(());
        }
        let telling = Telling {
            targets: vec![self.told.clone()],
            attention: self.attention.clone(),
        };
        match self.runtime.block_on(self.ledger.tell(telling)) {
            Ok(()) => {
                self.stored = self.told.seq;
                self.attention.clear();
                Ok(())
            }
            Err(error) if error.is_fatal() || matches!(error, StoreFault::Closed) => Err(Ended),
            // The position is stored later, and after a crash some messages are sent again.
            Err(error) => {
                warn!(target = %self.told.name, "the position of the target can't be stored: {error}");
                Ok(())
            }
        }
    }

    fn note(&self, waits_since: Option<Timestamp>, trouble: Option<String>) {
        self.boundary.targets.note(TargetStatus {
            name: self.told.name.clone(),
            kind: self.table.kind.to_string(),
            seq: self.told.seq,
            given_up: self.told.given_up,
            behind: 0,
            waits_since,
            trouble,
        });
    }
}
