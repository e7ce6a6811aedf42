//! JSON with the right meaning in the wrong type: what is taken, and the words of each refusal.

use serde_json::{Map, Value, json};

use crate::mcp::{Server, post, world as mcp_world};
use crate::support::people::alice;
use crate::support::wire::tool_call;
use crate::support::{SMALL, World, exited, id_of, runbook, said};

/// Words that only a programmer of this service knows.
const FOREIGN: [&str; 20] = [
    "map",
    "sequence",
    "u8",
    "u16",
    "u32",
    "u64",
    "i64",
    "usize",
    "f64",
    "struct",
    "tuple",
    "enum",
    "variant",
    "newtype",
    "serde",
    "unit",
    "untagged",
    "invalid type",
    "invalid digit",
    "byte array",
];

#[track_caller]
fn assert_plain(text: &str, about: &str) {
    let words: Vec<String> = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .map(str::to_lowercase)
        .collect();
    let joined = words.join(" ");
    for foreign in FOREIGN {
        let found = if foreign.contains(' ') {
            joined.contains(foreign)
        } else {
            words.iter().any(|word| word == foreign)
        };
        assert!(!found, "{foreign:?} in the answer to {about}: {text}");
    }
}

/// Returns a value that fits the schema at first sight, with each field that the schema names. A schema inside of itself
/// becomes a text.
fn sample(schema: &Value, all: &Value) -> Value {
    sample_below(schema, all, &[])
}

fn sample_below<'s>(schema: &'s Value, all: &'s Value, above: &[&'s str]) -> Value {
    let sample = |schema: &'s Value| sample_below(schema, all, above);
    if let Some(name) = schema["$ref"].as_str() {
        let inside = above.contains(&name);
        let target = &all[name.rsplit('/').next().unwrap()];
        return if inside {
            json!("x")
        } else {
            sample_below(target, all, &[above, &[name]].concat())
        };
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[choice].get(0) {
            return sample(first);
        }
    }
    if let Some(word) = schema.get("const").or(schema["enum"].get(0)) {
        return word.clone();
    }
    match schema["type"].as_str().or(schema["type"][0].as_str()) {
        Some("object") => {
            let fields = schema["properties"].as_object();
            Value::Object(
                fields
                    .into_iter()
                    .flatten()
                    .map(|(name, field)| (name.clone(), sample(field)))
                    .collect(),
            )
        }
        Some("array") => json!([sample(&schema["items"])]),
        Some("integer") => json!(1),
        Some("boolean") => json!(true),
        _ => json!("x"),
    }
}

/// Returns the documents in which one value has another type.
fn wrong(value: &Value) -> Vec<Value> {
    let others = [
        json!(null),
        json!(true),
        json!(7),
        json!(-7),
        json!(1.5),
        json!(1e30),
        json!("3"),
        json!([]),
        json!({"a": {}}),
    ];
    let mut found: Vec<Value> = others.to_vec();
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                for other in wrong(member) {
                    let mut changed = members.clone();
                    changed.insert(name.clone(), other);
                    found.push(Value::Object(changed));
                }
            }
            found.push(Value::Object(
                members
                    .iter()
                    .chain([(&"surplus".to_owned(), &json!(1))])
                    .map(|(name, member)| (name.clone(), member.clone()))
                    .collect::<Map<_, _>>(),
            ));
        }
        Value::Array(items) => {
            found.extend(
                items
                    .first()
                    .into_iter()
                    .flat_map(wrong)
                    .map(|item| json!([item])),
            );
        }
        _ => {}
    }
    found
}

