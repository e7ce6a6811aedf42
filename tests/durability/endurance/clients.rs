//! The clients of the endurance test: each has its own generator, and sends every kind of request.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Promise, Scene, tile};
use crate::durability::random::Random;
use crate::mcp::tool_call;
use crate::support::people::{
    self, CHALLENGE, Key, alice, bob, dora, envelope, oscar, predicate_of, revocation, robot, sha256, statement,
};
use crate::support::wire::Reply;
use crate::support::{World, bytes_of, id_of};

/// The connection broke.
#[derive(Debug)]
pub(super) struct Gone(String);

type Did<T = ()> = Result<T, Gone>;

/// A client, which keeps its generator and what it knows from round to round.
pub(super) struct Client {
    number: usize,
    random: Random,
    count: u64,
    texts: u64,
    /// The newest envelope that ran.
    spent: Option<Value>,
    grant: Option<Value>,
    bearer: Option<String>,
}

/// Each kind of request with its share.
const MIXTURE: [(&str, usize); 19] = [
    ("run", 8),
    ("two people", 2),
    ("envelope", 4),
    ("replay", 2),
    ("deny", 2),
    ("cancel", 2),
    ("leave", 8),
    ("grant", 3),
    ("emergency", 2),
    ("review", 2),
    ("file", 2),
    ("session", 1),
    ("plan", 1),
    ("watch", 2),
    ("lists", 6),
    ("log", 4),
    ("state", 3),
    ("bad", 4),
    ("tokens", 1),
];

impl Client {
    pub(super) fn new(seed: u64, number: usize) -> Self {
        let random = Random(seed ^ (number as u64 + 1).wrapping_mul(0x0123_4567_89ab_cdef));
        Self { number, random, count: 0, texts: 0, spent: None, grant: None, bearer: None }
    }

