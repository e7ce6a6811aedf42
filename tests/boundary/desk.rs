//! `countersign console --desk`: people log in, approve, deny and stop with passkeys, over TLS and against a real boundary.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::certified::{Certificates, able};
use crate::companion::{digits, signatures};
use crate::mcp_proxy::proxy;
use crate::passkey::{HOST, PasskeyPair, challenge, put};
use crate::support::pages::{PageReply, form_of, text_of};
use crate::support::people::{IN_TOTO, alice, denial, pae, revocation, sha256};
use crate::support::{KilledAtEnd, World, assert_says, bytes_of, exited, id_of, said, wait_for};

const POLICY: &str = "version: 1\nextends: none\ndefault: {mode: execute, approvals: {required: 1, from: [ops, security]}, standing: {max_uses: 20, max_days: 7}}\npasskeys: {most: 1, alone: false, synced: false}\n";

pub(crate) fn zoe() -> PasskeyPair {
    PasskeyPair::of(1)
}

/// Zoe's second passkey.
fn zoe_too() -> PasskeyPair {
    PasskeyPair::of(2)
}

/// A world in which the approver zoe has two passkeys of the desk. Returns `None` after a report if this host can't make
/// certificates.
pub(crate) fn world() -> Option<World> {
    world_with(|setup| {
        let keys = vec![zoe().line(), zoe_too().line()];
        // Yan's passkey belongs to another website.
        let other = vec![PasskeyPair::at(3, "other.example").line()];
        for (name, keys) in [("zoe", keys), ("yan", other)] {
            setup.roster["approvers"][name] = json!({"groups": ["ops"], "keys": keys});
        }
    })
}

fn world_with(roster: impl FnOnce(&mut crate::support::Setup)) -> Option<World> {
    able("a desk for passkeys")?;
    Some(World::with(|setup| {
        setup.policy = POLICY.to_owned();
        roster(setup);
    }))
}

/// A certificate for the name of the desk.
pub(crate) fn certificates() -> Certificates {
    let made = Certificates::new();
    made.issue(
        "desk",
        "ca",
        &format!("subjectAltName=DNS:{HOST}\nbasicConstraints=CA:FALSE\n"),
    );
    made
}

/// Writes the roster in force to a file, and returns its path.
pub(crate) fn roster_file(world: &World) -> PathBuf {
    let mut show = world.boundary_command(&["roster", "show", "--json", "--config"]);
    let shown = exited(show.arg(world.path("b")).output().expect("roster show"), 0);
    let path = world.path("roster.json");
    std::fs::write(&path, shown.stdout).expect("written");
    path
}

/// Returns the command of a desk for this world.
fn desk_command(world: &World, certificates: &Certificates, name: &str) -> Command {
    desk_command_at(world, &world.wire.url, certificates, name)
}

/// Does the same for a boundary at this address.
fn desk_command_at(world: &World, url: &str, certificates: &Certificates, name: &str) -> Command {
    let mut command = desk_under(world, url, &["--host", HOST, "--listen", "127.0.0.1:0"]);
    command
        .arg("--certificate")
        .arg(certificates.path(&format!("{name}.pem")));
    command
        .arg("--certificate-key")
        .arg(certificates.path(&format!("{name}.key")));
    command
}

/// Returns the command of a desk with these words, without its certificate.
pub(crate) fn desk_under(world: &World, url: &str, words: &[&str]) -> Command {
    let mut command = world.program(&["console", "--desk", "--url", url]);
    command.args(words).arg("--roster").arg(roster_file(world));
    command
}

/// A running desk, and a browser.
pub(crate) struct DeskBrowser {
    _child: KilledAtEnd,
    pub(crate) port: u16,
    /// The address of the browser.
    pub(crate) from: &'static str,
    authority: PathBuf,
    cookie: String,
    certificates: Certificates,
    /// What the desk has said on stderr.
    said: PathBuf,
}

impl DeskBrowser {
    fn start(world: &World) -> Self {
        Self::start_at(world, &world.wire.url)
    }

    /// Starts a desk that reaches the boundary at this address.
    fn start_at(world: &World, url: &str) -> Self {
        let certificates = certificates();
        let command = desk_command_at(world, url, &certificates, "desk");
        Self::running(world, certificates, command)
    }

