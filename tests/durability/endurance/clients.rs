//! The clients of the endurance test: each has its own generator, and sends every kind of request.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Scene;
use crate::support::people::{
    self, CHALLENGE, Key, alice, bob, dora, envelope, oscar, predicate_of, revocation, robot,
    sha256, statement,
};
use crate::support::random::Random;
use crate::support::wire::Reply;
use crate::support::wire::tool_call;
use crate::support::{World, bytes_of, id_of, tile_of};

/// Why an action ended early.
#[derive(Debug)]
enum Stop {
    /// The boundary refused a request.
    Refused,
    /// The connection broke.
    Gone(String),
}

type Did<T = ()> = Result<T, Stop>;

/// A client of one round.
pub(super) struct Client {
    number: u64,
    random: Random,
    count: u64,
    texts: u64,
    /// The newest envelope that ran.
    spent: Option<Value>,
    grant: Option<Value>,
    bearer: Option<String>,
}

type Action = fn(&mut Turn<'_>) -> Did;

/// Each kind of request with its share.
const MIXTURE: [(&str, usize, Action); 19] = [
    ("run", 8, |turn| {
        turn.run("mark:it", json!({}), &[&alice()]).map(drop)
    }),
    ("two people", 2, |turn| {
        turn.run("pair:it", json!({}), &[&alice(), &bob()])
            .map(drop)
    }),
    ("envelope", 4, |turn| turn.whole()),
    ("replay", 2, |turn| turn.replay()),
    ("deny", 2, |turn| turn.deny()),
    ("cancel", 2, |turn| turn.cancel()),
    ("leave", 8, |turn| turn.leave()),
    ("grant", 3, |turn| turn.use_grant()),
    ("emergency", 2, |turn| {
        turn.run("pair:it", json!({"emergency": true}), &[&dora()])
            .map(drop)
    }),
    ("review", 2, |turn| turn.review()),
    ("file", 2, |turn| turn.file()),
    ("session", 1, |turn| turn.session()),
    ("plan", 1, |turn| turn.plan()),
    ("watch", 2, |turn| turn.watch()),
    ("lists", 6, |turn| turn.lists()),
    ("log", 4, |turn| turn.log()),
    ("state", 3, |turn| turn.state()),
    ("bad", 4, |turn| turn.bad()),
    ("tokens", 1, |turn| turn.tokens()),
];

impl Client {
    pub(super) fn new(number: u64, random: Random) -> Self {
        Self {
            number,
            random,
            count: 0,
            texts: 0,
            spent: None,
            grant: None,
            bearer: None,
        }
    }

    /// Does actions until the round is over.
    pub(super) fn play(&mut self, scene: &Scene) {
        while !scene.over.load(Ordering::Relaxed) {
            // Each action has its own generator, so that an answer does not change the later actions.
            let mut dice = Random(self.random.next());
            let mut at = dice.below(MIXTURE.iter().map(|(_, share, _)| share).sum());
            let (kind, _, act) = MIXTURE
                .iter()
                .find(|(_, share, _)| at.checked_sub(*share).map(|less| at = less).is_none())
                .unwrap();
            let pause = Duration::from_millis(dice.below(scene.pause_ms) as u64);
            self.count += 1;
            let (number, count) = (self.number, self.count);
            {
                // A restart waits until each action has ended.
                let world = scene.world.read().unwrap();
                let did = act(&mut Turn {
                    scene,
                    world: &world,
                    client: &mut *self,
                    dice,
                });
                let lost = if matches!(did, Err(Stop::Gone(_))) {
                    ", lost"
                } else {
                    ""
                };
                scene.note(format!("client {number}, action {count}: {kind}{lost}"));
                if let Err(Stop::Gone(words)) = did {
                    let is_dying = scene.dying.load(Ordering::SeqCst);
                    assert!(
                        is_dying,
                        "{kind}: no answer, but nobody killed the service: {words}"
                    );
                }
            }
            let until = Instant::now() + pause;
            while Instant::now() < until && !scene.over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// One action of a client.
struct Turn<'a> {
    scene: &'a Scene,
    world: &'a World,
    client: &'a mut Client,
    dice: Random,
}

impl Turn<'_> {
    // Requests

    /// Returns an answer, which is never a fault.
    fn fine(reply: Result<Reply, String>) -> Did<Reply> {
        let reply = reply.map_err(Stop::Gone)?;
        assert!(
            reply.status < 500 || reply.status == 503,
            "{}: {}",
            reply.status,
            reply.text()
        );
        Ok(reply)
    }

    /// Returns the body of an answer with the status 200 or 201.
    fn done(reply: &Reply) -> Did<Value> {
        if reply.status < 300 {
            Ok(reply.json())
        } else {
            Err(Stop::Refused)
        }
    }

    fn post(&self, path: &str, token: &str, body: &Value) -> Did<Reply> {
        Self::fine(self.world.wire.try_post(path, token, body))
    }

    fn agent(&self) -> &str {
        &self.scene.progress.agents[self.client.number as usize]
    }

    /// Sends a request of the agent. Returns the body of the answer.
    fn ask(&self, path: &str, body: &Value) -> Did<Value> {
        Self::done(&self.post(path, self.agent(), body)?)
    }

    fn get(&self, path: &str) -> Did<Reply> {
        Self::fine(self.world.wire.try_get(path, &self.world.reader))
    }

    fn read(&self, path: &str) -> Did<Value> {
        Self::done(&self.get(path)?)
    }

    fn promise(&self, kind: &'static str, needle: &str) {
        self.scene
            .promises
            .lock()
            .unwrap()
            .push((kind, needle.to_owned()));
    }

    /// Returns the body of a proposal with a text that no other run has.
    fn wish(&mut self, step: &str, more: Value) -> Value {
        self.client.texts += 1;
        let text = format!(
            "r{}c{}x{}",
            self.scene.progress.round, self.client.number, self.client.texts
        );
        let mut wish = World::wish(step, json!({"text": text}));
        wish["expires_in_s"] = json!(20);
        wish.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        wish
    }

    fn propose(&mut self, step: &str, more: Value) -> Did<Value> {
        let wish = self.wish(step, more);
        self.ask("/v1/proposals", &wish)
    }

    fn sign(&self, view: &Value, key: &Key) -> Did<Reply> {
        Self::fine(self.world.try_sign(view, &[key]))
    }

    /// Signs and waits a little for the end of the run. Returns the finished proposal.
    fn end_of(&self, view: &Value, keys: &[&Key]) -> Did<Value> {
        for key in keys {
            Self::done(&self.sign(view, key)?)?;
        }
        for _ in 0..4 {
            let view = self.read(&format!("/v1/proposals/{}?wait=1s", id_of(view)))?;
            if view["status"] == "finished" {
                self.promise("receipt", id_of(&view));
                return Ok(view);
            }
            if !["pending", "approved", "running"]
                .iter()
                .any(|open| view["status"] == *open)
            {
                break;
            }
        }
        Err(Stop::Refused)
    }

    /// Proposes, signs and waits. Returns the finished proposal.
    fn run(&mut self, step: &str, more: Value, keys: &[&Key]) -> Did<Value> {
        let view = self.propose(step, more)?;
        self.end_of(&view, keys)
    }

    /// Reads a stream for a short time.
    fn listen(&self, path: &str) -> Did<String> {
        let lost = |error: std::io::Error| Stop::Gone(error.to_string());
        let mut stream = TcpStream::connect(self.world.wire.address()).map_err(lost)?;
        let (host, token) = (self.world.wire.address(), &self.world.reader);
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\naccept: application/x-ndjson\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).map_err(lost)?;
        stream
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        let (mut text, mut piece, until) = (
            Vec::new(),
            [0; 8192],
            Instant::now() + Duration::from_secs(2),
        );
        while let Ok(length @ 1..) = stream.read(&mut piece) {
            text.extend_from_slice(&piece[..length]);
            if Instant::now() > until {
                break;
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    // Actions

    /// Submits a whole envelope twice: the second time must be refused.
    fn whole(&mut self) -> Did {
        let like = self.propose("mark:it", json!({}))?;
        let mut predicate =
            serde_json::from_slice::<Value>(&bytes_of(&like)).unwrap()["predicate"].take();
        people::renew(&mut predicate);
        let id = predicate["proposal"].as_str().unwrap().to_owned();
        predicate["params"]["text"] = json!(format!(
            "{}w",
            predicate["params"]["text"].as_str().unwrap()
        ));
        let whole = envelope(&people::authorization(&predicate), &[&alice()]);
        self.ask("/v1/authorizations", &whole)?;
        self.promise("receipt", &id);
        self.client.spent = Some(whole.clone());
        *self.scene.spent.lock().unwrap() = Some(whole);
        self.replay()
    }

    fn replay(&mut self) -> Did {
        let Some(whole) = &self.client.spent else {
            return Ok(());
        };
        let reply = self.post("/v1/authorizations", self.agent(), whole)?;
        assert!(
            reply.status >= 400,
            "a spent envelope runs again: {}",
            reply.text()
        );
        Ok(())
    }

    fn deny(&mut self) -> Did {
        let view = self.propose("mark:it", json!({}))?;
        Self::done(&Self::fine(self.world.try_deny(&view, &dora()))?)?;
        self.promise("denial", &sha256(&bytes_of(&view)));
        let late = self.sign(&view, &alice())?;
        assert!(
            late.status >= 400,
            "a denied proposal can be signed: {}",
            late.text()
        );
        Ok(())
    }

    /// Cancels a proposal, or a run that waits.
    fn cancel(&mut self) -> Did {
        let view = self.propose("mark:wait", json!({}))?;
        let running = self.dice.below(2) == 0 && self.sign(&view, &alice())?.status == 200;
        let path = format!("/v1/proposals/{}/cancellation", id_of(&view));
        let cancelled = self.post(&path, self.agent(), &json!({}))?.status == 200;
        if running {
            self.end_of(&view, &[])?;
        } else if cancelled {
            self.promise("cancelled", id_of(&view));
        }
        Ok(())
    }

    /// Leaves a proposal, which expires.
    fn leave(&mut self) -> Did {
        let seconds = 1 + self.dice.below(4);
        self.propose("mark:it", json!({"expires_in_s": seconds}))
            .map(drop)
    }

    /// Returns a new challenge for the grantee.
    fn challenge(&self) -> Did<String> {
        let challenge = self.post("/v1/challenges", "", &json!({"keyid": robot().keyid()}))?;
        let challenge = Self::done(&challenge)?;
        Ok(challenge["challenge"].as_str().unwrap().to_owned())
    }

    /// Returns the time of the boundary, whose clock jumps. A challenge states its end, which is one minute later.
    fn time(&self) -> Did<i64> {
        let challenge = self.challenge()?;
        let (_, end) = challenge.rsplit_once(' ').unwrap();
        Ok(people::unix_of(end) - 60)
    }

    fn bearer(&mut self) -> Did<String> {
        if self.client.bearer.is_none() {
            let words = self.challenge()?;
            let answer = json!({"challenge": words, "signature": robot().sign_as(CHALLENGE, words.as_bytes())});
            let answer = Self::done(&self.post("/v1/challenges/answer", "", &answer)?)?;
            self.client.bearer = Some(answer["bearer"].as_str().unwrap().to_owned());
        }
        Ok(self.client.bearer.clone().unwrap())
    }

    /// Uses the grant of this client. Asks for a new grant if there is none, or if it has ended.
    fn use_grant(&mut self) -> Did {
        let Some(grant) = self.client.grant.take() else {
            return self.ask_for_grant();
        };
        let bearer = self.bearer()?;
        let nonce = people::nonce_until(self.time()? + 20);
        let mut wish = self.wish("mark:it", json!({"grant": grant["id"], "nonce": nonce}));
        wish.as_object_mut().unwrap().remove("expires_in_s");
        let reply = self.post("/v1/proposals", &bearer, &wish)?;
        if reply.status == 401 {
            self.client.bearer = None;
        }
        let view = Self::done(&reply)?;
        self.client.grant = Some(grant);
        self.end_of(&view, &[&robot()]).map(drop)
    }

    fn ask_for_grant(&mut self) -> Did {
        let params = json!({"type": "object", "properties": {"text": {"type": "string", "pattern": "^[a-z0-9]{1,40}$"}}, "required": ["text"]});
        let terms = json!({"grantee": {"name": "robot", "key": robot().keyid()}, "reason": "each night",
            "steps": [{"step": "mark:it", "params": params}], "max_uses": 3, "expires_in_s": 600});
        let draft = self.ask("/v1/grants", &json!({"draft": terms}))?;
        let signatures = json!({"signatures": [alice().sign(&bytes_of(&draft))]});
        let view = Self::done(&self.post(
            &format!("/v1/grants/{}/signatures", id_of(&draft)),
            "",
            &signatures,
        )?)?;
        if view["status"] == "active" {
            self.promise("grant", &sha256(&bytes_of(&draft)));
            self.client.grant = Some(view);
        }
        Ok(())
    }

    /// Reviews a run of the list of runs that need a review.
    fn review(&mut self) -> Did {
        let list = self.read("/v1/unsettled")?;
        let runs = list["runs"]
            .as_array()
            .filter(|runs| !runs.is_empty())
            .ok_or(Stop::Refused)?;
        let proposal = runs[self.dice.below(runs.len())]["proposal"]
            .as_str()
            .unwrap();
        let receipt = format!("/v1/receipts/{}", proposal.replace("prp_", "rcp_"));
        let found = self.read(&receipt)?;
        let (signed, digest) = (
            predicate_of(&found["envelope"]),
            sha256(&people::payload_of(&found["envelope"])),
        );
        let of = predicate_of(&found["authorization"]);
        let mut review =
            json!({"boundary": of["boundary"], "verdict": "accepted", "reason": people::nonce()});
        if signed["outcome"]["status"] == "unknown" {
            review["observed"] = json!("failed");
        }
        let subject = json!([{"name": "receipt", "digest": {"sha256": digest}}]);
        let review = envelope(&statement("review", &subject, &review), &[&bob()]);
        Self::done(&self.post(&format!("{receipt}/reviews"), "", &review)?)?;
        self.promise("review", &digest);
        Ok(())
    }

    /// Uploads a file, and reads the files that the run leaves.
    fn file(&mut self) -> Did {
        // Each client has two files, so that the number of kept files soon stays the same.
        let bytes = vec![b'a' + self.dice.below(2) as u8; 100 << (self.client.number % 10)];
        let (digest, bearer) = (
            format!("sha256:{}", sha256(&bytes)),
            format!("Bearer {}", self.agent()),
        );
        let headers = [
            ("content-type", "application/octet-stream"),
            ("authorization", bearer.as_str()),
        ];
        let path = format!("/v1/artifacts/{digest}");
        Self::done(&Self::fine(self.world.wire.try_call(
            "PUT",
            &path,
            &headers,
            Some(&bytes),
        ))?)?;
        let artifacts = json!({"artifacts": [{"name": "note", "digest": digest}]});
        let view = self.run("carry:file", artifacts, &[&alice()])?;
        self.get(&format!(
            "/v1/receipts/{}/files",
            view["receipt"].as_str().unwrap()
        ))
        .map(drop)
    }

    fn session(&mut self) -> Did {
        let session = self.ask("/v1/sessions", &json!({"runbook": "carry"}))?;
        for _ in 0..2 {
            self.run("carry:set", json!({"session": session["id"]}), &[&alice()])?;
        }
        self.ask(&format!("/v1/sessions/{}/end", id_of(&session)), &json!({}))
            .map(drop)
    }

    fn plan(&mut self) -> Did {
        let mut wish = self.wish("carry:plan", json!({}));
        let plan = self.ask("/v1/proposals", &wish)?;
        let planned = self.end_of(&plan, &[&alice()])?;
        wish["step"] = json!("carry:apply");
        wish["plan"] = planned["receipt"].clone();
        let apply = self.ask("/v1/proposals", &wish)?;
        self.end_of(&apply, &[&alice()]).map(drop)
    }

    /// Watches the output of a run, and reads its recorded output and its bundle.
    fn watch(&mut self) -> Did {
        let view = self.propose("mark:loud", json!({}))?;
        Self::done(&self.sign(&view, &alice())?)?;
        let heard = self.listen(&format!("/v1/proposals/{}/events", id_of(&view)))?;
        assert!(
            heard.is_empty() || heard.starts_with("HTTP/1.1 "),
            "{heard}"
        );
        let view = self.end_of(&view, &[])?;
        let receipt = format!("/v1/receipts/{}", view["receipt"].as_str().unwrap());
        let found = self.read(&receipt)?;
        let stdout = predicate_of(&found["envelope"])["output"]["stdout"].take();
        let output = self.get(&format!(
            "/v1/outputs/{}",
            stdout["blake3"].as_str().unwrap_or("none")
        ))?;
        if output.status == 200 {
            assert_eq!(
                json!(format!("sha256:{}", sha256(&output.body))),
                stdout["sha256"],
                "the recorded output"
            );
        }
        let bundle = self.read(&format!("{receipt}/bundle"))?;
        self.post("/v1/receipts/verify", &self.world.reader, &bundle)
            .map(drop)
    }

    fn lists(&mut self) -> Did {
        let paths = [
            "/v1/proposals?status=pending&limit=20",
            "/v1/proposals?step=mark:it&proposer=agent1&limit=5",
            "/v1/proposals?limit=100",
            "/v1/registry",
            "/v1/steps/mark:it",
            "/v1/steps/pair:it",
            "/v1/sessions",
            "/v1/grants",
            "/v1/unsettled",
        ];
        let path = paths[self.dice.below(paths.len())];
        let page = self.read(path)?;
        let Some(id) = page["proposals"][0]["id"].as_str() else {
            return Ok(());
        };
        if self.dice.below(8) > 0 {
            return self.get(&format!("/v1/proposals/{id}")).map(drop);
        }
        // The document that a person reads before a signature.
        let (url, roster) = (
            &self.world.wire.url,
            self.world.started["roster"].as_str().unwrap(),
        );
        let mut review = self
            .world
            .program(&["--url", url, "review", id, "--roster", roster, "--key"]);
        review
            .arg(self.world.path("alice.pem"))
            .output()
            .expect("review");
        Ok(())
    }

    fn log(&mut self) -> Did {
        let note = self.get("/log/checkpoint")?.text();
        let Some(size) = note
            .lines()
            .nth(1)
            .and_then(|size| size.parse::<usize>().ok())
        else {
            return Ok(());
        };
        let (at, old) = (self.dice.below(size), 1 + self.dice.below(size));
        let tile = tile_of(at as u64 / 256, size as u64);
        for path in [
            format!("/log/proof/{at}"),
            format!("/log/proof/consistency/{old}/{size}"),
            format!("/log/tile/entries/{tile}"),
            format!("/log/tile/0/{tile}"),
        ] {
            let reply = self.get(&path)?;
            assert!(
                reply.status == 200,
                "{path} of {size} entries: {}",
                reply.text()
            );
        }
        Ok(())
    }

    fn state(&mut self) -> Did {
        match self.dice.below(6) {
            at @ 0..=2 => self.get(["/metrics", "/ready", "/health"][at]).map(drop),
            3 | 4 => {
                let after = self.dice.below(2) * self.dice.below(2000);
                self.listen(&format!("/v1/events?after={after}")).map(drop)
            }
            _ => {
                let wish = self.wish("mark:it", json!({}));
                let ask = json!({"step": wish["step"], "params": wish["params"], "reason": "by MCP", "wait_s": 0});
                let (tool, arguments) =
                    [("list_steps", json!({})), ("propose", ask)][self.dice.below(2)].clone();
                let (body, bearer) = (
                    tool_call(tool, arguments).to_string(),
                    format!("Bearer {}", self.agent()),
                );
                let headers = [
                    ("content-type", "application/json"),
                    ("accept", "application/json, text/event-stream"),
                    ("authorization", bearer.as_str()),
                ];
                Self::fine(self.world.wire.try_call(
                    "POST",
                    "/mcp",
                    &headers,
                    Some(body.as_bytes()),
                ))
                .map(drop)
            }
        }
    }

    fn bad(&mut self) -> Did {
        let (wire, agent) = (&self.world.wire, self.agent().to_owned());
        let bearer = format!("Bearer {agent}");
        let headers = [
            ("content-type", "application/json"),
            ("authorization", bearer.as_str()),
        ];
        let garbage: Vec<u8> = (0..self.dice.below(300))
            .map(|_| self.dice.next() as u8)
            .collect();
        let wish = World::wish("no:step", json!({}));
        let reply = match self.dice.below(6) {
            0 => wire.try_call("POST", "/v1/proposals", &headers, Some(&garbage)),
            1 => wire.try_call("POST", "/v1/authorizations", &headers, Some(&garbage)),
            2 => wire.try_post("/v1/proposals", "cst_wrong", &wish),
            3 => wire.try_post("/v1/proposals", &agent, &wish),
            4 => wire.try_get("/v1/receipts/rcp_nothing", &self.world.reader),
            // The boundary may close the connection before it has read the whole request.
            _ => {
                let _ = wire.try_call(
                    "POST",
                    "/v1/proposals",
                    &headers,
                    Some(&vec![b' '; 3 << 20]),
                );
                return Ok(());
            }
        };
        let reply = Self::fine(reply)?;
        assert!(reply.status >= 400, "a bad request: {}", reply.text());
        Ok(())
    }

    /// Makes a token, and revokes it at the host, in half of the cases after a signed revocation.
    fn tokens(&mut self) -> Did {
        let name = format!(
            "r{}t{}n{}",
            self.scene.progress.round, self.client.number, self.client.count
        );
        let token = json!({"name": name, "owners": ["carol"], "scopes": ["read"], "patterns": []});
        let secret = self.world.create_token(&token).map_err(|_| Stop::Refused)?;
        self.promise("token", &name);
        let revoked = if self.dice.below(2) == 0 {
            Ok(())
        } else {
            self.revoke(&name, &secret)
        };
        // Each seal lists the tokens that the host did not revoke.
        let _ = self
            .world
            .control(&json!({"do": "token-revoke", "name": name}));
        revoked
    }

    fn revoke(&mut self, name: &str, secret: &str) -> Did {
        let registry = self.read("/v1/registry")?;
        let digest = sha256(name.as_bytes());
        let signed = envelope(
            &revocation(&registry["boundary"], "token", &digest),
            &[&oscar()],
        );
        Self::done(&self.post("/v1/revocations", "", &signed)?)?;
        self.promise("revocation", &digest);
        let late = Self::fine(self.world.wire.try_get("/v1/proposals", secret))?;
        assert!(late.status >= 400, "a revoked token opens the list");
        Ok(())
    }
}
