//! The command `gate`, through the real binary: accepted bundles and refused bundles.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::people::{alice, now, predicate_of};
use crate::support::{
    self, DRAFT, SMALL, World, exited, id_of, runbook, said, said_at_exit, wait_for,
};
use serde_json::{Value, json};

/// The commit that a CI job passes as a parameter.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A world with a deployment runbook, and the bundle of a deployment of [`COMMIT`].
struct Deployed {
    world: World,
    bundle: PathBuf,
    boundary: String,
    roster: String,
    digest: String,
}

fn deployable() -> World {
    let mut world = prepared();
    world.start();
    world.make_tokens();
    world
}

fn prepared() -> World {
    World::prepared(|setup| {
        let params = "params:\n  commit: {type: string, pattern: \"^[0-9a-f]{40}$\"}\n  drain: {type: boolean, default: true}\n  \
                      count: {type: integer, default: 3}\n";
        let steps = [("web", ":"), ("warn", "exit 2"), ("fail", "exit 1")];
        setup.runbook("deploy.md", runbook(&format!("{params}{SMALL}"), &steps));
    })
}

impl Deployed {
    fn new() -> Self {
        let world = deployable();
        let bundle = world.path("run.bundle.json");
        let mut deployed = Self {
            bundle,
            boundary: world.started["boundary"]
                .as_str()
                .or(world.started["id"].as_str())
                .expect("an id")
                .to_owned(),
            roster: world.started["roster"]
                .as_str()
                .expect("a digest")
                .to_owned(),
            digest: digest_of(&world, "deploy:web"),
            world,
        };
        deployed.bundle = deployed.run("deploy:web", json!({"commit": COMMIT}));
        deployed
    }

    /// Runs a step and returns the path of the bundle.
    fn run(&self, step: &str, params: Value) -> PathBuf {
        let finished = self.world.run(step, params, &[&alice()]);
        let path = self
            .world
            .path(&format!("{}.bundle.json", id_of(&finished)));
        fs::write(&path, self.world.bundle(&finished)).expect("written");
        path
    }

    /// The options that require exactly this run, without `--roster`.
    fn demands(&self) -> Vec<String> {
        let words = [
            "--boundary",
            &self.boundary,
            "--step",
            "deploy:web",
            "--digest",
            &self.digest,
            "-p",
        ];
        let commit = format!("commit={COMMIT}");
        let words = words
            .into_iter()
            .chain([&*commit, "-p", "drain=true", "-p", "count=3"]);
        words.map(str::to_owned).collect()
    }

    /// The same options, but with `value` after the first `option`.
    fn demands_but(&self, option: &str, value: &str) -> Vec<String> {
        let mut demands = self.demands();
        let at = demands
            .iter()
            .position(|word| word == option)
            .expect("there");
        demands[at + 1] = value.to_owned();
        demands
    }

    fn gate(&self, bundle: &Path, words: &[impl AsRef<str>]) -> Output {
        let mut command = self.command(bundle, words);
        command
            .args(["--roster", &self.roster])
            .output()
            .expect("gate")
    }

    fn command(&self, bundle: &Path, words: &[impl AsRef<str>]) -> Command {
        let mut command = self.world.program(&["gate"]);
        command
            .arg(bundle)
            .args(words.iter().map(AsRef::as_ref))
            .current_dir(self.world.path("b"));
        for name in ["GITHUB_WORKSPACE", "CI_PROJECT_DIR", "WORKSPACE"] {
            command.env_remove(name);
        }
        command
    }

