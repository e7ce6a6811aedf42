//! Readers of vectors for policy decisions about commands, paths and variables.

use documents::{Permission, PermissionKind, PermissionReason};
use reading::{
    AnswerChoice, AnswerGiven, Builtins, DecisionPlace, DefaultAnswers, Flags, PathVariables,
    Policy, PolicyVerdict, ReadLimit, RunbookPath, Session, Shell, decide_env, decide_path,
    decide_script, normalised, resolve_path, worst,
};
use serde_json::Value;

use super::{Outcome, same, text};

/// Reads `policy.json` and files of the same format: a list of decisions.
pub fn decisions(file: &Value) -> Vec<Outcome> {
    let vectors = file.as_array().map_or(&[][..], Vec::as_slice);
    let name = |vector: &Value| {
        vector["id"]
            .as_str()
            .unwrap_or("a vector without id")
            .to_owned()
    };
    vectors
        .iter()
        .map(|vector| (name(vector), one(vector)))
        .collect()
}

fn one(vector: &Value) -> Result<(), String> {
    for key in vector
        .as_object()
        .into_iter()
        .flat_map(|vector| vector.keys())
    {
        if !KNOWN.contains(&&**key) {
            return Err(format!(
                "the vector has a field {key:?}, which this reader does not know"
            ));
        }
    }
    let (answer, asks) = answer(vector)?;
    let expected = text(vector, "expected")?;
    let others = vector["accept"].as_array().into_iter().flatten();
    // An unreadable policy allows nothing, so it also satisfies these expectations.
    let refused = answer == "invalid" && ["deny", "error", "refuse"].contains(&expected);
    if answer != expected
        && !refused
        && !others
            .filter_map(Value::as_str)
            .any(|other| other == answer)
    {
        return Err(format!(
            "expected {expected}, got {answer}: {}",
            asks.join(", ")
        ));
    }
    match vector["asks"].as_array() {
        Some(list) => same(
            "asks",
            asks,
            list.iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        ),
        None => Ok(()),
    }
}

/// The decision, and each part that is not simply allowed.
fn answer(vector: &Value) -> Result<(&'static str, Vec<String>), String> {
    let policy = match &vector["policy"] {
        Value::Null => Policy::untouched(),
        // A string is the text of a policy file that JSON cannot express.
        written => match Policy::load(
            &written
                .as_str()
                .map_or_else(|| written.to_string(), str::to_owned),
        ) {
            Ok(policy) => policy,
            Err(errors) => {
                return Ok(("invalid", errors.iter().map(ToString::to_string).collect()));
            }
        },
    };
    let runbook = RunbookPath::of_file(vector["runbook"].as_str().unwrap_or_default());
    let ruling = resolve_path(&policy, Builtins::current(), &runbook);
    let at = if vector["at"] == "boundary" {
        DecisionPlace::Boundary
    } else {
        DecisionPlace::Terminal
    };
    let context = |name: &str, default: &'static str| {
        vector["ctx"][name].as_str().unwrap_or(default).to_owned()
    };
    let places = PathVariables::new(&context("repo", "/repo"), &context("tmp", "/tmp"));
    let Said {
        flags,
        mut session,
        answers,
    } = said(&vector["cli"], places)?;
    let input = text(vector, "input")?;
    let kind = kind(text(vector, "kind")?)?;
    let (verdict, decided) = match kind {
        PermissionKind::Run => {
            let decision = decide_script(Shell::Bash, &ruling, input, ReadLimit::File, at, &flags);
            (decision.verdict, decision.decided)
        }
        PermissionKind::Env => {
            let decided = decide_env(&ruling, input, at, &flags);
            (decided.verdict, vec![decided])
        }
        PermissionKind::Read | PermissionKind::Write => {
            let path = match input.strip_prefix('/') {
                Some(_) => normalised(input),
                None => normalised(&format!("{}/{input}", context("cwd", "/repo"))),
            };
            let decided = decide_path(&ruling, kind, &path, at, &flags);
            (decided.verdict, vec![decided])
        }
    };
    // At the terminal, the session and the default answers of the vector answer each question. The result of a script
    // without parts, for example an unparsable script, is its own verdict.
    let mut decided = decided;
    for one in decided.iter_mut().filter(|_| at == DecisionPlace::Terminal) {
        let PolicyVerdict::Ask(why) = one.verdict else {
            continue;
        };
        let question = Permission {
            kind: one.kind,
            what: one.what.clone(),
            why,
        };
        let mut asked = false;
        let given = session.answer(&question, answers, || {
            asked = true;
            AnswerChoice::Deny
        });
        one.verdict = match given {
            _ if asked => one.verdict,
            AnswerGiven::Allowed(_) => PolicyVerdict::Allow,
            AnswerGiven::Denied(_) | AnswerGiven::DeniedWithAll => PolicyVerdict::Deny,
        };
    }
    let verdict = if decided.is_empty() {
        verdict
    } else {
        worst(&decided)
    };
    let asks = decided
        .iter()
        .filter(|one| one.verdict != PolicyVerdict::Allow);
    let mut asks: Vec<String> = asks
        .map(|one| {
            format!(
                "{} {}: {}",
                one.kind.word(),
                one.what,
                verdict_word(one.verdict)
            )
        })
        .collect();
    asks.dedup();
    Ok((verdict_word(verdict), asks))
}

