//! The line of a review that names the secrets of a run.

use serde_json::Value;

use crate::{PrintableText, ReviewLine};
use documents::{SecretAs, StepDefinition};

/// Returns the line, or `None` if the run gets no secret.
pub fn line(definition: &StepDefinition, params: &Value) -> Option<ReviewLine> {
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
        let found = line(&step, &json!({"pw": {"secret": "root-pw"}})).expect("a line");
        assert_eq!(
            found.text.as_str(),
            "api in the variable TOKEN; ca as a file; db as a file, with its path in DB_FILE; root-pw as a file, named \
             by a parameter"
        );
        assert_eq!(found.shows.len(), 8, "{:?}", found.shows);
        assert!(
            line(
                &definition(json!([]), json!({"type": "object"})),
                &json!({})
            )
            .is_none()
        );
    }
}
