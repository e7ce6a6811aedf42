//! Checks and describes what a run gets besides its parameters: the session, uploaded files, and the output of a plan.

use std::collections::BTreeMap;

use crate::{
    PrintableText, ReviewFinding, ReviewLine, ReviewSources, ReviewedContent, plain_or_quoted,
    review::{
        step_files::check_contents,
        value_words::{counted, grouped, signed_paths, span},
    },
};
use documents::{Authorization, ContentDigest, SessionUse, StepDefinition};

/// Name of the check that the inputs have the signed digests.
pub const INPUTS: &str = "the files that the run gets have the signed digests";
/// Heading of the inputs above the script.
pub const HEADING: &str = "Files that the run gets";
/// Name of the output of a plan among the inputs.
const PLAN: &str = "plan";
/// Number of earlier runs of a session that the line names.
const NAMED_RUNS: usize = 5;
/// Number of uploaded files that the line names.
const NAMED_UPLOADS: usize = 4;
/// Number of characters of a file name in a line. The whole name is above the script.
pub const MOST_OF_NAME: usize = 40;

/// Returns the names, digests and sizes of the signed inputs: the artifacts, and then the plan.
pub fn signed_inputs(signed: &Authorization) -> Vec<(String, ContentDigest, Option<u64>)> {
    let artifacts = signed.artifacts.iter().flat_map(|artifacts| &artifacts.0);
    let artifacts = artifacts.map(|one| (one.name.to_string(), one.digest, Some(one.bytes)));
    artifacts
        .chain(
            signed
                .plan
                .iter()
                .map(|plan| (PLAN.to_owned(), plan.output, None)),
        )
        .collect()
}

/// Checks the contents from the boundary. Returns no finding if the run gets no files.
pub fn check(
    signed: &Authorization,
    contents: &BTreeMap<String, Vec<u8>>,
) -> (Vec<ReviewedContent>, Option<ReviewFinding>) {
    let signed = signed_inputs(signed).into_iter();
    check_contents(signed.map(|(name, digest, bytes)| {
        let content = contents.get(&name);
        let signed = ReviewedContent {
            kind: "input",
            name,
            digest,
            bytes,
            executable: false,
            content: None,
        };
        (signed, content)
    }))
}

/// Returns the lines below the script about the session, the inputs, the plan and the outputs.
pub fn lines(
    sources: &ReviewSources,
    signed: &Authorization,
    definition: Option<&StepDefinition>,
    inputs: &[ReviewedContent],
) -> Vec<ReviewLine> {
    let mut lines = Vec::new();
    let mut push = |name: &'static str, text: PrintableText, shows: Vec<String>| {
        lines.push(ReviewLine::always(name, text).showing(shows));
    };
    if let Some(session) = &signed.session {
        let changes = match definition.map(|definition| definition.session) {
            Some(SessionUse::Write) => "reads and changes",
            _ => "reads",
        };
        let text = format!("{changes} {}, at the state {}", session.id, session.state);
        let mut shows = signed_paths(&["session.id", "session.state"]);
        shows.push("definition.session".to_owned());
        push("session", PrintableText::text(&text), shows);
        push("", session_runs(sources), Vec::new());
    }
    let mut artifacts: Vec<&ReviewedContent> = inputs
        .iter()
        .filter(|input| input.bytes.is_some())
        .collect();
    if !artifacts.is_empty() {
        // Binary files are first, because the screen does not show their content. The number of names is limited,
        // because many long names would push the other lines off the screen.
        artifacts.sort_by_key(|input| input.text().is_some());
        let each = artifacts.iter().take(NAMED_UPLOADS).map(|input| {
            let size = format!(": {} bytes", grouped(input.size()));
            let shown = if input.text().is_some() {
                ""
            } else {
                ", binary, NOT SHOWN"
            };
            plain_or_quoted(&input.name)
                .cut(MOST_OF_NAME)
                .then(&size)
                .and(shown)
        });
        let fields = |at| {
            ["name", "digest", "bytes"]
                .map(|field| format!("signed.predicate.artifacts[{at}].{field}"))
        };
        let mut text = PrintableText::joined(each, "; ");
        if artifacts.len() > NAMED_UPLOADS {
            let more = format!(
                "; and {} more above the script",
                artifacts.len() - NAMED_UPLOADS
            );
            text = text.then(&more);
        }
        push(
            "uploads",
            text,
            (0..artifacts.len()).flat_map(fields).collect(),
        );
    }
    if let Some(plan) = &signed.plan {
        let asked = definition.and_then(|definition| definition.plan.as_ref());
        let (step, age) = match asked {
            Some(asked) => (
                asked.step.to_string(),
                span(i64::try_from(asked.max_age_s).unwrap_or(i64::MAX)),
            ),
            None => ("another step".to_owned(), "an unknown time".to_owned()),
        };
        let text = format!(
            "the output of a run of {step}, above the script, with the receipt {}; it can be carried out for {age} after \
             that run",
            plan.receipt
        );
        let mut shows = signed_paths(&["plan.receipt", "plan.output"]);
        shows.extend(["definition.plan.step", "definition.plan.max_age_s"].map(str::to_owned));
        push("plan", PrintableText::text(&text), shows);
    }
    if let Some(definition) = definition.filter(|definition| !definition.outputs.is_empty()) {
        let word = |output: &documents::StepOutput| {
            plain_or_quoted(output.name.as_str())
                .and(" (")
                .and(output.schema.kind.word())
                .and(")")
        };
        let text = PrintableText::words("values for later steps:")
            .and(" ")
            .then(PrintableText::joined(
                definition.outputs.iter().map(word),
                ", ",
            ));
        let fields =
            |at| ["name", "schema.type"].map(|field| format!("definition.outputs[{at}].{field}"));
        push(
            "outputs",
            text,
            (0..definition.outputs.len()).flat_map(fields).collect(),
        );
    }
    lines
}

