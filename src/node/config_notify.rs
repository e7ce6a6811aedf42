//! The targets of messages (`[[notify]]` in `countersign.toml`).

use std::path::PathBuf;

use schemars::JsonSchema;

use boundary::NoticeFilter;
use documents::Name;
use reading::Pattern;
use wire::FeedKind;

/// A target of messages.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct NotifyTable {
    /// Name of the target: a new name begins with the newest event.
    pub name: Name,
    /// Form of the messages.
    pub kind: TargetKind,
    /// Address: `https://` (or `http://` on this host); for `ntfy` with the topic as the last part; for `mail`
    /// `mailto:PERSON@HOST`. A target of the kind `slack` may have its address in `secret` instead.
    #[schemars(with = "Option<String>")]
    pub url: Option<String>,
    /// Private file. For `cloudevents`: one or two lines with `whsec_` and base64, which sign each message. For `ntfy`: an
    /// access token. For `slack`: the address.
    #[schemars(with = "Option<String>")]
    pub secret: Option<PathBuf>,
    /// Kinds of events, for example `proposal.pending`, or `proposal.*`. By default all for `cloudevents`, and for people
    /// those that need them.
    #[schemars(with = "Option<Vec<String>>")]
    pub events: Vec<FeedKind>,
    /// Patterns of steps, for example `deploy/**`. By default all steps.
    #[schemars(with = "Option<Vec<String>>")]
    pub steps: Vec<String>,
    /// Approvers and groups: the target gets only proposals that their signatures can move. Approvers: the target also gets
    /// each signature in their names. Proposers: the target gets the ends of their proposals.
    #[schemars(rename = "for", with = "Option<Vec<String>>")]
    pub people: Vec<String>,
    /// The target gets only proposals that still wait after this time, for example `10m`.
    #[schemars(with = "Option<String>")]
    pub after: Option<i64>,
    /// PEM file with the certificate authorities of the target. By default those of the system.
    #[schemars(with = "Option<String>")]
    pub ca: Option<PathBuf>,
    /// Address of a desk: `https://HOST` or `https://HOST:PORT`. Each message about a proposal that waits then ends with the
    /// address of its review at the desk.
    #[schemars(with = "Option<String>")]
    pub desk: Option<String>,
}

documents::words! {
    /// Form of the messages of a target.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
    #[schemars(rename_all = "lowercase")]
    pub enum TargetKind {
        /// CloudEvents 1.0, signed as Standard Webhooks 1.0.0 say.
        CloudEvents = "cloudevents",
        /// An incoming webhook of Slack, or of a service with the same form.
        Slack = "slack",
        /// A topic of ntfy.
        Ntfy = "ntfy",
        /// Mail through `/usr/sbin/sendmail`.
        Mail = "mail",
    }
}

impl NotifyTable {
    pub(super) const KEYS: &[&str] = &[
        "name", "kind", "url", "secret", "events", "steps", "for", "after", "ca", "desk",
    ];

    /// Returns the events that the target wants.
    pub fn filter(&self) -> NoticeFilter {
        NoticeFilter {
            events: self.events.clone(),
            // The reader has parsed the patterns already.
            steps: self
                .steps
                .iter()
                .filter_map(|pattern| Pattern::parse(pattern).ok())
                .collect(),
            people: self.people.clone(),
            after_s: self.after,
            to_people: self.kind != TargetKind::CloudEvents,
            desk: self.desk.clone(),
        }
    }
}

/// Returns the address of the server and the topic.
pub fn ntfy_topic(url: &str) -> Option<(&str, &str)> {
    let (server, topic) = url.rsplit_once('/')?;
    let known = !topic.is_empty()
        && topic
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"_-".contains(&c));
    (known && server.contains("://")).then_some((server, topic))
}
