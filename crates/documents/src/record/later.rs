//! The schemas of statements, with their reserved parts.

use serde_json::{Value, json};

use crate::record::{
    document::{Predicate, Statement},
    schema::settings,
};

/// Returns the schema of a statement of this kind, with its reserved parts.
pub fn schema_of<P: Predicate>() -> Value {
    let mut generator = settings().into_generator();
    let parts: Vec<_> = P::RESERVED
        .iter()
        .map(|reserved| (reserved.path, (reserved.schema)(&mut generator)))
        .collect();
    let mut root = generator.into_root_schema_for::<Statement<P>>().to_value();
    // The transforms have already processed the definition to which a reference points.
    for (path, schema) in parts {
        let mut way: Vec<&str> = path.split('/').collect();
        let field = way.pop().unwrap_or_default();
        let mut at = format!("/$defs/{}", P::schema_name());
        for step in way {
            at = resolved(
                &root,
                if step == "*" {
                    format!("{at}/items")
                } else {
                    format!("{at}/properties/{step}")
                },
            );
        }
        if let Some(properties) = root
            .pointer_mut(&format!("{at}/properties"))
            .and_then(Value::as_object_mut)
        {
            let mut schema = schema.to_value();
            if let Some(map) = schema.as_object_mut() {
                map.insert(
                    "description".to_owned(),
                    json!("Reserved for a later version. A verifier of this version answers `later-feature`."),
                );
            }
            properties.insert(field.to_owned(), schema);
        }
    }
    root
}

/// Follows the reference at `pointer` in the schema, or returns `pointer` if there is no reference.
fn resolved(root: &Value, pointer: String) -> String {
    match root
        .pointer(&pointer)
        .and_then(|schema| schema["$ref"].as_str())
    {
        Some(reference) => reference.trim_start_matches('#').to_owned(),
        None => pointer,
    }
}
