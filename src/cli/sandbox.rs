//! The `sandbox` command runs a command in a sandbox, without a boundary.

use std::{
    collections::BTreeSet,
    fs::Permissions,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use serde_json::json;
use tempfile::TempDir;

use crate::{cli::sandbox_programs, in_a_shell};
use client::{
    CommandFailure, CommandResult, Exit, ListPlace, OutputComplaints, OutputForm, PrintableText,
    RunPrinter, Terminal, fail_usage, profile_words, read_bounded, refusal_lines,
};
use crossing::outcome_of;
use documents::{
    AllowedHost, DeclaredSandbox, Layer, Limits, ListedProgram, Proc, Profile, Program,
    ProgramList, STRICT, StreamName, Workdir, joined,
};
use reading::{SandboxPermission, check_declared, duration, with_needed_word};
use sandbox::{CancelFlag, Capture, End, LocalSandbox, OutputStream, Plan, Report, Setup};
use workbench::Signals;

/// Try a command in a sandbox.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign sandbox -- ls -la /                       # what a step sees
  countersign sandbox --read /srv/app -- cat /srv/app/version
  countersign sandbox --write . --workdir overlay --deny '**/.env' -- sh -c 'echo x > new; ls -la'
  countersign sandbox --net api.example.com:443 -- curl -sS https://api.example.com/
  countersign sandbox --write . --workdir copy --programs 'git,{work}/**' -- ./deploy.sh
                                                        # the kernel refuses every other program
  countersign sandbox --write . --workdir copy --learn -- ./deploy.sh
                                                        # prints the programs that the command starts
  countersign sandbox --explain                         # describes the profile, runs nothing
  countersign sandbox --profile signed.json -- true     # the `sandbox` of an authorization

Use this command to find out what a runbook must declare. Nothing is approved, sealed or logged. The exit code is \
the code of the command. Control characters in the output are escaped at a terminal, and unchanged in a file or \
pipe.")]
pub struct Args {
    /// The level (strict, best-effort or off), or a JSON file with a profile, as in the field `sandbox` of an authorization
    #[arg(long, default_value = "strict", value_name = "LEVEL|FILE")]
    profile: String,
    /// A path of the host that the command may read
    #[arg(long, value_name = "PATH")]
    read: Vec<PathBuf>,
    /// A directory of the host that the command may write, as --workdir describes
    #[arg(long, value_name = "PATH")]
    write: Vec<PathBuf>,
    /// The form in which the command gets the directories of --write: copy, overlay (the default), or in-place. With
    /// overlay and in-place, the command can change only files of its own user and group. With copy, the command owns
    /// all files
    #[arg(long)]
    workdir: Option<String>,
    /// A pattern: the command cannot access matching paths in the directories of --read and --write
    #[arg(long, value_name = "GLOB")]
    deny: Vec<String>,
    /// The network: none (the default), host, or name:port,… The addresses of a name may be private. `localhost:PORT` is a
    /// port of this host
    #[arg(long, value_name = "NETWORK")]
    net: Option<String>,
    /// A Unix socket of the host that the command may use
    #[arg(long, value_name = "PATH")]
    socket: Vec<PathBuf>,
    /// The name of a host user whose user id the command gets; only root can use this option
    #[arg(long, value_name = "USER")]
    run_as: Option<String>,
    /// Show all of /proc with data about the whole host: memory, processors and kernel keys. Programs such as `free`,
    /// `uptime` and node (os.cpus()) need this data
    #[arg(long)]
    full_proc: bool,
    /// Programs that the command may start, in addition to sh, and to the command itself if it is a system program: names,
    /// absolute paths, or {work}/** for all files in the directories that the command may write. The command may also
    /// start the programs that these programs need to do their job, for example `as` and `ld` for gcc. Without this
    /// option, the command may start every program that it can see
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    programs: Vec<String>,
    /// Record each program that the command starts, and print the list for --programs at the end. The command may start
    /// every program
    #[arg(long, conflicts_with = "programs")]
    learn: bool,
    /// Time limit: 90s, 1h30m, or a number of seconds; at most 1d
    #[arg(long, value_name = "TIME", value_parser = time_limit)]
    timeout: Option<u64>,
    /// Describe the profile before the run, and the enforced sandbox after the run
    #[arg(long)]
    explain: bool,
    /// The command
    #[arg(last = true)]
    command: Vec<String>,
}

fn time_limit(text: &str) -> Result<u64, String> {
    let seconds = text
        .parse()
        .or_else(|_| duration(text).map(i64::unsigned_abs))?;
    if (1..=86_400).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("write a time from 1s to 1d".to_owned())
    }
}

