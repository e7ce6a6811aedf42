//! Messages to people and programs: what they say, who gets which, and that each event arrives once or more, in order.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::people::{alice, bob, robot};
use crate::support::{World, grants, has_all, id_of, not_run, reviews, said, wait_for};

/// A request that a target received.
#[derive(Clone)]
pub(crate) struct Message {
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    at: Instant,
}

impl Message {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value)
    }
}

/// A web server that records messages. It answers with the next status of its list, or 200.
pub(crate) struct Target {
    port: u16,
    messages: Arc<Mutex<Vec<Message>>>,
    answers: Arc<Mutex<VecDeque<String>>>,
}

impl Target {
    pub(crate) fn new(answers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let messages = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::new(Mutex::new(
            answers
                .iter()
                .map(|answer| (*answer).to_owned())
                .collect::<VecDeque<_>>(),
        ));
        let (kept, next) = (messages.clone(), answers.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, next) = (kept.clone(), next.clone());
                std::thread::spawn(move || while serve(&stream, &kept, &next).is_some() {});
            }
        });
        Self {
            port,
            messages,
            answers,
        }
    }

    pub(crate) fn config(&self, name: &str, kind: &str, more: &str) -> String {
        format!(
            "[[notify]]\nname = \"{name}\"\nkind = \"{kind}\"\nurl = \"http://127.0.0.1:{}/hook\"\n{more}\n",
            self.port
        )
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        self.messages.lock().expect("lock").clone()
    }

    /// Returns the messages when there are this many.
    pub(crate) fn wait(&self, count: usize) -> Vec<Message> {
        wait_for(&format!("{count} messages"), || {
            self.messages().len() >= count
        });
        self.messages()
    }

    fn kinds(&self) -> Vec<String> {
        let kind = |message: &Message| {
            message.json()["data"]["kind"]
                .as_str()
                .expect("a kind")
                .to_owned()
        };
        self.messages().iter().map(kind).collect()
    }
}

fn serve(
    stream: &TcpStream,
    messages: &Mutex<Vec<Message>>,
    answers: &Mutex<VecDeque<String>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else {
            break;
        };
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let answer = answers
        .lock()
        .expect("lock")
        .pop_front()
        .unwrap_or_else(|| "200 OK".to_owned());
    messages.lock().expect("lock").push(Message {
        path,
        headers,
        body,
        at: Instant::now(),
    });
    if answer == "hang" {
        std::thread::sleep(Duration::from_secs(60));
        return None;
    }
    if answer == "endless" {
        let mut stream = stream;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n")
            .ok()?;
        while stream.write_all(&[b'x'; 65_536]).is_ok() {}
        return None;
    }
    let mut stream = stream;
    let more = if answer.starts_with('3') {
        "location: http://127.0.0.1:1/\r\n"
    } else {
        ""
    };
    stream
        .write_all(format!("HTTP/1.1 {answer}\r\n{more}content-length: 0\r\n\r\n").as_bytes())
        .ok()
}

fn secret(world: &World, name: &str, text: &str) {
    world.write(name, text);
}

/// Two secrets of Standard Webhooks, of 24 and 32 bytes.
const OLD: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";
const NEW: &str = "whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY=";