    /// Starts this desk.
    pub(crate) fn running(world: &World, certificates: Certificates, mut command: Command) -> Self {
        let said = world.path("desk.log");
        let log = std::fs::File::create(&said).expect("a file");
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the program");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("output"))
            .read_line(&mut line)
            .expect("a line");
        let port = line
            .trim()
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        let port = port.unwrap_or_else(|| panic!("no port in {line:?}"));
        let authority = certificates.path("ca.pem");
        Self {
            _child: KilledAtEnd(child),
            port,
            from: "127.0.0.1",
            authority,
            cookie: String::new(),
            certificates,
            said,
        }
    }

    fn origin(&self) -> String {
        format!("https://{HOST}:{}", self.port)
    }

    /// Returns the command of a browser that trusts the authority with this file.
    fn browser(&self, authority: &std::path::Path) -> Command {
        let mut command = Command::new("curl");
        command.args([
            "-sSi",
            "--max-time",
            "60",
            "--resolve",
            &format!("{HOST}:{}:127.0.0.1", self.port),
            "--cacert",
        ]);
        command.arg(authority).args(["--interface", self.from]);
        command
    }

    /// Returns true if a browser that trusts only this authority reaches the desk.
    pub(crate) fn is_trusted(&self, authority: &str) -> bool {
        let mut command = self.browser(&self.certificates.path(authority));
        command
            .arg(self.origin())
            .output()
            .expect("curl")
            .status
            .success()
    }

    /// Replaces the files of the certificate, each at once.
    fn renew(&self, from: &str) {
        for end in ["key", "pem"] {
            let new = self.certificates.dir().join(format!("new.{end}"));
            std::fs::copy(self.certificates.path(&format!("{from}.{end}")), &new).expect("copied");
            std::fs::rename(new, self.certificates.dir().join(format!("desk.{end}")))
                .expect("renamed");
        }
    }

    /// Waits until the desk has said these words.
    pub(crate) fn wait_said(&self, words: &str) {
        wait_for(words, || self.has_said().contains(words));
    }

    pub(crate) fn has_said(&self) -> String {
        std::fs::read_to_string(&self.said).expect("a file")
    }

    fn ask(&self, path: &str, headers: &[String], body: Option<&str>) -> PageReply {
        let mut command = self.browser(&self.authority);
        command.args(headers.iter().flat_map(|header| ["-H", header]));
        if let Some(body) = body {
            command.args(["--data-raw", body]);
        }
        let done = command
            .arg(format!("{}{path}", self.origin()))
            .output()
            .expect("curl");
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("{}", said(&done)));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status");
        PageReply {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    fn headers(&self) -> Vec<String> {
        vec![
            format!("cookie: {}", self.cookie),
            format!("origin: {}", self.origin()),
        ]
    }

    pub(crate) fn get(&self, path: &str) -> PageReply {
        self.ask(path, &self.headers(), None)
    }

    fn post(&self, path: &str, body: &str) -> PageReply {
        self.ask(path, &self.headers(), Some(body))
    }

    /// Returns the fields that the script of a page fills after this passkey signed the message.
    fn answer(&self, key: &PasskeyPair, message: &[u8]) -> String {
        self.answer_challenge(
            key,
            &challenge(b"countersign", "sha256", &Sha256::digest(message)),
        )
    }

    fn answer_challenge(&self, key: &PasskeyPair, challenge: &str) -> String {
        let origin = self.origin();
        let data = format!(
            r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"{origin}","crossOrigin":false}}"#
        );
        let fields = ["client_data", "authenticator_data", "signature"]
            .into_iter()
            .zip(key.browser_answer(&data));
        fields
            .map(|(name, bytes)| format!("&{name}={}", URL_SAFE_NO_PAD.encode(bytes)))
            .collect()
    }

    /// Types a name, and returns the page that asks for a passkey.
    pub(crate) fn begin(&self, name: &str, to: &str) -> PageReply {
        self.post("/login", &format!("name={name}&boundary=&to={to}"))
    }

    /// Answers the page that asks for a passkey.
    fn log_in_with(&self, page: &str, key: &PasskeyPair) -> PageReply {
        let form = form_of(page, "/login/answer").unwrap_or_else(|| panic!("no form: {page}"));
        let challenge = page
            .split("data-challenge=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .expect("it");
        let answer = self.answer_challenge(key, challenge);
        self.post("/login/answer", &format!("{form}{answer}"))
    }

    pub(crate) fn log_in(&mut self, name: &str, key: &PasskeyPair, to: &str) {
        let done = self.log_in_with(&self.begin(name, to).body, key);
        assert_eq!(done.status, 303, "{}", done.body);
        assert!(
            done.head.contains(&format!("location: {to}\r")),
            "{}",
            done.head
        );
        let cookie = done
            .head
            .lines()
            .find_map(|line| line.strip_prefix("set-cookie: "))
            .expect("a cookie");
        let (pair, attributes) = cookie.split_once(';').expect("attributes");
        assert_eq!(
            attributes.trim(),
            "Path=/; Secure; HttpOnly; SameSite=Strict"
        );
        assert!(pair.starts_with("__Host-countersign_desk="), "{pair}");
        self.cookie = pair.to_owned();
    }

    /// Loads the review, and sends its form with these digits and a signature over this statement.
    pub(crate) fn sign(
        &self,
        proposal: &Value,
        typed: &str,
        key: &PasskeyPair,
        payload: &[u8],
    ) -> PageReply {
        let (id, path) = (id_of(proposal), format!("/b/0/sign/{}", id_of(proposal)));
        let page = self.get(&format!("/b/0/review/{id}")).body;
        let form = form_of(&page, &path).unwrap_or_else(|| panic!("no form: {page}"));
        self.post(
            &path,
            &format!(
                "{form}&digits={typed}{}",
                self.answer(key, &pae(IN_TOTO, payload))
            ),
        )
    }
}

