//! Draws a review: the decision screen, the list of all fields, and the short screen of a denial.
//!
//! This module makes no checks. The script comes first, because the script may scroll off the screen. The decision and
//! the question come last, because the end of the screen stays visible.
//!
//! `hidden` finds what makes a text look like another text: control characters, invisible characters, characters that
//! change the reading direction, words with letters of several scripts, and words with letters that look like ASCII.
//! The screen shows such characters as escapes.
//!
//! `permission_line` describes one sandbox permission of a run. The function has a match arm for each sandbox
//! permission, so the compiler reports a missing arm for a new variant.

use unicode_script::{Script, UnicodeScript as _};

use crate::{
    Derived, DisplayScripts, FieldReason, LineDifference, LineTone, LineWeight, MOST_REMARKS,
    PrintableText, ROW, ReviewFinding, ReviewLine, ReviewSources, RunComparison, Screen,
    StatementVerdict, duration_ms, lines_of, list_words,
    review::{reviewed_content, run_inputs, step_files, value_words::bytes},
    terminal::letters::is_of_word,
};
use documents::{
    HiddenCharacter, ISOLATED, Layer, Network, NetworkMode, Proc, Profile, UNBOUNDED_WORDS,
    Workdir, joined,
};
use reading::{SandboxPermission, comments};

/// Heading of the script, if other values are above the script.
pub const SCRIPT: &str = "Script";
/// Heading of the list of the definition's fields.
pub const DEFINITION: &str = "Definition, every field";
/// Heading of the list of the payload's fields.
pub const SIGNED: &str = "To be signed, every field";

/// Explanation of escapes on the screen. Most shells do not know these escapes.
const ESCAPES: &str =
    r"\s{n} is n spaces, \s{ntabs} n tabs, \u{hex} and \xhex the character of this number";

/// Draws the texts and the decision.
pub fn decision(sources: &ReviewSources, found: &Derived) -> Screen {
    let mut screen = texts(sources, found);
    screen.extend(block(found));
    screen
}

/// Draws what may scroll off the screen: the identifiers, long values, files and the script.
pub fn texts(sources: &ReviewSources, found: &Derived) -> Screen {
    let mut screen = Screen::default();
    let lines = &found.lines;
    screen.push(heading_tone(found), String::new(), lines.heading.clone());
    // The digest line fits 80 columns, so no usual terminal breaks it.
    screen.push(LineTone::Plain, "  digest ", found.digest.to_string());
    for line in &lines.above {
        draw(&mut screen, line);
    }
    let further = further(&mut screen, &lines.remarks);
    contents(&mut screen, sources, found, further);
    if screen.has_escapes() || block(found).has_escapes() {
        escapes(&mut screen);
    }
    screen.blank();
    screen
}

/// Draws the remarks that the decision only counts. Returns true if there are such remarks.
pub fn further(screen: &mut Screen, remarks: &[ReviewLine]) -> bool {
    let further = remarks.get(MOST_REMARKS..).unwrap_or_default();
    if !further.is_empty() {
        screen.heading("Further remarks");
        for (at, line) in further.iter().enumerate() {
            screen.push(
                line.tone,
                format!("  {:>3}. ", at + 1 + MOST_REMARKS),
                line.text.clone(),
            );
        }
    }
    !further.is_empty()
}

/// Explains the escapes on the screen.
pub fn escapes(screen: &mut Screen) {
    draw(
        screen,
        &ReviewLine::always("escapes", PrintableText::words(ESCAPES)),
    );
}

