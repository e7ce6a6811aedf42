//! The maximum size of an answer and of a resource. An agent pays for each byte that it reads.

use serde_json::{Value, json};

/// Maximum number of bytes of the JSON of an answer or a resource.
pub const MAX_ANSWER_BYTES: usize = 64_000;
/// Part of [`MAX_ANSWER_BYTES`] for the note about what is cut out.
const NOTE_BYTES: usize = 1000;
/// Number of bytes from which a text is cut out.
const LONG_TEXT_BYTES: usize = 1000;
/// How a person or a program gets what is cut out.
pub const WHOLE: &str = "on the command line, `countersign registry show STEP --json` or `countersign wait ID --bundle \
    FILE`; over HTTP, `/v1/registry?under=FOLDER`, `/v1/steps/STEP`, `/v1/proposals/ID` or `/v1/receipts/RECEIPT/bundle`";

/// Cuts the largest members out of an answer until the answer is small enough. The member `cut` then names these members.
pub fn within_limit(mut answer: Value) -> Value {
    let mut cut: Vec<String> = Vec::new();
    while size(&answer) > MAX_ANSWER_BYTES - NOTE_BYTES {
        let members = answer.as_object_mut().into_iter().flatten();
        let largest = members
            .filter(|(name, _)| !cut.contains(name))
            .max_by_key(|(_, value)| size(value));
        let Some((name, value)) = largest else { break };
        *value = emptied(value.take());
        cut.push(name.clone());
    }
    if !cut.is_empty() {
        answer["cut"] = json!({"members": cut, "whole": WHOLE});
    }
    answer
}

fn size(value: &Value) -> usize {
    value.to_string().len()
}

/// Returns a value without its lists and long texts. A client still finds the same types at the same places.
fn emptied(value: Value) -> Value {
    match value {
        Value::String(text) if text.len() > LONG_TEXT_BYTES => "".into(),
        Value::Array(_) => json!([]),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (name, emptied(value)))
            .collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_over_64_kb_is_cut_and_it_names_the_cut_members_and_keeps_its_types() {
        let small = json!({"script": "x".repeat(60_000)});
        assert_eq!(within_limit(small.clone()), small);
        let hosts: Vec<String> = (0..5000).map(|at| format!("host-{at}.example")).collect();
        let sandbox = json!({"network": {"hosts": hosts, "mode": "listed"}, "timeout_s": 20});
        let script = "x".repeat(9000);
        let cut = within_limit(json!({"step": "a:b", "sandbox": sandbox, "script": script}));
        assert_eq!(
            cut["sandbox"],
            json!({"network": {"hosts": [], "mode": "listed"}, "timeout_s": 20})
        );
        assert_eq!(
            (&cut["cut"]["members"], &cut["script"]),
            (&json!(["sandbox"]), &json!(script))
        );
        assert!(
            cut["cut"]["whole"]
                .as_str()
                .is_some_and(|how| how.contains("/v1/steps/STEP")),
            "{cut}"
        );
        let text = "\"".repeat(40_000);
        let cut = within_limit(
            json!({"a": text, "b": [text], "problem": {"errors": vec![&text; 9], "code": "denied"}}),
        );
        assert!(
            size(&cut) <= MAX_ANSWER_BYTES && cut["problem"]["code"] == "denied",
            "{cut}"
        );
    }
}