#[test]
fn a_passkey_logs_in_and_approves_beside_an_own_key_and_never_alone() {
    let Some(world) = world() else { return };
    let proposal = world.propose("say:echo", json!({"text": "<b>once</b>"}));
    let mut desk = DeskBrowser::start(&world);
    // The link of a message leads through the login to the review.
    let link = desk.get(&format!("/p/prod/{}", id_of(&proposal)));
    let go = format!("/go/prod/{}", id_of(&proposal));
    link.says(200, &format!("0;url={go}"));
    let login = desk.get(&go).body;
    let to = format!("/b/0/review/{}", id_of(&proposal));
    assert!(
        login.contains(&format!("value=\"{to}\"")) && login.contains("value=\"prod\""),
        "{login}"
    );
    desk.log_in("zoe", &zoe(), &to);
    assert!(desk.get(&go).head.contains(&format!("location: {to}\r")));
    let page = desk.get(&to).body;
    for words in [
        "&lt;b&gt;once&lt;/b&gt;",
        "yours is number 1",
        "Sign as zoe, with your passkey",
        "shows only desk.example",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let inbox = desk.get("/").body;
    assert!(
        inbox.contains("Yours to move (1)") && inbox.contains("You are zoe"),
        "{inbox}"
    );
    assert_eq!(desk.post("/logout", "").status, 303);
    assert!(desk.get("/").body.contains("Your name in the roster"));
    desk.log_in("zoe", &zoe(), &to);
    let signed = desk.sign(&proposal, &digits(&proposal), &zoe(), &bytes_of(&proposal));
    assert_eq!(signed.status, 303, "{}", signed.body);
    assert_eq!(world.show(id_of(&proposal))["status"], "pending");
    let run = format!("/b/0/run/{}", id_of(&proposal));
    assert!(
        desk.get(&run)
            .body
            .contains("with another key than a passkey")
    );
    world.sign(&proposal, &[&alice()]).ok(200);
    let finished = world.until(id_of(&proposal), "finished");
    assert_eq!(finished["outcome"]["status"], "succeeded", "{finished:#}");
    world.assert_verified(&finished);
    let page = desk.get(&run).body;
    assert!(
        page.contains("Verified on this machine") && page.contains("alice, zoe"),
        "{page}"
    );
    assert!(page.contains("You signed as zoe at 20"), "{page}");
    for path in ["/b/0/review/prp_nothing", "/b/x/steps", "/nothing"] {
        desk.get(path).says(404, "<h1>No such page</h1>");
    }
}

#[test]
fn a_passkey_denies_and_freezes_and_ends_itself_and_the_desk_shows_the_rest_with_its_command() {
    let Some(world) = world() else { return };
    let mut desk = DeskBrowser::start(&world);
    desk.log_in("zoe", &zoe(), "/");
    desk.get("/b/0/freeze").says(200, "<h1>Freeze prod</h1>");
    let proposal = world.propose("two:go", json!({}));
    let (id, path) = (id_of(&proposal), format!("/b/0/deny/{}", id_of(&proposal)));
    let form = form_of(&desk.get(&format!("/b/0/review/{id}")).body, &path).expect("a form");
    let shown = desk.post(&path, &format!("{form}&reason=not+now&sure=yes"));
    shown.says(200, "&quot;not now&quot;");
    let statement = denial(&world.boundary(), &bytes_of(&proposal), "not now");
    let send = format!("/b/0/denial/{id}");
    let body = format!(
        "{}{}",
        form_of(&shown.body, &send).expect("a form"),
        desk.answer(&zoe(), &pae(IN_TOTO, &statement))
    );
    assert_eq!(desk.post(&send, &body).status, 303);
    desk.get(&format!("/b/0/run/{id}"))
        .says(200, "You denied as zoe at 20");
    let denied = world.show(id);
    assert_eq!(
        (&denied["status"], &denied["denials"][0]["approver"]),
        (&json!("denied"), &json!("zoe")),
        "{denied:#}"
    );
    // A grant is shown, with the command that signs it.
    let draft = world
        .wire
        .post(
            "/v1/grants",
            &world.agent,
            &json!({"draft": crate::support::grants::terms()}),
        )
        .ok(201);
    let grant = desk.get(&format!("/b/0/grant/{}", id_of(&draft)));
    grant.says(200, &format!("countersign approve {}", id_of(&draft)));
    assert!(!grant.body.contains("<form"), "{}", grant.body);
    let boundary = world.boundary();
    let epoch = sha256(boundary["epoch"].as_str().expect("an epoch").as_bytes());
    for (page, word, send, statement) in [
        (
            "/b/0/freeze",
            "freeze",
            "/b/0/send-freeze",
            revocation(&boundary, "epoch", &epoch),
        ),
        (
            "/b/0/my-key",
            "revoke",
            "/b/0/send-my-key",
            revocation(&boundary, "key", &sha256(&zoe().blob())),
        ),
    ] {
        let form = form_of(&desk.get(page).body, page).expect("a form");
        let wrong = desk.post(page, &format!("{form}&reason=a+test&word=x"));
        wrong.says(422, "Nothing was signed");
        let form = form_of(&wrong.body, page).expect("a form");
        let shown = desk
            .post(page, &format!("{form}&reason=a+test&word={word}"))
            .body;
        let form = form_of(&shown, send).unwrap_or_else(|| panic!("no form: {shown}"));
        desk.post(
            send,
            &format!("{form}{}", desk.answer(&zoe(), &pae(IN_TOTO, &statement))),
        )
        .says(200, "(log entry ");
        let again = desk.post(
            send,
            &format!("{form}{}", desk.answer(&zoe(), &pae(IN_TOTO, &statement))),
        );
        assert_eq!(again.status, 409, "{}", again.body);
    }
    assert_eq!(world.wire.peek("/ready").status, 503);
    desk.log_in_with(&desk.begin("zoe", "/").body, &zoe())
        .says(409, "revoked");
}

#[test]
fn before_the_login_a_desk_tells_nobody_anything() {
    let Some(world) = world() else { return };
    let proposal = world.propose("plain:true", json!({}));
    let desk = DeskBrowser::start(&world);
    for path in [
        "/",
        "/b/0/steps",
        "/b/0/log",
        "/login",
        "/enrol",
        &format!("/b/0/review/{}", id_of(&proposal)),
        "/nothing",
    ] {
        let reply = desk.get(path);
        assert!(
            reply.status == 200 && !reply.body.contains("plain:true"),
            "{path}: {}",
            reply.body
        );
        assert!(
            ["zoe", "alice", "prod", "people"]
                .iter()
                .all(|word| !reply.body.contains(word)),
            "{path}: {}",
            reply.body
        );
        for header in [
            "strict-transport-security: max-age=31536000",
            "content-security-policy: default-src 'none'; script-src 'self'",
            "frame-ancestors 'none'",
            "cache-control: no-store",
            "x-content-type-options: nosniff",
        ] {
            assert!(
                reply.head.contains(header),
                "{path}: {header}: {}",
                reply.head
            );
        }
    }
    // A name in the roster, another name and another boundary get the same page, byte by byte, apart from its secrets.
    let plain = |page: &str| {
        let mut masked = page.to_owned();
        let secret = |start: &str| {
            page.split(start)
                .nth(1)
                .expect(start)
                .split('"')
                .next()
                .expect(start)
                .to_owned()
        };
        for (start, length) in [
            ("data-challenge=\"", 95),
            ("name=\"seal\" value=\"", 64),
            ("name=\"form\" value=\"", 1),
        ] {
            let secret = secret(start);
            assert!(
                secret.len() == length
                    && secret
                        .bytes()
                        .all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c))
            );
            masked = masked.replace(&format!("{start}{secret}\""), &format!("{start}\""));
        }
        masked
    };
    let pages =
        ["zoe", "alice", "nobody", "Not+a+name", "yan"].map(|name| desk.begin(name, "/").body);
    let other = desk.post("/login", "name=zoe&boundary=other&to=/").body;
    for page in pages.iter().chain([&other]) {
        assert_eq!(plain(page), plain(&pages[0]));
    }
    for (page, key) in [
        (&pages[1], zoe()),
        (&pages[2], zoe()),
        (&pages[3], zoe()),
        (&pages[0], PasskeyPair::of(3)),
        (&pages[4], PasskeyPair::of(3)),
    ] {
        let refused = desk.log_in_with(page, &key);
        assert!(
            refused.status == 403 && !refused.head.contains("set-cookie"),
            "{}",
            refused.body
        );
        assert!(
            refused
                .body
                .contains("The name, the boundary or the passkey is wrong"),
            "{}",
            refused.body
        );
    }
    // A second passkey of the person signs another challenge, and a page works once.
    let page = desk.begin("zoe", "/").body;
    let second = desk.log_in_with(&page, &zoe_too());
    second.says(200, "another passkey of yours");
    assert_eq!(desk.log_in_with(&page, &zoe_too()).status, 403);
    assert_eq!(desk.log_in_with(&second.body, &zoe_too()).status, 303);
    // An address can't try for ever.
    let limited = (0..80)
        .map(|_| desk.begin("zoe", "/"))
        .find(|reply| reply.status == 429)
        .expect("a limit");
    assert!(
        limited.body.contains("Too many attempts"),
        "{}",
        limited.body
    );
    assert_eq!(desk.get("/login").status, 200);
}

