//! Damaged and hostile runbook pages of each format, read as the service reads them: no panic, no long time, and a place
//! in each error.
//!
//! `scripts/mutate-pages` reads more damaged pages, and hostile pages of the largest size.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use reading::{FileProblem, RunbookDirectories};

use crate::fuzz_corpus::{Random, damage};

/// Number of damaged pages of each format if no other number is set.
const MUTATIONS: usize = 100;
/// Maximum size of a runbook.
const MAX_FILE_BYTES: usize = 256 << 10;

/// Formats, each with the name of a file and a page that is valid.
const FORMATS: [(&str, &str, &str); 4] = [
    (
        "Countersign Markdown",
        "service.md",
        include_str!("../../runbooks/service.md"),
    ),
    (
        "runnable blocks",
        "notes.md",
        include_str!("../../fuzz/seeds/runnable_page/notes.md"),
    ),
    (
        "Rundown",
        "build.runbook.md",
        include_str!("../../fuzz/seeds/rundown_runbook/build.runbook.md"),
    ),
    (
        "Gruntwork",
        "cache.mdx",
        include_str!("../../fuzz/seeds/gruntwork_runbook/templates.mdx"),
    ),
];

/// Texts that begin, end or change a part of a page.
const TOKENS: [&str; 58] = [
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    "    ",
    "---\n",
    "```",
    "```bash",
    "~~~",
    "{#a}",
    "{#",
    "# ",
    "## 1. ",
    "### 1.1 ",
    "> ",
    "- ",
    "1. ",
    "- PASS: ",
    "- FAIL: GOTO 1",
    "- FOR x IN 1..3",
    "prompt",
    "runnable ",
    "file json a.json",
    "<",
    "/>",
    "</",
    "<Command ",
    "<Check ",
    "<Inputs id=\"a\">",
    "</Inputs>",
    "<!--",
    "{/*",
    "*/}",
    "{`",
    "`}",
    "{{",
    "}}",
    "{{ .a }}",
    "{{ if .outputs.a.b }}",
    "{{ range .inputs.Tags }}",
    "{{ end }}",
    "${",
    "\\",
    "&amp;",
    "&#0;",
    "[",
    "](",
    "**",
    "import a\n",
    "export a\n",
    "countersign: 1\n",
    "params:\n",
    "type: int\n",
    "*a",
    "\u{feff}",
    "\0",
    "\u{10fffe}",
    "\u{f0000}",
];

/// Reads pages in a thread of its own. A page that needs too long fails the test, although its reading does not end.
struct PageReader {
    pages: mpsc::Sender<(&'static str, Vec<u8>)>,
    results: mpsc::Receiver<Result<usize, Vec<FileProblem>>>,
    limit: Duration,
}

impl PageReader {
    fn new(limit: Duration) -> Self {
        let (pages, queue) = mpsc::channel::<(&str, Vec<u8>)>();
        let (answer, results) = mpsc::channel();
        std::thread::spawn(move || {
            for (name, page) in queue {
                let directory = tempfile::tempdir().expect("a directory");
                std::fs::write(directory.path().join(name), page).expect("a file");
                // The page in Rundown's format names these runbooks.
                for other in ["smoke", "load"] {
                    let path = directory.path().join(format!("{other}.runbook.md"));
                    std::fs::write(path, "## 1. Look\n\nLook.\n").expect("a file");
                }
                let read =
                    RunbookDirectories::strict(vec![directory.path().to_owned()], None).load();
                let _ = answer.send(read.map(|registry| registry.steps().len()));
            }
        });
        Self {
            pages,
            results,
            limit,
        }
    }