/// Runs the command.
///
/// # Errors
/// Returns an error if the profile cannot be read, or if this host cannot enforce it.
pub fn run(args: &Args, terminal: &Terminal) -> CommandResult {
    if args.command.is_empty() && !args.explain {
        return fail_usage(
            "the command is missing: write it after --, or give --explain to see only the \
         profile",
        );
    }
    let failed = CommandFailure::unreachable;
    let scratch = scratch("countersign-sandbox-").map_err(failed)?;
    // Without a handler, a signal during the trials of the host would leave the directory behind.
    let signals = Signals::listen(scratch.path())?;
    let trial = HostTrial::open(scratch).map_err(|why| {
        // The directory is missing if a signal has just deleted it. Then the signal says how the program ends.
        signals.end_if_caught();
        failed(why)
    })?;
    let sandbox = &trial.sandbox;
    let mut profile = profile(args, &sandbox.probe().held())?;
    if !args.programs.is_empty() {
        profile = profile.with_programs(program_list(args)?);
    }
    if let Some(reason) = &profile.off_reason {
        terminal.say(format!(
            "THE SANDBOX IS OFF ({reason}): only the limits apply, and all processes are killed at the \
             end"
        ));
    }
    if args.explain && !terminal.json {
        for line in profile_words(&profile, false) {
            terminal.say(PrintableText::text(&line));
        }
    }
    let prepared = sandbox.check(&profile).map_err(CommandFailure::refused)?;
    let prepared = if args.learn {
        prepared.learning()
    } else {
        prepared
    };
    if args.explain && !terminal.json {
        let mut words = format!("level here: {}", prepared.level());
        let missing = joined(prepared.missing().into_iter().map(Layer::word), ", ");
        if !missing.is_empty() {
            words += &format!("; missing: {missing}");
        }
        terminal.say(words);
    }
    if args.command.is_empty() {
        if terminal.json {
            terminal.object(json!({
                "profile": profile, "programs": listed_programs(&profile), "level": prepared.level(),
                "missing": prepared.missing(),
            }))?;
        }
        return Ok(Exit::Done);
    }
    let foreign = foreign_tree(&profile, prepared.host_ids());
    let plan = Plan::shell(script(&args.command), []);
    let flag = CancelFlag::new().map_err(CommandFailure::unreachable)?;
    signals.run_begins(&flag);
    let mut sink = RunPrinter::new(terminal, OutputForm::default());
    let (mut unwritten, mut complaints) = (None, Vec::new());
    let mut report = sandbox.run(
        prepared,
        plan,
        &mut |chunk| {
            if chunk.stream == OutputStream::Stderr && complaints.len() < MOST_COMPLAINTS {
                complaints.extend_from_slice(chunk.bytes);
            }
            // A closed pipe does not end the run. With `--json` only the report goes to the standard output.
            match chunk.stream {
                OutputStream::Stdout if !terminal.json => {
                    let failed = sink.output(StreamName::Stdout, chunk.bytes).err();
                    unwritten = unwritten.take().or(failed);
                }
                _ => drop(sink.output(StreamName::Stderr, chunk.bytes)),
            }
        },
        &flag,
    );
    report.learned = report
        .learned
        .map(|learned| sandbox_programs::shortened(learned, &args.command[0]));
    unwritten = unwritten.or(sink.end().err());
    let caught = signals.run_ended();
    let exit = match (&report.end, caught) {
        (End::Cancelled, Some(signal)) => Exit::Signal(signal),
        (end, _) => Exit::of_outcome(&outcome_of(end)),
    };
    tell(args, terminal, &profile, foreign, &report, &complaints)?;
    if args.learn && !terminal.json {
        for line in sandbox_programs::learned(report.learned.as_ref(), &report.end) {
            terminal.say(PrintableText::text(&line));
        }
    }
    match unwritten {
        Some(failure) if exit == Exit::Step(0) => Err(failure),
        _ => Ok(exit),
    }
}

