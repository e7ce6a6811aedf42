//! The screen of a grant.

use documents::{Statement, StepDigest, to_canonical};
use serde_json::json;

use super::*;
use crate::review::tests::review_case::{NOW, ReviewCase, case, signature};

/// Line of a check that reaches hosts or gets secrets.
const LET: &str = "can change what these hosts and secrets let it change";

fn review(of: &Value) -> Option<GrantReview> {
    let grant: Grant = serde_json::from_value(of.clone()).ok()?;
    Some(reviewed(grant, vec![case().sources()]))
}

/// Returns the review of a grant with the documents of its steps.
fn reviewed(grant: Grant, sources: Vec<ReviewSources>) -> GrantReview {
    let step = |(granted, sources): (&GrantedStep, ReviewSources)| {
        let run = run_of(&grant, granted, ContentDigest::of(b"grant"));
        let found = derive_granted(&sources, &run, grant.not_before);
        (sources, found)
    };
    let steps = grant.steps.iter().zip(sources).map(step).collect();
    let payload = Vec::new();
    let mut review = GrantReview {
        digest: ContentDigest::of(&payload),
        payload,
        document: serde_json::to_value(&grant).expect("JSON"),
        terms: grant,
        steps,
        remarks: Vec::new(),
        so_far: Vec::new(),
    };
    review.remarks = review.all_remarks();
    review
}

/// Returns the review of a grant of these steps, each with its changes of a usual definition and of a usual sandbox.
fn review_of(steps: &[(&str, Value, Value)]) -> GrantReview {
    let set = |value: &mut Value, changes: &Value| {
        for (name, change) in changes.as_object().expect("fields") {
            value[name.as_str()] = change.clone();
        }
    };
    let (mut grant, mut granted, mut sources) = (grant(), Vec::new(), Vec::new());
    for (reference, of_definition, of_sandbox) in steps {
        let (mut case, mut step) = (case(), grant["steps"][0].clone());
        set(&mut case.definition, &json!({"ref": reference}));
        set(&mut case.definition, of_definition);
        set(&mut step["sandbox"], of_sandbox);
        let digest = StepDigest::of(&to_canonical(&case.definition));
        set(&mut step, &json!({"ref": reference, "digest": digest}));
        granted.push(step);
        sources.push(case.sources());
    }
    grant["steps"] = json!(granted);
    reviewed(serde_json::from_value(grant).expect("a grant"), sources)
}

fn grant() -> Value {
    let sources = case().sources();
    let run = Statement::<Authorization>::from_payload(&sources.payload)
        .expect("an authorization")
        .predicate;
    let digest = ContentDigest::of(b"file");
    json!({
        "boundary": run.boundary, "grant": "grt_019aa0b0-5c00-7000-8000-000000000001",
        "grantee": {"name": "deploy-bot", "key": signature(9, b"").keyid},
        "steps": [{"ref": run.step.reference, "digest": run.step.digest, "permissions": run.permissions,
            "sandbox": run.sandbox, "params": {"type": "object", "required": ["host"],
                "properties": {"host": {"type": "string", "pattern": "^web-[0-9]$"}}}}],
        "max_uses": 20, "rate": {"uses": 3, "seconds": 3600}, "session": "none",
        "artifacts": [{"name": "site.txt", "digest": digest, "bytes": 21}],
        "proposer": "agent", "reason": "each night", "issued_at": run.issued_at, "not_before": run.not_before,
        "expires_at": run.expires_at,
    })
}

/// Returns other values for a field. Those that no grant can have are left out later.
fn others(value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(value) => vec![json!(!value)],
        Value::Number(number) => vec![json!(number.as_u64().unwrap_or_default() + 1)],
        Value::String(text) => {
            let digit = |from: char, to: &str| text.replacen(from, to, 1);
            let mut all: Vec<_> = ('0'..='9')
                .map(|from| digit(from, if from == '1' { "2" } else { "1" }))
                .collect();
            all.extend(["none", "fresh", "host", "overlay", "other"].map(str::to_owned));
            all.retain(|other| other != text);
            all.into_iter().map(Value::from).collect()
        }
        _ => Vec::new(),
    }
}

fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, value)| pointers(value, &format!("{at}/{key}"), found)),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(key, value)| pointers(value, &format!("{at}/{key}"), found));
        }
        _ => found.push(at.to_owned()),
    }
}

#[test]
fn promise_4_each_signed_field_of_a_grant_changes_its_screen() {
    let grant = grant();
    let painted = |of: &Value| {
        let review = review(of)?;
        let screen = review.screen(review.terms.not_before).paint(1000, false);
        // The digest is not computed here.
        Some(
            screen
                .lines()
                .filter(|line| !line.starts_with("  digest "))
                .collect::<Vec<_>>()
                .join("\n"),
        )
    };
    let before = painted(&grant).expect("a screen");
    assert!(
        before.starts_with(HEADING) && before.matches(HEADING).count() == 2,
        "{before}"
    );
    let mut places = Vec::new();
    pointers(&grant, "", &mut places);
    let mut changed = 0;
    for place in places {
        // The schema of a parameter names its type only if nothing else bounds the values.
        if place.contains("/params/") && !place.ends_with("/pattern") {
            continue;
        }
        let mut seen = false;
        for other in others(grant.pointer(&place).expect("a field")) {
            let mut edited = grant.clone();
            *edited.pointer_mut(&place).expect("a field") = other.clone();
            let Some(after) = painted(&edited) else {
                continue;
            };
            assert_ne!(after, before, "{place}: {other}");
            seen = true;
        }
        changed += usize::from(seen);
    }
    assert!(changed > 25, "{changed}");
}

#[test]
fn unbounded_values_together_with_a_network_are_an_extra_red_remark() {
    let mut free = grant();
    free["steps"][0]["params"]["properties"]["host"] = json!({"type": "string"});
    free["steps"][0]["sandbox"]["network"]["mode"] = json!("host");
    let review = review(&free).expect("a review");
    let words = "some values of nginx:restart have no bounds, and the runs reach a network";
    let line = review
        .remarks
        .iter()
        .find(|line| line.text.as_str() == words)
        .expect("a remark");
    assert_eq!(line.tone, LineTone::Bad);
    assert!(
        review
            .screen(review.terms.not_before)
            .paint(1000, false)
            .contains("ANY VALUE (string)")
    );
}

#[test]
fn the_checks_of_a_grant_come_first_and_each_step_has_its_own_lines() {
    let check = || json!({"check": true});
    let secrets = json!([{"name": "api-token", "as": "env", "variable": "API_TOKEN"}]);
    let hosts = json!({"network": {"mode": "allow", "hosts": ["api.example:443"]}});
    let review = review_of(&[
        ("a:restart", json!({}), json!({})),
        ("b:disk", check(), json!({})),
        ("c:status", check(), hosts.clone()),
        (
            "d:logs",
            json!({"check": true, "secrets": secrets}),
            json!({}),
        ),
        ("e:files", check(), json!({"write": ["/srv"]})),
        ("f:socket", check(), json!({"sockets": ["/run/x.sock"]})),
        (
            "g:net",
            check(),
            json!({"network": {"mode": "host", "hosts": []}}),
        ),
        ("h:off", check(), json!({"off_reason": "no kernel"})),
        ("i:deploy", json!({}), hosts),
    ]);
    let block = review.block(review.terms.not_before).paint(1000, false);
    let mut parts: Vec<(&str, String)> = Vec::new();
    for line in block.lines() {
        let step = line.strip_prefix("  step        ");
        let mut steps = review.terms.steps.iter();
        match step.filter(|step| steps.any(|one| one.reference.as_str() == *step)) {
            Some(step) => parts.push((step, String::new())),
            None if line.starts_with("== ") => parts.push((line, String::new())),
            None => {
                let (_, part) = parts.last_mut().expect("the heading is first");
                part.push_str(line);
                part.push('\n');
            }
        }
    }
    let order: Vec<_> = parts.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        order,
        [
            HEADING,
            "== checks, says their author ==",
            "b:disk",
            "c:status",
            "d:logs",
            "== changes ==",
            "a:restart",
            "e:files",
            "f:socket",
            "g:net",
            "h:off",
            "i:deploy",
            "== all runs together ==",
        ]
    );
    for (name, part) in &parts {
        let is_step = name.contains(':') && !name.starts_with("==");
        for (words, steps) in [
            (LET, &["c:status", "d:logs"][..]),
            (
                "network: only \"api.example:443\"",
                &["c:status", "i:deploy"],
            ),
            ("network: every network", &["g:net"]),
            ("api-token in the variable API_TOKEN", &["d:logs"]),
        ] {
            assert_eq!(part.contains(words), steps.contains(name), "{name}: {part}");
        }
        for words in ["  sandbox     ", "  what varies host: each value of"] {
            assert_eq!(part.contains(words), is_step, "{name}: {part}");
        }
    }
}