#[test]
fn a_review_offers_no_signature_that_cannot_count() {
    // Among equal passkeys, the one with the lower key id counts.
    let (zoe, yuki) = (PasskeyPair::of(2), PasskeyPair::of(1));
    let world = world_with(|setup| {
        for (name, group, key) in [("zoe", "ops", &zoe), ("yuki", "security", &yuki)] {
            setup.roster["approvers"][name] = json!({"groups": [group], "keys": [key.line()]});
        }
    });
    let Some(world) = world else { return };
    let hers = world.token("hers", &["yuki"], &["propose"]);
    let own = world
        .wire
        .post(
            "/v1/proposals",
            &hers,
            &World::wish("plain:true", json!({})),
        )
        .ok(201);
    let proposal = world.propose("plain:true", json!({}));
    let mut desk = DeskBrowser::start(&world);
    desk.log_in("yuki", &yuki, "/");
    let review = |proposal: &Value| {
        let (id, page) = (
            id_of(proposal),
            desk.get(&format!("/b/0/review/{}", id_of(proposal))).body,
        );
        assert!(
            form_of(&page, &format!("/b/0/deny/{id}")).is_some(),
            "{page}"
        );
        (form_of(&page, &format!("/b/0/sign/{id}")), page)
    };
    let (form, page) = review(&own);
    assert!(
        form.is_none()
            && page.contains("can't count: the signer is the proposer or controls the proposer"),
        "{page}"
    );
    let form = review(&proposal).0.expect("a form");
    super::passkeys::sign(&world, &proposal, &zoe).ok(200);
    // Another person was faster than this form.
    let answer = desk.answer(&yuki, &pae(IN_TOTO, &bytes_of(&proposal)));
    let path = format!("/b/0/sign/{}", id_of(&proposal));
    let refused = desk.post(
        &path,
        &format!("{form}&digits={}{answer}", digits(&proposal)),
    );
    refused.says(409, "Signed, but the boundary refused the signature");
    let (form, page) = review(&proposal);
    assert!(
        form.is_none()
            && page.contains("can't count: as many other passkeys count as policy permits"),
        "{page}"
    );
    assert_eq!(signatures(&world, &proposal), 1);
}