/// Makes a new temporary directory for the runs of a [`HostTrial`].
///
/// # Errors
/// Returns an error if the directory can't be made.
pub fn scratch(prefix: &str) -> Result<TempDir, String> {
    tempfile::Builder::new().prefix(prefix).tempdir().map_err(|error| {
        format!(
            "can't create a temporary directory ({error}): make /tmp writable, or set TMPDIR to a writable directory"
        )
    })
}

/// A sandbox of this host, with the directory of its runs.
pub struct HostTrial {
    pub sandbox: LocalSandbox,
    /// Deleted after the end of the sandbox.
    pub scratch: TempDir,
}

impl HostTrial {
    /// Sets up a sandbox in this directory.
    ///
    /// # Errors
    /// Returns an error if no run can be prepared.
    pub fn open(scratch: TempDir) -> Result<Self, String> {
        let place = scratch.path().to_owned();
        // A run may have its own user id, so other users must be able to enter the directory.
        let opened =
            std::fs::set_permissions(&place, Permissions::from_mode(0o711)).and_then(|()| {
                LocalSandbox::open(&Setup {
                    helper: None,
                    scratch: place.clone(),
                    spool: place,
                    private: Vec::new(),
                    unwritable: Vec::new(),
                })
            });
        let sandbox = opened.map_err(|error| error.to_string())?;
        Ok(Self { sandbox, scratch })
    }
}

/// Returns the list of programs that a profile names.
fn listed_programs(profile: &Profile) -> Option<&[ListedProgram]> {
    profile.programs.as_ref().map(ProgramList::programs)
}

/// Reports the end of the run, and what the sandbox refused. `complaints` is the beginning of the standard error of the command.
fn tell(
    args: &Args,
    terminal: &Terminal,
    profile: &Profile,
    foreign: Option<&str>,
    report: &Report,
    complaints: &[u8],
) -> CommandResult<()> {
    match &report.end {
        End::Killed(limit) => terminal.say(format!("the limit {limit} ended the run")),
        End::TimedOut => terminal.say("the limit wall_ms ended the run"),
        End::NotStarted(why) => terminal.say(format!("the command did not run: {why}")),
        End::Lost(why) => terminal.say(format!("the end of the run is not known: {why}")),
        _ => {}
    }
    let complaints = String::from_utf8_lossy(complaints);
    for hint in hints(profile, foreign, &report.end, &complaints) {
        terminal.say(&hint);
    }
    let mut denied = OutputComplaints::default();
    denied.read(complaints.as_bytes());
    let exit_code = outcome_of(&report.end).exit_code;
    let programs = report
        .programs
        .iter()
        .flat_map(|facts| refusal_lines(facts, profile, exit_code, &denied, &ListPlace::Sandbox));
    for line in denied
        .host_lines(&report.enforcement, profile)
        .into_iter()
        .chain(programs)
    {
        terminal.say(PrintableText::text(&line));
    }
    let written = report.stdout.bytes + report.stderr.bytes;
    if report.stdout.truncated || report.stderr.truncated {
        let output_bytes = profile.limits.output_bytes;
        terminal.say(format!(
            "only the first {output_bytes} of {written} bytes of output are shown, because of the limit \
             output_bytes"
        ));
    }
    if terminal.json {
        let stream =
            |capture: &Capture| json!({"bytes": capture.bytes, "truncated": capture.truncated});
        terminal.object(json!({
            "profile": profile, "programs": listed_programs(profile),
            "program_facts": report.programs, "learned": report.learned,
            "end": format!("{:?}", report.end), "sandbox": report.enforcement,
            "stdout": stream(&report.stdout), "stderr": stream(&report.stderr),
            "duration_ms": report.duration_ms, "cpu_ms": report.usage.cpu_ms,
            "memory_peak_bytes": report.usage.memory_peak_bytes,
        }))?;
    } else if args.explain {
        let facts = serde_json::to_string(&report.enforcement).unwrap_or_default();
        terminal.say(format!(
            "the enforced sandbox, in the form of a receipt: {facts}"
        ));
    }
    Ok(())
}