/// Draws the long values, the files and the script. `is_named` is true if the script needs a heading.
pub fn contents(screen: &mut Screen, sources: &ReviewSources, found: &Derived, is_named: bool) {
    let lines = &found.lines;
    if !lines.whole.is_empty() {
        screen.heading("Values in full");
        for value in &lines.whole {
            screen.push(LineTone::Plain, "    ", value.clone());
        }
    }
    reviewed_content::draw(screen, step_files::HEADING, &found.files);
    reviewed_content::draw(screen, run_inputs::HEADING, &found.inputs);
    let raw = || String::from_utf8_lossy(&sources.payload).into_owned();
    if !is_named && lines.whole.is_empty() && found.files.is_empty() && found.inputs.is_empty() {
        screen.blank();
    } else {
        screen.heading(SCRIPT);
    }
    match (found.step(), &found.statement) {
        (Some(step), _) => screen.source(&step.source, &comments(&step.interpreter, &step.source)),
        (None, None) => screen.source(&raw(), &[]),
        (None, Some(_)) => screen.say(
            LineTone::Bad,
            "The definition is not shown, because this program has no definition with the signed digest.",
        ),
    }
    if !lines.foot.as_str().is_empty() {
        screen.push(LineTone::Faint, " ".repeat(8), lines.foot.clone());
    }
    differences(screen, &lines.comparison);
}

/// Draws the decision, which stays on the screen with the question.
pub fn block(found: &Derived) -> Screen {
    let mut screen = Screen::default();
    let lines = &found.lines;
    screen.push(heading_tone(found), String::new(), lines.heading.clone());
    for line in &lines.always {
        draw(&mut screen, line);
    }
    remarks(&mut screen, &lines.remarks);
    not_to_be_signed(&mut screen, found.standing);
    screen
}

/// Draws the reason why nobody may sign, unless all checks passed.
pub fn not_to_be_signed(screen: &mut Screen, standing: StatementVerdict) {
    if standing != StatementVerdict::Sound {
        let why = if standing == StatementVerdict::NoTrust {
            "no trusted roster"
        } else {
            "see the remarks"
        };
        let text = PrintableText::words("NOT TO BE SIGNED: ").and(why);
        draw(
            screen,
            &ReviewLine::always("verdict", text).toned(LineTone::Bad),
        );
    }
}

/// Returns the number of lines of the script and of all other texts above the decision.
pub fn text_lines(found: &Derived) -> usize {
    let script = found
        .step()
        .into_iter()
        .map(|step| lines_of(&step.source).0.len());
    script
        .chain(found.texts().map(|(_, text)| lines_of(&text).0.len()))
        .sum()
}

/// Draws both complete lists of fields, then all checks, and then the decision screen.
pub fn full(sources: &ReviewSources, found: &Derived) -> Screen {
    let mut screen = Screen::default();
    if let Some(definition) = found.document() {
        screen.heading(DEFINITION);
        // The script section shows the filled-in script, so the definition shows the template.
        let elsewhere: &[(&str, &str)] = if definition["template"] == "none" {
            &[(".source", SCRIPT)]
        } else {
            &[]
        };
        screen.exact(definition, elsewhere);
    }
    if let Some(payload) = &found.payload {
        screen.heading(SIGNED);
        screen.exact(payload, &[]);
    }
    let fields = &found.lines.fields;
    if !fields.is_empty() {
        screen.heading("Why a field is not on the decision screen");
        let mut reasons: Vec<FieldReason> = fields.iter().map(|field| field.why).collect();
        reasons.retain(|why| !matches!(why, FieldReason::Shown(_)));
        let mut told: Vec<FieldReason> = Vec::new();
        for why in reasons {
            if !told.contains(&why) {
                told.push(why);
                let paths = joined(
                    fields
                        .iter()
                        .filter(|field| field.why == why)
                        .map(|field| field.path.as_str()),
                    " ",
                );
                screen.say(LineTone::Plain, &format!("{}: {paths}", why.words()));
            }
        }
    }
    if let Some(statement) = &found.statement {
        screen.heading("Sandbox in words");
        for line in profile_words(&statement.predicate.sandbox, found.has_programs()) {
            screen.say(LineTone::Plain, &line);
        }
    }
    checks(&mut screen, found);
    screen.heading("Decision");
    screen.extend(decision(sources, found));
    screen
}

/// Draws all checks.
pub fn checks(screen: &mut Screen, found: &Derived) {
    screen.heading("Checked by this program");
    for check in &found.checks {
        let (tone, word) = match check.finding {
            ReviewFinding::Holds => (LineTone::Plain, "holds"),
            ReviewFinding::Fails(_) => (LineTone::Bad, "NOT TRUE"),
            ReviewFinding::NotChecked(_) => (LineTone::Bad, "not checked"),
        };
        screen.push(tone, format!("  {word:<12}"), check.what);
    }
}

