//! Runs the scripts of `examples/ci` in bash against a real boundary.
//!
//! `Runner` replaces the runners of GitHub and GitLab: it parses the YAML, evaluates the expressions of `env` and
//! `with`, and runs each `run` and `script`. It ignores the other parts of the files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::cosigner::{Witness, vkey_of_log};
use crate::issuer::Issuer;
use crate::support::people::{Key, alice, bob, dora};
use crate::support::wire::Wire;
use crate::support::{self, PROGRAM, SMALL, Setup, World, has_all, runbook, said, said_at_exit};
use serde_json::{Value, json};

const COMMIT: &str = "89abcdef89abcdef89abcdef89abcdef89abcdef";
/// Shell code that an attacker could put into a branch name or a commit message.
const HOSTILE: &str =
    "x\"; touch pwned; echo \"$(touch pwned)`touch pwned`' ${IFS}touch pwned\n--help\n";

fn example(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/ci")
        .join(file);
    let text = fs::read_to_string(&path).expect(file);
    reading::yaml::parse(&text, 1)
        .unwrap_or_else(|flaw| panic!("{file}:{flaw}"))
        .to_json()
}

/// A boundary with the step of the examples, and the directories of a CI runner.
struct Runner {
    world: World,
    /// The values of `inputs.…`, `vars.…`, `secrets.…`, `github.…`, `runner.…` and `steps.…` by their full names.
    context: BTreeMap<String, String>,
    path: String,
    /// Variables that the runner sets for each step.
    variables: Vec<(String, String)>,
    /// The runner's directory for temporary files of the job.
    temp: PathBuf,
}

impl Runner {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// A runner whose image has `countersign` installed.
    fn with(change: impl FnOnce(&mut Setup)) -> Self {
        Self::of(":", change)
    }

    /// A runner for a boundary whose step `deploy:web` runs `script`.
    fn of(script: &str, change: impl FnOnce(&mut Setup)) -> Self {
        let world = World::with(|setup| {
            change(setup);
            let params = "params:\n  commit: {type: string, pattern: \"^[0-9a-f]{40}$\"}\n  drain: {type: boolean, default: true}\n";
            setup.runbook(
                "deploy.md",
                runbook(&format!("{params}{SMALL}"), &[("web", script)]),
            );
        });
        for below in ["work", "temp", "bin"] {
            fs::create_dir_all(world.path(below)).expect("made");
        }
        symlink(PROGRAM, world.path("bin/countersign")).expect("a link");
        let path = format!(
            "{}:{}",
            world.path("bin").display(),
            std::env::var("PATH").expect("a path")
        );
        let view = world
            .wire
            .get("/v1/steps/deploy:web", &world.reader)
            .ok(200);
        let boundary = world.boundary()["id"].as_str().expect("an id").to_owned();
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let context = [
            ("vars.COUNTERSIGN_URL", world.wire.url.clone()),
            ("secrets.COUNTERSIGN_TOKEN", world.agent.clone()),
            ("vars.COUNTERSIGN_BOUNDARY", boundary),
            ("vars.COUNTERSIGN_ROSTER", text(&world.started["roster"])),
            ("vars.COUNTERSIGN_STEP_DIGEST", text(&view["digest"])),
            ("github.sha", COMMIT.to_owned()),
            ("github.event.head_commit.message", HOSTILE.to_owned()),
            (
                "runner.temp",
                world.path("temp").to_string_lossy().into_owned(),
            ),
        ];
        let context = context
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let temp = world.path("temp");
        Self {
            world,
            context,
            path,
            variables: Vec::new(),
            temp,
        }
    }

    /// Simulates the runner of another job, which has no installed programs and no files of the job before.
    fn next_job(&mut self, name: &str) {
        self.temp = self.world.path(&format!("temp-{name}"));
        fs::create_dir_all(&self.temp).expect("made");
        let _ = fs::remove_file(self.world.path("paths"));
        self.path = std::env::var("PATH").expect("a path");
        self.context.retain(|name, _| !name.starts_with("steps."));
        self.context.insert(
            "runner.temp".to_owned(),
            self.temp.to_string_lossy().into_owned(),
        );
        assert!(
            !self.bash("command -v countersign", &[]).status.success(),
            "it is installed on this machine"
        );
    }

