//! A boundary with 1,500 steps: hints for wrong names, searches, and pages.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::{Value, json};

use crate::mcp::Server;
use crate::support::random::Random;
use crate::support::{SMALL, World, runbook};

/// Folders, each with the services of a company that belong there.
pub(crate) const AREAS: [(&str, [&str; 5]); 12] = [
    ("apps", ["shop", "checkout", "billing", "search", "mail"]),
    ("ci", ["jenkins", "gitlab", "runner", "nexus", "sonar"]),
    (
        "data",
        ["spark", "airflow", "flink", "superset", "clickhouse"],
    ),
    ("db", ["postgres", "mysql", "redis", "mongodb", "cassandra"]),
    ("edge", ["gateway", "cdn", "firewall", "proxy", "resolver"]),
    ("iam", ["keycloak", "ldap", "vault", "radius", "kerberos"]),
    (
        "monitoring",
        ["prometheus", "grafana", "loki", "alertmanager", "jaeger"],
    ),
    (
        "network",
        ["haproxy", "nginx", "bind", "wireguard", "varnish"],
    ),
    (
        "office",
        ["exchange", "jira", "confluence", "mattermost", "nextcloud"],
    ),
    (
        "platform",
        ["kubernetes", "etcd", "consul", "nomad", "harbor"],
    ),
    ("queue", ["kafka", "rabbitmq", "nats", "activemq", "pulsar"]),
    ("storage", ["ceph", "minio", "nfs", "gluster", "zfs"]),
];
pub(crate) const RUNBOOKS: [&str; 8] = [
    "backup",
    "capacity",
    "certificates",
    "failover",
    "incident",
    "restore",
    "upgrade",
    "users",
];
const STEPS: [&str; 10] = [
    "apply", "check", "drain", "plan", "restart", "rollback", "rotate", "start", "status", "stop",
];
/// Services that no step has.
const INVENTED: [&str; 20] = [
    "fluxion",
    "quorvex",
    "dynapod",
    "hyperloom",
    "wavecrest",
    "orbitron",
    "zephyrix",
    "bluekiln",
    "marblecat",
    "tundra",
    "oxbow",
    "pyrite",
    "lumenware",
    "yardarm",
    "gossamer",
    "ivywood",
    "umbra",
    "jovian",
    "eiderdown",
    "thimble",
];

/// Chooses five of the names.
fn five(names: &[&'static str], random: &mut Random) -> Vec<&'static str> {
    let mut names = names.to_vec();
    random.shuffle(&mut names);
    names.truncate(5);
    names
}

/// Chooses the ids of five steps.
pub(crate) fn five_steps(random: &mut Random) -> Vec<&'static str> {
    five(&STEPS, random)
}

/// Returns a world with 300 runbooks of five steps each, and the references of these steps.
fn estate() -> (World, Vec<String>) {
    let (mut random, mut references) = (Random(61), Vec::new());
    let world = World::with(|setup| {
        setup.limits.push_str("calls_per_second = 1000000\n");
        for (area, services) in AREAS {
            for service in services {
                for name in five(&RUNBOOKS, &mut random) {
                    let ids = five_steps(&mut random);
                    let steps: Vec<(&str, &str)> = ids.iter().map(|id| (*id, ":")).collect();
                    let title = format!("{name} of {service}");
                    let text = runbook(SMALL, &steps).replace("Steps of a test", &title);
                    setup.runbook(&format!("{area}/{service}/{name}.md"), text);
                    references.extend(ids.iter().map(|id| format!("{area}/{service}/{name}:{id}")));
                }
            }
        }
    });
    assert_eq!(references.len(), 1500);
    (world, references)
}

/// Leaves out a folder, or shortens a folder to its first letters or to its consonants.
fn without_folder(reference: &str, shorten: bool, random: &mut Random) -> String {
    let mut parts: Vec<String> = reference.split('/').map(str::to_owned).collect();
    let at = random.below(2);
    if !shorten {
        parts.remove(at);
        return parts.join("/");
    }
    // A folder of two letters has no shorter form.
    let at = if parts[at].len() > 2 { at } else { 1 };
    let folder = &mut parts[at];
    let short: String = if random.below(2) == 0 {
        folder.chars().take(3.max(folder.len() / 2)).collect()
    } else {
        folder
            .char_indices()
            .filter(|(at, letter)| *at == 0 || !"aeiou".contains(*letter))
            .map(|(_, c)| c)
            .collect()
    };
    *folder = short;
    parts.join("/")
}

/// Makes a typing error: a letter is missing, doubled, wrong, or changes its place with the next one.
pub(crate) fn with_error(text: &str, random: &mut Random) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    loop {
        let at = random.below(letters.len() - 1);
        if !(letters[at].is_alphanumeric() && letters[at + 1].is_alphanumeric())
            || letters[at] == letters[at + 1]
        {
            continue;
        }
        match random.below(4) {
            0 => drop(letters.remove(at)),
            1 => letters.insert(at, letters[at]),
            2 => letters[at] = char::from(b'a' + random.below(26) as u8),
            _ => letters.swap(at, at + 1),
        }
        return letters.into_iter().collect();
    }
}

/// Returns the steps that the refusal of a wrong reference suggests.
fn hints(world: &World, wrong: &str) -> BTreeSet<String> {
    let problem = world
        .wire
        .get(&format!("/v1/steps/{wrong}"), &world.agent)
        .problem("unknown-step");
    let detail = problem["detail"].as_str().expect("a text").to_owned();
    let named = detail
        .split_once("did you mean ")
        .map_or("", |(_, named)| named.trim_end_matches('?'));
    let hints: BTreeSet<String> = named
        .split([',', ' '])
        .filter(|word| word.contains(':'))
        .map(str::to_owned)
        .collect();
    assert!(hints.len() <= 5, "{wrong}: {detail}");
    hints
}

