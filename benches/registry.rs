//! Measures the service with a large registry: the time from the start to `/ready`, the peak of its memory until then, and
//! the resident memory then. Also measures how fast the files of each format are read and checked.
//!
//! The benchmark generates 10,000 steps in 100 files, 2.8 MB, and starts the real service twice, with the policy of `init`.
//! The first start seals the files; the later start also reads the sealed steps from the store. The same is done with
//! Gruntwork pages, in which each script is a template.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use documents::{SecretKey, SshKey};
use reading::RunbookDirectories;
use rustix::time::{ClockId, clock_gettime};

/// The program uses the same allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign");
const FILES: usize = 100;
const STEPS: usize = 100;

/// Returns the text of a file.
type FileText = fn(usize) -> String;

/// Formats of runbooks, each with the ending of its files and the text of a file.
const FORMATS: [(&str, &str, FileText); 6] = [
    ("Countersign Markdown", "md", markdown),
    ("runnable blocks", "md", runnable),
    ("Rundown", "runbook.md", rundown),
    ("Gruntwork", "mdx", |file| gruntwork(file, false)),
    ("Gruntwork with templates", "mdx", |file| {
        gruntwork(file, true)
    }),
    ("Gruntwork with much prose", "mdx", prose),
];

fn main() {
    let reading = FORMATS.map(|(format, ending, text)| read(format, ending, text));
    for index in [0, 4] {
        let (format, ending, text) = FORMATS[index];
        let dir = tempfile::tempdir().expect("a directory");
        let home = dir.path().join("home");
        let config = set_up(dir.path(), &home);
        let bytes = write(&home.join("runbooks"), ending, text);
        println!(
            "{format}: {} steps in {FILES} files, {:.1} MB",
            FILES * STEPS,
            bytes as f64 / 1e6
        );
        for start in ["first start", "later start"] {
            let service = Service::start(&config);
            let ready = service.ready.as_secs_f64();
            println!(
                "{start}: ready after {ready:.2} s ({:.1} times the reading of the files), peak {:.1} MB, {:.1} MB resident",
                ready / reading[index],
                service.megabytes("VmHWM:"),
                service.megabytes("VmRSS:")
            );
        }
    }
}

/// Writes the files, and returns the number of bytes.
fn write(directory: &Path, ending: &str, text: FileText) -> usize {
    let one = |file: usize| {
        let text = text(file);
        std::fs::write(directory.join(format!("file{file:03}.{ending}")), &text)
            .expect("a runbook");
        text.len()
    };
    (0..FILES).map(one).sum()
}

/// Measures the reading of the files of one format. Returns the median time of seven runs on all cores, in seconds.
fn read(format: &str, ending: &str, text: FileText) -> f64 {
    let dir = tempfile::tempdir().expect("a directory");
    let bytes = write(dir.path(), ending, text) as f64 / 1e6;
    let directories = RunbookDirectories::strict(vec![PathBuf::from(dir.path())], None);
    let cpu = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let mut times: Vec<(f64, f64)> = (0..7)
        .map(|_| {
            let (begin, used) = (Instant::now(), cpu());
            let registry = directories.load().expect("a registry");
            let times = (cpu() - used, begin.elapsed().as_secs_f64());
            assert!(registry.steps().len() >= FILES);
            times
        })
        .collect();
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (cpu, wall) = times[3];
    println!(
        "{format}: {bytes:.1} MB, {:.1} MB/s on each core, {:.1} MB/s on all cores",
        bytes / cpu,
        bytes / wall
    );
    wall
}

/// A runbook whose parameter schema differs from the schemas of the other files.
fn markdown(file: usize) -> String {
    let mut text = format!(
        "---\ncountersign: 1\ntitle: File {file}\nparams:\n  host: {{type: string, pattern: \"^[a-z0-9-]{{1,{}}}$\"}}\n  \
         count: {{type: integer, minimum: 1, maximum: 100, default: 1}}\n  drain: {{type: boolean, default: true}}\n---\n",
        file + 10
    );
    for step in 0..STEPS {
        let _ = write!(
            text,
            "\n{TITLE} {step}\n\n{PROSE}\n\n```bash {{#step{step:03}}}\n{}```\n",
            script(step)
        );
    }
    text
}

fn runnable(_: usize) -> String {
    (0..STEPS).fold("# Notes\n".to_owned(), |mut text, step| {
        let _ = write!(
            text,
            "\n{TITLE} {step}\n\n{PROSE}\n\n```runnable bash {{#step{step:03}}}\n{}```\n",
            without_params(step)
        );
        text
    })
}