    /// Checks that the gate refuses the bundle, and that exactly the expected requirements are not met.
    #[track_caller]
    fn shut(&self, bundle: &Path, words: &[impl AsRef<str>], expected: &[&str]) -> Value {
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).chain(["--json"]).collect();
        let output = self.gate(bundle, &words);
        let said = said(&output);
        let line: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {said}"));
        assert_eq!(
            (output.status.code(), &line["exit"]),
            (Some(1), &json!(1)),
            "{said}"
        );
        let unmet: Vec<_> = line["requirements"]
            .as_array()
            .expect("requirements")
            .iter()
            .filter(|requirement| requirement["finding"] == "no")
            .map(|requirement| requirement["name"].as_str().expect("a name"))
            .collect();
        assert_eq!(
            (unmet, &line["passed"]),
            (expected.to_vec(), &json!(false)),
            "{line:#}"
        );
        line
    }

    #[track_caller]
    fn open(&self, bundle: &Path, words: &[impl AsRef<str>]) {
        exited(self.gate(bundle, words), 0);
    }

    /// Writes the roster to the file `at`.
    fn roster_file(&self, at: &Path) {
        let mut show = self
            .world
            .boundary_command(&["roster", "show", "--json", "--config"]);
        let output = show.arg(self.world.path("b")).output();
        let output = exited(output.expect("roster show"), 0);
        fs::create_dir_all(at.parent().expect("a parent")).expect("a directory");
        fs::write(at, output.stdout).expect("written");
        fs::set_permissions(at, fs::Permissions::from_mode(0o644)).expect("mode");
    }
}

fn digest_of(world: &World, step: &str) -> String {
    let view = world
        .wire
        .get(&format!("/v1/steps/{step}"), &world.reader)
        .ok(200);
    view["digest"].as_str().expect("a digest").to_owned()
}

fn detail(line: &Value, name: &str) -> String {
    let requirements = line["requirements"].as_array().expect("requirements");
    let found = requirements
        .iter()
        .find(|requirement| requirement["name"] == name);
    found.unwrap_or_else(|| panic!("no {name}: {line:#}"))["detail"]
        .as_str()
        .expect("words")
        .to_owned()
}