#[test]
fn a_grant_of_checks_alone_has_no_heading_of_changes() {
    let painted = |definition: Value| {
        let review = review_of(&[("a:disk", definition, json!({}))]);
        review.block(review.terms.not_before).paint(1000, false)
    };
    let (checks, changes) = (painted(json!({"check": true})), painted(json!({})));
    assert!(
        checks.contains("== checks, says their author ==") && !checks.contains("== changes =="),
        "{checks}"
    );
    assert!(
        changes.contains("== changes ==") && !changes.contains("== checks"),
        "{changes}"
    );
    assert!(!checks.contains(LET) && !changes.contains(LET));
}

#[test]
fn the_worst_case_is_the_most_uses_within_a_day() {
    const DAY: i64 = 86_400;
    for (max_uses, rate, lasts, words) in [
        (20, None, 7 * DAY, "20 uses a day, 20 in all"),
        (
            100_000,
            Some((50, 3600)),
            90 * DAY,
            "1,200 uses a day, 100,000 in all",
        ),
        // 13 periods of 7,000 s cover a day.
        (
            100_000,
            Some((50, 7000)),
            90 * DAY,
            "650 uses a day, 100,000 in all",
        ),
        (
            500,
            Some((400, 86_400)),
            7 * DAY,
            "400 uses a day, 500 in all",
        ),
        (
            500,
            Some((400, 604_800)),
            30 * DAY,
            "400 uses a day, 500 in all",
        ),
        (
            500,
            Some((400, 86_399)),
            7 * DAY,
            "500 uses a day, 500 in all",
        ),
        (100, Some((3, 3600)), 7200, "6 uses a day, 100 in all"),
    ] {
        let mut of = grant();
        of["max_uses"] = json!(max_uses);
        match rate {
            Some((uses, seconds)) => of["rate"] = json!({"uses": uses, "seconds": seconds}),
            None => drop(of.as_object_mut().expect("a grant").remove("rate")),
        }
        of["expires_at"] = json!(Timestamp::from_unix(NOW - 60 + lasts));
        assert_eq!(review(&of).expect("a review").worst_case(), words);
    }
    let mut free = grant();
    free["steps"][0]["params"]["properties"]["host"] = json!({"type": "string"});
    let words = "9 uses a day, 20 in all; some values have no bounds";
    let lasts = json!(Timestamp::from_unix(NOW - 60 + 3 * 3600));
    free["expires_at"] = lasts;
    assert_eq!(review(&free).expect("a review").worst_case(), words);
}

/// Returns the sealed entry of the token `ci`.
fn token(credential: ContentDigest) -> Value {
    json!({"name": "ci", "owners": ["carol"], "scopes": ["propose"], "patterns": [], "credential": credential})
}

/// Returns the sealed entry of the token `ci` for jobs with this subject. The credential is that of the subject `of`.
fn token_of_jobs(subject: &str, of: &str) -> Value {
    let oidc =
        |subject: &str| json!({"issuer": "https://issuer.example", "claims": {"sub": subject}});
    let mut token = token(ContentDigest::of(&to_canonical(&oidc(of))));
    token["oidc"] = oidc(subject);
    token
}