fn rundown(_: usize) -> String {
    (0..STEPS).fold("# Notes\n".to_owned(), |mut text, step| {
        let _ = write!(
            text,
            "\n## {}. Restart the service\n- PASS: CONTINUE\n- FAIL: STOP\n\n{PROSE}\n\n```bash\n{}```\n",
            step + 1,
            without_params(step)
        );
        text
    })
}

/// A Gruntwork page. With `templates`, each script has three placeholders.
fn gruntwork(file: usize, templates: bool) -> String {
    let mut text = format!(
        "# File {file}\n\n<Inputs id=\"place\">\n```yaml\nvariables:\n  - {{name: Host, validations: [required, {{type: \
         regex, regex: \"^[a-z0-9-]{{1,{}}}$\"}}]}}\n  - {{name: Count, type: int, default: 1}}\n```\n</Inputs>\n",
        file + 10
    );
    for step in 0..STEPS {
        let script = if templates {
            script(step)
                .replace("$PARAM_HOST", "{{ .inputs.Host }}")
                .replace("$PARAM_COUNT", "{{ .inputs.Count }}")
        } else {
            script(step)
        };
        let _ = write!(
            text,
            "\n{TITLE} {step}\n\n{PROSE}\n\n<Command id=\"step{step:03}\" inputsId=\"place\" command={{`{}`}} />\n",
            script.replace('\\', "\\\\")
        );
    }
    text
}

/// A Gruntwork page with one step and 20 KB of prose.
fn prose(file: usize) -> String {
    let mut text = gruntwork(file, true);
    let end = text
        .match_indices("\n## ")
        .nth(1)
        .map_or(text.len(), |(at, _)| at);
    text.truncate(end);
    for section in 0..60 {
        let _ = write!(
            text,
            "\n{TITLE} {section}\n\n{}\n\n- one `code`\n- two **bold** [link](https://example.com)\n",
            [PROSE; 4].join(" ")
        );
    }
    text
}

const TITLE: &str = "## Restart the service number";
const PROSE: &str = "It is drained first, and comes back by itself when it is healthy again.";

fn script(step: usize) -> String {
    format!(
        "set -eu\nprintf 'restarting %s times %s\\n' \"$PARAM_HOST\" \"$PARAM_COUNT\"\nsystemctl restart \
         \"service-{step}\"\nsystemctl status \"service-{step}\"\n"
    )
}

/// The script with variables of the environment. Files of two formats declare no parameters.
fn without_params(step: usize) -> String {
    script(step).replace("PARAM_", "")
}

/// Creates a boundary that listens on a free port.
fn set_up(dir: &Path, home: &Path) -> PathBuf {
    let key =
        SshKey::from_public(SecretKey::from_seed([0x5a; 32]).public(), "bench").expect("a key");
    let public = dir.join("bench.pub");
    std::fs::write(&public, format!("{}\n", key.line())).expect("a file");
    let init = Command::new(PROGRAM)
        .args(["init".as_ref(), home.as_os_str()])
        .args([
            "--name",
            "bench",
            "--yes",
            "--approver",
            &format!("bench={}", public.display()),
        ])
        .output()
        .expect("init");
    assert!(
        init.status.success(),
        "{}",
        String::from_utf8_lossy(&init.stderr)
    );
    let config = home.join("countersign.toml");
    let settings = std::fs::read_to_string(&config).expect("a configuration");
    let settings = settings
        .replace("127.0.0.1:7433", "127.0.0.1:0")
        .replace("level = \"strict\"", "level = \"best-effort\"");
    std::fs::write(&config, settings).expect("a configuration");
    config
}

/// The running service. The service is killed when this value is dropped.
struct Service {
    child: Child,
    ready: Duration,
}

impl Service {
    fn start(config: &Path) -> Self {
        let begin = Instant::now();
        let mut child = Command::new(PROGRAM)
            .args([
                "serve".as_ref(),
                "--json".as_ref(),
                "--config".as_ref(),
                config.as_os_str(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the service");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("output"))
            .read_line(&mut line)
            .expect("a line");
        let started: serde_json::Value = serde_json::from_str(&line).expect("the address");
        let url = started["started"]["url"].as_str().expect("an address");
        ureq::get(format!("{url}/ready")).call().expect("ready");
        Self {
            child,
            ready: begin.elapsed(),
        }
    }

    /// Returns a size of the process in MB, which has this name in its status.
    fn megabytes(&self, name: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .expect("its status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .expect("its memory");
        line.trim()
            .trim_end_matches("kB")
            .trim()
            .parse::<f64>()
            .expect("a number")
            * 1024.0
            / 1e6
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