/// Returns the list of programs of the option `--programs`, the command itself, and the shell that starts the command,
/// with all programs that these programs start.
fn program_list(args: &Args) -> CommandResult<ProgramList> {
    let usage = |why: String| CommandFailure::usage(format!("--programs: {why}"));
    if args.programs.len() > 1 && args.programs.iter().any(String::is_empty) {
        return Err(usage(
            "an empty name between commas: remove one comma".to_owned(),
        ));
    }
    let mut names = args.programs.clone();
    names.push("sh".to_owned());
    // A path that is no system program is a file of the run. The list may allow the file with {work}/**.
    names.extend(
        args.command
            .first()
            .filter(|word| !word.contains('/') || word.starts_with('/'))
            .cloned(),
    );
    let program = |name: &String| {
        name.parse()
            .map_err(|error| usage(format!("{name:?}: {error}")))
    };
    let required = names
        .iter()
        .map(program)
        .collect::<Result<BTreeSet<Program>, _>>()?;
    sandbox_programs::list_with_started(&required, args.run_as.is_some())
        .map_err(|error| usage(error.to_string()))
}

/// Returns hints for the error messages that the profile explains. Each hint names an option that helps.
fn hints(profile: &Profile, foreign: Option<&str>, end: &End, complaints: &str) -> Vec<String> {
    let complains = |of: &[&str]| of.iter().any(|words| complaints.contains(words));
    let mut hints = Vec::new();
    if profile.proc == Proc::Minimal && complains(&NO_PROC) {
        hints.push(
            "the command sees only its own processes in /proc: give --full-proc to show the rest"
                .to_owned(),
        );
    }
    if profile.workdir == Workdir::Overlay && complaints.contains("hardlink different from source")
    {
        hints.push(
            "in an overlay a hard-linked file gets another inode number: clone with --no-hardlinks, or give \
             --workdir copy"
                .to_owned(),
        );
    }
    if let Some(tree) = foreign.filter(|_| complains(&NOT_OWN)) {
        hints.push(format!(
            "{tree} belongs to another user or group, so the command can't change its files: give --workdir copy, or \
             --run-as with the owner"
        ));
    }
    // The signal ended a child of the command, so the end of the run does not state which limit was exceeded.
    if *end != End::Killed("file_bytes") && complains(&FILE_TOO_LARGE) {
        let most = profile.limits.file_bytes;
        hints.push(format!(
            "a program of the command reached the limit file_bytes: a file has at most {most} bytes here"
        ));
    }
    hints
}

/// Returns the first writable directory tree that belongs to another user or group.
fn foreign_tree(profile: &Profile, run_as: Option<(u32, u32)>) -> Option<&str> {
    if profile.workdir == Workdir::Copy {
        return None;
    }
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    // A run that root starts gets its own user id and group id, which own no files.
    let ids = run_as.or_else(|| (!uid.is_root()).then(|| (uid.as_raw(), gid.as_raw())));
    let foreign = |tree: &&str| {
        std::fs::metadata(tree).is_ok_and(|found| ids != Some((found.uid(), found.gid())))
    };
    profile.write.iter().map(String::as_str).find(foreign)
}

