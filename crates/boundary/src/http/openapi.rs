//! Generator of the OpenAPI 3.1 document from the route table and the types.
//!
//! The table of all routes.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use schemars::Schema;
use schemars::generate::SchemaGenerator;
use schemars::transform::RecursiveTransform;
use serde_json::{Map, Value, json};

use crate::{
    BodyShape, JSON, MEDIA_TYPE, OCTETS, Route, RouteAccess, Verb,
    http::{
        admissions, artifacts, authorizations, challenges, denials, feed, grants, log_routes, mcp,
        metrics_route, outputs, probes, problem::FAULT, proposals, receipts, registry, reviews,
        revocations, sessions,
    },
};
use documents::{Code, schema};
use wire::Problem;

/// Codes of refusals that every route can return.
const COMMON: &[Code] = &[
    Code::Malformed,
    Code::Unauthenticated,
    Code::Forbidden,
    Code::NotFound,
    Code::RateLimited,
    Code::Busy,
    Code::Standby,
    Code::Database,
];
const BEARER: &str = "bearer";

/// Returns the OpenAPI document of the HTTP interface.
pub fn openapi() -> Value {
    let settings = schema::settings()
        .with_transform(RecursiveTransform(plain_enum))
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
    let mut schemas = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes() {
        let verb = match route.verb {
            Verb::Get => "get",
            Verb::Post => "post",
            Verb::Put => "put",
        };
        let path = route.path.replace("{*", "{");
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[verb] = operation(route, &mut schemas);
    }
    let _ = schemas.subschema_for::<Problem>();
    let mut schemas = Value::Object(schemas.take_definitions(true));
    let kinds = Code::ALL.iter().map(|code| code.kind());
    schemas["Problem"]["properties"]["type"]["enum"] =
        kinds.chain([FAULT, "about:blank"]).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Countersign",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A signed-approval execution boundary: agents propose, people countersign, it runs once, anyone verifies the receipt",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                BEARER: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token (`cst_…`), or the bearer in the answer to a signed challenge or to an ID token",
                },
            },
        },
    })
}

/// Converts a choice of constants to one `enum` whose description contains the meaning of each constant.
///
/// If constants have doc comments, schemars writes a `oneOf` with a `const` for each constant. Some client generators
/// (openapi-python-client 0.29) treat a `const` as the only possible value of the type. A generated client would refuse
/// all other values.
fn plain_enum(schema: &mut Schema) {
    let Some(Value::Array(choices)) = schema.get("oneOf") else {
        return;
    };
    let Some(words) = choices
        .iter()
        .map(|choice| choice["const"].as_str())
        .collect::<Option<Vec<_>>>()
    else {
        return;
    };
    let mut text = schema
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    for (word, choice) in words.iter().zip(choices) {
        let meaning = choice["description"].as_str().unwrap_or_default();
        text += &format!("\n- `{word}`: {meaning}");
    }
    let words = Value::from(words);
    schema.remove("oneOf");
    schema.insert("type".to_owned(), "string".into());
    schema.insert("enum".to_owned(), words);
    schema.insert("description".to_owned(), text.into());
}

fn operation(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let mut replies: BTreeMap<u16, Value> = BTreeMap::new();
    for reply in route.replies {
        let at = replies
            .entry(reply.status)
            .or_insert_with(|| json!({"description": reply.about, "content": {}}));
        at["content"][reply.media] = content(reply.shape, schemas);
    }
    let problem = schemas.subschema_for::<Problem>();
    let mut refusals: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    let too_large = route.body.is_some().then_some(&Code::TooLarge);
    for code in COMMON.iter().chain(too_large).chain(route.codes) {
        let words = refusals.entry(code.status()).or_default();
        if !words.contains(&code.word()) {
            words.push(code.word());
        }
    }
    if matches!(route.body, Some(BodyShape::Json(_))) {
        let words = refusals
            .entry(StatusCode::UNSUPPORTED_MEDIA_TYPE.as_u16())
            .or_default();
        words.push("malformed: the body's `Content-Type` is not application/json");
    }
    for (status, words) in refusals {
        // The map may already contain this status, because the route `/ready` returns its own document with status 503.
        let at = replies
            .entry(status)
            .or_insert_with(|| json!({"content": {}}));
        at["description"] = words.join(", ").into();
        at["content"][MEDIA_TYPE] = json!({"schema": problem});
    }
    let mut responses: Map<String, Value> = replies
        .into_iter()
        .map(|(status, reply)| (status.to_string(), reply))
        .collect();
    responses.insert(
        "default".to_owned(),
        json!({"description": "an internal failure: give the operator the id in `fault`",
               "content": {MEDIA_TYPE: {"schema": problem}}}),
    );
    let mut operation = json!({
        "operationId": route.name,
        "summary": route.summary,
        "description": route.about,
        "parameters": parameters(route),
        "responses": responses,
        "security": if route.access == RouteAccess::Known { json!([{BEARER: []}]) } else { json!([]) },
    });
    if let Some(body) = route.body {
        let (media, content) = match body {
            // Client generators need a schema for a request of raw bytes, although OpenAPI 3.1 does not.
            BodyShape::Bytes => (
                OCTETS,
                json!({"schema": {"type": "string", "format": "binary"}}),
            ),
            body => (JSON, content(body, schemas)),
        };
        operation["requestBody"] = json!({"required": true, "content": {media: content}});
    }
    operation
}

