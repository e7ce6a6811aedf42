//! Compares the names of the model (`tests/model`) with the source code of the program.
//!
//! Each status, each reason not to spend a nonce and each crash point of the program is either a variant in
//! `tests/model/src/names.rs` or a row of `NOT_MODELLED` with the reason. So a new name needs one line there.
use std::collections::BTreeSet;
use std::path::Path;

use crate::rust_source::{closing, rust_files, text, tokens};

const NAMES: &str = "tests/model/src/names.rs";

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// Returns the names of the variants of an enum.
fn variants(source: &str, name: &str) -> BTreeSet<String> {
    let tokens = tokens(source);
    let start =
        (0..tokens.len()).find(|at| text(&tokens, *at) == "enum" && text(&tokens, at + 1) == name);
    let open = start.unwrap_or_else(|| panic!("there is no enum {name}")) + 2;
    let mut found = BTreeSet::new();
    let mut at = open + 1;
    while at < closing(&tokens, open) {
        match text(&tokens, at) {
            "#" => at = closing(&tokens, at + 1),
            "{" | "(" => at = closing(&tokens, at),
            word if word.starts_with(|c: char| c.is_ascii_uppercase()) => {
                found.insert(word.to_owned());
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Returns the first string literal of each row of `columns` literals between two texts.
fn literals(source: &str, from: &str, to: &str, columns: usize) -> BTreeSet<String> {
    let (_, rest) = source
        .split_once(from)
        .unwrap_or_else(|| panic!("`{from}` is missing"));
    let (list, _) = rest.split_once(to).unwrap();
    list.split('"')
        .skip(1)
        .step_by(2 * columns)
        .map(str::to_owned)
        .collect()
}

/// Returns the names of all crash points: those of `POINTS`, and those that other files pass by name.
fn crash_points() -> BTreeSet<String> {
    let mut points = literals(
        &read("crates/store/src/crash_points.rs"),
        "pub const POINTS",
        "];",
        1,
    );
    points.extend(literals(
        &read("crates/store/src/crash_points.rs"),
        "pub const OTHER_POINTS",
        "];",
        1,
    ));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["src", "crates/store/src"].map(|folder| rust_files(&root.join(folder)));
    for (_, source) in files.into_iter().flatten() {
        let calls = source.split("crash_points::point(\"").skip(1);
        points.extend(calls.filter_map(|call| Some(call.split('"').next()?.to_owned())));
    }
    points
}

/// Returns the name of a variant in the form of a crash point: `BeforeSealCommit` is `before-seal-commit`.
fn kebab(variant: &str) -> String {
    let dashed: String = variant
        .chars()
        .flat_map(|c| c.is_ascii_uppercase().then_some('-').into_iter().chain([c]))
        .collect();
    dashed.trim_start_matches('-').to_ascii_lowercase()
}

/// Returns what is wrong if each name of the program must be either in the model or among the left-out names.
fn differences(
    what: &str,
    program: &BTreeSet<String>,
    model: &BTreeSet<String>,
    left_out: &BTreeSet<String>,
) -> Vec<String> {
    let unknown = program
        .iter()
        .filter(|name| !model.contains(*name) && !left_out.contains(*name));
    let unknown = unknown
        .map(|name| format!("{what} {name}: add it to the model or to NOT_MODELLED in {NAMES}"));
    let gone = model.iter().filter(|name| !program.contains(*name));
    let gone = gone.map(|name| format!("{what} {name} is in the model, and not in the program"));
    let both = model
        .intersection(left_out)
        .map(|name| format!("{what} {name} is in the model and in NOT_MODELLED"));
    unknown.chain(gone).chain(both).collect()
}

#[test]
fn the_model_has_each_status_stop_and_crash_point_of_the_program_or_says_why_not() {
    let names = read(NAMES);
    let left_out = literals(&names, "pub const NOT_MODELLED", "];", 2);
    let statuses = variants(&read("crates/wire/src/api/view.rs"), "ProposalStatus");
    let stops = variants(&read("crates/store/src/stored.rs"), "ConsumeStop");
    let points = crash_points();
    assert!(
        statuses.len() >= 8 && stops.len() >= 15 && points.len() >= 20,
        "the test looks in the wrong place"
    );
    let modelled_points = variants(&names, "CrashPoint")
        .iter()
        .map(|variant| kebab(variant))
        .collect();
    let mut wrong = differences("status", &statuses, &variants(&names, "Status"), &left_out);
    wrong.extend(differences(
        "stop",
        &stops,
        &variants(&names, "ConsumeStop"),
        &left_out,
    ));
    wrong.extend(differences(
        "crash point",
        &points,
        &modelled_points,
        &left_out,
    ));
    let exists = |name: &&String| {
        statuses.contains(*name) || stops.contains(*name) || points.contains(*name)
    };
    wrong.extend(
        left_out
            .iter()
            .filter(|name| !exists(name))
            .map(|name| format!("NOT_MODELLED names {name}, which is gone")),
    );
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_names_of_variants_and_crash_points_are_found() {
    let source = "/// Words.\n#[derive(Debug)]\npub enum A { #[default] One, Two { at: Time }, Three(Use), }\nenum B { Four }";
    assert_eq!(
        variants(source, "A").into_iter().collect::<Vec<_>>(),
        ["One", "Three", "Two"]
    );
    assert_eq!(kebab("BeforeSealCommit"), "before-seal-commit");
    let set = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(
        differences(
            "x",
            &set(&["a", "b", "c"]),
            &set(&["a", "d"]),
            &set(&["b", "a"])
        )
        .len(),
        3
    );
}