#[test]
fn no_answer_to_a_wrong_body_has_a_word_of_rust() {
    let world = World::with(|setup| setup.limits.push_str("calls_per_second = 1000000\n"));
    let api = world.wire.get("/openapi.json", &world.agent).ok(200);
    let ids = [
        ("grants", "grt"),
        ("receipts", "rcp"),
        ("proposals", "prp"),
        ("sessions", "ses"),
    ];
    let mut refused = 0;
    for (path, operations) in api["paths"].as_object().unwrap() {
        let Some(body) =
            operations["post"]["requestBody"]["content"]["application/json"].get("schema")
        else {
            continue;
        };
        if path == "/mcp" {
            continue;
        }
        let prefix = ids
            .iter()
            .find(|(name, _)| path.contains(name))
            .map_or("", |(_, prefix)| prefix);
        let path = path.replace(
            "{id}",
            &format!("{prefix}_019aa0b0-5c00-7000-8000-000000000001"),
        );
        for wrong in wrong(&sample(body, &api["components"]["schemas"])) {
            let reply = world.wire.post(&path, &world.agent, &wrong);
            if reply.status < 400 {
                continue;
            }
            refused += 1;
            let problem = reply.json();
            assert!(reply.status < 500, "{path} {wrong}: {problem}");
            assert_plain(&problem["detail"].to_string(), &format!("{path} {wrong}"));
            assert_plain(&problem["errors"].to_string(), &format!("{path} {wrong}"));
        }
    }
    assert!(refused > 300, "{refused}");
    for query in [
        "limit=x",
        "limit=-1",
        "limit=99999999999999999999",
        "status=x",
        "id_ends=x",
        "step=x",
        "proposer=%20",
    ] {
        let problem = world
            .wire
            .get(&format!("/v1/proposals?{query}"), &world.agent)
            .problem("malformed");
        assert_plain(&problem["detail"].to_string(), query);
    }
}