#[test]
fn a_desk_refuses_forged_requests_foreign_signatures_and_ended_logins() {
    let Some(mut world) = world() else { return };
    let (proposal, other) = (
        world.propose("plain:true", json!({})),
        world.propose("two:go", json!({"text": "other"})),
    );
    let mut desk = DeskBrowser::start(&world);
    desk.log_in("zoe", &zoe(), "/");
    let (path, right) = (format!("/b/0/sign/{}", id_of(&proposal)), digits(&proposal));
    let form = form_of(
        &desk.get(&format!("/b/0/review/{}", id_of(&proposal))).body,
        &path,
    )
    .expect("a form");
    let body = format!(
        "{form}&digits={right}{}",
        desk.answer(&zoe(), &pae(IN_TOTO, &bytes_of(&proposal)))
    );
    let (cookie, origin) = (
        format!("cookie: {}", desk.cookie),
        format!("origin: {}", desk.origin()),
    );
    for (what, headers, status) in [
        (
            "another host",
            vec![
                "host: evil.example".to_owned(),
                cookie.clone(),
                origin.clone(),
            ],
            421,
        ),
        (
            "the host without its port",
            vec![format!("host: {HOST}"), cookie.clone(), origin.clone()],
            421,
        ),
        (
            "another origin",
            vec![cookie.clone(), "origin: https://evil.example".to_owned()],
            403,
        ),
        (
            "no TLS",
            vec![cookie.clone(), origin.replace("https", "http")],
            403,
        ),
        (
            "a sandboxed frame",
            vec![cookie.clone(), "origin: null".to_owned()],
            403,
        ),
        ("no origin", vec![cookie.clone()], 403),
        (
            "a second origin",
            vec![
                cookie.clone(),
                origin.clone(),
                "origin: https://evil.example".to_owned(),
            ],
            403,
        ),
        ("no cookie", vec![origin.clone()], 401),
        (
            "two cookies",
            vec![format!("{cookie}; {}", desk.cookie), origin.clone()],
            401,
        ),
        (
            "another cookie",
            vec![
                "cookie: __Host-countersign_desk=00".to_owned(),
                origin.clone(),
            ],
            401,
        ),
    ] {
        let reply = desk.ask(&path, &headers, Some(&body));
        assert_eq!(reply.status, status, "{what}: {}", reply.body);
    }
    let long = desk.post(&path, &format!("x={}", "x".repeat(70_000)));
    assert_eq!(long.status, 413);
    assert_says(&long.body, "more than 64 KiB");
    // None of these requests used the form. Wrong digits, other keys and other statements sign nothing.
    let theirs = bytes_of(&other);
    for (what, typed, key, payload, status) in [
        ("wrong digits", "00000000", zoe(), &bytes_of(&proposal), 422),
        (
            "a passkey of somebody else",
            &*right,
            PasskeyPair::of(3),
            &bytes_of(&proposal),
            409,
        ),
        (
            "the other passkey of the person",
            &*right,
            zoe_too(),
            &bytes_of(&proposal),
            409,
        ),
        ("another statement", &*right, zoe(), &theirs, 409),
    ] {
        let reply = desk.sign(&proposal, typed, &key, payload);
        assert!(
            reply.status == status && reply.body.contains("othing was signed"),
            "{what}: {}",
            reply.body
        );
    }
    let path_form = form_of(
        &desk.get(&format!("/b/0/review/{}", id_of(&proposal))).body,
        &path,
    )
    .expect("a form");
    desk.post(&path, &format!("{path_form}&digits={right}"))
        .says(409, "no answer of a passkey");
    assert_eq!(signatures(&world, &proposal), 0);
    assert_eq!(desk.post(&path, &body).status, 303);
    desk.post(&path, &body).says(409, "was sent before");
    assert_eq!(signatures(&world, &proposal), 1);
    // After a restart, the boundary does not know the access any more: the desk asks for a new login.
    let path = format!("/b/0/sign/{}", id_of(&other));
    let form = form_of(
        &desk.get(&format!("/b/0/review/{}", id_of(&other))).body,
        &path,
    )
    .expect("a form");
    // The desk finds the boundary at the same port.
    world.setup.listen = world.wire.url.trim_start_matches("http://").to_owned();
    world.restart();
    let body = format!(
        "{form}&digits={}{}",
        digits(&other),
        desk.answer(&zoe(), &pae(IN_TOTO, &theirs))
    );
    desk.post(&path, &body).says(401, "Log in again");
    assert!(desk.get("/").body.contains("Your name in the roster"));
    assert_eq!(signatures(&world, &other), 0);
}