/// Draws the short screen for a denial: at most seven lines of 80 columns.
pub fn brief(found: &Derived) -> Screen {
    let mut screen = Screen::default();
    let lines = &found.lines;
    screen.push(heading_tone(found), String::new(), lines.heading.cut(78));
    for name in ["parameters", "reason", "signatures"] {
        let Some(line) = lines.always.iter().find(|line| line.name == name) else {
            continue;
        };
        if name == "parameters" && !lines.parameters.is_empty() {
            for (at, text) in in_three_rows(&lines.parameters).into_iter().enumerate() {
                draw(
                    &mut screen,
                    &ReviewLine {
                        name: if at == 0 { name } else { "" },
                        text,
                        ..line.clone()
                    },
                );
            }
        } else {
            let rows = if name == "signatures" { 2 } else { 1 };
            draw(
                &mut screen,
                &ReviewLine {
                    text: line.text.cut(60 * rows),
                    ..line.clone()
                },
            );
        }
    }
    screen
}

/// Formats at most nine parameters in at most three rows. The last cell names the number of further parameters.
fn in_three_rows(parameters: &[PrintableText]) -> Vec<PrintableText> {
    const ROWS: usize = 3;
    const MOST_IN_ROW: usize = 3;
    const BETWEEN: &str = ", ";
    let in_row = parameters.len().div_ceil(ROWS).min(MOST_IN_ROW);
    let mut cells: Vec<PrintableText> = parameters
        .iter()
        .take(ROWS * in_row)
        .map(|text| text.cut(ROW / in_row - BETWEEN.len()))
        .collect();
    if parameters.len() > cells.len() {
        cells.pop();
        cells.push(PrintableText::text(&format!(
            "and {} more",
            parameters.len() - cells.len()
        )));
    }
    cells
        .chunks(in_row)
        .map(|row| PrintableText::joined(row.iter().cloned(), BETWEEN))
        .collect()
}

fn heading_tone(found: &Derived) -> LineTone {
    if found.is_emergency() {
        LineTone::Bad
    } else {
        LineTone::Strong
    }
}

/// Draws a line.
pub fn draw(screen: &mut Screen, line: &ReviewLine) {
    screen.push(line.tone, format!("  {:<12}", line.name), line.text.clone());
}

/// Draws the most important remarks, and the number of further remarks above the screen.
pub fn remarks(screen: &mut Screen, remarks: &[ReviewLine]) {
    for (at, line) in remarks.iter().take(MOST_REMARKS).enumerate() {
        let name = if at == 0 { line.name } else { "" };
        screen.push(
            line.tone,
            format!("  {name:<12}{}. ", at + 1),
            line.text.clone(),
        );
    }
    if remarks.len() > MOST_REMARKS {
        let more = format!("and {} more above", remarks.len() - MOST_REMARKS);
        screen.push(LineTone::Bad, " ".repeat(14), &more);
    }
    if remarks.is_empty() {
        draw(screen, &ReviewLine::always("remarks", "none"));
    }
    debug_assert!(remarks.iter().all(|line| line.weight != LineWeight::Always));
}

/// Draws the differences from the last successful run below the script.
fn differences(screen: &mut Screen, comparison: &RunComparison) {
    let RunComparison::Since { script, fields, .. } = comparison else {
        return;
    };
    draw_differences(screen, script.iter().chain(fields));
}

/// Draws changed lines and fields.
pub fn draw_differences<'d>(
    screen: &mut Screen,
    changes: impl Iterator<Item = &'d LineDifference>,
) {
    for LineDifference { was, number, text } in changes {
        let (tone, word) = if *was {
            (LineTone::Bad, "was")
        } else {
            (LineTone::Good, "now")
        };
        let number = number.map_or(String::new(), |number| number.to_string());
        screen.push(tone, format!("  {word} {number:>5} | "), text.clone());
    }
}