/// Returns words about the earlier runs of the session, as the boundary reports them.
fn session_runs(sources: &ReviewSources) -> PrintableText {
    let Some(runs) = &sources.session_runs else {
        return PrintableText::words(
            "the boundary gave no list of the earlier runs of this session",
        );
    };
    if runs.is_empty() {
        return PrintableText::words("no run has used this session before");
    }
    let from = runs.len().saturating_sub(NAMED_RUNS);
    let last = PrintableText::joined(runs[from..].iter().map(PrintableText::text), ", ");
    let words = format!(
        "after {} in this session, the last:",
        counted(runs.len(), "run")
    );
    PrintableText::text(&words).and(" ").then(&last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{
        ReviewSources, StatementVerdict,
        review::tests::review_case::{case, fails, judged, painted},
    };
    use documents::{Artifact, Artifacts, ContentDigest, PlanReference, SessionReference};

    const PLAN: &str = "+ create web-4\n";

    fn with_inputs() -> ReviewSources {
        let mut case = case();
        case.definition["session"] = json!("write");
        case.definition["outputs"] = json!([{"name": "url", "schema": {"type": "string"}}]);
        case.definition["plan"] = json!({"step": "nginx:plan", "max_age_s": 3600});
        case.spoil = |signed| {
            let digest = |text: &str| ContentDigest::of(text.as_bytes());
            let id = "ses_02000000-0000-7000-8000-000000000003"
                .parse()
                .expect("an id");
            signed.session = Some(SessionReference {
                id,
                state: digest("state"),
            });
            let name = "notes".parse().expect("a name");
            signed.artifacts = Some(Artifacts(vec![Artifact {
                name,
                digest: digest("hello\n"),
                bytes: 6,
            }]));
            signed.plan = Some(PlanReference {
                receipt: digest("receipt"),
                output: digest(PLAN),
            });
        };
        let inputs = [("notes", "hello\n"), ("plan", PLAN)];
        let inputs = inputs
            .map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()))
            .into_iter()
            .collect();
        ReviewSources {
            inputs,
            session_runs: Some(vec!["nginx:build".to_owned()]),
            ..case.sources()
        }
    }

    #[test]
    fn a_review_shows_the_session_the_files_and_the_plan_of_a_run() {
        let sources = with_inputs();
        assert_eq!(
            judged(&sources).standing,
            StatementVerdict::Sound,
            "{}",
            fails(&judged(&sources))
        );
        let screen = painted(&sources, 600, false);
        for line in [
            "== Files that the run gets ==\n".to_owned(),
            format!(
                "  input \"notes\", 6 bytes, {}\n      1 | hello\n",
                ContentDigest::of(b"hello\n")
            ),
            "1 | + create web-4\n".to_owned(),
            "reads and changes ses_02000000-0000-7000-8000-000000000003, at the state sha256:"
                .to_owned(),
            "after 1 run in this session, the last: nginx:build".to_owned(),
            "  uploads     notes: 6 bytes\n".to_owned(),
            "the output of a run of nginx:plan, above the script, with the receipt sha256:"
                .to_owned(),
            "values for later steps: url (string)".to_owned(),
        ] {
            assert!(screen.contains(&line), "{line}\n{screen}");
        }
    }

    #[test]
    fn many_uploads_with_long_names_do_not_push_the_parameters_off_the_screen() {
        fn name(at: u8) -> String {
            format!("{at:x}{}", "n".repeat(127))
        }
        let mut case = case();
        case.spoil = |signed| {
            let one = |at| {
                let digest = ContentDigest::of(&[15 - at]);
                Artifact {
                    name: name(at).parse().expect("a name"),
                    digest,
                    bytes: 1,
                }
            };
            signed.artifacts = Some(Artifacts((0..16).map(one).collect()));
        };
        let inputs = (0..16).map(|at| (name(at), vec![15 - at])).collect();
        let sources = ReviewSources {
            inputs,
            ..case.sources()
        };
        let found = judged(&sources);
        assert_eq!(found.standing, StatementVerdict::Sound, "{}", fails(&found));
        let uploads = found
            .lines
            .always
            .iter()
            .find(|line| line.name == "uploads")
            .expect("a line")
            .text
            .as_str();
        // Only the last file is no text: it has the byte 0.
        assert!(
            uploads.starts_with("fnnn") && uploads.contains(": 1 bytes, binary, NOT SHOWN; 0nnn"),
            "{uploads}"
        );
        assert!(
            uploads.ends_with("; and 12 more above the script") && uploads.len() < 300,
            "{uploads}"
        );
        let screen = painted(&sources, 600, false);
        assert!((0..16).all(|at| screen.contains(&name(at))), "{screen}");
    }

    #[test]
    fn an_input_without_its_signed_content_can_not_be_signed() {
        for (name, content) in [
            ("notes", Some("other!\n")),
            ("plan", Some("- destroy all\n")),
            ("plan", None),
        ] {
            let mut sources = with_inputs();
            match content {
                Some(content) => drop(
                    sources
                        .inputs
                        .insert(name.to_owned(), content.as_bytes().to_vec()),
                ),
                None => drop(sources.inputs.remove(name)),
            }
            let found = judged(&sources);
            assert_eq!(
                found.standing,
                StatementVerdict::Unsound,
                "{name} {content:?}"
            );
            let screen = painted(&sources, 600, false);
            assert!(
                screen.contains("NOT SHOWN") && !screen.contains("destroy"),
                "{screen}"
            );
        }
    }
}
