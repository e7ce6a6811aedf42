//! Compares the programs that generated scripts run in bash and dash with the findings of the shell parser.
//!
//! The parser must find every program that ran, or report the script as unknown, or refuse the script. The tests also
//! limit the shares of unknown and refused scripts, because otherwise a parser that refuses every script would pass.
//! `scripts/shell-truth` runs more scripts.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use reading::{FoundKind, NotUnderstood, ReadLimit, ScriptFinding, Shell, find_in};
use sandbox::program_path;

use super::generator::{Form, PROGRAMS, script};
use crate::planted::{PlantedHost, PlantedRun, SBIN, User};

/// Programs of the host that scripts may call. The generator gives these programs no harmful arguments.
const TOOLS: &[&str] = &[
    "bash", "cat", "chmod", "dash", "env", "false", "find", "flock", "git", "head", "ionice",
    "linux64", "mkdir", "nice", "nohup", "setarch", "setsid", "sh", "sleep", "sort", "split",
    "stdbuf", "tar", "taskset", "timeout", "true", "xargs",
];
/// The user id of all scripts if the test runs as root: a damaged script may write to any path, including programs of
/// the host.
const NOBODY: u32 = 65_534;
/// The number of scripts that one shell runs, each in its own subshell.
const BATCH: usize = 50;
/// The maximum time of a script on a busy machine, and of the leftover processes of a batch that has ended.
const PATIENCE: Duration = Duration::from_secs(20);
const STRAGGLERS: Duration = Duration::from_millis(500);
/// The number of scripts in each form if no other number is set. `scripts/shell-truth` runs more.
const SCRIPTS: [(Form, usize); 6] = [
    (Form::Everyday, 500),
    (Form::Traps, 700),
    (Form::Hidden, 200),
    (Form::Sly, 300),
    (Form::Damaged, 500),
    (Form::Errors, 200),
];

#[test]
fn every_program_that_a_generated_script_executes_was_found() {
    let total: Option<usize> = std::env::var("SHELL_TRUTH_SCRIPTS")
        .ok()
        .map(|text| text.parse().expect("a number"));
    let seed: u64 = std::env::var("SHELL_TRUTH_SEED")
        .ok()
        .map_or(1, |text| text.parse().expect("a number"));
    let world = World::new();
    let mut shown = String::new();
    let mut misses = Vec::new();
    let mut refused_too_often = false;
    let mut nothing_ran = Vec::new();
    for (form, usual) in SCRIPTS {
        let count = total.map_or(usual, |total| total / SCRIPTS.len());
        let scripts: Vec<String> = (0..count)
            .map(|number| {
                script(
                    seed.wrapping_mul(1_000_003).wrapping_add(number as u64),
                    form,
                )
            })
            .collect();
        let outcome = world.run(&scripts, form == Form::Errors);
        let (mut ran, mut bash, mut either) = (0, 0, 0);
        for (script, truth) in scripts.iter().zip(&outcome) {
            ran += truth.bash.len() + truth.dash.len();
            let as_bash = find_in(Shell::Bash, script, ReadLimit::Step);
            let as_either = find_in(Shell::Sh, script, ReadLimit::Step);
            bash += usize::from(covers_all(&as_bash));
            either += usize::from(covers_all(&as_either));
            for (shell, ran, found) in [
                ("bash", &truth.bash, &as_bash),
                ("bash, for sh", &truth.bash, &as_either),
                ("dash", &truth.dash, &as_either),
            ] {
                if let Some(miss) = missed(ran, found) {
                    misses.push(format!(
                        "{form:?}: {shell} ran {miss:?}, which was not found in:\n{script}\n"
                    ));
                }
            }
        }
        let share = |part: usize| part as f64 * 100.0 / count.max(1) as f64;
        writeln!(
            shown,
            "{form:?}: {count} scripts, {ran} programs ran; unknown or refused: {:.2} % for bash, {:.2} % for sh",
            share(bash),
            share(either)
        )
        .unwrap();
        // A third: a small sample can have few scripts that start a program.
        if ran <= count / 3 {
            nothing_ran.push(format!(
                "{form:?}: only {ran} programs ran in {count} scripts"
            ));
        }
        let most = match form {
            // Quoted text with a command counts as unknown if the script also evaluates variables.
            Form::Everyday => 4.0,
            Form::Traps => 30.0,
            // These forms hide names on purpose, or are mostly no valid scripts.
            Form::Hidden | Form::Sly | Form::Damaged | Form::Errors => 100.0,
        };
        refused_too_often |= share(bash.max(either)) > most;
    }
    let stuck = world.stuck.load(Ordering::Relaxed);
    println!("{shown}{stuck} scripts did not end");
    assert!(
        stuck <= 40,
        "{stuck} scripts did not end: what they would have run is not known"
    );
    let first: Vec<&str> = misses.iter().take(8).map(String::as_str).collect();
    assert!(
        misses.is_empty(),
        "{shown}{} misses:\n{}",
        misses.len(),
        first.join("\n")
    );
    assert!(
        nothing_ran.is_empty(),
        "{shown}the test runs nothing: {}",
        nothing_ran.join("; ")
    );
    assert!(
        !refused_too_often,
        "{shown}at most 4 % of everyday scripts and 30 % of traps may be unknown or refused"
    );
}