    /// Replaces each `${{ NAME }}` of a text by the value of NAME in the context.
    fn text(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, expression)) = rest.split_once("${{") {
            let (name, after) = expression.split_once("}}").expect("an end");
            out.push_str(before);
            let value = self.context.get(name.trim());
            out.push_str(value.unwrap_or_else(|| panic!("{} is not known", name.trim())));
            rest = after;
        }
        out + rest
    }

    fn texts(&self, map: &Value) -> Vec<(String, String)> {
        let entries = map.as_object().into_iter().flatten();
        entries
            .map(|(name, value)| (name.clone(), self.text(value.as_str().expect("text"))))
            .collect()
    }

    /// Runs a script in the checkout with the shell options of a CI runner.
    fn bash(&self, script: &str, env: &[(String, String)]) -> Output {
        let mut command = self.world.command("bash");
        command
            .args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script])
            .current_dir(self.world.path("work"));
        command
            .env("PATH", &self.path)
            .envs(self.variables.iter().cloned())
            .envs(env.iter().cloned());
        command
            .env("RUNNER_TEMP", &self.temp)
            .env("GITHUB_WORKSPACE", self.world.path("work"));
        command
            .env("GITHUB_OUTPUT", self.world.path("output"))
            .env("GITHUB_PATH", self.world.path("paths"));
        command.stdin(Stdio::null()).output().expect("bash")
    }

    /// Runs a step of a workflow or of a composite action, and adds its outputs to the context as
    /// `steps.ID.outputs.NAME`.
    fn step(&mut self, step: &Value) -> Output {
        let script = step["run"].as_str().expect("a run");
        assert!(
            !script.contains("${{"),
            "an expression in a run line is text that others choose: {script}"
        );
        assert_eq!(step["shell"], "bash");
        let env = self.texts(&step["env"]);
        let _ = fs::remove_file(self.world.path("output"));
        let output = self.bash(script, &env);
        let written = fs::read_to_string(self.world.path("output")).unwrap_or_default();
        if let Some(id) = step["id"].as_str() {
            for line in written.lines() {
                let (name, value) = line.split_once('=').expect("name=value");
                self.context
                    .insert(format!("steps.{id}.outputs.{name}"), value.to_owned());
            }
        }
        let paths = fs::read_to_string(self.world.path("paths")).unwrap_or_default();
        paths
            .lines()
            .for_each(|line| self.path = format!("{line}:{}", self.path));
        output
    }

    /// Runs the steps of the composite action with these inputs, up to the first step that fails.
    fn action(&mut self, with: &[(String, String)]) -> Output {
        let action = example("github/action.yml");
        let inputs = action["inputs"].as_object().expect("inputs");
        self.context
            .retain(|name, _| !name.starts_with("inputs.") && !name.starts_with("steps."));
        for (name, input) in inputs {
            let given = with
                .iter()
                .find(|(given, _)| given == name)
                .map(|(_, value)| value.clone());
            let value = given.or_else(|| input["default"].as_str().map(str::to_owned));
            assert!(
                value.is_some() || input["required"] != true,
                "{name} is required"
            );
            self.context
                .insert(format!("inputs.{name}"), value.unwrap_or_default());
        }
        assert!(
            with.iter().all(|(name, _)| inputs.contains_key(name)),
            "an input that the action does not have"
        );
        let steps = action["runs"]["steps"].as_array().expect("steps").clone();
        let mut last = None;
        for step in steps {
            let output = self.step(&step);
            let failed = !output.status.success();
            last = Some(output);
            if failed {
                break;
            }
        }
        let output = last.expect("a step");
        if output.status.success() {
            let bundle = self.text(
                action["outputs"]["bundle"]["value"]
                    .as_str()
                    .expect("a value"),
            );
            self.context.insert("action.bundle".to_owned(), bundle);
        }
        output
    }

    /// Signs every pending proposal while `act` runs.
    fn approving<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        let sign = |wire: &Wire, path: &str, shown: &Value| {
            let signature = alice().sign(&support::bytes_of(shown));
            let _ = wire.try_post(
                &format!("{path}/signatures"),
                "",
                &json!({"signatures": [signature]}),
            );
        };
        self.meanwhile(sign, act)
    }

    /// Calls `with` for every pending proposal while `act` runs.
    fn meanwhile<T>(
        &mut self,
        with: impl Fn(&Wire, &str, &Value) + Sync,
        act: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let over = AtomicBool::new(false);
        let (wire, reader) = (self.world.wire.clone(), self.world.reader.clone());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let page = wire.get("/v1/proposals?status=pending", &reader).ok(200);
                    for proposal in page["proposals"].as_array().expect("a list") {
                        let path = format!("/v1/proposals/{}", support::id_of(proposal));
                        with(&wire, &path, &wire.get(&path, &reader).ok(200));
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
            // `Over` also stops the thread if `act` panics. Otherwise the scope would wait for the thread forever.
            let _over = Over(&over);
            act(self)
        })
    }

    /// Asserts that neither the runner nor the boundary has executed `HOSTILE`.
    fn assert_nothing_was_injected(&self) {
        for place in ["work", "temp", "b", "."]
            .map(|place| self.world.path(place))
            .iter()
            .chain([&self.temp])
        {
            assert!(!place.join("pwned").exists(), "{}", place.display());
        }
    }
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[track_caller]
fn succeeded(output: &Output) {
    assert!(
        output.status.success(),
        "{:?}: {}",
        output.status,
        said(output)
    );
}