    /// Does actions until the round is over.
    pub(super) fn play(&mut self, scene: &Scene) {
        while !scene.over.load(Ordering::Relaxed) {
            // Each action has its own generator, so that an answer does not change the later actions.
            let mut dice = Random(self.random.next());
            let mut at = dice.below(MIXTURE.iter().map(|(_, share)| share).sum());
            let (kind, _) =
                MIXTURE.iter().find(|(_, share)| at.checked_sub(*share).map(|less| at = less).is_none()).unwrap();
            let pause = dice.below(scene.pause_ms);
            self.count += 1;
            let (number, count) = (self.number, self.count);
            {
                // A restart waits until each action has ended.
                let world = scene.world.read().unwrap();
                let mut turn = Turn { scene, world: &world, client: &mut *self, dice };
                let did = turn.act(kind);
                scene.note(format!(
                    "client {number}, action {count}: {kind}{}",
                    if did.is_ok() { "" } else { ", lost" }
                ));
                if let Err(Gone(words)) = did {
                    assert!(
                        scene.dying.load(Ordering::SeqCst),
                        "{kind}: no answer, but nobody killed the service: {words}"
                    );
                }
            }
            let until = Instant::now() + Duration::from_millis(pause as u64);
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
    fn act(&mut self, kind: &str) -> Did {
        match kind {
            "run" => self.run("mark:it", json!({}), &[&alice()]).map(drop),
            "two people" => self.two_people(),
            "envelope" => self.whole(),
            "replay" => self.replay(),
            "deny" => self.deny(),
            "cancel" => self.cancel(),
            "leave" => {
                let seconds = 1 + self.dice.below(4);
                self.propose("mark:it", json!({"expires_in_s": seconds})).map(drop)
            }
            "grant" => self.use_grant(),
            "emergency" => self.run("pair:it", json!({"emergency": true}), &[&dora()]).map(drop),
            "review" => self.review(),
            "file" => self.file(),
            "session" => self.session(),
            "plan" => self.plan(),
            "watch" => self.watch(),
            "lists" => self.lists(),
            "log" => self.log(),
            "state" => self.state(),
            "bad" => self.bad(),
            _ => self.tokens(),
        }
    }

    // Requests

    /// Returns an answer, which is never a fault.
    fn fine(reply: Result<Reply, String>) -> Did<Reply> {
        let reply = reply.map_err(Gone)?;
        assert!(reply.status < 500 || reply.status == 503, "{}: {}", reply.status, reply.text());
        Ok(reply)
    }

    fn post(&self, path: &str, token: &str, body: &Value) -> Did<Reply> {
        Self::fine(self.world.wire.try_post(path, token, body))
    }

    fn get(&self, path: &str) -> Did<Reply> {
        Self::fine(self.world.wire.try_get(path, &self.world.reader))
    }

    /// Returns the body of an answer with the status 200 or 201.
    fn done(reply: &Reply) -> Option<Value> {
        (reply.status < 300).then(|| reply.json())
    }

    fn promise(&self, kind: &'static str, needle: &str) {
        self.scene.promises.lock().unwrap().push(Promise { kind, needle: needle.to_owned() });
    }

    /// Returns the body of a proposal with a text that no other run has.
    fn wish(&mut self, step: &str, more: Value) -> Value {
        self.client.texts += 1;
        let text = format!("c{}x{}", self.client.number, self.client.texts);
        let mut wish = World::wish(step, json!({"text": text}));
        wish["expires_in_s"] = json!(20);
        wish["nonce"] = json!(people::nonce());
        wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        wish
    }

    fn propose(&mut self, step: &str, more: Value) -> Did<Option<Value>> {
        let wish = self.wish(step, more);
        Ok(Self::done(&self.post("/v1/proposals", &self.world.agent, &wish)?))
    }

    fn sign(&self, view: &Value, keys: &[&Key]) -> Did<Reply> {
        Self::fine(self.world.try_sign(view, keys))
    }

    /// Waits a little for the end of a run.
    fn end_of(&self, id: &str) -> Did<Option<Value>> {
        for _ in 0..4 {
            let Some(view) = Self::done(&self.get(&format!("/v1/proposals/{id}?wait=1s"))?) else { return Ok(None) };
            if view["status"] == "finished" {
                self.promise("receipt", id);
                return Ok(Some(view));
            }
            if !["pending", "approved", "running"].iter().any(|open| view["status"] == *open) {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Proposes, signs and waits. Returns the finished proposal.
    fn run(&mut self, step: &str, more: Value, keys: &[&Key]) -> Did<Option<Value>> {
        let Some(view) = self.propose(step, more)? else { return Ok(None) };
        if self.sign(&view, keys)?.status != 200 {
            return Ok(None);
        }
        self.end_of(id_of(&view))
    }

    /// Reads a stream for a short time.
    fn listen(&self, path: &str) -> Did<String> {
        let lost = |error: std::io::Error| Gone(error.to_string());
        let mut stream = TcpStream::connect(self.world.wire.address()).map_err(lost)?;
        let (host, token) = (self.world.wire.address(), &self.world.reader);
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\naccept: application/x-ndjson\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).map_err(lost)?;
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let (mut text, mut piece, until) = (Vec::new(), [0; 8192], Instant::now() + Duration::from_secs(2));
        while let Ok(length @ 1..) = stream.read(&mut piece) {
            text.extend_from_slice(&piece[..length]);
            if Instant::now() > until {
                break;
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    // Actions

    fn two_people(&mut self) -> Did {
        let Some(view) = self.propose("pair:it", json!({}))? else { return Ok(()) };
        self.sign(&view, &[&alice()])?;
        if self.sign(&view, &[&bob()])?.status == 200 {
            self.end_of(id_of(&view))?;
        }
        Ok(())
    }

    /// Hands in a whole envelope twice: the second time must be refused.
    fn whole(&mut self) -> Did {
        let Some(like) = self.propose("mark:it", json!({}))? else { return Ok(()) };
        let mut predicate = serde_json::from_slice::<Value>(&bytes_of(&like)).unwrap()["predicate"].take();
        let id = people::proposal_id();
        predicate["proposal"] = json!(id);
        predicate["nonce"] = json!(people::nonce());
        predicate["params"]["text"] = json!(format!("{}w", predicate["params"]["text"].as_str().unwrap()));
        let whole = envelope(&people::authorization(&predicate), &[&alice()]);
        if self.post("/v1/authorizations", &self.world.agent, &whole)?.status == 200 {
            self.promise("receipt", &id);
            self.client.spent = Some(whole.clone());
            *self.scene.spent.lock().unwrap() = Some(whole);
            return self.replay();
        }
        Ok(())
    }

    fn replay(&mut self) -> Did {
        let Some(whole) = &self.client.spent else { return Ok(()) };
        let reply = self.post("/v1/authorizations", &self.world.agent, whole)?;
        assert!(reply.status >= 400, "a spent envelope runs again: {}", reply.text());
        Ok(())
    }

    fn deny(&mut self) -> Did {
        let Some(view) = self.propose("mark:it", json!({}))? else { return Ok(()) };
        if Self::fine(self.world.try_deny(&view, &dora()))?.status == 200 {
            self.promise("denial", &sha256(&bytes_of(&view)));
            let late = self.sign(&view, &[&alice()])?;
            assert!(late.status >= 400, "a denied proposal can be signed: {}", late.text());
        }
        Ok(())
    }

    /// Cancels a proposal, or a run that waits.
    fn cancel(&mut self) -> Did {
        let Some(view) = self.propose("mark:wait", json!({}))? else { return Ok(()) };
        let running = self.dice.below(2) == 0 && self.sign(&view, &[&alice()])?.status == 200;
        let path = format!("/v1/proposals/{}/cancellation", id_of(&view));
        if self.post(&path, &self.world.agent, &json!({}))?.status == 200 && !running {
            self.promise("cancelled", id_of(&view));
        }
        if running { self.end_of(id_of(&view)).map(drop) } else { Ok(()) }
    }

    fn bearer(&mut self) -> Did<Option<String>> {
        if self.client.bearer.is_none() {
            let challenge = self.post("/v1/challenges", "", &json!({"keyid": robot().keyid()}))?;
            let Some(challenge) = Self::done(&challenge) else { return Ok(None) };
            let words = challenge["challenge"].as_str().unwrap();
            let answer = json!({"challenge": words, "signature": robot().sign_as(CHALLENGE, words.as_bytes())});
            let answer = Self::done(&self.post("/v1/challenges/answer", "", &answer)?);
            self.client.bearer = answer.map(|answer| answer["bearer"].as_str().unwrap().to_owned());
        }
        Ok(self.client.bearer.clone())
    }

    /// Uses the grant of this client. Asks for a new grant if there is none, or if it has ended.
    fn use_grant(&mut self) -> Did {
        let Some(grant) = self.client.grant.clone() else { return self.ask_for_grant() };
        let Some(bearer) = self.bearer()? else { return Ok(()) };
        let wish = self.wish("mark:it", json!({"grant": grant["id"]}));
        let reply = self.post("/v1/proposals", &bearer, &wish)?;
        if reply.status == 401 {
            self.client.bearer = None;
        }
        match Self::done(&reply) {
            Some(view) if view["status"] == "pending" => {
                if self.sign(&view, &[&robot()])?.status == 200 {
                    self.end_of(id_of(&view))?;
                }
            }
            _ => self.client.grant = None,
        }
        Ok(())
    }

    fn ask_for_grant(&mut self) -> Did {
        let params = json!({"type": "object", "properties": {"text": {"type": "string", "pattern": "^[a-z0-9]{1,40}$"}}, "required": ["text"]});
        let terms = json!({"grantee": {"name": "robot", "key": robot().keyid()}, "reason": "each night",
            "steps": [{"step": "mark:it", "params": params}], "max_uses": 3, "expires_in_s": 600});
        let draft = self.post("/v1/grants", &self.world.agent, &json!({"draft": terms}))?;
        let Some(draft) = Self::done(&draft) else { return Ok(()) };
        let signatures = json!({"signatures": [alice().sign(&bytes_of(&draft))]});
        let signed = self.post(&format!("/v1/grants/{}/signatures", id_of(&draft)), "", &signatures)?;
        if let Some(view) = Self::done(&signed).filter(|view| view["status"] == "active") {
            self.promise("grant", &sha256(&bytes_of(&draft)));
            self.client.grant = Some(view);
        }
        Ok(())
    }

    /// Reviews a run of the list of runs that need a review.
    fn review(&mut self) -> Did {
        let Some(list) = Self::done(&self.get("/v1/unsettled")?) else { return Ok(()) };
        let runs = list["runs"].as_array().unwrap();
        if runs.is_empty() {
            return Ok(());
        }
        let proposal = runs[self.dice.below(runs.len())]["proposal"].as_str().unwrap();
        let receipt = format!("/v1/receipts/{}", proposal.replace("prp_", "rcp_"));
        let Some(found) = Self::done(&self.get(&receipt)?) else { return Ok(()) };
        let (signed, digest) = (predicate_of(&found["envelope"]), sha256(&people::payload_of(&found["envelope"])));
        let of = predicate_of(&signed["authorization"]);
        let mut review = json!({"boundary": of["boundary"], "verdict": "accepted", "reason": people::nonce()});
        if signed["outcome"]["status"] == "unknown" {
            review["observed"] = json!("failed");
        }
        let subject = json!([{"name": "receipt", "digest": {"sha256": digest}}]);
        let review = envelope(&statement("review", &subject, &review), &[&bob()]);
        if self.post(&format!("{receipt}/reviews"), "", &review)?.status == 200 {
            self.promise("review", &digest);
        }
        Ok(())
    }

    /// Uploads a file, and reads the files that the run leaves.
    fn file(&mut self) -> Did {
        let bytes = vec![b'a' + self.dice.below(4) as u8; 100 << self.dice.below(10)];
        let (digest, bearer) = (format!("sha256:{}", sha256(&bytes)), format!("Bearer {}", self.world.agent));
        let headers = [("content-type", "application/octet-stream"), ("authorization", bearer.as_str())];
        let path = format!("/v1/artifacts/{digest}");
        if Self::fine(self.world.wire.try_call("PUT", &path, &headers, Some(&bytes)))?.status == 200 {
            let artifacts = json!({"artifacts": [{"name": "note", "digest": digest}]});
            if let Some(view) = self.run("carry:file", artifacts, &[&alice()])? {
                self.get(&format!("/v1/receipts/{}/files", view["receipt"].as_str().unwrap()))?;
            }
        }
        Ok(())
    }

    fn session(&mut self) -> Did {
        let made = self.post("/v1/sessions", &self.world.agent, &json!({"runbook": "carry"}))?;
        let Some(session) = Self::done(&made) else { return Ok(()) };
        for _ in 0..2 {
            self.run("carry:set", json!({"session": session["id"]}), &[&alice()])?;
        }
        self.post(&format!("/v1/sessions/{}/end", id_of(&session)), &self.world.agent, &json!({})).map(drop)
    }

    fn plan(&mut self) -> Did {
        let mut wish = self.wish("carry:plan", json!({}));
        let Some(plan) = Self::done(&self.post("/v1/proposals", &self.world.agent, &wish)?) else { return Ok(()) };
        if self.sign(&plan, &[&alice()])?.status != 200 {
            return Ok(());
        }
        let Some(planned) = self.end_of(id_of(&plan))? else { return Ok(()) };
        (wish["step"], wish["nonce"], wish["plan"]) =
            (json!("carry:apply"), json!(people::nonce()), planned["receipt"].clone());
        let Some(apply) = Self::done(&self.post("/v1/proposals", &self.world.agent, &wish)?) else { return Ok(()) };
        self.sign(&apply, &[&alice()])?;
        self.end_of(id_of(&apply)).map(drop)
    }

    /// Watches the output of a run, and reads its recorded output and its bundle.
    fn watch(&mut self) -> Did {
        let Some(view) = self.propose("mark:loud", json!({}))? else { return Ok(()) };
        if self.sign(&view, &[&alice()])?.status != 200 {
            return Ok(());
        }
        let heard = self.listen(&format!("/v1/proposals/{}/events", id_of(&view)))?;
        assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 "), "{heard}");
        let Some(view) = self.end_of(id_of(&view))? else { return Ok(()) };
        let receipt = view["receipt"].as_str().unwrap();
        let Some(found) = Self::done(&self.get(&format!("/v1/receipts/{receipt}"))?) else { return Ok(()) };
        let stdout = predicate_of(&found["envelope"])["output"]["stdout"].take();
        let output = self.get(&format!("/v1/outputs/{}", stdout["blake3"].as_str().unwrap_or("none")))?;
        if output.status == 200 {
            assert_eq!(json!(format!("sha256:{}", sha256(&output.body))), stdout["sha256"], "the recorded output");
        }
        let bundle = self.get(&format!("/v1/receipts/{receipt}/bundle"))?;
        if let Some(bundle) = Self::done(&bundle) {
            self.post("/v1/receipts/verify", &self.world.reader, &bundle)?;
        }
        Ok(())
    }

    fn lists(&mut self) -> Did {
        let paths = [
            "/v1/proposals?status=pending&limit=20",
            "/v1/proposals?step=mark:it&proposer=agent&limit=5",
            "/v1/proposals?limit=100",
            "/v1/registry",
            "/v1/steps/mark:it",
            "/v1/steps/pair:it",
            "/v1/sessions",
            "/v1/grants",
            "/v1/unsettled",
            "/v1/admissions",
        ];
        let path = paths[self.dice.below(paths.len())];
        let reply = self.get(path)?;
        let first = Self::done(&reply).and_then(|page| page["proposals"][0]["id"].as_str().map(str::to_owned));
        let Some(id) = first else { return Ok(()) };
        if self.dice.below(8) > 0 {
            return self.get(&format!("/v1/proposals/{id}")).map(drop);
        }
        // The document that a person reads before a signature.
        let roster = self.world.started["roster"].as_str().unwrap();
        let mut review =
            self.world.program(&["--url", &self.world.wire.url, "review", &id, "--roster", roster, "--key"]);
        review.arg(self.world.path("alice.pem")).output().expect("review");
        Ok(())
    }

    fn log(&mut self) -> Did {
        let note = self.get("/log/checkpoint")?.text();
        let Some(size) = note.lines().nth(1).and_then(|size| size.parse::<usize>().ok()) else { return Ok(()) };
        let (at, old) = (self.dice.below(size), 1 + self.dice.below(size));
        let first = at / 256 * 256;
        let part = if first + 256 <= size { String::new() } else { format!(".p/{}", size - first) };
        let tile = tile(at as u64 / 256);
        for path in [
            format!("/log/proof/{at}"),
            format!("/log/proof/consistency/{old}/{size}"),
            format!("/log/tile/entries/{tile}{part}"),
            format!("/log/tile/0/{tile}{part}"),
        ] {
            let reply = self.get(&path)?;
            assert!(reply.status == 200, "{path} of {size} entries: {}", reply.text());
        }
        Ok(())
    }

    fn state(&mut self) -> Did {
        match self.dice.below(6) {
            0 => self.get("/metrics").map(drop),
            1 => self.get("/ready").map(drop),
            2 => self.get("/health").map(drop),
            3 => self.listen("/v1/events?after=0").map(drop),
            4 => {
                let after = 1 + self.dice.below(2000);
                self.listen(&format!("/v1/events?after={after}")).map(drop)
            }
            _ => {
                let wish = self.wish("mark:it", json!({}));
                let ask = json!({"step": wish["step"], "params": wish["params"], "reason": "by MCP", "wait_s": 0});
                let (tool, arguments) = [("list_steps", json!({})), ("propose", ask)][self.dice.below(2)].clone();
                let (body, bearer) = (tool_call(tool, arguments).to_string(), format!("Bearer {}", self.world.agent));
                let headers = [
                    ("content-type", "application/json"),
                    ("accept", "application/json, text/event-stream"),
                    ("authorization", bearer.as_str()),
                ];
                Self::fine(self.world.wire.try_call("POST", "/mcp", &headers, Some(body.as_bytes()))).map(drop)
            }
        }
    }

    fn bad(&mut self) -> Did {
        let agent = format!("Bearer {}", self.world.agent);
        let headers = [("content-type", "application/json"), ("authorization", agent.as_str())];
        let garbage: Vec<u8> = (0..self.dice.below(300)).map(|_| self.dice.next() as u8).collect();
        let large = vec![b' '; 3 << 20];
        let wish = self.wish("mark:it", json!({}));
        let reply = match self.dice.below(6) {
            0 => self.world.wire.try_call("POST", "/v1/proposals", &headers, Some(&garbage)),
            1 => self.world.wire.try_call("POST", "/v1/authorizations", &headers, Some(&garbage)),
            2 => self.world.wire.try_post("/v1/proposals", "cst_wrong", &wish),
            3 => self.world.wire.try_post("/v1/proposals", &self.world.agent, &World::wish("no:step", json!({}))),
            4 => self.world.wire.try_get("/v1/receipts/rcp_nothing", &self.world.reader),
            // The boundary may close the connection before it has read the whole request.
            _ => {
                let _ = self.world.wire.try_call("POST", "/v1/proposals", &headers, Some(&large));
                return Ok(());
            }
        };
        let reply = Self::fine(reply)?;
        assert!(reply.status >= 400, "a bad request: {}", reply.text());
        Ok(())
    }

    /// Makes a token, and revokes it at the host or with a signature.
    fn tokens(&mut self) -> Did {
        let name = format!("t{}n{}", self.client.number, self.client.count);
        let token = json!({"name": name, "owners": ["carol"], "scopes": ["read"], "patterns": []});
        let Ok(secret) = self.world.control(&json!({"do": "token-create", "token": token})) else { return Ok(()) };
        self.promise("token", &name);
        if self.dice.below(2) == 0 {
            let _ = self.world.control(&json!({"do": "token-revoke", "name": name}));
            return Ok(());
        }
        let Some(registry) = Self::done(&self.get("/v1/registry")?) else { return Ok(()) };
        let digest = sha256(name.as_bytes());
        let signed = envelope(&revocation(&registry["boundary"], "token", &digest), &[&oscar()]);
        if self.post("/v1/revocations", "", &signed)?.status == 200 {
            self.promise("revocation", &digest);
            let late = Self::fine(self.world.wire.try_get("/v1/proposals", secret.as_str().unwrap()))?;
            assert!(late.status >= 400, "a revoked token opens the list");
        }
        Ok(())
    }
}