    /// Returns the errors of the page, after checking their places.
    fn errors(&self, name: &'static str, page: &[u8], what: &str) -> Vec<FileProblem> {
        self.pages
            .send((name, page.to_owned()))
            .expect("the reader");
        let shown = String::from_utf8_lossy(&page[..page.len().min(2000)]);
        let read = match self.results.recv_timeout(self.limit) {
            Ok(read) => read,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                panic!("{what}: not read within {:?}: {shown}", self.limit)
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                panic!("{what}: the reader panicked: {shown}")
            }
        };
        let lines = page.iter().filter(|byte| **byte == b'\n').count() + 1;
        let Err(errors) = read else { return Vec::new() };
        assert!(!errors.is_empty(), "{what}: {shown}");
        for error in &errors {
            let placed =
                error.file == name && (1..=lines).contains(&error.line) && error.column >= 1;
            assert!(
                placed && !error.message.is_empty(),
                "{what}: {error}: {shown}"
            );
        }
        errors
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("a number"))
}

#[test]
fn damaged_pages_are_read_or_refused_with_a_place() {
    let count = number("PAGE_MUTATIONS")
        .map_or(MUTATIONS, |count| usize::try_from(count).expect("a number"));
    let seed = number("PAGE_SEED").unwrap_or(1);
    for (format, name, page) in FORMATS {
        let reader = PageReader::new(Duration::from_secs(20));
        let errors = reader.errors(name, page.as_bytes(), format);
        assert!(errors.is_empty(), "{format}: {}", errors[0]);
        let (mut valid, begin, mut slowest) = (0, Instant::now(), Duration::ZERO);
        for round in 0..count {
            let mut random = Random::new(&format!("{name} {seed}"), round);
            let other = FORMATS[random.below(FORMATS.len())].2;
            let damaged = damage(page.as_bytes(), other.as_bytes(), &mut random, &TOKENS);
            let begin = Instant::now();
            let errors = reader.errors(
                name,
                &damaged,
                &format!("{format}, seed {seed}, round {round}"),
            );
            valid += usize::from(errors.is_empty());
            slowest = slowest.max(begin.elapsed());
        }
        let refused = count - valid;
        println!(
            "{format}: {count} damaged pages, {refused} refused, {:.1?}, slowest {slowest:.1?}",
            begin.elapsed()
        );
        assert!(
            valid > 0 && refused > 0,
            "{format}: {valid} valid, {refused} refused"
        );
    }
}

/// Texts whose repetition makes parsers slow.
const REPEATED: [&str; 52] = [
    "> ",
    "- ",
    "* ",
    "1. ",
    "+ - ",
    "`",
    "``` ",
    "` `` ",
    "~~~\n",
    "```\n",
    "<a>",
    "<a>\n\n",
    "<a ",
    "<a b=",
    "<a b={",
    "<a b='",
    "</a>",
    "<",
    "<!--",
    "<![CDATA[",
    "<?",
    "{",
    "{`",
    "{/*",
    "{{",
    "{{ .a }}",
    "${",
    "}",
    "[",
    "![",
    "[a](",
    "[a]: b\n",
    "[a][",
    "](",
    "**a ",
    "*a_ ",
    "_",
    "\\",
    "&",
    "&amp;",
    "|a",
    "# a\n",
    "---\n",
    "\n",
    "\t",
    " ",
    "a\n",
    "import a\n\n",
    "export a {\n",
    "<Command id=\"a\" command=\"",
    "<Inputs id=\"a\">\n",
    "- FOR x IN 1..9\n",
];

/// Parts of a script with a template, whose repetition makes the check slow.
const SCRIPTS: [&str; 14] = [
    "echo {{ .outputs.a.b }}\n",
    "echo '{{ .outputs.a.b }}' \"{{ .outputs.a.b }}\"\n",
    "{{ if .outputs.a.b }}a{{ end }}\n",
    "{{ .outputs.a.b }} ",
    "# {{ .outputs.a.b }}\n",
    "echo $(( {{ .outputs.a.b }} ))\n",
    "sh -c {{ .outputs.a.b }}\n",
    "alias a=b; echo {{ .outputs.a.b }}\n",
    "cat <<E\n{{ .outputs.a.b }}\nE\n",
    "$(",
    "((",
    "{ ",
    "if ",
    "x $a ",
];