#[test]
fn a_page_makes_the_line_of_a_new_passkey_for_the_roster() {
    let Some(world) = world() else { return };
    let desk = DeskBrowser::start(&world);
    let key = PasskeyPair::of(3);
    // A browser returns the point after a fixed head.
    let point = &key.point[..];
    let head = URL_SAFE_NO_PAD
        .decode("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgA")
        .expect("base64url");
    let public = URL_SAFE_NO_PAD.encode([&head, point].concat());
    // A page without a login does not tell who is in the roster, and says that it checks no name.
    let (known, unknown) = (
        desk.post("/enrol", &format!("name=zoe&public_key={public}"))
            .body,
        "yuki",
    );
    desk.get("/enrol")
        .says(200, "This page does not check the name");
    let page = desk
        .post("/enrol", &format!("name={unknown}&public_key={public}"))
        .body;
    assert_eq!(
        known.replace("zoe", unknown).len(),
        page.len(),
        "a known name: {known}"
    );
    assert!(
        page.contains("data-copy=\"line\"") && page.contains("adds a new person"),
        "{page}"
    );
    for words in [
        format!("{} yuki", key.line()),
        key.keyid(),
        "countersign roster add approver yuki --key FILE".to_owned(),
    ] {
        assert!(text_of(&page).contains(&words), "{words}: {page}");
    }
    let mut other = Vec::new();
    put(&mut other, point);
    for (name, public) in [
        ("yuki", String::new()),
        ("yuki", URL_SAFE_NO_PAD.encode(other)),
        ("Not+a+name", public),
    ] {
        let refused = desk.post("/enrol", &format!("name={name}&public_key={public}"));
        assert!(
            refused.status == 422 && !refused.body.contains("sk-ecdsa"),
            "{}",
            refused.body
        );
    }
}

