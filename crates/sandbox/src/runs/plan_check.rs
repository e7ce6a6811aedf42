//! Checks the plan of a run before any process starts.

use crate::{
    Plan, PlannedInput, PlannedSession, interpreter,
    isolation::protocol::MAX_TEXT,
    runs::{MAX_INPUT_BYTES, MAX_INPUTS, profile_check::LEAST_MEMORY},
};
use documents::{Limits, OWN_VARIABLES, check_files};

/// Maximum size of a run's environment, in bytes. The kernel's maximum for one string is 128 KiB.
const MAX_ENV: usize = 100 << 10;
/// Maximum size of one variable of a session, in bytes, with its name, `=` and NUL byte (`MAX_ARG_STRLEN` of the
/// kernel).
const MAX_VARIABLE: usize = 128 << 10;

/// Returns the reason why no run can have this plan, or `None` if a run can have it.
pub fn invalid(plan: &Plan, limits: &Limits) -> Option<String> {
    if !interpreter::is_name(&plan.interpreter) {
        return Some(format!(
            "{:?} is not the name of an interpreter",
            plan.interpreter
        ));
    }
    for (name, text) in [
        ("script", &plan.source),
        ("parameter object", &plan.params_json),
    ] {
        if text.len() as u64 > MAX_TEXT {
            return Some(format!("the {name} is larger than 1 MiB"));
        }
    }
    if let Err(error) = check_files(&plan.step_files()) {
        return Some(format!("the files of the step are malformed: {error}"));
    }
    if let Some(planned) = plan
        .files
        .iter()
        .find(|one| one.bytes.len() as u64 != one.file.bytes)
    {
        return Some(format!(
            "the content of the file {:?} does not have the signed size",
            planned.file.path
        ));
    }
    let of_session = || plan.session.as_ref().and_then(invalid_session);
    if let Some(why) = invalid_inputs(&plan.inputs, limits).or_else(of_session) {
        return Some(why);
    }
    let mut names = std::collections::BTreeSet::new();
    // `planned_secret` checks the values of the secrets, without a message that could contain them.
    let of_secrets = plan
        .secrets
        .iter()
        .filter_map(|secret| Some((secret.variable.as_ref()?, "")));
    for (name, value) in plan
        .env
        .iter()
        .map(|(name, value)| (name, value.as_str()))
        .chain(of_secrets)
    {
        let word = name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
        if !word || name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Some(format!(
                "{name:?} is not the name of an environment variable"
            ));
        }
        // A process that can reach the ssh agent can sign with the operator's keys (rule R9).
        if name == "SSH_AUTH_SOCK" {
            return Some("the ssh agent of the service is never passed on".into());
        }
        if OWN_VARIABLES.contains(&name.as_str()) {
            return Some(format!(
                "the environment variable {name} is reserved for the sandbox"
            ));
        }
        if !names.insert(name) {
            return Some(format!("the environment variable {name} is set twice"));
        }
        if value.contains('\0') {
            return Some(format!(
                "the environment variable {name} contains a NUL byte"
            ));
        }
    }
    let secrets = plan
        .secrets
        .iter()
        .filter(|secret| !secret.as_file)
        .map(|secret| secret.value.expose().len() + 66);
    let bytes: usize = plan
        .env
        .iter()
        .map(|(name, value)| name.len() + value.len() + 2)
        .chain(secrets)
        .sum();
    (bytes > MAX_ENV).then(|| "the environment is larger than 100 KiB".to_owned())
}

fn invalid_inputs(inputs: &[PlannedInput], limits: &Limits) -> Option<String> {
    if inputs.len() > MAX_INPUTS {
        return Some(format!(
            "the run has {} artifacts, at most {MAX_INPUTS} are allowed",
            inputs.len()
        ));
    }
    let bytes: u64 = inputs
        .iter()
        .fold(0, |sum, input| sum.saturating_add(input.bytes));
    if bytes > MAX_INPUT_BYTES {
        return Some(format!(
            "all artifacts together have {bytes} bytes, at most {MAX_INPUT_BYTES} are allowed"
        ));
    }
    // The copies of the inputs count as memory of the run.
    let least = bytes.saturating_add(LEAST_MEMORY);
    if bytes > 0 && least > limits.memory_bytes {
        let most = limits.memory_bytes;
        return Some(format!(
            "the artifacts need {least} bytes of memory, but the limit memory_bytes is {most}: raise it"
        ));
    }
    let mut names = std::collections::BTreeSet::new();
    inputs.iter().find_map(|input| match input.file.metadata() {
        _ if !names.insert(&input.name) => Some(format!(
            "the run has two artifacts with the name {}",
            input.name
        )),
        Ok(found) if found.is_file() && found.len() == input.bytes => None,
        Ok(found) => {
            let (name, bytes) = (&input.name, found.len());
            Some(format!(
                "the artifact {name} has {bytes} bytes, but its signed size is {} bytes",
                input.bytes
            ))
        }
        Err(error) => Some(format!(
            "the artifact {} can't be read: {error}",
            input.name
        )),
    })
}