const fn verdict_word(verdict: PolicyVerdict) -> &'static str {
    match verdict {
        PolicyVerdict::Allow => "allow",
        PolicyVerdict::Ask(_) => "prompt",
        PolicyVerdict::Deny => "deny",
    }
}

fn kind(word_of: &str) -> Result<PermissionKind, String> {
    PermissionKind::ALL
        .into_iter()
        .find(|kind| kind.word() == word_of)
        .ok_or_else(|| format!("no kind {word_of:?}"))
}

/// The flags and answers that exist before the question of the vector.
struct Said {
    flags: Flags,
    session: Session,
    answers: DefaultAnswers,
}

fn said(cli: &Value, places: Option<PathVariables>) -> Result<Said, String> {
    let mut flags = Flags {
        places,
        ..Flags::default()
    };
    let mut session = Session::default();
    let mut answers = DefaultAnswers {
        yes: false,
        nobody: None,
    };
    let mut before = |kind: PermissionKind, what: &str, choice: AnswerChoice| {
        let question = Permission {
            kind,
            what: what.to_owned(),
            why: PermissionReason::Unlisted,
        };
        session.answer(
            &question,
            DefaultAnswers {
                yes: false,
                nobody: None,
            },
            || choice,
        )
    };
    for (key, value) in cli.as_object().into_iter().flatten() {
        let on = value == &Value::Bool(true);
        match key.as_str() {
            "yes" => answers.yes = on,
            "nonInteractive" => answers.nobody = on.then_some("--non-interactive"),
            "allowAll" => flags.allow_all = on,
            "denyAll" => flags.deny_all = on,
            "session" => {
                for (kind_of, names) in value.as_object().into_iter().flatten() {
                    for name in names
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter_map(Value::as_str)
                    {
                        before(kind(kind_of)?, name, AnswerChoice::Session);
                    }
                }
            }
            "sessionAllowsAll" => {
                before(
                    kind(value.as_str().unwrap_or_default())?,
                    "anything",
                    AnswerChoice::AllOfType,
                );
            }
            "sessionDeniesAll" => {
                before(
                    kind(value.as_str().unwrap_or_default())?,
                    "anything",
                    AnswerChoice::DenyAll,
                );
            }
            other => {
                for pattern in value
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                {
                    flags
                        .granted
                        .grant(kind(other)?, pattern)
                        .map_err(|error| error.to_string())?;
                }
            }
        }
    }
    Ok(Said {
        flags,
        session,
        answers,
    })
}

const KNOWN: [&str; 14] = [
    "id",
    "policy",
    "runbook",
    "at",
    "cli",
    "ctx",
    "kind",
    "input",
    "expected",
    "accept",
    "asks",
    "why",
    "peer",
    "ground_truth",
];