fn parameters(route: &Route) -> Vec<Value> {
    let parameter = |name: &str, place: &str, about: &str| {
        json!({"name": name, "in": place, "required": place == "path", "description": about,
               "schema": {"type": "string"}})
    };
    let in_path = route
        .segments
        .iter()
        .map(|field| parameter(field.name, "path", field.about));
    let in_query = route
        .query
        .iter()
        .map(|field| parameter(field.name, "query", field.about));
    let in_header = route
        .headers
        .iter()
        .map(|field| parameter(field.name, "header", field.about));
    in_path.chain(in_query).chain(in_header).collect()
}

fn content(shape: BodyShape, schemas: &mut SchemaGenerator) -> Value {
    match shape {
        BodyShape::Json(schema) => json!({"schema": schema(schemas)}),
        BodyShape::Text => json!({"schema": {"type": "string"}}),
        // OpenAPI 3.1 gives no schema to a response of raw bytes.
        BodyShape::Bytes => json!({}),
    }
}

/// Returns all routes.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    [
        registry::ROUTES,
        proposals::ROUTES,
        sessions::ROUTES,
        artifacts::ROUTES,
        denials::ROUTES,
        revocations::ROUTES,
        authorizations::ROUTES,
        receipts::ROUTES,
        outputs::ROUTES,
        challenges::ROUTES,
        admissions::ROUTES,
        log_routes::ROUTES,
        mcp::ROUTES,
        feed::ROUTES,
        grants::ROUTES,
        reviews::ROUTES,
        probes::ROUTES,
        metrics_route::ROUTES,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_once_and_names_are_unique() {
        let description = openapi();
        let mut names = Vec::new();
        for item in description["paths"].as_object().expect("paths").values() {
            for operation in item.as_object().expect("a path").values() {
                names.push(
                    operation["operationId"]
                        .as_str()
                        .expect("a name")
                        .to_owned(),
                );
            }
        }
        let mut expected: Vec<String> = routes().map(|route| route.name.to_owned()).collect();
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected);
        names.dedup();
        assert_eq!(names, expected, "an operation's name stands twice");
    }

    #[test]
    fn every_reference_points_to_an_existing_schema() {
        fn walk(value: &Value, description: &Value) {
            match value {
                Value::Object(members) => {
                    if let Some(Value::String(reference)) = members.get("$ref") {
                        let pointer = reference.strip_prefix('#').expect("a reference within");
                        assert!(description.pointer(pointer).is_some(), "{reference}");
                    }
                    members
                        .values()
                        .for_each(|member| walk(member, description));
                }
                Value::Array(items) => items.iter().for_each(|item| walk(item, description)),
                _ => {}
            }
        }
        let description = openapi();
        walk(&description, &description);
    }

    #[test]
    fn every_problem_code_is_listed_in_openapi() {
        let description = openapi();
        let kinds =
            description["components"]["schemas"]["Problem"]["properties"]["type"]["enum"].clone();
        assert_eq!(kinds.as_array().map(Vec::len), Some(Code::ALL.len() + 2));
        let sign = &description["paths"]["/v1/proposals/{id}/signatures"]["post"];
        assert!(
            sign["responses"]["422"]["description"]
                .as_str()
                .is_some_and(|codes| codes.contains("self-approval"))
        );
        assert_eq!(sign["security"], json!([]));
        assert!(sign["responses"]["413"].is_object());
    }
}