fn invalid_session(session: &PlannedSession) -> Option<String> {
    for (name, value) in &session.env {
        let shown = name.escape_ascii();
        if name.is_empty()
            || name.contains(&b'=')
            || [name, value].iter().any(|text| text.contains(&0))
        {
            return Some(format!(
                "the variable {shown} of the session has a name or a value that no variable can have"
            ));
        }
        if name.len() + value.len() + 2 > MAX_VARIABLE {
            return Some(format!(
                "the variable {shown} of the session is larger than 128 KiB: unset or shorten it"
            ));
        }
    }
    let bytes: usize = session
        .env
        .iter()
        .map(|(name, value)| name.len() + value.len() + 2)
        .sum();
    if bytes as u64 > MAX_TEXT {
        return Some(
            "the variables of the session are larger than 1 MiB: unset some of them".to_owned(),
        );
    }
    if let Some(cwd) = session
        .cwd
        .as_ref()
        .filter(|cwd| !cwd.starts_with(b"/") || cwd.contains(&0))
    {
        return Some(format!(
            "the directory {} of the session is no absolute path",
            cwd.escape_ascii()
        ));
    }
    let wrapper = session.wrapper.as_ref()?;
    let plain = !wrapper.name.is_empty()
        && !matches!(wrapper.name, "." | "..")
        && !wrapper.name.contains(['/', '\0']);
    (!plain || wrapper.content.len() as u64 > MAX_TEXT).then(|| {
        format!(
            "the wrapper {:?} of the session has no plain name or is larger than 1 MiB",
            wrapper.name
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PlannedFile;
    use documents::{ContentDigest, StepFile};

    fn plan() -> Plan {
        Plan::shell("exit 0", [])
    }

    fn file(path: &str, bytes: &[u8]) -> PlannedFile {
        let size = bytes.len() as u64;
        let file = StepFile {
            path: path.to_owned(),
            bytes: size,
            digest: ContentDigest::of(bytes),
            executable: false,
        };
        PlannedFile {
            file,
            bytes: bytes.into(),
            in_tmp: false,
        }
    }

    #[test]
    fn malformed_run_plans_are_refused_before_any_process_starts() {
        let env = |name: &str, value: &str| Plan {
            env: vec![(name.into(), value.into())],
            ..plan()
        };
        let invalid = |plan: &Plan| invalid(plan, &Limits::default());
        assert_eq!(invalid(&env("PARAM_A", "any\nthing=")), None);
        for (bad, word) in [
            (env("", "x"), "not the name"),
            (env("A=B", "x"), "not the name"),
            (env("1A", "x"), "not the name"),
            (env("PATH", "/tmp"), "reserved for the sandbox"),
            (env("A", "x\0y"), "NUL"),
            (env("SSH_AUTH_SOCK", "/run/agent"), "never passed on"),
            (env("A", &"x".repeat(MAX_ENV)), "100 KiB"),
            (
                Plan {
                    env: vec![("A".into(), "1".into()), ("A".into(), "2".into())],
                    ..plan()
                },
                "twice",
            ),
            (
                Plan {
                    interpreter: "bash -c x".into(),
                    ..plan()
                },
                "interpreter",
            ),
            (
                Plan {
                    source: vec![0; (1 << 20) + 1],
                    ..plan()
                },
                "1 MiB",
            ),
            (
                Plan {
                    files: vec![file("../a", b"x")],
                    ..plan()
                },
                "/step/files/0/path",
            ),
            (
                Plan {
                    files: vec![PlannedFile {
                        bytes: b"yy"[..].into(),
                        ..file("a", b"x")
                    }],
                    ..plan()
                },
                "signed size",
            ),
        ] {
            assert!(
                invalid(&bad).is_some_and(|why| why.contains(word)),
                "{word}"
            );
        }
    }
}