/// Returns the inputs that the workflow passes to the action.
fn inputs(runner: &Runner) -> Vec<(String, String)> {
    let workflow = example("github/workflow.yml");
    let steps = workflow["jobs"]["deploy"]["steps"]
        .as_array()
        .expect("steps")
        .clone();
    let step = steps
        .iter()
        .find(|step| step["id"] == "countersign")
        .expect("the action")
        .clone();
    let uses = step["uses"].as_str().expect("an action");
    let commit = uses.split_once('@').expect("a version").1;
    assert!(
        commit.len() == 40 && !uses.starts_with('.'),
        "not from the checkout, and by its commit: {uses}"
    );
    runner.texts(&step["with"])
}

/// Makes a package with the layout of the client package of `scripts/package`. Returns its address and its digest.
fn client_package(world: &World) -> (String, String) {
    let (package, script) = (
        world.path("client.tar.gz"),
        "mkdir -p client/bin && ln -sf \"$0\" client/bin/countersign && tar -czf client.tar.gz client && sha256sum client.tar.gz",
    );
    let made = world
        .command("sh")
        .args(["-c", script, PROGRAM])
        .current_dir(world.path(""))
        .output()
        .expect("sh");
    succeeded(&made);
    (
        format!("file://{}", package.display()),
        String::from_utf8_lossy(&made.stdout)[..64].to_owned(),
    )
}

fn but(inputs: &[(String, String)], name: &str, value: &str) -> Vec<(String, String)> {
    let mut inputs = inputs.to_vec();
    inputs.retain(|(other, _)| other != name);
    inputs.push((name.to_owned(), value.to_owned()));
    inputs
}

#[test]
fn the_github_workflow_deploys_and_releases_only_the_countersigned_version() {
    let Some(()) = has_all(
        "the examples of CI",
        &["bash", "curl", "sha256sum", "mktemp", "tar"],
    ) else {
        return;
    };
    let mut runner = Runner::new();
    let workflow = example("github/workflow.yml");
    let steps = |job: &str| {
        workflow["jobs"][job]["steps"]
            .as_array()
            .expect("steps")
            .clone()
    };
    // The job installs the program only if the checksum is the pinned checksum.
    let (package, sum) = client_package(&runner.world);
    runner
        .context
        .insert("vars.COUNTERSIGN_DOWNLOAD".to_owned(), package);
    runner
        .context
        .insert("vars.COUNTERSIGN_SHA256".to_owned(), "0".repeat(64));
    let install = |job: &str| {
        steps(job)
            .into_iter()
            .find(|step| step["run"].is_string())
            .expect("install")
    };
    let install_again = install("release");
    let install = install("deploy");
    assert_eq!(
        install, install_again,
        "both jobs install the same, by the same sum"
    );
    runner.next_job("deploy");
    assert!(!runner.step(&install).status.success(), "another sum");
    runner
        .context
        .insert("vars.COUNTERSIGN_SHA256".to_owned(), sum);
    succeeded(&runner.step(&install));
    assert!(
        runner
            .path
            .starts_with(&*runner.temp.join("countersign/bin").to_string_lossy()),
        "{}",
        runner.path
    );
    let with = inputs(&runner);
    let output = runner.approving(|runner| runner.action(&with));
    succeeded(&output);
    assert!(
        said(&output).contains("gate          open"),
        "{}",
        said(&output)
    );
    runner.assert_nothing_was_injected();
    let bundle = PathBuf::from(&runner.context["action.bundle"]);
    let (code, report) = runner.world.verify(&fs::read(&bundle).expect("the bundle"));
    assert_eq!(code, 0);
    let approved = &report["report"]["facts"]["approved"];
    assert_eq!(
        (&approved["params"]["commit"], &approved["reason"]),
        (&json!(COMMIT), &json!(HOSTILE)),
        "data all the way"
    );
    // The release job runs on another runner and gets the bundle as an artifact.
    runner.next_job("release");
    fs::create_dir_all(runner.temp.join("receipt")).expect("made");
    fs::copy(&bundle, runner.temp.join("receipt/run.bundle.json")).expect("downloaded");
    let mut release = steps("release")
        .into_iter()
        .filter(|step| step["run"].is_string());
    succeeded(&runner.step(&release.next().expect("install")));
    let release = release.next().expect("the gate");
    succeeded(&runner.step(&release));
    // The gate refuses the receipt for another commit, boundary, step definition or roster.
    for (name, other, code) in [
        ("github.sha", "f".repeat(40), 1),
        (
            "vars.COUNTERSIGN_BOUNDARY",
            format!("sha256:{}", "a".repeat(64)),
            1,
        ),
        (
            "vars.COUNTERSIGN_STEP_DIGEST",
            format!("sha256:{}", "b".repeat(64)),
            1,
        ),
        (
            "vars.COUNTERSIGN_ROSTER",
            format!("sha256:{}", "c".repeat(64)),
            1,
        ),
        ("github.sha", HOSTILE.to_owned(), 1),
        ("vars.COUNTERSIGN_ROSTER", "roster.json".to_owned(), 2),
        ("vars.COUNTERSIGN_ROSTER", String::new(), 2),
    ] {
        let right = runner
            .context
            .insert(name.to_owned(), other.clone())
            .expect("there");
        let output = runner.step(&release);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{name}={other:?}: {}",
            said(&output)
        );
        runner.context.insert(name.to_owned(), right);
    }
    runner.assert_nothing_was_injected();
}

