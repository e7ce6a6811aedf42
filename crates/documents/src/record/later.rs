//! Kinds of documents that only a later version uses, and the schemas of reserved parts.

use serde_json::{Value, json};

use crate::record::document::{Predicate, Statement};
use crate::record::envelope::MAX_SIGNATURES;
use crate::record::grant::Grant;
use crate::record::malformed::Malformed;
use crate::record::reserved::ReservedForm;
use crate::record::review_statement::ReviewStatement;
use crate::record::revocation::Revocation;
use crate::record::run_report::RunReport;
use crate::record::schema::settings;

/// Reads the payload of a reserved kind with this number of signatures. Returns the error of an invalid payload, or
/// [`Malformed::later`] for a valid payload. Returns `None` if `kind` is not reserved.
#[must_use]
pub fn of_kind(kind: &str, payload: &[u8], signatures: usize) -> Option<Malformed> {
    let (read, most) = match kind {
        Grant::KIND => (Statement::<Grant>::from_payload(payload).map(drop), MAX_SIGNATURES),
        Revocation::KIND => (Statement::<Revocation>::from_payload(payload).map(drop), 1),
        ReviewStatement::KIND => (Statement::<ReviewStatement>::from_payload(payload).map(drop), 1),
        RunReport::KIND => (Statement::<RunReport>::from_payload(payload).map(drop), 1),
        _ => return None,
    };
    Some(match read {
        Err(error) if !error.later => error,
        _ if !(1..=most).contains(&signatures) => {
            Malformed::at("/signatures", format!("found {signatures} signatures, expected 1 to {most}"))
        }
        _ => Malformed::later("/predicateType"),
    })
}

/// Returns the schema of a statement of this kind, with its reserved parts.
#[must_use]
pub fn schema_of<P: Predicate>() -> Value {
    let mut generator = settings().into_generator();
    let parts: Vec<_> = P::RESERVED
        .iter()
        .map(|reserved| match reserved.form {
            ReservedForm::Field { schema, .. } => (reserved.path, Some(schema(&mut generator)), None),
            ReservedForm::Word(word) => (reserved.path, None, Some(word)),
        })
        .collect();
    let mut root = generator.into_root_schema_for::<Statement<P>>().to_value();
    // The transforms have already processed the definition to which a reference points.
    for (path, schema, word) in parts {
        let mut way: Vec<&str> = path.split('/').collect();
        let field = way.pop().unwrap_or_default();
        let mut at = format!("/$defs/{}", P::schema_name());
        for step in way {
            at = resolved(&root, if step == "*" { format!("{at}/items") } else { format!("{at}/properties/{step}") });
        }
        if let Some(schema) = schema {
            if let Some(properties) = root.pointer_mut(&format!("{at}/properties")).and_then(Value::as_object_mut) {
                let mut schema = schema.to_value();
                if let Some(map) = schema.as_object_mut() {
                    map.insert(
                        "description".to_owned(),
                        json!("Reserved: a verifier of this version answers later-feature."),
                    );
                }
                properties.insert(field.to_owned(), schema);
            }
        } else if let Some(word) = word {
            let items = resolved(&root, format!("{at}/properties/{field}"));
            let items = resolved(&root, format!("{items}/items"));
            let Some(words) = root.pointer_mut(&items).and_then(Value::as_object_mut) else { continue };
            if let Some(words) = words.get_mut("enum").and_then(Value::as_array_mut) {
                words.retain(|known| known != word);
                words.push(json!(word));
            } else if let Some(words) = words.get_mut("oneOf").and_then(Value::as_array_mut) {
                words.retain(|known| known["const"] != word);
                words.push(json!({"const": word, "description": "Reserved: later-feature.", "type": "string"}));
            }
        }
    }
    root
}

/// Follows the reference at `pointer` in the schema, or returns `pointer` if there is no reference.
fn resolved(root: &Value, pointer: String) -> String {
    match root.pointer(&pointer).and_then(|schema| schema["$ref"].as_str()) {
        Some(reference) => reference.trim_start_matches('#').to_owned(),
        None => pointer,
    }
}