/// A page with `text` again and again: alone, inside of a paragraph, and on lines that become longer.
fn hostile(page: &str, text: &str, size: usize) -> Vec<String> {
    let room = size.saturating_sub(page.len() + 8);
    let mut growing = String::new();
    for length in 1.. {
        if growing.len() + text.len() * length + 3 > room {
            break;
        }
        growing.push_str(&text.repeat(length));
        growing.push_str("a\n");
    }
    let repeated = text.repeat(room / text.len());
    vec![
        format!("{page}\n\n{repeated}"),
        format!("{page}\n\nword {repeated}\n"),
        format!("{page}\n\n{growing}"),
    ]
}

/// A Gruntwork page whose only script has `text` again and again, and a placeholder.
fn hostile_script(text: &str, size: usize) -> String {
    let script = text
        .repeat(size.min(60 << 10) / text.len())
        .replace('\\', "\\\\")
        .replace('$', "\\$");
    let script = format!("f() {{ {script}; }}\n{script}\necho {{{{ .outputs.a.c }}}}\n");
    let half = script.len() / 2;
    let script = if script.len() < 64 << 10 {
        &script
    } else {
        &script[script.len() - half - 32..]
    };
    format!("<Command id=\"a\" command={{`{script}`}} />\n")
}

#[test]
fn hostile_pages_are_read_or_refused_quickly() {
    // A debug build is about 25 times slower than a release build.
    let (size, limit) = if cfg!(debug_assertions) {
        (8 << 10, Duration::from_secs(10))
    } else {
        (MAX_FILE_BYTES, Duration::from_secs(2))
    };
    let mut times: BTreeMap<Duration, String> = BTreeMap::new();
    let mut slow = Vec::new();
    let mut read = |reader: &PageReader, name: &'static str, page: &str, what: String| {
        let begin = Instant::now();
        reader.errors(name, page.as_bytes(), &what);
        if begin.elapsed() > limit {
            println!("slow: {what}: {:.2?}", begin.elapsed());
            slow.push(format!("{what}: {:.2?}", begin.elapsed()));
        }
        times.insert(begin.elapsed(), what);
    };
    for (format, name, page) in FORMATS {
        let reader = PageReader::new(Duration::from_secs(120));
        for text in REPEATED {
            for (number, page) in hostile(page, text, size).iter().enumerate() {
                read(&reader, name, page, format!("{format}, {text:?}, {number}"));
            }
        }
    }
    let reader = PageReader::new(Duration::from_secs(120));
    for text in SCRIPTS {
        let page = hostile_script(text, size);
        read(&reader, "a.mdx", &page, format!("a template with {text:?}"));
        read(
            &reader,
            "a.mdx",
            &page.replace("command", "interpreter=\"sh\" command"),
            format!("sh, {text:?}"),
        );
    }
    for yaml in [
        "[",
        "{",
        "- ",
        "a: ",
        "&a ",
        "? ",
        "'",
        "|\n",
        "a: &a [*a]\n",
        "\"\\",
        "!!a ",
    ] {
        for name in ["a.md", "a.runbook.md"] {
            let page = format!(
                "---\ncountersign: 1\nparams: {}\n---\n",
                yaml.repeat((size - 64) / yaml.len())
            );
            read(
                &reader,
                name,
                &page,
                format!("{name}: front matter with {yaml:?}"),
            );
        }
        let page = format!(
            "<Inputs id=\"a\">\n```yaml\n{}\n```\n</Inputs>\n<Command id=\"a\" inputsId=\"a\" command=\"a\" />\n",
            yaml.repeat((size - 128) / yaml.len())
        );
        read(
            &reader,
            "a.mdx",
            &page,
            format!("an <Inputs> block with {yaml:?}"),
        );
    }
    let slowest: Vec<String> = times
        .iter()
        .rev()
        .take(8)
        .map(|(time, what)| format!("{time:.1?}: {what}"))
        .collect();
    println!(
        "{} hostile pages of {} KiB; slowest:\n{}",
        times.len(),
        size >> 10,
        slowest.join("\n")
    );
    assert!(
        slow.is_empty(),
        "longer than {limit:?}:\n{}",
        slow.join("\n")
    );
}
