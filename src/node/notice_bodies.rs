//! The bytes of messages: CloudEvents 1.0, Slack, ntfy, and mail (RFC 5322). Standard Webhooks 1.0.0 gives the headers of
//! CloudEvents.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;
use serde_json::json;
use zeroize::Zeroizing;

use boundary::Notice;
use documents::{BoundaryRef, Timestamp, joined};

/// Beginning of a secret of Standard Webhooks.
const SECRET: &str = "whsec_";
/// Sizes in bytes that Standard Webhooks permits for a secret.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Returns a CloudEvent. Its id is the same at each attempt.
pub fn cloud_event(boundary: &BoundaryRef, notice: &Notice) -> Vec<u8> {
    let event = &notice.event;
    let mut value = json!({
        "specversion": "1.0",
        "id": event.seq.to_string(),
        "source": format!("/countersign/{}/{}", boundary.name, boundary.id),
        "type": format!("dev.countersign.{}", event.kind),
        "time": event.at,
        "datacontenttype": "application/json",
        "data": event,
    });
    if let Some(id) = &event.proposal {
        value["subject"] = json!(id);
    }
    serde_json::to_vec(&value).unwrap_or_default()
}

/// The keys with which messages are signed: one, or two while a receiver changes from one to the other.
pub struct WebhookKeys(Vec<hmac::Key>);

impl WebhookKeys {
    /// Reads the keys, one on each line.
    ///
    /// # Errors
    /// Returns what is wrong, without the text of a key.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "the file is no text".to_owned())?;
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        if !(1..=2).contains(&lines.len()) {
            return Err(format!(
                "the file has {} lines: write one or two secrets, each on a line",
                lines.len()
            ));
        }
        let key = |line: &&str| {
            let encoded = line
                .strip_prefix(SECRET)
                .ok_or_else(|| format!("a secret begins with {SECRET}"))?;
            let bytes = STANDARD
                .decode(encoded)
                .map(Zeroizing::new)
                .map_err(|_| "a secret is base64".to_owned())?;
            if !SECRET_BYTES.contains(&bytes.len()) {
                return Err(format!(
                    "a secret has 24 to 64 bytes, this one has {}",
                    bytes.len()
                ));
            }
            Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        };
        lines.iter().map(key).collect::<Result<_, _>>().map(Self)
    }

    /// Returns the value of the header `webhook-signature`.
    pub fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> String {
        let signed = [
            id.as_bytes(),
            b".",
            at.unix().to_string().as_bytes(),
            b".",
            body,
        ]
        .concat();
        let one = |key| format!("v1,{}", STANDARD.encode(hmac::sign(key, &signed)));
        joined(self.0.iter().map(one), " ")
    }
}

/// Returns the message of an incoming webhook of Slack, without markup.
pub fn slack(notice: &Notice) -> Vec<u8> {
    let text = text_of(notice)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    serde_json::to_vec(&json!({ "text": text, "mrkdwn": false })).unwrap_or_default()
}

/// Returns the message for the JSON interface of ntfy.
pub fn ntfy(topic: &str, notice: &Notice) -> Vec<u8> {
    let priority = if notice.urgent { 4 } else { 3 };
    let message = notice.lines.join("\n");
    let value =
        json!({ "topic": topic, "title": notice.title, "message": message, "priority": priority });
    serde_json::to_vec(&value).unwrap_or_default()
}

/// Returns a mail for `sendmail -t`. All values are ASCII of our own grammar, so no value can add a header.
pub fn mail(boundary: &BoundaryRef, to: &str, notice: &Notice) -> Vec<u8> {
    let id = boundary.id.hex();
    let subject: String = notice
        .title
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { ' ' })
        .collect();
    format!(
        "To: {to}\nSubject: [{name}] {subject}\nMessage-ID: <{seq}.{id}@countersign.invalid>\nAuto-Submitted: auto-generated\n\
         MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n{text}\n",
        name = boundary.name,
        seq = notice.event.seq,
        text = text_of(notice)
    )
    .into_bytes()
}

fn text_of(notice: &Notice) -> String {
    joined(std::iter::once(&notice.title).chain(&notice.lines), "\n")
}