#[test]
fn the_github_action_fails_closed_and_never_runs_its_inputs() {
    let Some(()) = has_all("the examples of CI", &["bash", "mktemp"]) else {
        return;
    };
    let mut runner = Runner::new();
    let with = inputs(&runner);
    // The action must refuse each hostile input, or use the input as data: never as code, never as an option.
    let action = example("github/action.yml");
    let inputs: Vec<String> = action["inputs"]
        .as_object()
        .expect("inputs")
        .keys()
        .cloned()
        .collect();
    // Only the gate reads these inputs, so they are checked after the step has run. A `reason` may be any text.
    let of_gate = ["boundary", "roster", "max-age", "min-sandbox"];
    // Without TLS, nothing reads these files.
    let of_tls = ["cacert", "cert", "cert-key"];
    for name in of_tls {
        for hostile in [HOSTILE, "--help", "$(touch pwned)"] {
            let with = but(&but(&with, "url", "https://127.0.0.1:1"), name, hostile);
            let output = runner.action(&with);
            assert!(
                output.status.code() == Some(2)
                    && (said(&output).contains("CACERT.pem")
                        || said(&output).contains("COUNTERSIGN_CERT")),
                "{name}={hostile:?}: {}",
                said(&output)
            );
            assert_eq!(runner.context["steps.propose.outputs.exit-code"], "2");
            runner.assert_nothing_was_injected();
        }
    }
    let of_others =
        |name: &str| name == "reason" || of_gate.contains(&name) || of_tls.contains(&name);
    for name in inputs.iter().filter(|name| !of_others(name)) {
        for hostile in [HOSTILE, "--help", "$(touch pwned)", "-x", "../../pwned"] {
            let output = runner.action(&but(&with, name, hostile));
            assert!(
                !output.status.success(),
                "{name}={hostile:?}: {}",
                said(&output)
            );
            runner.assert_nothing_was_injected();
        }
    }
    assert!(
        runner.world.proposals().is_empty(),
        "nothing was even proposed"
    );
    for name in of_gate {
        for hostile in [HOSTILE, "--help"] {
            let output = runner.approving(|runner| runner.action(&but(&with, name, hostile)));
            assert_eq!(
                output.status.code(),
                Some(2),
                "{name}={hostile:?}: {}",
                said(&output)
            );
            runner.assert_nothing_was_injected();
        }
    }
    // A reason may also have any length: the action signs a shortened reason and runs the same step.
    for (commit, reason) in [
        ("a", "x".repeat(2048)),
        ("b", "\u{44f}".repeat(1100)),
        ("c", HOSTILE.repeat(200)),
    ] {
        // Another reason alone is no other run.
        let with = but(&but(&with, "commit", &commit.repeat(40)), "reason", &reason);
        let output = runner.approving(|runner| runner.action(&with));
        succeeded(&output);
        let (_, report) = runner
            .world
            .verify(&fs::read(&runner.context["action.bundle"]).expect("the bundle"));
        let signed = report["report"]["facts"]["approved"]["reason"]
            .as_str()
            .expect("a reason")
            .to_owned();
        let kept = signed.strip_suffix("...").expect("cut");
        assert!(reason.starts_with(kept) && kept.len() > 300, "{signed}");
        runner.assert_nothing_was_injected();
    }
    runner.context.remove("action.bundle");
    // After a denial the exit code is 123, and the action does not run the gate.
    let boundary = runner.world.boundary();
    let output = runner.meanwhile(
        move |wire, path, shown| {
            let body = support::people::denial(&boundary, &support::bytes_of(shown), "no");
            let denial = support::people::envelope(&body, &[&alice()]);
            let _ = wire.try_post(&format!("{path}/denial"), "", &denial);
        },
        |runner| runner.action(&with),
    );
    assert_eq!(output.status.code(), Some(123), "{}", said(&output));
    assert_eq!(runner.context["steps.propose.outputs.exit-code"], "123");
    assert!(!runner.context.contains_key("action.bundle"));
}