#[test]
fn gate_accepts_only_the_required_run_and_prints_one_line_for_each_reason() {
    let at = Deployed::new();
    let good = at.demands();
    let output = at.gate(&at.bundle, &good);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for line in [
        "  met      verified ",
        "  met      boundary ",
        "  met      parameters ",
        "  gate          open",
    ] {
        assert!(text.contains(line), "{line:?}: {text}");
    }
    // A different required value fails exactly its own requirement, and the reason contains both values.
    let other = format!("sha256:{}", "a".repeat(64));
    let line = at.shut(
        &at.bundle,
        &at.demands_but("--boundary", &other),
        &["boundary"],
    );
    assert!(
        detail(&line, "boundary").contains(&other)
            && detail(&line, "boundary").contains(&at.boundary)
    );
    at.shut(
        &at.bundle,
        &at.demands_but("--step", "deploy:warn"),
        &["step"],
    );
    at.shut(&at.bundle, &at.demands_but("--digest", &other), &["digest"]);
    let line = at.shut(
        &at.bundle,
        &at.demands_but("-p", "commit=ffff"),
        &["parameters"],
    );
    let why = detail(&line, "parameters");
    assert!(why.contains(COMMIT) && why.contains("ffff"), "{why}");
    let fewer: Vec<_> = good[..good.len() - 2].to_vec();
    let line = at.shut(&at.bundle, &fewer, &["parameters"]);
    assert!(
        detail(&line, "parameters").contains("count was 3, but you gave no value for count"),
        "{line:#}"
    );
    at.shut(
        &at.bundle,
        &[&good[..], &["-p".to_owned(), "more=1".to_owned()]].concat(),
        &["parameters"],
    );
    // In a `--params` file, the JSON type of a value must match too.
    let params = at.world.path("expected.json");
    let by_file = |params_text: &str| {
        fs::write(&params, params_text).expect("written");
        let mut words = good[..6].to_vec();
        words.extend(["--params".to_owned(), params.to_string_lossy().into_owned()]);
        words
    };
    at.open(
        &at.bundle,
        &by_file(&json!({"commit": COMMIT, "drain": true, "count": 3}).to_string()),
    );
    let typed = by_file(&json!({"commit": COMMIT, "drain": "true", "count": "3"}).to_string());
    at.shut(&at.bundle, &typed, &["parameters"]);
    // Each relaxation is a separate option.
    for (spelt, asked) in [("--any-digest", 4..6), ("--any-params", 6..12)] {
        let mut words = good.clone();
        words.drain(asked);
        words.push(spelt.to_owned());
        at.open(&at.bundle, &words);
    }
    for least in [
        "strict",
        "best-effort",
        "off",
        "landlock,network",
        "seccomp",
    ] {
        at.open(
            &at.bundle,
            &[&good[..], &words(&["--min-sandbox", least])].concat(),
        );
    }
    // The roster has no witness, so `--witness 1` cannot be met.
    at.shut(
        &at.bundle,
        &[&good[..], &words(&["--witness", "1"])].concat(),
        &["verified"],
    );
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn gate_refuses_a_success_receipt_of_other_parameters_or_another_commit() {
    let at = Deployed::new();
    let other = at.run("deploy:web", json!({"commit": "f".repeat(40)}));
    at.shut(&other, &at.demands(), &["parameters"]);
    let undrained = at.run("deploy:web", json!({"commit": COMMIT, "drain": false}));
    let line = at.shut(&undrained, &at.demands(), &["parameters"]);
    assert_eq!(
        detail(&line, "parameters"),
        "drain was false, but \"true\" is required"
    );
}

#[test]
fn gate_refuses_a_run_that_failed_or_is_too_old() {
    let at = Deployed::new();
    let of = |step: &str| {
        let mut demands = at.demands_but("--step", step);
        let place = demands
            .iter()
            .position(|word| word == "--digest")
            .expect("there");
        demands[place + 1] = digest_of(&at.world, step);
        (at.run(step, json!({"commit": COMMIT})), demands)
    };
    let (failed, demands) = of("deploy:fail");
    let line = at.shut(&failed, &demands, &["outcome"]);
    assert_eq!(
        detail(&line, "outcome"),
        "the run did not succeed: failed, exit code 1"
    );
    at.shut(
        &failed,
        &[&demands[..], &words(&["--allow-warned"])].concat(),
        &["outcome"],
    );
    let (warned, demands) = of("deploy:warn");
    at.shut(&warned, &demands, &["outcome"]);
    at.open(
        &warned,
        &[&demands[..], &words(&["--allow-warned"])].concat(),
    );
    // A receipt passes the gate several times, until the maximum age is reached.
    let began = now();
    at.open(&at.bundle, &at.demands());
    at.open(&at.bundle, &at.demands());
    wait_for("two seconds have passed", || now() > began + 2);
    let line = at.shut(
        &at.bundle,
        &[&at.demands()[..], &words(&["--max-age", "1s"])].concat(),
        &["age"],
    );
    assert!(
        detail(&line, "age").contains("the maximum age is 1 s"),
        "{line:#}"
    );
    at.open(
        &at.bundle,
        &[&at.demands()[..], &words(&["--max-age", "any"])].concat(),
    );
}

#[test]
fn gate_refuses_a_staging_boundary_with_the_same_name_and_key() {
    let at = Deployed::new();
    // The staging boundary has the same roster, name and key, but another log and therefore another id.
    let mut staging = prepared();
    let first = fs::read(at.world.path("b/boundary/roster.d/1.json")).expect("version 1");
    let first = serde_json::from_slice(&first).expect("JSON");
    staging.write(DRAFT, &predicate_of(&first).to_string());
    staging.start();
    staging.make_tokens();
    assert_eq!(staging.started["roster"], at.world.started["roster"]);
    let finished = staging.run("deploy:web", json!({"commit": COMMIT}), &[&alice()]);
    let bundle = at.world.path("staging.bundle.json");
    fs::write(&bundle, staging.bundle(&finished)).expect("written");
    assert_eq!(digest_of(&staging, "deploy:web"), at.digest);
    let line = at.shut(&bundle, &at.demands(), &["boundary"]);
    assert!(
        detail(&line, "boundary").contains("two boundaries can have the same name"),
        "{line:#}"
    );
}

#[test]
fn gate_refuses_an_unverified_bundle_with_every_option() {
    let at = Deployed::new();
    let all = [
        &words(&[
            "--boundary",
            &at.boundary,
            "--step",
            "deploy:web",
            "--any-digest",
            "--any-params",
            "--allow-warned",
        ])[..],
        &words(&[
            "--min-sandbox",
            "off",
            "--max-age",
            "any",
            "--allow-unguarded",
            "--allow-unchecked",
            "seal-in-force",
        ]),
        &words(&[
            "--allow-unchecked",
            "keys-still-rostered",
            "--allow-unchecked",
            "permissions",
        ]),
    ]
    .concat();
    at.open(&at.bundle, &all);
    let bundle: Value = serde_json::from_slice(&fs::read(&at.bundle).expect("read")).expect("JSON");
    let broken = at.world.path("broken.json");
    for part in ["receipt", "authorization", "consumption", "seal"] {
        let mut edited = bundle.clone();
        edited[part]["signatures"][0]["sig"] = bundle["step_proof"]["size"].clone();
        fs::write(&broken, edited.to_string()).expect("written");
        assert_eq!(at.gate(&broken, &all).status.code(), Some(1), "{part}");
    }
    for garbage in ["", "{}", "null", "[[[["] {
        fs::write(&broken, garbage).expect("written");
        let output = at.gate(&broken, &all);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{garbage:?}: {}",
            said(&output)
        );
        assert!(said(&output).contains("is no bundle"), "{}", said(&output));
    }
    // The verification fails under another trusted roster.
    let stranger = format!("sha256:{}", "b".repeat(64));
    exited(
        at.command(&at.bundle, &all)
            .args(["--roster", &stranger])
            .output()
            .expect("gate"),
        1,
    );
}