#[test]
fn the_programs_in_handwritten_scripts_are_found() {
    let scripts: Vec<String> = include_str!("by_hand.txt")
        .split("\n%%\n")
        .map(str::to_owned)
        .collect();
    let world = World::new();
    let outcome = world.run(&scripts, false);
    let mut misses = Vec::new();
    let mut ran = 0;
    for (script, truth) in scripts.iter().zip(&outcome) {
        ran += truth.bash.len() + truth.dash.len();
        let (as_bash, as_either) = (
            find_in(Shell::Bash, script, ReadLimit::Step),
            find_in(Shell::Sh, script, ReadLimit::Step),
        );
        if std::env::var_os("SHELL_TRUTH_SHOW").is_some() {
            let word = |found: &Result<Vec<ScriptFinding>, NotUnderstood>| match found {
                Err(why) => format!("refused: {why}"),
                Ok(_) if covers_all(found) => "unknown".to_owned(),
                Ok(_) => "found".to_owned(),
            };
            println!(
                "{script:?}: {:?} {:?}; {} | {}",
                truth.bash,
                truth.dash,
                word(&as_bash),
                word(&as_either)
            );
        }
        for (shell, ran, found) in [
            ("bash", &truth.bash, &as_bash),
            ("bash, for sh", &truth.bash, &as_either),
            ("dash", &truth.dash, &as_either),
        ] {
            if let Some(miss) = missed(ran, found) {
                misses.push(format!(
                    "{shell} ran {miss:?}, which was not found in:\n{script}\n"
                ));
            }
        }
    }
    assert!(
        ran > scripts.len(),
        "only {ran} programs ran: the test runs nothing"
    );
    assert!(misses.is_empty(), "{}", misses.join("\n"));
}

#[test]
fn no_test_script_changes_the_programs_of_other_scripts() {
    let world = World::new();
    let scripts = ["echo > \"$(command -v ada)\"".to_owned(), "ada".to_owned()];
    // In the second round, both scripts of each shell run after the write of the first round.
    for _ in 0..2 {
        let outcome = world.run(&scripts, false);
        assert!(
            outcome[1].bash.contains("ada") && outcome[1].dash.contains("ada"),
            "a script changed a program"
        );
    }
}

/// Returns true if policy asks about the whole script or denies the whole script.
fn covers_all(found: &Result<Vec<ScriptFinding>, NotUnderstood>) -> bool {
    found.as_ref().map_or(true, |found| {
        found
            .iter()
            .any(|one| matches!(one.what, FoundKind::Unknown(_)))
    })
}

/// Returns the first program that ran and that the parser did not find.
fn missed<'r>(
    ran: &'r BTreeSet<String>,
    found: &Result<Vec<ScriptFinding>, NotUnderstood>,
) -> Option<&'r str> {
    if covers_all(found) {
        return None;
    }
    let found = found.as_ref().unwrap();
    let named = |name: &str| {
        found
            .iter()
            .any(|one| matches!(&one.what, FoundKind::Command(command) if command.rsplit('/').next() == Some(name)))
    };
    ran.iter().map(String::as_str).find(|name| !named(name))
}

/// The programs that ran in each shell.
#[derive(Default, Clone)]
pub(crate) struct Truth {
    pub(crate) bash: BTreeSet<String>,
    pub(crate) dash: BTreeSet<String>,
}

/// A directory with the programs.
pub(crate) struct World {
    folder: tempfile::TempDir,
    /// Whether scripts run as [`NOBODY`].
    drops: bool,
    /// The number of batches that did not end.
    pub(crate) stuck: AtomicUsize,
    sandbox: Option<Sandbox>,
}