#[test]
fn the_gitlab_pipeline_deploys_and_releases_only_the_countersigned_version() {
    let Some(()) = has_all("the examples of CI", &["bash", "curl", "sha256sum", "tar"]) else {
        return;
    };
    let mut runner = Runner::new();
    let pipeline = example("gitlab/.gitlab-ci.yml");
    let (package, sum) = client_package(&runner.world);
    runner.path = std::env::var("PATH").expect("a path");
    let script = |job: &str| {
        let before = pipeline["default"]["before_script"]
            .as_array()
            .expect("lines")
            .iter();
        let lines = before.chain(pipeline[job]["script"].as_array().expect("a script"));
        lines
            .map(|line| format!("{}\n", line.as_str().expect("a line")))
            .collect::<String>()
    };
    let variable = |runner: &Runner, name: &str| runner.context[name].clone();
    let env = |runner: &Runner| -> Vec<(String, String)> {
        let values = [
            ("COUNTERSIGN_URL", variable(runner, "vars.COUNTERSIGN_URL")),
            (
                "COUNTERSIGN_TOKEN",
                variable(runner, "secrets.COUNTERSIGN_TOKEN"),
            ),
            ("BOUNDARY", variable(runner, "vars.COUNTERSIGN_BOUNDARY")),
            ("ROSTER", variable(runner, "vars.COUNTERSIGN_ROSTER")),
            ("DIGEST", variable(runner, "vars.COUNTERSIGN_STEP_DIGEST")),
            ("CI_COMMIT_SHA", variable(runner, "github.sha")),
            (
                "CI_COMMIT_TITLE",
                HOSTILE.lines().next().expect("a line").to_owned(),
            ),
            ("COUNTERSIGN_DOWNLOAD", package.clone()),
            ("COUNTERSIGN_SHA256", sum.clone()),
            (
                "CI_PROJECT_DIR",
                runner.world.path("work").to_string_lossy().into_owned(),
            ),
        ];
        values
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    };
    let good = env(&runner);
    let deploy = script("deploy");
    for title in [
        HOSTILE.lines().next().expect("a line").to_owned(),
        "\u{44f}".repeat(300),
    ] {
        let titled = but(&good, "CI_COMMIT_TITLE", &title);
        succeeded(&runner.approving(|runner| runner.bash(&deploy, &titled)));
    }
    let output = runner.approving(|runner| runner.bash(&deploy, &good));
    succeeded(&output);
    runner.assert_nothing_was_injected();
    assert!(
        said(&output).contains("gate          open"),
        "{}",
        said(&output)
    );
    let release = script("release");
    let released = runner.bash(&release, &good);
    succeeded(&released);
    assert!(
        said(&released).ends_with(&format!("released {COMMIT}\n")),
        "{}",
        said(&released)
    );
    for (name, other, code) in [
        ("CI_COMMIT_SHA", "f".repeat(40), 1),
        ("CI_COMMIT_SHA", HOSTILE.to_owned(), 1),
        ("BOUNDARY", format!("sha256:{}", "a".repeat(64)), 1),
        ("ROSTER", format!("sha256:{}", "c".repeat(64)), 1),
        ("ROSTER", String::new(), 2),
        ("DIGEST", "--any-digest".to_owned(), 2),
        ("COUNTERSIGN_SHA256", "0".repeat(64), 1),
    ] {
        let output = runner.bash(&release, &but(&good, name, &other));
        assert_eq!(
            output.status.code(),
            Some(code),
            "{name}={other:?}: {}",
            said(&output)
        );
        assert!(!said(&output).contains("released"), "{name}={other:?}");
    }
    runner.assert_nothing_was_injected();
}

/// Returns the lines that GitHub's runner would execute as commands: lines outside the sections that `stop-commands`
/// opens. The last section must be closed.
fn commands_of(log: &str) -> Vec<&str> {
    let mut commands = Vec::new();
    let mut stopped: Option<&str> = None;
    for line in log.lines().map(str::trim) {
        match (stopped, line.strip_prefix("::stop-commands::")) {
            (Some(token), _)
                if line
                    .strip_prefix("::")
                    .and_then(|rest| rest.strip_suffix("::"))
                    == Some(token) =>
            {
                stopped = None;
            }
            (None, Some(token)) => stopped = Some(token).filter(|token| token.len() == 32),
            (None, None) if line.starts_with("::") || line.contains("##[") => commands.push(line),
            _ => {}
        }
    }
    assert_eq!(
        stopped, None,
        "the runner takes no commands any more: {log}"
    );
    commands
}

#[test]
fn the_output_of_a_step_contains_no_command_for_the_ci_runner() {
    let Some(()) = has_all("the examples of CI", &["bash", "mktemp", "od", "tr"]) else {
        return;
    };
    for (end, code) in [("", 0), ("exit 3", 3)] {
        // The last line of each stream has no newline.
        let script = format!(
            "echo '::add-mask::a'\necho '::stop-commands::b'\necho '##[add-path]c' >&2\nprintf '::error::d' >&2\nprintf '::e::f'\n{end}"
        );
        let mut runner = Runner::of(&script, |_| {});
        let with = inputs(&runner);
        let of_action = runner.approving(|runner| runner.action(&with));
        assert_eq!(of_action.status.code(), Some(code), "{}", said(&of_action));
        let propose = example("github/action.yml")["runs"]["steps"][0].clone();
        let output = runner.approving(|runner| runner.step(&propose));
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        let log = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.stderr.is_empty(),
            "one stream, so that its order is the log's: {}",
            said(&output)
        );
        assert!(
            log.contains("::add-mask::a") && log.contains("##[add-path]c"),
            "as it was written: {log}"
        );
        assert_eq!(commands_of(&log), Vec::<&str>::new(), "{log}");
        // Each run uses a new random token.
        let token = |output: &Output| {
            let said = said(output);
            said.split_once("::stop-commands::")
                .map(|(_, rest)| rest[..32].to_owned())
        };
        let again = runner.approving(|runner| runner.step(&propose));
        assert!(
            token(&output).is_some() && token(&output) != token(&again),
            "{}",
            said(&again)
        );
        // GitLab's job escapes the output instead.
        let pipeline = example("gitlab/.gitlab-ci.yml");
        assert!(
            pipeline["deploy"]["script"]
                .to_string()
                .contains(" --escape "),
            "{pipeline}"
        );
    }
}