/// Describes a sandbox profile in words, one line for each aspect. `step_programs` is true if the step has executable files.
pub fn profile_words(profile: &Profile, step_programs: bool) -> Vec<String> {
    let layers = match &profile.require[..] {
        [] => "NONE".to_owned(),
        layers => joined(layers, ", "),
    };
    // Without the layer `namespaces`, the run may use the host's root directory.
    let own_root = profile.require.contains(&Layer::Namespaces);
    let limits = &profile.limits;
    let disk = match (profile.workdir, own_root) {
        (Workdir::InPlace, _) => {
            "as much as the host has, because nothing limits a live tree".to_owned()
        }
        (_, true) => bytes(limits.disk_bytes),
        (_, false) => format!(
            "{}, but without namespaces as much as the host has",
            bytes(limits.disk_bytes)
        ),
    };
    let shared = bytes(limits.shared_memory_bytes());
    let counted = if own_root {
        COUNTED
    } else {
        COUNTED_WITHOUT_NAMESPACES
    };
    let permissions = SandboxPermission::ALL
        .into_iter()
        .map(|permission| permission_line(permission, profile))
        .map(|line| {
            let values = line.values.iter();
            let values = values.map(|(value, words)| format!("{value:?}{words}"));
            line.words.to_owned() + &joined(values, ", ")
        });
    let programs = profile.programs.as_ref().map_or_else(
        || "may run: every program that the run can see".to_owned(),
        |list| format!("may run: {}", list_words(list, step_programs)),
    );
    let others = [
        programs,
        format!("required layers: {layers}"),
        format!("at most time: {}", duration_ms(limits.wall_ms)),
        format!(
            "at most CPU: {}.{:03} CPUs{UNGROUPED}",
            limits.cpu_milli / 1000,
            limits.cpu_milli % 1000
        ),
        format!(
            "at most memory: {}{UNGROUPED}; in that case nothing limits {UNBOUNDED_WORDS}",
            bytes(limits.memory_bytes)
        ),
        format!("at most processes: {}{counted}", limits.processes),
        format!(
            "at most for one file: {}, for all files: {disk}; {shared} more in /dev/shm",
            bytes(limits.file_bytes)
        ),
        format!("at most recorded output: {}", bytes(limits.output_bytes)),
    ];
    permissions
        .filter(|line| !line.is_empty())
        .chain(others)
        .collect()
}

/// Text after the description of a limit that may apply to each process separately. Only the receipt shows whether a
/// control group limited the run as a whole.
const UNGROUPED: &str = ", for each process separately if the run has no control group";

/// Text after the description of the limit of processes. The kernel counts the processes of root, but never prevents
/// root from starting another process.
const COUNTED: &str =
    ", but no limit if the run is the root user of the host and has no control group";
const COUNTED_WITHOUT_NAMESPACES: &str = ", and if the run has no namespaces and no control group, only if the run has \
                                          its own user id";

/// Lists the characters and words that a reader could misread, each once. If `prose` has the scripts of a person, the
/// list also has each other word whose letters this person sees as escapes.
pub fn hidden(text: &str, prose: Option<DisplayScripts>) -> Vec<PrintableText> {
    let mut found: Vec<PrintableText> = Vec::new();
    let mut add = |what: PrintableText| {
        if found.len() < MOST_FOUND && !found.contains(&what) {
            found.push(what);
        }
    };
    for c in text.chars() {
        if let Some(kind) = HiddenCharacter::of(c) {
            add(PrintableText::text(&c.to_string())
                .and(" (")
                .and(kind.word())
                .and(")"));
        }
    }
    for word in text
        .split(|c: char| !is_of_word(c))
        .filter(|word| !word.is_ascii())
    {
        let flaw = prose.map(|listed| listed.flaw(word));
        if flaw == Some(None) {
            continue;
        }
        let shown = PrintableText::text(word).cut(MOST);
        let scripts = scripts_of(word);
        if scripts.len() > 1 {
            let names = joined(scripts.iter().map(|script| script.full_name()), " and ");
            add(shown.and(" (letters of ").then(&names).and(")"));
        } else if word.contains(looks_like_ascii) {
            add(shown.and(" (looks like ASCII but is not ASCII)"));
        } else if let Some(Some((why, what))) = flaw {
            add(shown.and(" (").and(why).and(what).and(")"));
        }
    }
    found
}