/// The sandbox in which a world runs its scripts.
struct Sandbox {
    host: PlantedHost,
    run: PlantedRun,
    /// Options of `countersign sandbox`.
    options: Vec<String>,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let open = |path: &Path| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap()
        };
        open(folder.path());
        for name in ["programs", "tools"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            open(&folder.path().join(name));
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shell/stub.c");
        let stub = folder.path().join("stub");
        let compiled = |flags: &[&str]| {
            let status = Command::new("cc")
                .args(flags)
                .arg("-O1")
                .arg("-o")
                .arg(&stub)
                .arg(&source)
                .stderr(Stdio::null())
                .status();
            status.expect("a C compiler").success()
        };
        assert!(compiled(&["-static"]) || compiled(&[]), "stub.c compiles");
        // A script that writes to a program's file must not change the program for the other scripts.
        std::fs::set_permissions(&stub, std::fs::Permissions::from_mode(0o555)).unwrap();
        for name in PROGRAMS {
            std::fs::hard_link(&stub, folder.path().join("programs").join(name)).unwrap();
        }
        for name in TOOLS {
            let path = ["/usr/bin", "/bin"]
                .iter()
                .map(|folder| Path::new(folder).join(name))
                .find(|path| path.exists());
            if let Some(path) = path {
                std::os::unix::fs::symlink(path, folder.path().join("tools").join(name)).unwrap();
            }
        }
        Self {
            folder,
            drops: rustix::process::geteuid().is_root(),
            stuck: AtomicUsize::new(0),
            sandbox: None,
        }
    }

    /// Returns a world whose scripts run in the sandbox. With a list, the sandbox can execute only the tools and the listed
    /// ones of [`PROGRAMS`]. Returns `None` on a host where this user cannot create a mount namespace.
    pub(crate) fn in_sandbox(listed: Option<&[&str]>) -> Option<Self> {
        let host = PlantedHost::new()?;
        let mut world = Self {
            drops: false,
            ..Self::new()
        };
        let run = host.run(&[]);
        for name in PROGRAMS {
            std::fs::copy(
                world.folder.path().join("stub"),
                run.path("sbin").join(name),
            )
            .unwrap();
        }
        let mut options = Vec::new();
        if let Some(listed) = listed {
            let list: Vec<String> = listed
                .iter()
                .copied()
                .map(str::to_owned)
                .chain(TOOLS.iter().filter_map(|name| program_path(name)))
                .collect();
            options.extend(["--programs".to_owned(), list.join(",")]);
        }
        world.sandbox = Some(Sandbox { host, run, options });
        Some(world)
    }

    /// Runs all scripts in both shells. With `alone`, each script has its own shell: an error ends a subshell that
    /// reads a script with `.`, but a separate shell may continue after the error.
    pub(crate) fn run(&self, scripts: &[String], alone: bool) -> Vec<Truth> {
        let results = Mutex::new(vec![Truth::default(); scripts.len()]);
        let next = AtomicUsize::new(0);
        let batches = scripts.len().div_ceil(BATCH) * 2;
        let threads = std::thread::available_parallelism()
            .map_or(2, usize::from)
            .min(8);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let batch = next.fetch_add(1, Ordering::Relaxed);
                        if batch >= batches {
                            break;
                        }
                        let first = batch / 2 * BATCH;
                        let shell = if batch.is_multiple_of(2) {
                            "bash"
                        } else {
                            "dash"
                        };
                        let these = &scripts[first..(first + BATCH).min(scripts.len())];
                        let ran = self.batch(shell, these, alone);
                        let mut results = results.lock().unwrap();
                        for (at, ran) in ran.into_iter().enumerate() {
                            let truth = &mut results[first + at];
                            if shell == "bash" {
                                truth.bash = ran
                            } else {
                                truth.dash = ran
                            }
                        }
                    }
                });
            }
        });
        results.into_inner().unwrap()
    }

    /// Returns the programs that each script ran. A subshell reads most scripts with `.`; the first three scripts of a
    /// batch have their own shell.
    fn batch(&self, shell: &str, scripts: &[String], alone: bool) -> Vec<BTreeSet<String>> {
        let folder = tempfile::tempdir_in(self.folder.path()).unwrap();
        let work = folder.path().join("work");
        std::fs::create_dir(&work).unwrap();
        std::fs::write(work.join("o"), "a\nb\n").unwrap();
        for path in [folder.path(), &work, &work.join("o")] {
            if self.drops {
                chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
            if self.sandbox.is_some() {
                // Each run of the sandbox has its own user id.
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
            }
        }
        let record = |number: usize| folder.path().join(format!("r{number}"));
        let mut next = 0;
        while next < scripts.len() {
            let mut driver = self.environment(folder.path());
            for (number, script) in scripts.iter().enumerate().skip(next) {
                std::fs::write(folder.path().join(format!("s{number}")), script).unwrap();
                let how = match if alone { number % 3 } else { number } {
                    0 => format!("exec {shell} ../s{number}"),
                    1 => format!("exec {shell} < ../s{number}"),
                    2 => format!("exec {shell} -c \"$(cat ../s{number})\""),
                    _ => format!(". ../s{number}"),
                };
                writeln!(
                    driver,
                    "( ulimit -t 2 -f 1000; cd work; {how} ) 9>r{number}"
                )
                .unwrap();
            }
            std::fs::write(folder.path().join("driver"), driver).unwrap();
            if self.drive(shell, folder.path(), next) {
                break;
            }
            // A coprocess and a process substitution can wait for each other without end. The programs that ran so far
            // count, and the batch continues with the next script.
            next = (next..scripts.len())
                .rfind(|number| record(*number).exists())
                .unwrap_or(next)
                + 1;
            self.stuck.fetch_add(1, Ordering::Relaxed);
        }
        let read = |number: usize| {
            std::fs::read_to_string(record(number))
                .unwrap_or_default()
                .lines()
                .map(str::to_owned)
                .collect()
        };
        (0..scripts.len()).map(read).collect()
    }

    /// Returns shell commands that set the environment of all scripts.
    fn environment(&self, folder: &Path) -> String {
        let (folder, own) = (
            folder.canonicalize().unwrap(),
            self.folder.path().canonicalize().unwrap(),
        );
        let programs = if self.sandbox.is_some() {
            SBIN.to_owned()
        } else {
            format!("{}/programs", own.display())
        };
        format!(
            "export PATH={programs}:{}/tools LC_ALL=C.UTF-8 HOME={}/work\n",
            own.display(),
            folder.display()
        )
    }

    /// Returns the command that runs the driver of a directory.
    fn command(&self, shell: &str, folder: &Path) -> Command {
        let Some(Sandbox { host, run, options }) = &self.sandbox else {
            let mut command = Command::new(shell);
            if self.drops {
                command.uid(NOBODY).gid(NOBODY);
            }
            command.arg("driver").current_dir(folder).env_clear();
            return command;
        };
        let mut command = host.command(run, &[], User::Same);
        command
            .args([
                &host.program(),
                "sandbox",
                "--workdir",
                "in-place",
                "--timeout",
                "3600",
                "--write",
            ])
            .arg(folder);
        command
            .arg("--read")
            .arg(self.folder.path().join("tools"))
            .args(options)
            .args(["--", shell, "driver"]);
        command
    }

    /// Runs the driver of a directory from script `next` on. Returns false if the driver was killed before its end.
    fn drive(&self, shell: &str, folder: &Path, mut next: usize) -> bool {
        let mut command = self.command(shell, folder);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("bash and dash");
        // The output ends when the last process of the batch has ended.
        let mut output = child.stdout.take().unwrap();
        let (done, wait) = mpsc::channel();
        std::thread::spawn(move || {
            let _ = output.read_to_end(&mut Vec::new());
            let _ = done.send(());
        });
        let mut progress = Instant::now();
        let mut ended = None;
        let mut killed = false;
        while wait.recv_timeout(Duration::from_millis(20)).is_err() {
            let now = Instant::now();
            while folder.join(format!("r{next}")).exists() {
                (next, progress) = (next + 1, now);
            }
            if ended.is_none() && child.try_wait().unwrap().is_some() {
                ended = Some(now);
            }
            if ended.map_or(now - progress > PATIENCE, |ended| now - ended > STRAGGLERS) {
                killed = true;
                let group = format!("-{}", child.id());
                let _ = Command::new("kill")
                    .args(["-KILL", "--", &group])
                    .stderr(Stdio::null())
                    .status();
                break;
            }
        }
        child.wait().unwrap();
        ended.is_some() || !killed
    }
}