#[test]
fn gate_reports_wrong_usage_and_has_no_default_for_a_required_option() {
    let at = Deployed::new();
    let usage = |words: &[String], says: &str| {
        let output = at.gate(&at.bundle, words);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{words:?}: {}",
            said(&output)
        );
        assert!(said(&output).contains(says), "{says}: {}", said(&output));
    };
    let good = at.demands();
    usage(&good[2..], "--boundary");
    usage(&[&good[..2], &good[4..]].concat(), "--step");
    usage(&[&good[..4], &good[6..]].concat(), "--digest");
    usage(&good[..6], "the expected parameters are missing");
    usage(
        &[&good[..], &words(&["--any-params"])].concat(),
        "cannot be used with",
    );
    usage(
        &[&good[..], &words(&["--any-digest"])].concat(),
        "cannot be used with",
    );
    usage(
        &[&good[..], &words(&["--no-params"])].concat(),
        "cannot be used with",
    );
    usage(
        &[&good[..], &words(&["-p", "count=4"])].concat(),
        "named twice",
    );
    usage(
        &[&good[..], &words(&["-p", "count"])].concat(),
        "expected name=value",
    );
    usage(
        &[&good[..], &words(&["--max-age", "24"])].concat(),
        "24h or 7d",
    );
    usage(
        &[&good[..], &words(&["--min-sandbox", "lax"])].concat(),
        "no level and no layer",
    );
    usage(
        &[
            &good[..],
            &words(&["--allow-unchecked", "receipt-signature"]),
        ]
        .concat(),
        "only these checks can be left out",
    );
    exited(at.gate(Path::new("/nowhere/run.bundle.json"), &good), 2);
    // The argument `-` reads the bundle from the standard input. Empty input is no bundle.
    let piped = |input: Stdio| {
        let mut command = at.command(Path::new("-"), &good);
        command
            .args(["--roster", &at.roster])
            .stdin(input)
            .output()
            .expect("gate")
            .status
            .code()
    };
    assert_eq!(
        piped(fs::File::open(&at.bundle).expect("open").into()),
        Some(0)
    );
    assert_eq!(piped(Stdio::null()), Some(1));
}