/// Error messages of programs that cannot find a file of `/proc`.
const NO_PROC: [&str; 7] = [
    "/proc/meminfo",
    "/proc/uptime",
    "/proc/stat",
    "/proc/loadavg",
    "/proc/cpuinfo",
    "/proc must be mounted",
    "system uptime",
];
/// Error messages of programs that cannot change a file. For a file of another group in an overlay, the kernel
/// returns EOVERFLOW.
const NOT_OWN: [&str; 3] = [
    "ermission denied",
    "peration not permitted",
    "Value too large for defined data type",
];
/// Error messages of shells after SIGXFSZ, and of programs whose write failed with EFBIG.
const FILE_TOO_LARGE: [&str; 2] = ["ile size limit exceeded", "ile too large"];
/// Maximum number of bytes of the standard error that are searched for error messages.
const MOST_COMPLAINTS: usize = 256 << 10;

fn profile(args: &Args, held: &[Layer]) -> CommandResult<Profile> {
    let usage = |why: String| CommandFailure::usage(why);
    let (require, off_reason) = match args.profile.as_str() {
        "strict" => (STRICT.to_vec(), None),
        "best-effort" => (held.to_vec(), None),
        "off" => (Vec::new(), Some("tried by hand".to_owned())),
        file => return from_file(Path::new(file), args),
    };
    let mut declared = DeclaredSandbox::default();
    for (flag, permission, values) in flags(args)? {
        if !values.is_empty() {
            let read = permission.read_text(&values.join(","), &mut declared);
            read.map_err(|why| usage(format!("{flag}: {why}")))?;
        }
    }
    declared.workdir = declared
        .write
        .is_some()
        .then(|| declared.workdir.unwrap_or(Workdir::Overlay));
    check_declared(&declared).map_err(usage)?;
    for pattern in declared.deny.iter().flatten() {
        reading::check_deny(pattern).map_err(usage)?;
    }
    declared.off_reason = off_reason;
    let mut limits = Limits::default();
    if let Some(seconds) = args.timeout {
        limits.wall_ms = seconds * 1000;
    }
    let mut profile = Profile::nothing(require, limits);
    for permission in SandboxPermission::ALL {
        permission.give(&declared, &mut profile);
    }
    // A user who names a host here also permits its private addresses. A loopback address or `localhost` is a port of
    // this host.
    for host in profile.network.hosts.clone() {
        let needed = with_needed_word(AllowedHost {
            host,
            private: true,
            localhost: false,
        });
        profile
            .network
            .localhost
            .extend(needed.localhost.then(|| needed.host.clone()));
        profile.network.private.push(needed.host);
    }
    Ok(profile)
}

