//! Lines about the session, the artifacts and the plan of an authorization.

use crate::record::authorization::Authorization;
use crate::review::line::ReviewLine;
use crate::review::value_words::{bytes, plain_or_quoted};
use crate::terminal::printable_text::PrintableText;

/// Returns the lines, in the order of the screen. An authorization without these parts has no such line.
#[must_use]
pub fn lines(signed: &Authorization) -> Vec<ReviewLine> {
    let mut found = Vec::new();
    if let Some(session) = &signed.session {
        let text = PrintableText::text(&format!("{} at the state {}", session.id, session.state));
        let shows = ["id", "state"].map(|field| format!("signed.predicate.session.{field}"));
        found.push(line("session", text, shows.into()));
    }
    for (at, artifact) in signed.artifacts.iter().flat_map(|artifacts| &artifacts.0).enumerate() {
        let words = format!(", {}, {}", bytes(artifact.bytes), artifact.digest);
        let text = plain_or_quoted(artifact.name.as_str()).then(&PrintableText::text(&words));
        let shows = ["name", "bytes", "digest"].map(|field| format!("signed.predicate.artifacts[{at}].{field}"));
        found.push(line(if at == 0 { "artifacts" } else { "" }, text, shows.into()));
    }
    if let Some(plan) = &signed.plan {
        let text = PrintableText::text(&format!("receipt {}, output {}", plan.receipt, plan.output));
        let shows = ["receipt", "output"].map(|field| format!("signed.predicate.plan.{field}"));
        found.push(line("plan", text, shows.into()));
    }
    found
}

fn line(name: &'static str, text: PrintableText, shows: Vec<String>) -> ReviewLine {
    ReviewLine { shows, ..ReviewLine::always(name, text, &[]) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::review::derived::StatementVerdict;
    use crate::review::review_case::{case, fails, judged, painted};

    #[test]
    fn session_artifacts_and_plan_are_on_the_screen() {
        let mut case = case();
        case.definition["session"] = json!("write");
        case.definition["plan"] = json!({"step": "nginx:plan", "max_age_s": 600});
        case.spoil = |signed| {
            let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
            let session = json!({"id": "ses_019aa0b0-5c00-7000-8000-000000000003", "state": digest("1")});
            let artifacts = json!([
                {"name": "app.tar", "digest": digest("2"), "bytes": 1_048_577},
                {"name": "notes.txt", "digest": digest("3"), "bytes": 5},
            ]);
            let plan = json!({"receipt": digest("4"), "output": digest("5")});
            signed.session = Some(serde_json::from_value(session).expect("a session"));
            signed.artifacts = Some(serde_json::from_value(artifacts).expect("artifacts"));
            signed.plan = Some(serde_json::from_value(plan).expect("a plan"));
        };
        let sources = case.sources();
        let found = judged(&sources);
        assert_eq!(found.standing, StatementVerdict::Sound, "{}", fails(&found));
        let screen = painted(&sources, 400, false);
        for expected in [
            format!("session     ses_019aa0b0-5c00-7000-8000-000000000003 at the state sha256:{}\n", "1".repeat(64)),
            format!("artifacts   app.tar, 1048577 bytes, sha256:{}\n", "2".repeat(64)),
            format!("notes.txt, 5 bytes, sha256:{}\n", "3".repeat(64)),
            format!("plan        receipt sha256:{}, output sha256:{}\n", "4".repeat(64), "5".repeat(64)),
        ] {
            assert!(screen.contains(&expected), "{expected}\n{screen}");
        }
    }
}