/// Returns the review of a grant to the token `ci` with this credential. The seal names the list `sealed`, and the
/// boundary shows the list `shown`.
fn review_to_token(credential: &Value, sealed: &Value, shown: Option<&Value>) -> GrantReview {
    let case = ReviewCase {
        tokens: to_canonical(sealed),
        ..case()
    };
    let mut sources = case.sources();
    sources.tokens = shown.map(to_canonical);
    let run = Statement::<Authorization>::from_payload(&sources.payload)
        .expect("an authorization")
        .predicate;
    let mut grant = grant();
    grant["boundary"] = json!(run.boundary);
    grant["grantee"] = json!({"token": "ci", "credential": credential});
    reviewed(
        serde_json::from_value(grant).expect("a grant"),
        vec![sources],
    )
}

#[test]
fn a_grant_to_a_token_is_signed_only_if_the_sealed_entry_has_its_credential() {
    let (own, other) = (
        token(ContentDigest::of(b"own")),
        token(ContentDigest::of(b"other")),
    );
    let of_jobs = token_of_jobs("a", "a");
    let painted = |review: &GrantReview| review.screen(review.terms.not_before).paint(1000, false);
    for entry in [&own, &of_jobs] {
        let list = json!([entry]);
        let review = review_to_token(&entry["credential"], &list, Some(&list));
        assert_eq!(review.grantee_flaw(), None);
        assert_eq!(review.standing(), StatementVerdict::Sound);
        assert!(review.check_sound().is_ok());
        let screen = painted(&review);
        assert!(!screen.contains("NOT TRUE"), "{screen}");
        let is_of_jobs = screen.contains("sub is a");
        assert_eq!(is_of_jobs, entry == &of_jobs, "{screen}");
    }
    let named = |name: &str| {
        let mut entry = own.clone();
        entry["name"] = json!(name);
        json!([entry])
    };
    let mut unknown_field = own.clone();
    unknown_field["secret"] = json!("x");
    const OTHER: &str = "no valid token ci has the credential that the grant names";
    const BINDING: &str = "the credential of the token ci is not the digest of its binding";
    const LIST: &str = "the sealed list of tokens can't be read";
    let list = json!([own]);
    let cases = [
        // The sealed entry has another credential, or another name.
        (&own, json!([other]), Some(json!([other])), OTHER),
        (&own, json!([]), Some(json!([])), OTHER),
        (&own, named("ci2"), Some(named("ci2")), OTHER),
        (&own, json!([of_jobs]), Some(json!([of_jobs])), OTHER),
        // The grant names the credential of the sealed entry, but other jobs open the token.
        (
            &of_jobs,
            json!([token_of_jobs("b", "a")]),
            Some(json!([token_of_jobs("b", "a")])),
            BINDING,
        ),
        // The boundary shows no list, or another list than the seal names, whatever that list contains.
        (&own, list.clone(), None, LIST),
        (&own, list.clone(), Some(json!([other])), LIST),
        (&own, json!([other]), Some(list.clone()), LIST),
        (&own, list.clone(), Some(json!([own, other])), LIST),
        // The seal names a list that has another form.
        (&own, json!({}), Some(json!({})), LIST),
        (
            &own,
            json!([unknown_field]),
            Some(json!([unknown_field])),
            LIST,
        ),
    ];
    for (entry, sealed, shown, why) in cases {
        let review = review_to_token(&entry["credential"], &sealed, shown.as_ref());
        assert_eq!(review.standing(), StatementVerdict::Unsound, "{sealed}");
        let refused = review.check_sound().expect_err("nothing is signed").message;
        assert!(refused.contains(why), "{sealed} {shown:?}: {refused}");
        let screen = painted(&review);
        assert!(screen.contains(&format!("NOT TRUE: {why}")), "{screen}");
    }
}