/// Maximum number of findings, which bounds the time for a large text.
const MOST_FOUND: usize = 100;
/// Maximum number of characters of a word in a finding.
const MOST: usize = 48;

/// Returns true for a full-width letter or digit, or a mathematical letter. The normalization form NFKC turns each such
/// character into an ASCII letter or digit, except the mathematical dotless i and j (U+1D6A4 and U+1D6A5).
fn looks_like_ascii(c: char) -> bool {
    matches!(c, '\u{ff10}'..='\u{ff19}' | '\u{ff21}'..='\u{ff3a}' | '\u{ff41}'..='\u{ff5a}' | '\u{1d400}'..='\u{1d6a5}')
}

/// Returns the Unicode scripts of a word's letters. Scripts that one language uses together count as one.
fn scripts_of(word: &str) -> Vec<Script> {
    let mut found = Vec::new();
    for c in word.chars() {
        let script = match c.script() {
            Script::Common | Script::Inherited | Script::Unknown => continue,
            Script::Hiragana | Script::Katakana | Script::Bopomofo | Script::Hangul => Script::Han,
            script => script,
        };
        if !found.contains(&script) {
            found.push(script);
        }
    }
    found
}

/// Line of a review screen about one sandbox permission of a profile.
pub struct PermissionLine<'p> {
    /// Description of what the run can do.
    pub words: &'static str,
    /// Values from other people, which the screen shows in quotes after the description, each with words of this program
    /// that follow it.
    pub values: Vec<(&'p str, &'static str)>,
    /// Fields of the profile whose complete values the line shows.
    pub shows: Vec<String>,
    /// True if the approver must read the line before signing, because it differs from an empty, closed sandbox.
    pub is_remark: bool,
}