/// Option for a sandbox permission. The values are written as in the info string of a code fence.
type Flag = (&'static str, SandboxPermission, Vec<String>);

fn flags(args: &Args) -> CommandResult<[Flag; 8]> {
    let one = |text: Option<&str>| text.map(str::to_owned).into_iter().collect();
    Ok([
        ("--read", SandboxPermission::Read, real(&args.read)?),
        ("--write", SandboxPermission::Write, real(&args.write)?),
        (
            "--workdir",
            SandboxPermission::Workdir,
            one(args.workdir.as_deref()),
        ),
        ("--deny", SandboxPermission::Deny, args.deny.clone()),
        (
            "--net",
            SandboxPermission::Network,
            one(args.net.as_deref()),
        ),
        ("--socket", SandboxPermission::Sockets, real(&args.socket)?),
        (
            "--run-as",
            SandboxPermission::RunAs,
            one(args.run_as.as_deref()),
        ),
        (
            "--full-proc",
            SandboxPermission::Proc,
            one(args.full_proc.then_some("full")),
        ),
    ])
}

/// Resolves paths. The user may type a relative path or a link, but a profile contains only real paths.
fn real(paths: &[PathBuf]) -> CommandResult<Vec<String>> {
    let real = |path: &PathBuf| {
        let found = path.canonicalize().map_err(|error| {
            CommandFailure::usage(format!(
                "{}: {error}; name an existing path",
                path.display()
            ))
        })?;
        let text = found.into_os_string().into_string();
        let text = text.map_err(|_| {
            CommandFailure::usage(format!("{}: the path is not UTF-8", path.display()))
        })?;
        if text.contains(',') {
            return fail_usage(format!("{text}: a path in a profile can't contain a comma"));
        }
        Ok(text)
    };
    paths.iter().map(real).collect()
}

fn from_file(path: &Path, args: &Args) -> CommandResult<Profile> {
    let words = "the value is neither strict, best-effort or off, nor a file with a profile";
    let bytes = read_bounded(path, MOST)
        .map_err(|failure| CommandFailure::usage(format!("{}; {words}", failure.message)))?;
    let profile = serde_json::from_slice(&bytes);
    let profile = profile
        .map_err(|error| CommandFailure::usage(format!("{}: {error}; {words}", path.display())))?;
    let given = flags(args)?
        .into_iter()
        .find(|(_, _, values)| !values.is_empty())
        .map(|(flag, ..)| flag);
    match given.or(args.timeout.map(|_| "--timeout")) {
        Some(flag) => fail_usage(format!(
            "{flag} can't be combined with {}, which is a complete profile: change the profile, or leave the option \
             out",
            path.display()
        )),
        None => Ok(profile),
    }
}

/// Creates a script that runs the command. Quoted arguments are not interpreted by the shell.
fn script(command: &[String]) -> Vec<u8> {
    let words = command.iter().map(|word| in_a_shell(word));
    format!("exec {}\n", joined(words, " ")).into_bytes()
}

/// Maximum size of a profile file, in bytes. An authorization, which contains a profile, has at most 25 KiB.
const MOST: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_printed_only_if_the_profile_explains_the_error_message() {
        let plain = Profile::nothing(STRICT.to_vec(), Limits::default());
        let overlay = Profile {
            workdir: Workdir::Overlay,
            ..plain.clone()
        };
        let given = Profile {
            proc: Proc::Full,
            workdir: Workdir::Copy,
            ..plain.clone()
        };
        for (profile, complaint, option) in [
            (
                &plain,
                "uptime: Cannot get system uptime: No such file or directory",
                "--full-proc",
            ),
            (
                &overlay,
                "fatal: hardlink different from source at 'c/.git/objects/a1/df'",
                "--no-hardlinks",
            ),
            (&plain, "sh: File size limit exceeded", "file_bytes"),
        ] {
            let found = hints(profile, None, &End::Exited(1), complaint);
            assert!(
                found.len() == 1 && found[0].contains(option),
                "{complaint}: {found:?}"
            );
            let other = hints(&given, None, &End::Exited(1), complaint);
            assert!(
                other.is_empty() || option == "file_bytes",
                "{complaint}: {other:?}"
            );
        }
        assert_eq!(
            hints(&plain, None, &End::Exited(153), ""),
            [""; 0],
            "a script can exit with each code"
        );
        // No hint is needed, because the end of the run already names this limit.
        assert_eq!(
            hints(
                &plain,
                None,
                &End::Killed("file_bytes"),
                "File size limit exceeded"
            ),
            [""; 0]
        );
        assert_eq!(
            hints(&plain, None, &End::Exited(1), "No such file or directory"),
            [""; 0]
        );
    }

    #[test]
    fn each_argument_of_the_sandbox_command_is_quoted_for_the_shell() {
        let words = ["printf", "%s|", "a b", "it's", "$HOME", "", "x\ny"].map(str::to_owned);
        let done = std::process::Command::new("sh")
            .arg("-c")
            .arg(String::from_utf8(script(&words)).expect("text"))
            .output();
        assert_eq!(
            String::from_utf8_lossy(&done.expect("sh").stdout),
            "a b|it's|$HOME||x\ny|"
        );
    }
}