#[test]
fn a_desk_starts_only_with_a_certificate_for_its_name_and_with_the_roster() {
    let Some(world) = world() else { return };
    let made = certificates();
    let name = format!("subjectAltName=DNS:{HOST}\nbasicConstraints=CA:FALSE\n");
    made.issue_for(
        "expired",
        "ca",
        &name,
        ("20200101000000Z", "20210101000000Z"),
    );
    made.issue(
        "other",
        "ca",
        "subjectAltName=DNS:other.example\nbasicConstraints=CA:FALSE\n",
    );
    let refused = |command: &mut Command, words: &[&str]| {
        let done = command.stdin(Stdio::null()).output().expect("it ends");
        assert!(!done.status.success(), "{}", said(&done));
        for words in words {
            assert!(said(&done).contains(words), "{words}: {}", said(&done));
        }
    };
    refused(
        &mut desk_command(&world, &made, "expired"),
        &["expired.pem", "2021-01-01"],
    );
    refused(
        &mut desk_command(&world, &made, "other"),
        &["not for desk.example", "subjectAltName=DNS:desk.example"],
    );
    let mut address = world.program(&["console", "--desk", "--host", "127.0.0.1", "--certificate"]);
    address
        .arg(made.path("desk.pem"))
        .arg("--certificate-key")
        .arg(made.path("desk.key"));
    refused(&mut address, &["--host 127.0.0.1", "this is an address"]);
    refused(
        desk_command(&world, &made, "desk").args(["--key", "alice.pem"]),
        &["--key", "--desk"],
    );
    refused(
        desk_command(&world, &made, "desk").args(["--audit", "x"]),
        &["--audit", "--desk"],
    );
    refused(
        &mut world.program(&["console", "--desk", "--host", HOST]),
        &["--certificate"],
    );
    std::fs::set_permissions(
        made.path("desk.key"),
        std::fs::Permissions::from_mode(0o644),
    )
    .expect("mode");
    refused(
        &mut desk_command(&world, &made, "desk"),
        &["desk.key", "chmod 600"],
    );
    std::fs::set_permissions(
        made.path("desk.key"),
        std::fs::Permissions::from_mode(0o600),
    )
    .expect("mode");
    let digest = world.started["roster"].as_str().expect("a digest");
    let mut pinned = world.program(&[
        "console",
        "--desk",
        "--host",
        HOST,
        "--listen",
        "127.0.0.1:0",
        "--roster",
        digest,
    ]);
    pinned
        .args(["--url", &world.wire.url, "--certificate"])
        .arg(made.path("desk.pem"));
    refused(
        pinned.arg("--certificate-key").arg(made.path("desk.key")),
        &["no roster file", "boundary add"],
    );
    let mut empty = world.program(&[
        "console",
        "--desk",
        "--host",
        HOST,
        "--listen",
        "127.0.0.1:0",
        "--certificate",
    ]);
    empty
        .arg(made.path("desk.pem"))
        .arg("--certificate-key")
        .arg(made.path("desk.key"));
    let words = [
        "list of boundaries of this user is empty",
        "boundary add NAME --url URL --roster FILE",
    ];
    refused(empty.env_remove("COUNTERSIGN_URL"), &words);
    // The service of the desk ends a connection that sends nothing, and a connection without TLS.
    let desk = DeskBrowser::start(&world);
    let mut plain = std::net::TcpStream::connect(("127.0.0.1", desk.port)).expect("connected");
    std::io::Write::write_all(&mut plain, b"GET / HTTP/1.1\r\nhost: desk.example\r\n\r\n")
        .expect("sent");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(
        !answer.windows(4).any(|bytes| bytes == b"HTTP"),
        "{answer:?}"
    );
}