/// Returns the line of a review screen about this sandbox permission.
pub fn permission_line<'p>(
    permission: SandboxPermission,
    profile: &'p Profile,
) -> PermissionLine<'p> {
    let plain = |words| PermissionLine {
        words,
        values: Vec::new(),
        shows: Vec::new(),
        is_remark: false,
    };
    let text = |words, value| {
        let shows = vec![permission.word().to_owned()];
        PermissionLine {
            words,
            values: vec![(value, "")],
            shows,
            is_remark: true,
        }
    };
    let shows = |field: &str, values: &[String]| {
        (0..values.len())
            .map(|at| format!("{field}[{at}]"))
            .collect::<Vec<_>>()
    };
    let list = |words, field: &str, values: &'p [String]| {
        let quoted = values.iter().map(|value| (value.as_str(), "")).collect();
        PermissionLine {
            words,
            values: quoted,
            shows: shows(field, values),
            is_remark: true,
        }
    };
    match permission {
        SandboxPermission::Off => match &profile.off_reason {
            None => plain(""),
            Some(reason) => text(
                "THE SANDBOX IS OFF: only the limits apply, and the run can do everything that its user can do on the host; the author's reason: ",
                reason,
            ),
        },
        SandboxPermission::Read if profile.read.is_empty() => {
            plain("reads on the host: only the files that an interpreter needs")
        }
        SandboxPermission::Read => list("reads on the host: ", "read", &profile.read),
        SandboxPermission::Write => {
            let words = match profile.workdir {
                Workdir::InPlace => {
                    "writes to live trees of the host, and the changes remain after the run: "
                }
                _ if profile.write.is_empty() => return plain("writes on the host: nothing"),
                Workdir::Private => "writes on the host: ",
                Workdir::Copy => "reads, and writes only in a private copy: ",
                Workdir::Overlay => "reads, and writes only in an overlay: ",
            };
            list(words, "write", &profile.write)
        }
        SandboxPermission::Deny if profile.deny.is_empty() => {
            plain("cannot access paths that match: no pattern")
        }
        // A deny pattern gives the run no access, so the line is no remark. The decision screen lists the patterns
        // on another line.
        SandboxPermission::Deny => PermissionLine {
            is_remark: false,
            ..list("cannot access paths that match: ", "deny", &profile.deny)
        },
        // The line about `write` names the trees.
        SandboxPermission::Workdir => plain(match profile.workdir {
            Workdir::Private => "works in: its own empty directory, which is deleted after the run",
            Workdir::Copy => {
                "works in: a private copy of the trees above, which is deleted after the run"
            }
            Workdir::Overlay => {
                "works in: the trees above, with an overlay for changes, which is deleted after the run"
            }
            Workdir::InPlace => {
                "works in: the live trees; changes remain after the run, and only files that existed at the start are hidden by deny patterns"
            }
        }),
        SandboxPermission::Network => match profile.network.mode {
            NetworkMode::None => plain("network: none"),
            NetworkMode::Allow => {
                let Network {
                    hosts,
                    private,
                    localhost,
                    ..
                } = &profile.network;
                let words = |host| match (private.contains(host), localhost.contains(host)) {
                    (false, false) => "",
                    (true, false) => " (may be inside your network)",
                    (false, true) => " (may be the host of the boundary itself)",
                    (true, true) => {
                        " (may be inside your network, or the host of the boundary itself)"
                    }
                };
                let mut line = list("network: only ", "network.hosts", hosts);
                line.values = hosts
                    .iter()
                    .map(|host| (host.as_str(), words(host)))
                    .collect();
                line.shows.extend(shows("network.private", private));
                line.shows.extend(shows("network.localhost", localhost));
                line
            }
            NetworkMode::Host => PermissionLine {
                is_remark: true,
                ..plain("network: every network that the host can reach, with its names")
            },
        },
        SandboxPermission::Sockets if profile.sockets.is_empty() => {
            plain("reaches sockets of the host: none")
        }
        SandboxPermission::Sockets => {
            list("reaches sockets of the host: ", "sockets", &profile.sockets)
        }
        SandboxPermission::Proc => match profile.proc {
            Proc::Full => PermissionLine {
                shows: vec!["proc".to_owned()],
                is_remark: true,
                ..plain(PROC_FULL)
            },
            // Without the layer `namespaces`, the run may use the host's root directory.
            Proc::Minimal if profile.require.contains(&Layer::Namespaces) => {
                plain("sees in /proc: only its own processes")
            }
            Proc::Minimal => plain(
                "sees in /proc: only its own processes; without namespaces nothing; without namespaces and Landlock all processes of the host",
            ),
        },
        SandboxPermission::RunAs if profile.run_as == ISOLATED => plain(
            "runs as: its own user id if the service runs as root and has a free user id, otherwise the user id of the service",
        ),
        SandboxPermission::RunAs => text("runs as the host's user ", &profile.run_as),
    }
}

/// Text about a run that sees the whole `/proc`.
const PROC_FULL: &str = "sees the whole of /proc of its process namespace (proc full), which also shows the host's boot command line, partitions, \
     interrupts, load, and the list of the kernel's keys";

#[cfg(test)]
mod tests;