#[test]
fn the_examples_pass_if_the_roster_names_a_witness() {
    let Some(()) = has_all(
        "the examples of CI",
        &["bash", "mktemp", "python3", "openssl"],
    ) else {
        return;
    };
    let mut witness = Witness::new(70);
    let mut runner = Runner::with(|setup| setup.roster = witness.entry());
    witness.know(&vkey_of_log(&runner.world));
    let with = inputs(&runner);
    for with in [with.clone(), but(&with, "witness", "1")] {
        let output = runner.approving(|runner| runner.action(&with));
        succeeded(&output);
        assert!(
            said(&output).contains("gate          open"),
            "{}",
            said(&output)
        );
    }
    let output = runner.approving(|runner| runner.action(&but(&with, "witness", "0")));
    // With `witness: 0` the bundle may lack the cosignature. If so, the message must name options that add the
    // cosignature, not options that require fewer cosignatures.
    let words = said(&output);
    assert!(
        output.status.success() || words.contains("--witness 1 --bundle FILE"),
        "{words}"
    );
    witness.stop();
}

/// The author of a change must not be able to put text into a script, and the gate must not use files of the checkout.
#[test]
fn the_examples_follow_their_own_rules() {
    let texts = [
        "github/action.yml",
        "github/workflow.yml",
        "gitlab/.gitlab-ci.yml",
        "github/staging.yml",
        "gitlab/staging.yml",
    ]
    .map(|file| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("examples/ci")
            .join(file);
        let text = fs::read_to_string(path).expect(file);
        // Only the jobs of staging accept a run that nobody signed.
        let text = match file.contains("staging") {
            true => text.replace("--allow-grant --allow-token-grant", ""),
            false => text,
        };
        (file, text)
    });
    for job in example("github/workflow.yml")["jobs"]
        .as_object()
        .expect("jobs")
        .values()
    {
        assert!(
            job["timeout-minutes"]
                .as_u64()
                .is_some_and(|minutes| minutes <= 75),
            "{job}"
        );
    }
    for (file, text) in &texts {
        assert!(!text.contains("pull_request"), "{file}");
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| line.contains("uses: "))
        {
            let version = line.split('@').nth(1).expect(line);
            assert!(
                version.len() == 40 && version.bytes().all(|c| c.is_ascii_hexdigit()),
                "{file}: {line}"
            );
        }
        let commands = text.matches("countersign gate").count();
        assert_eq!(
            text.matches("commit=$").count(),
            commands + text.matches("countersign propose").count(),
            "{file}"
        );
        assert_eq!(
            text.matches("--roster-digest=\"$ROSTER\"").count(),
            commands,
            "{file}"
        );
        assert_eq!(
            text.matches("--boundary=\"$BOUNDARY\"").count(),
            commands,
            "{file}"
        );
        for relaxed in ["--any-", "--allow-", "--min-sandbox=off", "--max-age=any"] {
            assert!(!text.contains(relaxed), "{file}: {relaxed}");
        }
    }
    let action = example("github/action.yml");
    for step in action["runs"]["steps"].as_array().expect("steps") {
        for (name, value) in step["env"].as_object().expect("env") {
            let value = value.as_str().expect("text");
            assert!(
                value.starts_with("${{ ")
                    && value.ends_with(" }}")
                    && value.matches("${{").count() == 1,
                "{name}"
            );
        }
    }
}

/// Makes the token `ci`, which has no secret, for jobs with these claims.
fn bound_token(world: &World, issuer: &Issuer, claims: &Value) {
    let token =
        json!({"name": "ci", "owners": ["carol"], "scopes": ["propose"], "patterns": ["deploy:*"]});
    let oidc = json!({"issuer": issuer.url, "claims": claims, "bind": {"commit": "sha"}, "ca": issuer.authority()});
    world.create_token_of_jobs(&token, &oidc).expect("a token");
}

