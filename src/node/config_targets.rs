//! Reads the targets of messages from `countersign.toml`.

use crate::{NotifyTable, TargetKind, node::config_reader::Reader, ntfy_topic};
use documents::{Name, check_origin, joined};
use reading::YamlNode;
use wire::FeedKind;

/// Maximum number of targets, because each target has a thread of its own.
const MOST_TARGETS: usize = 32;
/// Advice for a target without a name or a kind.
const EXAMPLE: &str = "write cloudevents, slack, ntfy or mail";

impl Reader {
    /// Returns the targets of messages.
    pub fn notify(&mut self, tree: &YamlNode) -> Vec<NotifyTable> {
        let Some(section) = tree.value("notify") else {
            return Vec::new();
        };
        let tables = self.items(
            section,
            "`notify` must be tables: write [[notify]] for each target",
        );
        if tables.len() > MOST_TARGETS {
            self.note(
                section.place,
                format!("at most {MOST_TARGETS} targets are possible"),
            );
        }
        let mut found: Vec<NotifyTable> = Vec::new();
        for table in &tables {
            let Some(target) = self.target(table) else {
                continue;
            };
            if found.iter().any(|other| other.name == target.name) {
                self.flaw(
                    table,
                    "name",
                    format!("two targets have the name {}", target.name),
                );
            }
            found.push(target);
        }
        found
    }

    fn target(&mut self, node: &YamlNode) -> Option<NotifyTable> {
        self.known(node, "[[notify]]", NotifyTable::KEYS);
        for key in ["name", "kind"] {
            if node.value(key).is_none() {
                self.flaw(
                    node,
                    key,
                    format!("[[notify]] has no `{key}`: {EXAMPLE}, and name the target"),
                );
                return None;
            }
        }
        let name: Name = self.parsed(node, "name")?;
        let kind = self.word(node, "kind", &TargetKind::ALL, TargetKind::word)?;
        let secret = self.optional_path(node, "secret");
        let url = self.text(node, "url");
        match (&url, kind, &secret) {
            (Some(url), ..) => self.check_url(node, kind, url),
            (None, TargetKind::Slack, Some(_)) => {}
            _ => {
                let message = format!("the target {name} has no `url`");
                self.flaw(node, "url", message);
                return None;
            }
        }
        if kind == TargetKind::Mail && secret.is_some() {
            self.flaw(node, "secret", "a target of the kind mail has no secret");
            return None;
        }
        let people = self.list(node, "for");
        let steps = self.list(node, "steps");
        self.check_patterns(node, &steps);
        let after = node
            .value("after")
            .is_some()
            .then(|| self.seconds(node, "after"));
        let events = self.event_kinds(node, kind, people.is_empty());
        if after.is_some() && !events.iter().any(|event| event.is_request()) {
            let message = "`after` is only for the events proposal.pending and grant.pending, which the target does not get";
            self.flaw(node, "after", message);
            return None;
        }
        let ca = self.optional_path(node, "ca");
        let desk = self.text(node, "desk");
        if let Some(Err(error)) = desk.as_deref().map(check_origin) {
            self.flaw(node, "desk", format!("{error} (the address of a desk)"));
            return None;
        }
        Some(NotifyTable {
            name,
            kind,
            url,
            secret,
            events,
            steps,
            people,
            after,
            ca,
            desk,
        })
    }

    fn check_url(&mut self, node: &YamlNode, kind: TargetKind, url: &str) {
        let host = url.split_once("://").map_or("", |(_, rest)| {
            rest.split(['/', '?', '#', '\\']).next().unwrap_or_default()
        });
        if host.contains('@') {
            let message = "the address has a user name or a password, which everybody who reads the configuration would see: \
                           remove them, and put what is secret into the file of `secret`";
            self.flaw(node, "url", message);
            return;
        }
        let plain = url.bytes().all(|c| c.is_ascii_graphic());
        let of_host = ["127.0.0.1", "localhost", "[::1]"];
        let local = |rest: &str| {
            of_host
                .iter()
                .any(|host| rest.strip_prefix(host).is_some_and(ends_host))
        };
        let valid = match kind {
            TargetKind::Mail => url.strip_prefix("mailto:").is_some_and(is_mail_address),
            TargetKind::CloudEvents | TargetKind::Slack | TargetKind::Ntfy => {
                url.strip_prefix("https://")
                    .is_some_and(|rest| !rest.is_empty())
                    || url.strip_prefix("http://").is_some_and(local)
            }
        };
        if !plain || !valid {
            let expected = match kind {
                TargetKind::Mail => "mailto:PERSON@HOST",
                _ => "https://..., or http://127.0.0.1:PORT/... on this host",
            };
            self.flaw(node, "url", format!("the address must be {expected}"));
        } else if kind == TargetKind::Ntfy && ntfy_topic(url).is_none() {
            let message =
                "the address must end with the topic, for example https://ntfy.example/TOPIC";
            self.flaw(node, "url", message);
        }
    }

    fn event_kinds(&mut self, node: &YamlNode, kind: TargetKind, everybody: bool) -> Vec<FeedKind> {
        if node.value("events").is_none() {
            let for_people = |event: &FeedKind| match event {
                FeedKind::Pending
                | FeedKind::GrantPending
                | FeedKind::Frozen
                | FeedKind::Thawed
                | FeedKind::Revocation
                | FeedKind::Attention => true,
                event => (event.is_end() || *event == FeedKind::Signed) && !everybody,
            };
            return FeedKind::ALL
                .into_iter()
                .filter(|event| kind == TargetKind::CloudEvents || for_people(event))
                .collect();
        }
        let mut found = Vec::new();
        for word in self.list(node, "events") {
            let is_meant = |event: &FeedKind| match word.strip_suffix('*') {
                Some(start) => event.word().starts_with(start),
                None => event.word() == word,
            };
            let chosen: Vec<FeedKind> = FeedKind::ALL.into_iter().filter(is_meant).collect();
            if chosen.is_empty() {
                let known = joined(FeedKind::ALL, ", ");
                let message = format!("there is no event {word:?}; the events are {known}");
                self.flaw(node, "events", message);
            }
            found.extend(chosen);
        }
        found
    }
}

/// Returns true if the host name has ended before `rest`.
fn ends_host(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with([':', '/'])
}

fn is_mail_address(text: &str) -> bool {
    let part = |part: &str, more: &[u8]| {
        !part.is_empty()
            && part
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || more.contains(&c))
            && !part.starts_with('-')
    };
    text.split_once('@')
        .is_some_and(|(person, host)| part(person, b"._+-") && part(host, b".-"))
}