#[test]
fn a_program_gets_each_event_as_a_cloud_event_that_standard_webhooks_verifies() {
    let target = Target::new(&[]);
    let mut world = World::prepared(|setup| {
        setup.config = target.config("ci", "cloudevents", "secret = \"boundary/hook\"")
    });
    secret(&world, "b/boundary/hook", &format!("{NEW}\n{OLD}\n"));
    world.start();
    world.make_tokens();
    let finished = world.run("say:echo", json!({"text": "a private word"}), &[&alice()]);
    wait_for("the end", || {
        target
            .kinds()
            .iter()
            .any(|kind| kind == "proposal.finished")
    });
    let messages = target.messages();
    let last = messages.last().expect("a message");
    let event = last.json();
    assert_eq!(
        (last.header("content-type"), &*last.path),
        ("application/cloudevents+json", "/hook")
    );
    assert_eq!(
        (&event["specversion"], &event["type"]),
        (&json!("1.0"), &json!("dev.countersign.proposal.finished"))
    );
    assert_eq!(
        (&event["subject"], &event["data"]["outcome"]),
        (&finished["id"], &json!("succeeded"))
    );
    let source = event["source"].as_str().expect("a source");
    assert!(source.starts_with("/countersign/prod/sha256:"), "{source}");
    assert!(
        messages
            .iter()
            .all(|message| !String::from_utf8_lossy(&message.body).contains("private word"))
    );
    let ids: Vec<u64> = messages
        .iter()
        .map(|message| message.json()["id"].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(ids.is_sorted(), "{ids:?}");
    assert_eq!(
        last.header("webhook-id"),
        format!("evt_{}", event["id"].as_str().unwrap())
    );
    let Some(()) = has_all("standardwebhooks", &["python3"]) else {
        return;
    };
    let script = "import json, sys\ntry:\n    from standardwebhooks.webhooks import Webhook\nexcept ImportError:\n    sys.exit(77)\n\
                  found = json.load(sys.stdin)\nfor secret in found['secrets']:\n    Webhook(secret).verify(found['body'], found['headers'])\n\
                  try:\n    Webhook(secret).verify(found['body'] + ' ', found['headers'])\n    sys.exit(3)\nexcept Exception: pass\n";
    let headers: serde_json::Map<String, Value> = last
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    let input = json!({"secrets": [OLD, NEW], "body": String::from_utf8_lossy(&last.body), "headers": headers});
    world.write("hook.json", &input.to_string());
    let python = std::env::var("COUNTERSIGN_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let stdin = std::fs::File::open(world.path("hook.json")).expect("a file");
    let checked = Command::new(python)
        .args(["-c", script])
        .stdin(stdin)
        .output()
        .expect("python");
    match checked.status.code() {
        Some(77) => not_run(
            "standardwebhooks",
            "the Python module standardwebhooks is missing",
        ),
        code => assert_eq!(
            code,
            Some(0),
            "{}",
            String::from_utf8_lossy(&checked.stderr)
        ),
    }
}

#[test]
fn a_message_to_a_person_says_what_waits_for_whom_and_how_to_decide() {
    let (slack, ntfy) = (Target::new(&[]), Target::new(&[]));
    let mut world = World::prepared(|setup| {
        let ntfy = ntfy.config(
            "phone",
            "ntfy",
            "secret = \"boundary/token\"\ndesk = \"https://desk.example:8443\"",
        );
        setup.config = format!("{}{ntfy}", slack.config("chat", "slack", ""));
        setup.policy = "version: 1\ndefault:\n  mode: prompted\n  run: {allow: [\"false\"]}\n  approvals: {required: 1, from: [ops]}\n".to_owned();
        setup.runbook(
            "deny.md",
            crate::support::runbook(
                crate::support::SMALL,
                &[("go", "if false; then rm -f x; fi")],
            ),
        );
    });
    secret(&world, "b/boundary/token", "tk_secret\n");
    world.start();
    world.make_tokens();
    let proposal = world.propose("deny:go", json!({}));
    let message = slack.wait(1).remove(0).json();
    let digest = proposal["digest"].as_str().expect("a digest");
    let until = proposal["expires_at"]
        .as_str()
        .expect("a time")
        .replace('T', " ")
        .replace('Z', " UTC");
    let expected = format!(
        "RUN deny:go\nasked by: agent\nstill needed: ops (0 of 1 have signed)\nuntil: {until}\n\
         1 permission is denied by a built-in list\ndigest ends with: {}\ncountersign review {}\nboundary: prod",
        &digest[digest.len() - 8..],
        id_of(&proposal)
    );
    assert_eq!(
        (message["text"].as_str(), &message["mrkdwn"]),
        (Some(&*expected), &json!(false))
    );
    let message = ntfy.wait(1).remove(0);
    assert_eq!(
        (message.header("authorization"), &*message.path),
        ("Bearer tk_secret", "/")
    );
    let message = message.json();
    let (title, rest) = expected.split_once('\n').expect("lines");
    assert_eq!(
        (&message["topic"], message["title"].as_str()),
        (&json!("hook"), Some(title))
    );
    let rest = format!(
        "{rest}\nhttps://desk.example:8443/p/prod/{}",
        id_of(&proposal)
    );
    assert_eq!(
        (message["message"].as_str(), &message["priority"]),
        (Some(&*rest), &json!(4))
    );
}

#[test]
fn mail_goes_to_the_sendmail_program_and_again_after_a_temporary_failure() {
    const NAME: &str = "mail_goes_to_the_sendmail_program_and_again_after_a_temporary_failure";
    let mut world = World::prepared(|setup| {
        setup.config =
            "[[notify]]\nname = \"post\"\nkind = \"mail\"\nurl = \"mailto:ops@example.com\"\n"
                .to_owned();
    });
    // In a mount namespace, the only program of /usr/sbin takes the mail. The first attempt fails with EX_TEMPFAIL.
    let (programs, mail) = (world.path("sbin"), world.path("mail"));
    std::fs::create_dir_all(&programs).expect("a directory");
    let script = "#!/bin/sh\n[ \"$*\" = '-t -i' ] || exit 64\n[ -e DIR/tried ] || { : > DIR/tried; exit 75; }\n/bin/cat > DIR/new && /bin/mv DIR/new DIR/mail\n";
    world.write(
        "sbin/sendmail",
        &script.replace(
            "DIR",
            world
                .path("")
                .to_str()
                .expect("a path")
                .trim_end_matches('/'),
        ),
    );
    std::fs::set_permissions(
        programs.join("sendmail"),
        std::fs::Permissions::from_mode(0o755),
    )
    .expect("a mode");
    let enter = format!(
        "mount --bind '{}' /usr/sbin && exec \"$0\" \"$@\"",
        programs.display()
    );
    let words = ["unshare", "--mount", "sh", "-c", &enter];
    if !Command::new(words[0])
        .args(&words[1..])
        .arg("true")
        .output()
        .is_ok_and(|tried| tried.status.success())
    {
        return not_run(NAME, "this user can't make a mount namespace");
    }
    world.setup.before = words.map(str::to_owned).to_vec();
    world.start();
    world.make_tokens();
    let proposal = world.propose("plain:true", json!({}));
    wait_for("the mail", || mail.exists());
    let text = std::fs::read_to_string(&mail).expect("a mail");
    let (head, body) = text.split_once("\n\n").expect("a body");
    let headers: Vec<&str> = head.lines().collect();
    assert_eq!(
        headers[..2],
        ["To: ops@example.com", "Subject: [prod] RUN plain:true"],
        "{text}"
    );
    assert!(
        headers.iter().all(|line| line
            .split_once(": ")
            .is_some_and(|(name, _)| !name.contains(' '))),
        "{text}"
    );
    assert!(
        body.starts_with("RUN plain:true\nasked by: agent\n"),
        "{text}"
    );
    assert!(
        body.contains(&format!("countersign review {}", id_of(&proposal))),
        "{text}"
    );
}

#[test]
fn nobody_hears_of_a_proposal_that_he_cannot_sign_and_proposers_get_the_end() {
    let (ops, finance, agent, some) = (
        Target::new(&[]),
        Target::new(&[]),
        Target::new(&[]),
        Target::new(&[]),
    );
    let world = World::with(|setup| {
        setup.config = [
            ops.config("ops", "cloudevents", "for = [\"ops\"]"),
            finance.config("frank", "cloudevents", "for = [\"frank\"]"),
            agent.config("agent", "cloudevents", "for = [\"agent\"]"),
            some.config(
                "some",
                "cloudevents",
                "steps = [\"two:*\"]\nevents = [\"proposal.*\"]",
            ),
        ]
        .concat();
    });
    let plain = world.propose("plain:true", json!({}));
    ops.wait(1);
    world.sign(&plain, &[&alice()]).ok(200);
    world.until(id_of(&plain), "finished");
    let two = world.propose("two:go", json!({}));
    world.deny(&two, &bob()).ok(200);
    let of = |target: &Target| -> Vec<(String, Value)> {
        let one = |message: &Message| {
            let data = &message.json()["data"];
            (
                data["kind"].as_str().expect("a kind").to_owned(),
                data["proposal"].clone(),
            )
        };
        target.messages().iter().map(one).collect()
    };
    let event = |kind: &str, proposal: &Value| (kind.to_owned(), proposal["id"].clone());
    wait_for("the ends", || agent.messages().len() == 2);
    assert_eq!(
        of(&agent),
        [
            event("proposal.finished", &plain),
            event("proposal.denied", &two)
        ]
    );
    wait_for("the denial", || some.messages().len() == 2);
    assert_eq!(
        of(&some),
        [
            event("proposal.pending", &two),
            event("proposal.denied", &two)
        ]
    );
    assert!(
        of(&ops).iter().all(|found| found.0 == "proposal.pending"),
        "{:?}",
        of(&ops)
    );
    assert!(!of(&ops).is_empty());
    assert!(finance.messages().is_empty(), "{:?}", of(&finance));
}

#[test]
fn every_target_hears_of_an_emergency_at_once_whatever_it_wants_to_hear() {
    let (frank, late, steps) = (Target::new(&[]), Target::new(&[]), Target::new(&[]));
    let world = World::with(|setup| {
        setup.policy = reviews::POLICY.to_owned();
        setup.config = [
            frank.config("frank", "cloudevents", "for = [\"frank\"]"),
            late.config("late", "slack", "after = \"1h\""),
            steps.config(
                "steps",
                "cloudevents",
                "steps = [\"two:*\"]\nevents = [\"frozen\"]",
            ),
        ]
        .concat();
    });
    let run = reviews::ran(&world, "fire");
    for target in [&frank, &steps] {
        target.wait(2);
        let kinds = target.kinds();
        assert!(
            kinds.contains(&"proposal.pending".to_owned())
                && kinds.contains(&"emergency".to_owned()),
            "{kinds:?}"
        );
        assert!(
            target
                .messages()
                .iter()
                .all(|message| message.json()["data"]["proposal"] == run["id"])
        );
    }
    let texts: Vec<_> = late
        .wait(2)
        .iter()
        .map(|message| message.json()["text"].to_string())
        .collect();
    assert!(
        texts
            .iter()
            .all(|text| text.starts_with("\"EMERGENCY say:echo")),
        "{texts:?}"
    );
}

#[test]
fn a_draft_of_a_grant_is_told_to_those_who_can_sign_it() {
    let (ops, finance, other) = (Target::new(&[]), Target::new(&[]), Target::new(&[]));
    let world = World::with(|setup| {
        setup.policy = grants::POLICY.to_owned();
        setup.config = [
            ops.config("ops", "slack", "for = [\"alice\"]"),
            finance.config("frank", "slack", "for = [\"frank\"]"),
            other.config("other", "slack", "steps = [\"two:*\"]"),
        ]
        .concat();
    });
    let draft = world
        .wire
        .post(
            "/v1/grants",
            &world.agent,
            &json!({"draft": grants::terms()}),
        )
        .ok(201);
    let digest = draft["digest"].as_str().expect("a digest");
    let until = draft["grant"]["expires_at"]
        .as_str()
        .expect("a time")
        .replace('T', " ")
        .replace('Z', " UTC");
    let expected = format!(
        "STANDING GRANT say:echo\nasked by: agent\nfor: robot, at most 10 runs without asking\n\
         still needed: ops, security (0 of 1 have signed)\nuntil: {until}\n\
         no permission is denied by a built-in list\ndigest ends with: {}\ncountersign approve {}\nboundary: prod",
        &digest[digest.len() - 8..],
        id_of(&draft)
    );
    assert_eq!(ops.wait(1)[0].json()["text"].as_str(), Some(&*expected));
    // The proposal comes later, so the draft would have come before it.
    let two = world.propose("two:go", json!({}));
    assert!(
        other.wait(1)[0].json()["text"]
            .as_str()
            .is_some_and(|text| text.contains(id_of(&two)))
    );
    assert!(finance.messages().is_empty());
}

#[test]
fn people_hear_nothing_of_a_use_of_a_grant_and_programs_hear_all() {
    let (people, program) = (Target::new(&[]), Target::new(&[]));
    let world = World::with(|setup| {
        setup.policy = grants::POLICY.to_owned();
        setup.config =
            people.config("people", "slack", "") + &program.config("program", "cloudevents", "");
    });
    let grant = grants::granted(&world, &grants::terms());
    let _ = grants::used(&world, &grants::bearer(&world, &robot()), &grant, "night");
    // Messages come in order, so that of this proposal comes after any message about the use.
    let _ = world.propose("plain:wait", json!({}));
    let text = || {
        people
            .messages()
            .iter()
            .map(|one| String::from_utf8_lossy(&one.body).into_owned())
            .collect::<String>()
    };
    wait_for("the request", || text().contains("RUN plain:wait"));
    assert!(
        text().contains("STANDING GRANT say:echo") && !text().contains("RUN say:echo"),
        "{}",
        text()
    );
    wait_for("the event of the use", || {
        program
            .kinds()
            .iter()
            .filter(|kind| *kind == "proposal.pending")
            .count()
            == 2
    });
}

#[test]
fn an_escalation_is_told_only_if_the_proposal_still_waits() {
    let late = Target::new(&[]);
    let world = World::with(|setup| {
        setup.config = late.config("late", "cloudevents", "after = \"2s\"")
            + &late.config(
                "typo",
                "cloudevents",
                "for = [\"alise\", \"alice\", \"ops\", \"agent\"]\nevents = [\"frozen\"]",
            );
    });
    let log = world.service_log();
    assert!(
        log.contains("names alise") && log.matches("no message comes for it").count() <= 2,
        "{log}"
    );
    let _ = world.run("plain:true", json!({}), &[&alice()]);
    let waits = world.propose("plain:wait", json!({}));
    let proposed = Instant::now();
    let message = late.wait(1).remove(0);
    assert_eq!(message.json()["data"]["proposal"], waits["id"]);
    assert!(
        message.at - proposed > Duration::from_millis(900),
        "{:?}",
        message.at - proposed
    );
}

#[test]
fn a_dead_target_delays_nobody_and_events_that_no_attempt_can_deliver_are_reported() {
    let refusals = [
        &["404 Not Found", "302 Found", "200 OK"][..],
        &["302 Found"; 30],
    ]
    .concat();
    let (broken, moved, well) = (
        Target::new(&["hang"]),
        Target::new(&refusals),
        Target::new(&[]),
    );
    let world = World::with(|setup| {
        setup.config = [
            broken.config("broken", "cloudevents", ""),
            moved.config("moved", "cloudevents", ""),
            well.config("well", "cloudevents", ""),
        ]
        .concat();
    });
    let _ = world.run("plain:true", json!({}), &[&alice()]);
    wait_for("two reports", || {
        well.kinds()
            .iter()
            .filter(|kind| *kind == "attention")
            .count()
            == 2
    });
    let words: Vec<String> = well
        .messages()
        .iter()
        .filter_map(|m| Some(m.json()["data"]["words"].as_str()?.to_owned()))
        .collect();
    assert!(
        words[0].contains("the target moved of messages: event") && words[0].contains("404"),
        "{words:?}"
    );
    assert!(words[1].contains("redirect (302)"), "{words:?}");
    assert!(
        moved.kinds().iter().all(|kind| kind != "attention"),
        "a target is not told about itself"
    );
    let list = world
        .boundary_command(&["notify", "list", "--config"])
        .arg(world.path("b"))
        .output()
        .expect("list");
    let table = said(&list);
    let row = |name: &str| {
        table
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{table}"))
    };
    // Only the first of the refused messages in a row is reported, and the trouble stays until the target takes a message.
    assert!(
        row("moved")
            .split_whitespace()
            .take(3)
            .eq(["moved", "cloudevents", "0"]),
        "{table}"
    );
    assert!(row("moved").contains("redirect (302)"), "{table}");
    let samples = world.wire.get("/metrics", &world.reader).samples();
    assert!(samples["countersign_notify_given_up{target=\"moved\"}"] >= 3.0);
    assert!(samples["countersign_notify_backlog{target=\"broken\"}"] > 0.0);
    for (name, code, words) in [
        ("well", 0, "well has the test message"),
        ("nobody", 1, "there is no target nobody"),
    ] {
        let mut command = world.boundary_command(&["notify", "test", name, "--config"]);
        let tested = command.arg(world.path("b")).output().expect("test");
        assert_eq!(
            tested.status.code() == Some(0),
            code == 0,
            "{}",
            said(&tested)
        );
        assert!(said(&tested).contains(words), "{}", said(&tested));
    }
    wait_for("the test", || {
        well.messages().last().expect("a message").json()["id"] == "0"
    });
    let _ = broken.answers;
}

#[test]
fn a_refused_message_is_sent_again_with_the_same_id_and_in_order() {
    let target = Target::new(&["503 Unavailable"]);
    let world = World::with(|setup| {
        setup.config = target.config("slow", "cloudevents", "events = [\"proposal.*\"]")
    });
    let proposal = world.propose("plain:wait", json!({}));
    let _ = target.wait(1);
    world.deny(&proposal, &alice()).ok(200);
    let messages = target.wait(3);
    assert_eq!(
        target.kinds(),
        ["proposal.pending", "proposal.pending", "proposal.denied"]
    );
    assert_eq!(messages[0].json(), messages[1].json());
    assert!(messages[1].at - messages[0].at > Duration::from_secs(4));
}

#[test]
fn an_endless_answer_does_not_hold_up_the_next_message() {
    let target = Target::new(&["endless"]);
    let world = World::with(|setup| {
        setup.config = target.config("large", "cloudevents", "events = [\"proposal.*\"]")
    });
    let proposal = world.propose("plain:wait", json!({}));
    world.deny(&proposal, &alice()).ok(200);
    let _ = target.wait(2);
    assert_eq!(target.kinds(), ["proposal.pending", "proposal.denied"]);
}

#[test]
fn each_event_arrives_once_or_more_and_in_order_after_a_kill_at_each_point() {
    let points = [
        "before-message",
        "after-message",
        "before-told-commit",
        "after-told-commit",
        "after-receipt-commit",
    ];
    for point in points {
        let target = Target::new(&[]);
        let mut world = World::with(|setup| {
            setup.config = target.config("ci", "cloudevents", "events = [\"proposal.*\"]")
        });
        world.stop();
        world.setup.env("COUNTERSIGN_FAULT", format!("{point}:1"));
        world.start();
        let wish = World::wish("plain:true", json!({}));
        if let Ok(proposal) = world.wire.try_post("/v1/proposals", &world.agent, &wish) {
            let _ = world.try_sign(&proposal.json(), &[&alice()]);
        }
        assert_eq!(world.ended(), None, "{point}");
        world
            .setup
            .env
            .retain(|(name, _)| name != "COUNTERSIGN_FAULT");
        world.start();
        let finished = world.run("say:echo", json!({}), &[&alice()]);
        wait_for("the end", || {
            target.messages().iter().any(|m| {
                m.json()["subject"] == finished["id"]
                    && m.json()["type"] == "dev.countersign.proposal.finished"
            })
        });
        let mut ids: Vec<u64> = target
            .messages()
            .iter()
            .map(|message| message.json()["id"].as_str().unwrap().parse().unwrap())
            .collect();
        // After the kill, the target gets the events after the stored position again, also in order.
        let back = ids.windows(2).filter(|two| two[1] <= two[0]).count();
        assert!(back <= 1, "{point}: {ids:?}");
        let mut known = std::collections::BTreeSet::new();
        ids.retain(|id| known.insert(*id));
        let wanted: Vec<u64> = world
            .wire
            .feed("?after=0", &world.reader)
            .take_while(|event| {
                event["proposal"] != finished["id"] || event["kind"] != "proposal.finished"
            })
            .filter(|event| {
                event["kind"]
                    .as_str()
                    .is_some_and(|kind| kind.starts_with("proposal."))
            })
            .map(|event| event["seq"].as_u64().unwrap())
            .collect();
        assert_eq!(ids[..ids.len() - 1], wanted, "{point}");
    }
}

#[test]
fn a_wrong_target_is_refused_with_its_line_and_what_to_write() {
    let target = |lines: &str| format!("[[notify]]\nname = \"x\"\n{lines}\n");
    for (config, words) in [
        ("[[notify]]\nkind = \"slack\"\n".to_owned(), "has no `name`"),
        (
            target("kind = \"pager\"\nurl = \"https://a.example\""),
            "pager",
        ),
        (target("kind = \"slack\""), "has no `url`"),
        (
            target("kind = \"slack\"\nurl = \"http://a.example/\""),
            "the address must be https://",
        ),
        (
            target("kind = \"slack\"\nurl = \"http://localhost.a.example/\""),
            "the address must be https://",
        ),
        (
            target("kind = \"slack\"\nurl = \"https://user:canary@a.example/x\""),
            "a user name or a password",
        ),
        (
            target("kind = \"ntfy\"\nurl = \"https://canary@a.example/topic\""),
            "a user name or a password",
        ),
        (
            target("kind = \"slack\"\nurl = \"http://u:canary@127.0.0.1:9/x\""),
            "a user name or a password",
        ),
        (
            target("kind = \"ntfy\"\nurl = \"https://a.example/\""),
            "must end with the topic",
        ),
        (
            target("kind = \"mail\"\nurl = \"mailto:-t@a.example\""),
            "mailto:PERSON@HOST",
        ),
        (
            target("kind = \"mail\"\nurl = \"mailto:a@b.example\"\nsecret = \"x\""),
            "has no secret",
        ),
        (
            target("kind = \"slack\"\nurl = \"https://a.example\"\nevents = [\"proposal.paused\"]"),
            "there is no event",
        ),
        (
            target(
                "kind = \"slack\"\nurl = \"https://a.example\"\nafter = \"10m\"\nevents = [\"seal\"]",
            ),
            "`after` is only",
        ),
        (
            target("kind = \"slack\"\nurl = \"https://a.example\"\nsteps = [\"!x\"]"),
            "!x",
        ),
        (
            target("kind = \"slack\"\nurl = \"https://a.example\"\ncolour = \"red\""),
            "colour",
        ),
        (
            target("kind = \"slack\"\nurl = \"https://a.example\"\ndesk = \"https://a.example/\""),
            "(the address of a desk)",
        ),
        ("notify = \"x\"\n".to_owned(), "write [[notify]]"),
    ] {
        let mut world = World::prepared(|setup| setup.config = config.clone());
        let refused = world.try_start().expect_err(&config);
        assert!(
            refused.contains(words) && refused.contains("countersign.toml:"),
            "{config}: {refused}"
        );
    }
}