#[cfg(test)]
mod hidden_tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        hidden(text, None)
            .iter()
            .map(|what| what.as_str().to_owned())
            .collect()
    }

    #[test]
    fn each_word_of_prose_that_is_shown_as_escapes_is_reported() {
        let scripts = DisplayScripts::named(["Latin", "Greek"]).expect("scripts");
        let told = |text: &str| {
            hidden(text, Some(scripts))
                .iter()
                .map(|what| what.as_str().to_owned())
                .collect::<Vec<_>>()
        };
        let japanese = DisplayScripts::named(["Japanese"]).ok();
        assert!(hidden("T\u{30b7}\u{30e3}\u{30c4}\u{3092}3\u{679a}", japanese).is_empty());
        assert_eq!(
            told("Gr\u{f6}\u{df}e, \u{3bb}\u{3cc}\u{3b3}\u{3bf}\u{3c2} \u{201e}x\u{201c}"),
            [""; 0]
        );
        for (text, remark) in [
            (
                "\u{8a9e} x",
                r"\u{8a9e} (your locale, which must be UTF-8, or config.toml does not list Han)",
            ),
            ("p\u{3b1}y", r"p\u{3b1}y (letters of Latin and Greek)"),
            ("\u{3bf}", r"\u{3bf} (looks like ASCII but is not ASCII)"),
            ("o\u{308}", r"o\u{308} (not in the normal form NFC)"),
            ("i\u{307}", r"i\u{307} (marks that hide something)"),
            (
                "\u{fb01}n",
                r"\u{fb01}n (a character that Unicode advises against in names)",
            ),
        ] {
            assert_eq!(told(text), [remark]);
        }
    }

    #[test]
    fn ordinary_texts_in_many_languages_have_no_hidden_text() {
        for text in [
            "",
            "p99 is up\n\tsince 10:05",
            "naïve café, Größe 5 µm",
            "перезапуск nginx",
            "日本語のテスト",
            "한국어 漢字",
            "𝟙 ≤ 2",
        ] {
            assert_eq!(told(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn a_word_with_letters_that_look_like_ascii_is_reported() {
        let word = r"\u{ff21}\u{ff22}\u{ff23}\u{ff11} (looks like ASCII but is not ASCII)";
        assert_eq!(told("x \u{ff21}\u{ff22}\u{ff23}\u{ff11}, ok"), [word]);
        assert_eq!(
            told("\u{ff41}dmin"),
            [r"\u{ff41}dmin (looks like ASCII but is not ASCII)"]
        );
        assert_eq!(
            told("\u{1d42b}\u{1d426}"),
            [r"\u{1d42b}\u{1d426} (looks like ASCII but is not ASCII)"]
        );
        // Chinese and Japanese punctuation is full-width.
        assert_eq!(told("\u{65e5}\u{672c}\u{ff0c}\u{8a9e}\u{ff01}"), [""; 0]);
    }

    #[test]
    fn hidden_characters_are_reported() {
        assert_eq!(
            told("a\u{202e}b\u{202e}"),
            [r"\u{202e} (changes the reading direction)"]
        );
        assert_eq!(
            told("\x1b[2K\u{9b}"),
            [
                r"\x1b (a control character)",
                r"\u{9b} (a control character)"
            ]
        );
        assert_eq!(told("a\r"), [r"\r (a control character)"]);
        for invisible in [
            "\u{200b}",
            "\u{feff}",
            "\u{3164}",
            "\u{e0041}",
            "\u{ad}",
            "\u{fe0f}",
        ] {
            assert!(
                told(invisible)[0].ends_with(" (invisible)"),
                "{:?}",
                told(invisible)
            );
        }
        assert!(told("a\u{a0}b")[0].ends_with(" (looks like a space)"));
        assert_eq!(
            told("p\u{430}ypal"),
            [r"p\u{430}ypal (letters of Latin and Cyrillic)"]
        );
        assert_eq!(
            told("\u{3bf}ps one"),
            [r"\u{3bf}ps (letters of Greek and Latin)"]
        );
    }
}

#[cfg(test)]
mod permission_line_tests {
    use super::*;
    use documents::Limits;

    #[test]
    fn the_review_names_each_host_that_may_be_inside_of_the_network() {
        let mut profile = Profile::nothing(Vec::new(), Limits::default());
        let texts = |texts: &[&str]| {
            texts
                .iter()
                .map(|&text| text.to_owned())
                .collect::<Vec<_>>()
        };
        profile.network = Network {
            mode: NetworkMode::Allow,
            hosts: texts(&["a:1", "b:1", "c:1", "d:1"]),
            private: texts(&["b:1", "d:1"]),
            localhost: texts(&["c:1", "d:1"]),
        };
        assert_eq!(profile.check(""), Ok(()));
        let line = permission_line(SandboxPermission::Network, &profile);
        assert_eq!(
            line.values,
            [
                ("a:1", ""),
                ("b:1", " (may be inside your network)"),
                ("c:1", " (may be the host of the boundary itself)"),
                (
                    "d:1",
                    " (may be inside your network, or the host of the boundary itself)"
                ),
            ]
        );
        assert!(
            line.is_remark && line.shows.contains(&"network.localhost[1]".to_owned()),
            "{:?}",
            line.shows
        );
        profile.network.private.push("e:1".to_owned());
        assert!(
            profile
                .check("/p")
                .expect_err("no host of the list")
                .to_string()
                .contains("/p/network/private/2")
        );
    }
}