#[test]
fn no_answer_of_a_tool_to_wrong_arguments_has_a_word_of_rust() {
    let world = World::with(|setup| {
        setup.config.push_str("mcp = true\n");
        setup.limits.push_str("calls_per_second = 1000000\n");
    });
    let mut server = Server::opened(&world, &world.wire.url);
    let tools = server.ask("tools/list", json!({}))["result"]["tools"].clone();
    let mut refused = 0;
    for tool in tools.as_array().unwrap() {
        let name = tool["name"].as_str().unwrap();
        for wrong in wrong(&sample(&tool["inputSchema"], &Value::Null)) {
            let message = tool_call(name, wrong.clone());
            for answer in [
                server.ask("tools/call", message["params"].clone()),
                post(&world, &world.agent, &message),
            ] {
                let told = [
                    &answer["error"]["message"],
                    &answer["result"]["structuredContent"]["problem"],
                ];
                refused += told.iter().filter(|told| !told.is_null()).count();
                told.iter()
                    .for_each(|told| assert_plain(&told.to_string(), &format!("{name} {wrong}")));
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

fn counted() -> World {
    World::with(|setup| {
        setup.config.push_str("mcp = true\n");
        let front = format!(
            "params: {{type: object, properties: {{n: {{type: integer}}, list: {{type: array, maxItems: 3, items: {{type: integer}}}}}}}}\n{SMALL}"
        );
        setup.runbook("count.md", runbook(&front, &[("to", "echo \"$PARAM_N\"")]));
    })
}

#[test]
fn a_whole_number_written_as_5_0_is_stored_hashed_signed_and_run_as_5() {
    let world = counted();
    let post_text = |text: &str| {
        world
            .wire
            .post_bytes("/v1/proposals", &world.agent, text.as_bytes())
    };
    let plain =
        post_text(r#"{"step":"count:to","params":{"n":5,"list":[2]},"expires_in_s":60}"#).ok(201);
    for same in [
        r#"{"step":"count:to","params":{"n":5.0,"list":[2.0]},"expires_in_s":60.0}"#,
        r#"{"step":"count:to","params":{"n":5e0,"list":[2]}}"#,
        r#"{"step":"count:to","params":"{\"n\": 5, \"list\": [2]}"}"#,
        r#"{"step":"count:to","params":"{\"list\": [2.0], \"n\": 5.0}"}"#,
    ] {
        let view = post_text(same).ok(200);
        assert_eq!(
            (&view["id"], &view["existing"]),
            (&plain["id"], &json!(true)),
            "{same}"
        );
    }
    let new = post_text(r#"{"step":"count:to","params":{"n":5.0,"list":[2]},"new":true}"#).ok(201);
    assert_eq!(
        (&new["params"], &new["params_digest"]),
        (&plain["params"], &plain["params_digest"])
    );
    world.sign(&new, &[&alice()]).ok(200);
    let finished = world.until(id_of(&new), "finished");
    assert_eq!(world.output(&finished, "stdout"), "5\n");
    world.assert_verified(&finished);
    let mut server = Server::opened(&world, &world.wire.url);
    let made = server.call(
        "propose",
        json!({"step": "count:to", "params": "{\"n\": 7.0}", "reason": "x"}),
    );
    assert_eq!(world.show(id_of(&made))["params"]["n"], 7, "{made}");
    let again = server.call(
        "propose",
        json!({"step": "count:to", "params": {"n": 7}, "reason": "x"}),
    );
    assert_eq!(
        (&again["id"], &again["existing"]),
        (&made["id"], &json!(true)),
        "{again}"
    );
}

#[test]
fn a_value_of_another_type_is_refused_with_the_right_form() {
    let world = counted();
    for (body, pointer, words) in [
        (
            r#"{"step":"count:to","expires_in_s":"3"}"#,
            "/expires_in_s",
            "expected a whole number, like 5, not the text \"3\": write 3 without quotes",
        ),
        (
            r#"{"step":"count:to","expires_in_s":true}"#,
            "/expires_in_s",
            "expected a whole number, like 5, not true",
        ),
        (
            r#"{"step":"count:to","expires_in_s":60.5}"#,
            "",
            "an integer, like 5",
        ),
        (
            r#"{"step":"count:to","params":{"n":5.5}}"#,
            "",
            "an integer, like 5",
        ),
        (
            r#"{"step":"count:to","params":{"n":-0.0}}"#,
            "",
            "an integer, like 5",
        ),
        (
            r#"{"step":"count:to","params":"[5]"}"#,
            "/params",
            "expected an object, like {\"n\": 5}, not text",
        ),
        (
            r#"{"step":"count:to","params":"n=5"}"#,
            "/params",
            "expected an object, like {\"n\": 5}, not text",
        ),
        (
            r#"{"step":"count:to","params":"{\"n\":5,\"n\":6}"}"#,
            "/params",
            "twice in one object",
        ),
        (
            r#"{"step":"count:to","artifacts":{}}"#,
            "/artifacts",
            "expected an array, not an object",
        ),
        (
            r#"{"step":7}"#,
            "/step",
            "expected a text, not the number 7",
        ),
        (
            r#"{"step":"count:to","emergency":"yes"}"#,
            "/emergency",
            "expected true or false, not the text \"yes\"",
        ),
        (r#"[]"#, "", "expected an object, not an array"),
    ] {
        let problem = world
            .wire
            .post_bytes("/v1/proposals", &world.agent, body.as_bytes())
            .problem("malformed");
        let error = &problem["errors"][0];
        assert_eq!(error["pointer"], pointer, "{body}: {problem:#}");
        assert!(
            error["detail"].as_str().unwrap().contains(words),
            "{body}: {problem:#}"
        );
    }
    let mut server = Server::opened(&world, &world.wire.url);
    for (arguments, words) in [
        (
            json!({"step": "count:to", "reason": "x", "params": "n=5"}),
            "/params: expected an object, like {\"n\": 5}",
        ),
        (
            json!({"step": "count:to", "reason": "x", "params": [5]}),
            "/params: expected an object, like {\"n\": 5}",
        ),
        (
            json!({"step": "count:to", "reason": "x", "params": {"n": 9_007_199_254_740_993_i64}}),
            "/params/n: expected an integer within",
        ),
        (
            json!({"step": "count:to", "reason": "x", "wait_s": "3"}),
            "write 3 without quotes",
        ),
    ] {
        let answer = server.call("propose", arguments.clone());
        assert!(
            answer["problem"]["detail"]
                .as_str()
                .unwrap()
                .contains(words),
            "{arguments}: {answer}"
        );
    }
    let mut program = world.program(&[
        "--url",
        &world.wire.url,
        "propose",
        "count:to",
        "-p",
        "n=9007199254740993",
    ]);
    let output = exited(
        program
            .env("COUNTERSIGN_TOKEN", &world.agent)
            .output()
            .unwrap(),
        2,
    );
    assert!(
        said(&output).contains("-p n=9007199254740993")
            && said(&output).contains("9007199254740991"),
        "{}",
        said(&output)
    );
    assert!(!said(&output).contains("line 1"), "{}", said(&output));
}

#[test]
fn a_compressed_body_is_refused_as_compressed() {
    let world = mcp_world();
    let bearer = format!("Bearer {}", world.agent);
    for (path, body) in [
        ("/v1/proposals", &b"\x1f\x8b\x08"[..]),
        ("/mcp", b"\x1f\x8b\x08"),
    ] {
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("content-encoding", "gzip"),
        ];
        let reply = world.wire.call("POST", path, &headers, Some(body));
        assert!(
            reply.status == 415 && reply.text().contains("without compression"),
            "{path}: {}",
            reply.text()
        );
    }
}