#[test]
fn a_roster_that_was_replaced_in_a_ci_checkout_is_not_read() {
    let at = Deployed::new();
    let checkout = at.world.path("checkout");
    fs::create_dir_all(checkout.join(".git")).expect("a checkout");
    let inside = checkout.join("trust/roster.json");
    at.roster_file(&inside);
    let elsewhere = at.world.path("elsewhere");
    fs::create_dir_all(&elsewhere).expect("a directory");
    let trusting = |roster: &str, current: &Path, more: &[&str]| {
        let mut command = at.command(&at.bundle, &at.demands());
        let output = command
            .args(["--roster", roster])
            .args(more)
            .current_dir(current)
            .output()
            .expect("gate");
        (output.status.code(), said(&output))
    };
    let text = |path: &Path| path.to_string_lossy().into_owned();
    // The gate refuses a roster in the checkout: by relative path, by absolute path, from another directory, through a
    // link to the checkout, and through a link in the checkout.
    let (outside, link, way) = (
        at.world.path("safe/roster.json"),
        checkout.join("link.json"),
        at.world.path("way"),
    );
    at.roster_file(&outside);
    symlink(&outside, &link).expect("a link");
    symlink(&checkout, &way).expect("a link");
    for (roster, current) in [
        ("trust/roster.json".to_owned(), &checkout),
        (text(&inside), &checkout),
        (text(&inside), &elsewhere),
        (text(&way.join("trust/roster.json")), &elsewhere),
        (text(&link), &elsewhere),
    ] {
        let (code, said) = trusting(&roster, current, &[]);
        assert_eq!(code, Some(2), "{roster}: {said}");
        assert!(
            said.contains("the author of the change under review"),
            "{said}"
        );
        assert!(
            !said.contains(&at.roster),
            "it must not tell the digest that the file would need: {said}"
        );
    }
    let mut piped = at.command(&at.bundle, &at.demands());
    let piped = piped
        .args(["--roster", "-"])
        .current_dir(&elsewhere)
        .stdin(fs::File::open(&outside).expect("open"));
    assert_eq!(
        piped.output().expect("gate").status.code(),
        Some(2),
        "nobody knows where it comes from"
    );
    // The gate also refuses a roster in the current directory, or in the directory that the CI runner names, without
    // `.git`.
    let plain = at.world.path("plain/roster.json");
    at.roster_file(&plain);
    assert_eq!(
        trusting("roster.json", plain.parent().expect("a parent"), &[]).0,
        Some(2)
    );
    let mut command = at.command(&at.bundle, &at.demands());
    let command = command
        .args(["--roster", &text(&plain)])
        .current_dir(&elsewhere);
    assert_eq!(command.output().expect("gate").status.code(), Some(0));
    assert_eq!(
        command
            .env("GITHUB_WORKSPACE", at.world.path("plain"))
            .output()
            .expect("gate")
            .status
            .code(),
        Some(2)
    );
    // The environment variable `COUNTERSIGN_TRUST` does not bypass the check.
    let mut command = at.command(&at.bundle, &at.demands());
    let command = command
        .env("COUNTERSIGN_TRUST", &inside)
        .current_dir(&elsewhere);
    assert_eq!(command.output().expect("gate").status.code(), Some(2));
    assert_eq!(
        command
            .env("COUNTERSIGN_TRUST", &outside)
            .output()
            .expect("gate")
            .status
            .code(),
        Some(0)
    );
    // With `--roster-digest`, the file may be in the checkout, but must have the pinned digest.
    assert_eq!(
        trusting(&text(&inside), &checkout, &["--roster-digest", &at.roster]).0,
        Some(0)
    );
    let other = deployable_roster(&at);
    fs::write(&inside, other).expect("swapped");
    let (code, said) = trusting(&text(&inside), &checkout, &["--roster-digest", &at.roster]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("not the roster that --roster-digest pins"),
        "{said}"
    );
    // The gate refuses a roster file that other users can write.
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o666)).expect("mode");
    assert_eq!(trusting(&text(&outside), &elsewhere, &[]).0, Some(2));
}

#[test]
fn verify_and_audit_refuse_a_roster_that_others_can_write_as_gate_does() {
    let at = Deployed::new();
    let (place, bundle) = (
        at.world.path("safe"),
        at.bundle.to_string_lossy().into_owned(),
    );
    let roster = place.join("roster.json");
    at.roster_file(&roster);
    let verify = |roster: &str| {
        let mut command = at.world.program(&["verify", &bundle, "--roster", roster]);
        let input = fs::File::open(place.join("roster.json")).expect("there");
        let output = command.stdin(input).output().expect("verify");
        (output.status.code(), said(&output))
    };
    let named = roster.to_str().expect("text");
    assert_eq!(verify(named).0, Some(0));
    let chmod = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("mode")
    };
    for (path, mode, usual) in [
        (&roster, 0o666, 0o644),
        (&roster, 0o664, 0o644),
        (&place, 0o777, 0o755),
    ] {
        chmod(path, mode);
        let (code, said) = verify(named);
        assert!(
            code == Some(2) && said.contains("chmod go-w") && said.contains("be trusted"),
            "{said}"
        );
        let mut audit = at.world.program(&[
            "audit",
            &at.world.wire.url,
            "--url",
            &at.world.wire.url,
            "--roster",
            named,
        ]);
        let audit = audit
            .env("COUNTERSIGN_TOKEN", &at.world.reader)
            .output()
            .expect("audit");
        assert_eq!(audit.status.code(), Some(2), "{}", self::said(&audit));
        let mut gate = at.command(&at.bundle, &at.demands());
        assert_eq!(
            gate.args(["--roster", named])
                .output()
                .expect("gate")
                .status
                .code(),
            Some(2)
        );
        // The check applies neither to the standard input nor to a digest.
        for other in ["-", "/dev/stdin", &at.roster] {
            let (code, said) = verify(other);
            assert_eq!(code, Some(0), "{other}: {said}");
        }
        chmod(path, usual);
    }
    assert_eq!(verify(named).0, Some(0));
}

