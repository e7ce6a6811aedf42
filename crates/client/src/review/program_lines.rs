//! Builds the lines of a review about programs and secrets: what policy asks about, which programs the run can start,
//! and which secrets the run gets.

use serde_json::Value;

use crate::{
    PrintableText, ReviewLine, list_words,
    review::{
        remarks,
        value_words::{ScriptPlaces, short_list_words},
    },
};
use documents::{
    Authorization, PermissionKind, PermissionReason, Profile, SecretAs, StepDefinition,
};

/// Returns the line about programs, files and variables that are in no list, and about a script that policy can't read.
/// If there is neither, the result is `None`. Remarks name what a built-in list denies.
pub fn asked(
    definition: Option<&StepDefinition>,
    signed: &Authorization,
    places: &ScriptPlaces,
) -> Option<ReviewLine> {
    let mut parts = Vec::new();
    let mut shows = Vec::new();
    for kind in PermissionKind::ALL {
        let asked = remarks::asked(signed, kind, PermissionReason::Unlisted);
        if !asked.is_empty() {
            parts.push(
                PrintableText::words(remarks::verb(kind)).then(places.with_lines(kind, &asked)),
            );
            shows.extend(
                asked
                    .iter()
                    .flat_map(|(at, _)| remarks::permission_paths(*at)),
            );
        }
    }
    let readable = definition.is_none_or(|definition| {
        ["bash", "sh", "dash", "zsh"].contains(&definition.interpreter.as_str())
    });
    let text = if !parts.is_empty() {
        PrintableText::joined(parts, "; ")
            .and(": in no list; your signature allows this ")
            .and(remarks::how_often(signed))
    } else if readable {
        return None;
    } else if signed.sandbox.programs.is_some() {
        PrintableText::words(
            "not a shell script, so policy can't see which programs the script starts",
        )
    } else {
        PrintableText::words(
            "unknown: this is not a shell script, so the script may start any program",
        )
    };
    Some(ReviewLine::always("asks", text).showing(shows))
}

/// Returns the line with the programs that the run can start, in a few words. If the sandbox is off, the result is
/// `None`, because a remark says so.
pub fn may_run(profile: &Profile, step_programs: bool) -> Option<ReviewLine> {
    if profile.off_reason.is_some() {
        return None;
    }
    let text = match &profile.programs {
        Some(programs) => short_list_words(programs, step_programs),
        None => PrintableText::words("every program of the host: the kernel holds no list"),
    };
    Some(ReviewLine::always("may run", text))
}

/// Returns the line above the script with each program of the list.
pub fn listed(profile: &Profile, step_programs: bool) -> Option<ReviewLine> {
    let programs = profile.programs.as_ref()?;
    let shows = vec!["signed.predicate.sandbox.programs".to_owned()];
    Some(ReviewLine::always("programs", list_words(programs, step_programs)).showing(shows))
}

/// Returns the line that names the secrets of a run, or `None` if the run gets no secret.
pub fn given_secrets(definition: &StepDefinition, params: &Value) -> Option<ReviewLine> {
    let mut parts: Vec<PrintableText> = Vec::new();
    let mut shows = Vec::new();
    for (at, secret) in definition.secrets.iter().enumerate() {
        let name = PrintableText::text(secret.name.as_str());
        let variable = secret
            .variable
            .as_ref()
            .map(|variable| PrintableText::text(variable.as_str()));
        parts.push(match (secret.given, variable) {
            (SecretAs::Env, Some(variable)) => name.and(" in the variable ").then(&variable),
            (SecretAs::File, Some(variable)) => {
                name.and(" as a file, with its path in ").then(&variable)
            }
            (_, None) => name.and(" as a file"),
        });
        let fields = ["name", "as", "variable"].into_iter();
        let fields = fields.filter(|field| *field != "variable" || secret.variable.is_some());
        shows.extend(fields.map(|field| format!("definition.secrets[{at}].{field}")));
    }
    for name in definition.params.named_secrets(params) {
        parts.push(PrintableText::text(name.as_str()).and(" as a file, named by a parameter"));
    }
    if parts.is_empty() {
        return None;
    }
    Some(ReviewLine::always("secrets", PrintableText::joined(parts, "; ")).showing(shows))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_line_names_each_secret_and_how_the_run_gets_it() {
        let definition = |secrets: Value, params: Value| -> StepDefinition {
            serde_json::from_value(json!({
                "ref": "a:b", "title": "t", "format": "markdown", "interpreter": "bash", "source": "", "files": [],
                "params": params, "template": "none", "sandbox": {}, "approvals": {"required": 1, "from": []},
                "secrets": secrets, "outputs": [], "session": "none",
            }))
            .expect("a definition")
        };
        let secrets = json!([
            {"name": "api", "as": "env", "variable": "TOKEN"},
            {"name": "ca", "as": "file"},
            {"name": "db", "as": "file", "variable": "DB_FILE"},
        ]);
        let params =
            json!({"type": "object", "properties": {"pw": {"type": "string", "x-secret": true}}});
        let step = definition(secrets, params);
        let found = given_secrets(&step, &json!({"pw": {"secret": "root-pw"}})).expect("a line");
        assert_eq!(
            found.text.as_str(),
            "api in the variable TOKEN; ca as a file; db as a file, with its path in DB_FILE; root-pw as a file, named \
             by a parameter"
        );
        assert_eq!(found.shows.len(), 8, "{:?}", found.shows);
        assert!(
            given_secrets(
                &definition(json!([]), json!({"type": "object"})),
                &json!({})
            )
            .is_none()
        );
    }
}