#[test]
fn a_desk_signs_nothing_for_a_boundary_that_changes_the_statement() {
    let Some(world) = world() else { return };
    let [proposal, other] =
        ["shown", "hidden"].map(|text| world.propose("say:echo", json!({"text": text})));
    // Lie 1: other signed bytes with the same digest. Lie 2: the whole other statement under this id.
    let lie = Arc::new(AtomicUsize::new(0));
    let (line, now, theirs) = (
        format!("GET /v1/proposals/{}", id_of(&proposal)),
        lie.clone(),
        other.clone(),
    );
    let url = proxy(&world, move |asked, status, body| {
        let fields: &[&str] =
            [&[][..], &["payload"], &["payload", "digest"]][now.load(Ordering::SeqCst)];
        if !asked.line.starts_with(&line) || fields.is_empty() {
            return Some((status, body));
        }
        let mut view: Value = serde_json::from_slice(&body).expect("JSON");
        fields
            .iter()
            .for_each(|field| view[field] = theirs[field].clone());
        Some((status, view.to_string().into_bytes()))
    });
    let mut desk = DeskBrowser::start_at(&world, &url);
    desk.log_in("zoe", &zoe(), "/");
    let (page, path) = (
        format!("/b/0/review/{}", id_of(&proposal)),
        format!("/b/0/sign/{}", id_of(&proposal)),
    );
    lie.store(1, Ordering::SeqCst);
    let refused = desk.get(&page).body;
    assert!(
        refused.contains("the payload has another digest") && form_of(&refused, &path).is_none(),
        "{refused}"
    );
    for payload in [bytes_of(&proposal), bytes_of(&other)] {
        lie.store(0, Ordering::SeqCst);
        let form = form_of(&desk.get(&page).body, &path).expect("a form");
        lie.store(2, Ordering::SeqCst);
        let answer = desk.answer(&zoe(), &pae(IN_TOTO, &payload));
        desk.post(
            &path,
            &format!("{form}&digits={}{answer}", digits(&proposal)),
        )
        .says(409, "another statement");
    }
    assert_eq!(
        (signatures(&world, &proposal), signatures(&world, &other)),
        (0, 0)
    );
}

#[test]
fn a_desk_takes_a_renewed_certificate_without_a_restart_and_else_keeps_the_old_one_and_says_why() {
    let Some(world) = world() else { return };
    let mut desk = DeskBrowser::start(&world);
    let (made, name) = (
        &desk.certificates,
        format!("subjectAltName=DNS:{HOST}\nbasicConstraints=CA:FALSE\n"),
    );
    made.authority("new-ca", "Another authority");
    made.issue("renewed", "new-ca", &name);
    made.issue("last", "ca", &name);
    made.issue(
        "foreign",
        "ca",
        "subjectAltName=DNS:other.example\nbasicConstraints=CA:FALSE\n",
    );
    made.issue_for(
        "expired",
        "ca",
        &name,
        ("20200101000000Z", "20210101000000Z"),
    );
    desk.log_in("zoe", &zoe(), "/");
    desk.renew("renewed");
    wait_for("the new certificate is served", || {
        desk.is_trusted("new-ca.pem")
    });
    assert!(!desk.is_trusted("ca.pem"));
    desk.authority = desk.certificates.path("new-ca.pem");
    assert!(
        desk.get("/").body.contains("You are zoe"),
        "the login goes on"
    );
    for (bad, why) in [
        ("expired", "2021-01-01"),
        ("foreign", "not for desk.example"),
    ] {
        desk.renew(bad);
        desk.wait_said(why);
        assert!(desk.is_trusted("new-ca.pem"), "{bad}");
    }
    std::fs::remove_file(desk.certificates.path("desk.pem")).expect("removed");
    desk.wait_said("can't read");
    assert!(desk.is_trusted("new-ca.pem"));
    desk.renew("last");
    wait_for("the last certificate is served", || {
        desk.is_trusted("ca.pem")
    });
    for words in [
        "continues with the old certificate",
        "took a new certificate, which expires at 2099-01-01",
    ] {
        desk.wait_said(words);
    }
}