/// Another roster, which a hostile commit puts into the checkout.
fn deployable_roster(at: &Deployed) -> Vec<u8> {
    let mut envelope: Value =
        serde_json::from_slice(&fs::read(at.world.path("safe/roster.json")).expect("read"))
            .expect("JSON");
    let mut statement = support::people::statement_of(&envelope);
    statement["predicate"]["name"] = json!("swapped");
    let digest = support::people::sha256(&support::people::canonical(&statement["predicate"]));
    statement["subject"][0]["digest"]["sha256"] = json!(digest);
    envelope["payload"] =
        support::people::envelope(&support::people::canonical(&statement), &[])["payload"].take();
    envelope.to_string().into_bytes()
}

#[test]
fn trust_comes_only_from_the_configuration_of_the_user() {
    let at = Deployed::new();
    let gate = || {
        at.command(&at.bundle, &at.demands())
            .output()
            .expect("gate")
    };
    let none = exited(gate(), 2);
    assert!(
        said(&none).contains("there is no trusted roster") && !said(&none).contains(&at.roster),
        "{}",
        said(&none)
    );
    at.roster_file(&at.world.path("home/.config/countersign/roster.json"));
    said_at_exit(gate(), 0, "trust from    ");
    // If the home directory is in the checkout, the author of the commit controls the configuration.
    let at_home = |name: &str, value: PathBuf| {
        let mut command = at.command(&at.bundle, &at.demands());
        command.env(name, value).output().expect("gate")
    };
    exited(at_home("GITHUB_WORKSPACE", at.world.path("home")), 2);
    fs::create_dir_all(at.world.path("home/.git")).expect("a checkout");
    assert_eq!(gate().status.code(), Some(2));
    fs::remove_dir(at.world.path("home/.git")).expect("none any more");
    assert_eq!(gate().status.code(), Some(0));
    // The same rule applies to a trusted digest in the configuration.
    fs::remove_file(at.world.path("home/.config/countersign/roster.json")).expect("removed");
    fs::write(
        at.world.path("home/.config/countersign/trust"),
        format!("{}\n", at.roster),
    )
    .expect("written");
    assert_eq!(gate().status.code(), Some(0));
    assert_eq!(
        at_home("CI_PROJECT_DIR", at.world.path("home"))
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn gate_refuses_a_step_that_was_changed_since_it_was_pinned() {
    let at = Deployed::new();
    let changed = "countersign: 1\ntitle: Steps of a test";
    let path = at.world.path("b/runbooks/deploy.md");
    let text = fs::read_to_string(&path).expect("read");
    assert!(text.contains(changed));
    fs::write(&path, text.replace("\n:\n", "\n: changed\n")).expect("written");
    let seal = at.world.seal();
    at.world.reseal(seal + 1);
    let bundle = at.run("deploy:web", json!({"commit": COMMIT}));
    let line = at.shut(&bundle, &at.demands(), &["digest"]);
    assert!(detail(&line, "digest").contains(&at.digest), "{line:#}");
    // The run before the change still passes, because its step has the required digest.
    at.open(&at.bundle, &at.demands());
}

/// The next roster version, with `edit` applied.
fn next_version(before: &Value, edit: impl FnOnce(&mut Value)) -> Value {
    let payload = support::people::payload_of(before);
    let mut tables = support::people::statement_of(before)["predicate"].take();
    tables["version"] = json!(tables["version"].as_u64().expect("a number") + 1);
    tables["previous"] = json!(format!("sha256:{}", support::people::sha256(&payload)));
    edit(&mut tables);
    let digest = support::people::sha256(&support::people::canonical(&tables));
    let subject = json!([{"name": "roster", "digest": {"sha256": digest}}]);
    support::people::envelope(
        &support::people::statement("roster", &subject, &tables),
        &[],
    )
}

fn digest_of_version(envelope: &Value) -> String {
    format!(
        "sha256:{}",
        support::people::sha256(&support::people::payload_of(envelope))
    )
}

/// Writes version 1 to the user's configuration directory. Returns this directory and versions 1 to 3. Version 2
/// removes alice.
fn three_versions(at: &Deployed) -> (PathBuf, [Value; 3]) {
    let config = at.world.path("home/.config/countersign");
    at.roster_file(&config.join("roster.json"));
    let first: Value =
        serde_json::from_slice(&fs::read(config.join("roster.json")).expect("read")).expect("JSON");
    let second = next_version(&first, |tables| {
        let approvers = tables["approvers"].as_object_mut();
        approvers.expect("a table").remove("alice");
    });
    let third = next_version(&second, |_| {});
    (config, [first, second, third])
}

#[test]
fn the_gate_with_several_trusted_rosters_uses_the_newest_roster() {
    let at = Deployed::new();
    let (config, [first, second, third]) = three_versions(&at);
    let put = |file: &str, roster: &Value| {
        at.world.write(
            &format!("home/.config/countersign/{file}"),
            &roster.to_string(),
        )
    };
    let gate = |more: &[&str]| {
        let output = at
            .command(&at.bundle, &at.demands())
            .args(more)
            .arg("--json")
            .output()
            .expect("gate");
        let line: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let unmet = line["requirements"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|one| one["finding"] == "no");
        let unmet: Vec<_> = unmet
            .map(|one| one["name"].as_str().expect("a name").to_owned())
            .collect();
        (output.status.code(), unmet, said(&output))
    };
    assert_eq!(gate(&[]).0, Some(0));
    let gone = ["keys-still-rostered", "seal-in-force"];
    // The newest roster counts in either order of the files, and also if a version between the two is missing.
    for (name, newer) in [("rosters/2.json", &second), ("rosters/3.json", &third)] {
        put("roster.json", &first);
        put(name, newer);
        let (code, unmet, said) = gate(&[]);
        assert_eq!(
            (code, &unmet[..]),
            (Some(1), &gone.map(str::to_owned)[..]),
            "{name}: {said}"
        );
        put("roster.json", newer);
        put(name, &first);
        let (code, unmet, said) = gate(&[]);
        assert_eq!(
            (code, &unmet[..]),
            (Some(1), &gone.map(str::to_owned)[..]),
            "{name}: {said}"
        );
        fs::remove_file(config.join(name)).expect("removed");
    }
    // Version 1 is trusted as a digest, and version 2 as a file.
    put("roster.json", &second);
    fs::write(
        config.join("trust"),
        format!("{}\n", digest_of_version(&first)),
    )
    .expect("written");
    let (code, unmet, said) = gate(&[]);
    assert_eq!(
        (code, &unmet[..]),
        (Some(1), &gone.map(str::to_owned)[..]),
        "{said}"
    );
    // The command `verify` reports the check as not checked and accepts the bundle.
    let output = at
        .world
        .program(&["verify", "--json"])
        .arg(&at.bundle)
        .output()
        .expect("verify");
    let line: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let checks = line["report"]["checks"].as_array().expect("checks");
    let rostered = checks
        .iter()
        .find(|check| check["name"] == "keys-still-rostered")
        .expect("the check");
    assert_eq!(
        (output.status.code(), &rostered["finding"]),
        (Some(0), &json!("not-checked")),
        "{line:#}"
    );
    assert_eq!(line["report"]["trust"]["newest"]["version"], 2, "{line:#}");
    // A digest does not contain the version, so the gate cannot know the newest roster.
    fs::remove_file(config.join("roster.json")).expect("removed");
    let digests = format!(
        "{}\n{}\n",
        digest_of_version(&first),
        digest_of_version(&second)
    );
    fs::write(config.join("trust"), digests).expect("written");
    let (code, _, said) = gate(&[]);
    assert!(
        code == Some(2) && said.contains("--roster-digest"),
        "{said}"
    );
    assert_eq!(
        gate(&["--roster-digest", &digest_of_version(&first)]).0,
        Some(0),
        "whoever calls says which"
    );
}

#[test]
fn approve_refuses_to_sign_for_a_boundary_that_returns_to_an_older_roster() {
    let at = Deployed::new();
    let (config, [_, second, third]) = three_versions(&at);
    let offered = at.world.propose("deploy:web", json!({"commit": COMMIT}));
    at.world.write(
        "dora.pem",
        support::people::dora().secret.to_pkcs8_v1_pem().as_str(),
    );
    let approve = || {
        let url = &at.world.wire.url;
        let digest = offered["digest"].as_str().expect("a digest");
        let words = [
            "approve",
            id_of(&offered),
            "--url",
            url,
            "--yes",
            "--expect",
            digest,
            "--key",
        ];
        let output = at
            .world
            .program(&words)
            .arg(at.world.path("dora.pem"))
            .output()
            .expect("approve");
        (output.status.code(), said(&output))
    };
    for (name, newer) in [("rosters/2.json", &second), ("rosters/3.json", &third)] {
        at.world.write(
            &format!("home/.config/countersign/{name}"),
            &newer.to_string(),
        );
        let (code, said) = approve();
        assert!(
            code == Some(126) && said.contains(&format!("(version {})", newer_version(newer))),
            "{name}: {said}"
        );
        fs::remove_file(config.join(name)).expect("removed");
    }
    let (code, said) = approve();
    assert_eq!(code, Some(0), "{said}");
}

fn newer_version(envelope: &Value) -> u64 {
    support::people::statement_of(envelope)["predicate"]["version"]
        .as_u64()
        .expect("a number")
}

#[test]
fn gate_with_a_help_option_among_its_arguments_never_passes() {
    let at = Deployed::new();
    let demands = at.demands();
    // The help option as a separate argument, in place of the file, and in place of a value.
    for (bundle, words, says) in [
        (
            &*at.bundle,
            [&demands[..], &words(&["-h"])].concat(),
            "nothing was checked",
        ),
        (&*at.bundle, words(&["--help"]), "nothing was checked"),
        (Path::new("--help"), demands.clone(), "nothing was checked"),
        (
            &*at.bundle,
            [&demands[..6], &words(&["-p", "--help"])].concat(),
            "a value is required",
        ),
    ] {
        let output = at.gate(bundle, &words);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{words:?}: {}",
            said(&output)
        );
        assert!(said(&output).contains(says), "{words:?}: {}", said(&output));
    }
    for (line, code) in [
        (&["verify", "--help"][..], 0),
        (&["help", "gate"], 0),
        (&["gate", "-h"], 0),
        (&["verify", "run.json", "--help"], 2),
        (&["--json", "audit", "dir", "-h"], 2),
        (&["propose", "x:y", "--help"], 0),
    ] {
        let output = at.world.program(line).output().expect("started");
        assert_eq!(output.status.code(), Some(code), "{line:?}");
    }
}

#[test]
fn an_error_about_the_home_directory_names_the_correction() {
    let at = Deployed::new();
    at.roster_file(&at.world.path("home/.config/countersign/roster.json"));
    let output = at
        .command(&at.bundle, &at.demands())
        .current_dir(at.world.path("home"))
        .output()
        .expect("gate");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(
        said(&output).contains("change to another directory"),
        "{}",
        said(&output)
    );
    // In another directory the gate passes. The gate expands `~` in the checkout directory that CircleCI names.
    let mut elsewhere = at.command(&at.bundle, &at.demands());
    assert_eq!(elsewhere.output().expect("gate").status.code(), Some(0));
    at.roster_file(&at.world.path("home/project/roster.json"));
    elsewhere.args([
        "--roster",
        &at.world.path("home/project/roster.json").to_string_lossy(),
    ]);
    assert_eq!(elsewhere.output().expect("gate").status.code(), Some(0));
    elsewhere.env("CIRCLE_WORKING_DIRECTORY", "~/project");
    assert_eq!(elsewhere.output().expect("gate").status.code(), Some(2));
}