#[test]
fn among_1500_steps_270_of_300_wrong_names_get_the_right_hint_and_an_invented_service_gets_none() {
    let (world, steps) = estate();
    let known: BTreeSet<&String> = steps.iter().collect();
    let (mut random, mut missed, mut asked) = (Random(2661), Vec::new(), 0);
    while asked < 300 {
        let right = &steps[random.below(steps.len())];
        let wrong = match asked % 6 {
            0 => without_folder(right, false, &mut random),
            1 => without_folder(right, true, &mut random),
            2 => with_error(right, &mut random),
            3 => with_error(&with_error(right, &mut random), &mut random),
            4 => with_error(&without_folder(right, false, &mut random), &mut random),
            _ => with_error(&without_folder(right, true, &mut random), &mut random),
        };
        if known.contains(&wrong) {
            continue;
        }
        asked += 1;
        let hints = hints(&world, &wrong);
        if !hints.contains(right) {
            missed.push(format!("{right} as {wrong}: {hints:?}"));
        }
    }
    assert!(
        missed.len() <= 30,
        "{} of 300 wrong names got no right hint:\n{}",
        missed.len(),
        missed.join("\n")
    );
    for invented in INVENTED {
        let right = &steps[random.below(steps.len())];
        let parts: Vec<&str> = right.split('/').collect();
        for wrong in [
            format!("{}/{invented}/{}", parts[0], parts[2]),
            format!("{invented}:{}", right.split_once(':').unwrap().1),
        ] {
            let hints = hints(&world, &wrong);
            assert!(hints.len() != 1, "{wrong}: {hints:?}");
        }
    }
}

#[test]
fn the_registry_of_1500_steps_is_searched_and_read_in_pages() {
    let (world, steps) = estate();
    let whole = world.wire.get("/v1/registry", &world.reader);
    assert!(
        whole.ok(200)["page"].is_null() && whole.text().len() > 300_000,
        "{} bytes",
        whole.text().len()
    );
    let pages = |query: &str| {
        let (mut found, mut path) = (Vec::new(), format!("/v1/registry?{query}"));
        loop {
            let view = world.wire.get(&path, &world.reader).ok(200);
            let page = view["steps"].as_array().expect("a list");
            assert!(page.len() <= 50, "{} steps", page.len());
            found.extend(
                page.iter()
                    .map(|step| step["ref"].as_str().expect("a ref").to_owned()),
            );
            let Some(cursor) = view["page"]["cursor"].as_str() else {
                return (found, view["page"].clone());
            };
            path = format!("/v1/registry?{query}&cursor={cursor}");
        }
    };
    let (all, page) = pages("query=");
    let refs: Vec<String> = whole.json()["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["ref"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(all, refs, "an empty query has all steps in their order");
    assert_eq!(
        (&page["found_steps"], &page["visible_steps"]),
        (&json!(refs.len()), &json!(refs.len()))
    );
    let inside: Vec<&String> = refs
        .iter()
        .filter(|step| step.starts_with("queue/kafka/"))
        .collect();
    let (under, page) = pages("under=queue/kafka");
    assert_eq!(
        (under.iter().collect::<Vec<_>>(), &page["found_steps"]),
        (inside, &json!(25))
    );
    assert_eq!(pages("under=queue/kafk").0, [""; 0]);
    let (restarts, page) = pages("under=db&query=restart");
    assert!(
        restarts
            .iter()
            .all(|step| step.starts_with("db/") && step.ends_with(":restart")),
        "{restarts:?}"
    );
    assert!(
        page["found_steps"] == restarts.len() && !restarts.is_empty(),
        "{page}"
    );
    for query in ["cursor=x", "cursor=1", "folder=db"] {
        world
            .wire
            .get(&format!("/v1/registry?{query}"), &world.reader)
            .problem("malformed");
    }
    // A token sees and counts only its own steps.
    let narrow = world.token_for("narrow", &[], &["propose"], &["queue/kafka/**"]);
    let view = world.wire.get("/v1/registry?query=", &narrow).ok(200);
    assert_eq!(
        (&view["page"]["found_steps"], &view["page"]["visible_steps"]),
        (&json!(25), &json!(25)),
        "{view}"
    );

    let mut server = Server::opened(&world, &world.wire.url);
    let answer = server.ask("resources/read", json!({"uri": "countersign://registry"}));
    let text = answer["result"]["contents"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"));
    let registry: Value = serde_json::from_str(text).expect("JSON");
    let folders = registry["folders"].as_array().expect("folders");
    assert!(
        text.len() <= 64_000 && registry["cut"].is_null(),
        "{} bytes",
        text.len()
    );
    assert!(
        folders.contains(&json!({"folder": "queue/kafka", "steps": 25})),
        "{registry}"
    );
    let sum: u64 = folders
        .iter()
        .map(|folder| folder["steps"].as_u64().expect("a number"))
        .sum();
    assert_eq!(
        (json!(sum), &registry["visible_steps"]),
        (json!(refs.len()), &json!(refs.len()))
    );
    let mut random = Random(61);
    let mut slowest = Vec::new();
    for _ in 0..100 {
        let right = &steps[random.below(steps.len())];
        let words = right.replace(['/', ':'], " ");
        for query in [right, &words] {
            let began = Instant::now();
            let found = server.call("list_steps", json!({"query": query}));
            slowest.push(began.elapsed());
            assert_eq!(found["steps"][0]["step"], json!(right), "{query}: {found}");
            assert!(found.to_string().len() <= 64_000);
        }
    }
    slowest.sort();
    println!(
        "list_steps on stdio, among 1,500 steps: median {:?}, 99 % below {:?}",
        slowest[100], slowest[198]
    );
}