#[test]
fn the_github_action_without_a_token_opens_one_with_the_id_token_of_the_job() {
    let Some(()) = has_all(
        "the examples of CI",
        &["bash", "mktemp", "python3", "openssl"],
    ) else {
        return;
    };
    let (mut runner, issuer) = (Runner::new(), Issuer::new());
    bound_token(
        &runner.world,
        &issuer,
        &json!({"repository_id": "1234", "repository_owner_id": "56", "ref": "refs/heads/main"}),
    );
    let mut with = inputs(&runner);
    with.retain(|(name, _)| name != "token");
    said_at_exit(runner.action(&with), 2, "id-token: write");
    let job = |change: &Value| {
        issuer
            .job(change)
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec()
    };
    runner.variables = job(&json!({}));
    let output = runner.approving(|runner| runner.action(&with));
    succeeded(&output);
    assert!(
        said(&output).contains("gate          open"),
        "{}",
        said(&output)
    );
    // A job of another commit can't deploy this one, and a job of another branch proposes nothing.
    for (change, code, name) in [
        (json!({"sha": "f".repeat(40)}), 2, "`sha`"),
        (json!({"ref": "refs/heads/x"}), 126, "`ref`"),
    ] {
        runner.variables = job(&change);
        let output = runner.action(&with);
        assert!(
            output.status.code() == Some(code) && said(&output).contains(name),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn the_gitlab_pipeline_proposes_with_the_id_token_of_its_job() {
    let Some(()) = has_all("the examples of CI", &["bash", "python3", "openssl"]) else {
        return;
    };
    let (mut runner, issuer) = (Runner::new(), Issuer::new());
    bound_token(
        &runner.world,
        &issuer,
        &json!({"project_id": "7", "ref_protected": "true"}),
    );
    let pipeline = example("gitlab/.gitlab-ci.yml");
    let lines = pipeline["deploy"]["script"]
        .as_array()
        .expect("a script")
        .iter();
    let script: String = lines
        .map(|line| format!("{}\n", line.as_str().expect("a line")))
        .collect();
    let script = script.replace("countersign propose", "countersign propose --oidc");
    let audience = format!(
        "countersign:{}",
        runner.context["vars.COUNTERSIGN_BOUNDARY"]
    );
    let id_token = issuer.id_token(
        &audience,
        &json!({"project_id": "7", "ref_protected": "true"}),
    );
    let variable = |runner: &Runner, name: &str| runner.context[name].clone();
    runner.variables = [
        ("COUNTERSIGN_URL", variable(&runner, "vars.COUNTERSIGN_URL")),
        ("COUNTERSIGN_ID_TOKEN", id_token),
        ("BOUNDARY", variable(&runner, "vars.COUNTERSIGN_BOUNDARY")),
        ("ROSTER", variable(&runner, "vars.COUNTERSIGN_ROSTER")),
        ("DIGEST", variable(&runner, "vars.COUNTERSIGN_STEP_DIGEST")),
        ("CI_COMMIT_SHA", COMMIT.to_owned()),
        ("CI_COMMIT_TITLE", "a title".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    let output = runner.approving(|runner| runner.bash(&script, &[]));
    succeeded(&output);
    assert!(
        said(&output).contains("gate          open"),
        "{}",
        said(&output)
    );
}

/// Permits a grant of 100 uses in a week for `staging`, with the signatures of two approvers.
const STAGING_POLICY: &str = "version: 1\nextends: none\ndefault:\n  mode: execute\n  approvals: {required: 1, from: [ops]}\n\
                              overrides:\n  - {runbook: staging, approvals: {required: 2, from: [ops, security]}, \
                              standing: {max_uses: 100, max_days: 7}}\n";

/// Returns the four commands of the page: make the token, draft the grant, and approve it twice. The options about the
/// jobs are those of GitHub, or those that the page has for GitLab.
fn staging_commands(is_gitlab: bool) -> [String; 4] {
    let page = include_str!("../../examples/ci/README.md");
    let (_, section) = page
        .split_once("## Staging for a week under one grant")
        .expect("the section");
    let (_, block) = section.split_once("```sh\n").expect("a block");
    let (block, rest) = block.split_once("```").expect("its end");
    let lines = block.lines().filter(|line| !line.starts_with('#'));
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    let mut lines: [String; 4] = lines.try_into().expect("four commands");
    if is_gitlab {
        let (_, options) = rest.split_once("the token has `").expect("options");
        let (options, _) = options.split_once('`').expect("their end");
        let (before, after) = lines[0].split_once("--oidc ").expect("an issuer");
        let (_, after) = after.split_once(" --owner ").expect("an owner");
        lines[0] = format!("{before}{options} --owner {after}");
    }
    lines
}

/// Makes a runner whose boundary has the step `staging:web`, a token that the jobs open, and a grant to this token for
/// a week. People made the token and the grant with the commands of the page.
fn runner_with_grant(issuer: &Issuer, is_gitlab: bool) -> Runner {
    let mut runner = Runner::with(|setup| {
        setup.policy = STAGING_POLICY.to_owned();
        let params = "params:\n  commit: {type: string, pattern: \"^[0-9a-f]{40}$\"}\n";
        let staging = runbook(&format!("{params}{SMALL}"), &[("web", ":")]);
        setup.runbook("staging.md", staging);
    });
    let world = &runner.world;
    let [create, draft, approvals @ ..] = staging_commands(is_gitlab);
    // The issuer of the test takes the place of GitHub or GitLab.
    world.write("issuer.pem", &issuer.authority());
    let name = match is_gitlab {
        true => "https://gitlab.com",
        false => "https://token.actions.githubusercontent.com",
    };
    assert!(create.contains(name), "{create}");
    let create = create
        .replace(name, &issuer.url)
        .replace("boundary-1", &world.path("b").to_string_lossy());
    let authority = world.path("issuer.pem").display().to_string();
    succeeded(&runner.bash(&format!("{create} --ca {authority}"), &[]));
    let url = &world.wire.url;
    let roster = world.started["roster"].as_str().expect("a digest");
    let by = |key: &Key, command: &str| {
        let file = format!("{}.pem", key.name);
        world.write(&file, key.secret.to_pkcs8_v1_pem().as_str());
        let file = world.path(&file).display().to_string();
        let output = runner.bash(
            &format!("{command} --url {url} --key {file} --roster {roster}"),
            &[],
        );
        succeeded(&output);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let grant = by(&dora(), &draft);
    let shown = || {
        let path = format!("/v1/grants/{grant}");
        world.wire.get(&path, &world.reader).ok(200)
    };
    let digest = shown()["digest"].as_str().expect("a digest").to_owned();
    for (key, approve) in [alice(), bob()].iter().zip(&approvals) {
        assert_eq!(shown()["status"], "pending");
        let approve = approve.replace("grt_…", &grant);
        by(key, &format!("{approve} --yes --expect {digest}"));
    }
    assert_eq!(shown()["status"], "active");
    let view = world
        .wire
        .get("/v1/steps/staging:web", &world.reader)
        .ok(200);
    let digest = view["digest"].as_str().expect("a digest").to_owned();
    for (name, value) in [
        ("vars.COUNTERSIGN_GRANT", grant),
        ("vars.COUNTERSIGN_STAGING_DIGEST", digest),
    ] {
        runner.context.insert(name.to_owned(), value);
    }
    runner
}

#[test]
fn the_github_workflow_deploys_to_staging_under_a_grant_without_a_stored_secret() {
    let Some(()) = has_all("the examples of CI", &["bash", "python3", "openssl"]) else {
        return;
    };
    let issuer = Issuer::new();
    let mut runner = runner_with_grant(&issuer, false);
    let workflow = example("github/staging.yml");
    let steps = workflow["jobs"]["staging"]["steps"]
        .as_array()
        .expect("steps")
        .clone();
    let [install, deploy, gate] = &steps[..] else {
        panic!("{steps:#?}");
    };
    assert_eq!(
        install["run"],
        example("github/workflow.yml")["jobs"]["deploy"]["steps"][0]["run"]
    );
    let job = |change: &Value| {
        issuer
            .job(change)
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec()
    };
    for environment in ["production", "staging"] {
        runner.variables = job(&json!({"environment": environment}));
        let output = runner.step(deploy);
        let expected = if environment == "staging" { 0 } else { 126 };
        assert_eq!(output.status.code(), Some(expected), "{}", said(&output));
    }
    let output = runner.step(gate);
    succeeded(&output);
    assert!(
        said(&output).contains("gate          open"),
        "{}",
        said(&output)
    );
    // A job of another commit uses the grant only for that commit.
    runner.variables = job(&json!({"environment": "staging", "sha": "f".repeat(40)}));
    said_at_exit(runner.step(deploy), 2, "`sha`");
}

#[test]
fn the_gitlab_pipeline_deploys_to_staging_under_a_grant_without_a_stored_secret() {
    let Some(()) = has_all("the examples of CI", &["bash", "python3", "openssl"]) else {
        return;
    };
    let issuer = Issuer::new();
    let claims = json!({"project_id": "7", "ref_protected": "true"});
    let mut runner = runner_with_grant(&issuer, true);
    let pipeline = example("gitlab/staging.yml");
    assert_eq!(
        pipeline["staging"]["before_script"],
        example("gitlab/.gitlab-ci.yml")["default"]["before_script"]
    );
    let lines = pipeline["staging"]["script"]
        .as_array()
        .expect("a script")
        .iter();
    let script: String = lines
        .map(|line| format!("{}\n", line.as_str().expect("a line")))
        .collect();
    let audience = format!(
        "countersign:{}",
        runner.context["vars.COUNTERSIGN_BOUNDARY"]
    );
    let known = |name: &str| runner.context[&format!("vars.COUNTERSIGN_{name}")].clone();
    runner.variables = [
        ("COUNTERSIGN_URL", known("URL")),
        ("COUNTERSIGN_ID_TOKEN", issuer.id_token(&audience, &claims)),
        ("BOUNDARY", known("BOUNDARY")),
        ("ROSTER", known("ROSTER")),
        ("DIGEST", known("STAGING_DIGEST")),
        ("GRANT", known("GRANT")),
        ("CI_COMMIT_SHA", COMMIT.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    let output = runner.bash(&script, &[]);
    succeeded(&output);
    assert!(
        said(&output).contains("gate          open"),
        "{}",
        said(&output)
    );
}
