//! Letters beyond ASCII on the screens of people: what the program shows to people with different locales.

use std::process::Output;

use crate::support::people::alice;
use crate::support::{SMALL, World, exited, id_of, runbook, said};
use serde_json::{Value, json};

/// A German script with comments, a here-document and other text.
const SCRIPT: &str = "# Größe prüfen\ncat <<E >/dev/null # für später\n# kein Kommentar: Übergabe\nE\n\
                      printf 'Gruß %s\\n' \"$PARAM_NOTE\" # p\u{430}ypal";

fn world() -> World {
    World::with(|setup| {
        let front =
            format!("params:\n  note: {{type: string, default: x, maxLength: 4000}}\n{SMALL}");
        setup.runbook(
            "lager.md",
            runbook(&front, &[("go title=\"Lager prüfen\"", SCRIPT)]),
        );
    })
}

/// Proposes the step with the program of an agent.
fn propose(world: &World, note: &str, reason: &str) -> Value {
    let mut command = world.program(&[
        "propose",
        "lager:go",
        "--json",
        "--reason",
        reason,
        "-p",
        &format!("note={note}"),
    ]);
    command
        .env("COUNTERSIGN_URL", &world.wire.url)
        .env("COUNTERSIGN_TOKEN", &world.agent);
    let output = exited(command.output().expect("started"), 0);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)))
}

fn as_alice(world: &World, locale: &str, words: &[&str]) -> Output {
    world
        .as_alice(words)
        .env_remove("LANG")
        .env("LC_ALL", locale)
        .output()
        .expect("started")
}

/// Returns the review that alice sees, with each wrapped line in one piece.
fn review_of(world: &World, locale: &str, id: &str) -> String {
    let mut text = String::new();
    for line in said(&exited(as_alice(world, locale, &["review", id]), 0)).lines() {
        match line.trim_start_matches(' ').strip_prefix("+ ") {
            Some(more) => text.push_str(more),
            None => text.push_str(&format!("\n{line}")),
        }
    }
    text
}

#[test]
fn a_reason_and_a_text_parameter_are_shown_to_a_person_who_reads_their_script_and_as_escapes_to_others()
 {
    let world = world();
    let hebrew = "\u{5e9}\u{5dc}\u{5d5}\u{5dd}";
    for (locale, reason, note) in [
        (
            "de_DE.UTF-8",
            "Störung im Lager: Übergabe hängt",
            "Größe prüfen",
        ),
        ("ja_JP.UTF-8", "倉庫の障害、「再送」する。", "サイズを確認"),
        ("el_GR.UTF-8", "βλάβη στην αποθήκη", "έλεγχος μεγέθους"),
        ("ko_KR.UTF-8", "창고 장애, 재시작", "크기 확인"),
        ("ar_EG.UTF-8", "عطل في المستودع", hebrew),
    ] {
        let proposal = propose(&world, note, reason);
        let id = id_of(&proposal);
        let is_shown = !locale.starts_with("ar");
        let review = review_of(&world, locale, id);
        let (shown_note, shown_reason) = (
            format!("note = \"{note}\""),
            format!("reason      \"{reason}\""),
        );
        assert_eq!(
            review.contains(&shown_note) && review.contains(&shown_reason),
            is_shown,
            "{review}"
        );
        let inbox = said(&exited(as_alice(&world, locale, &["inbox"]), 0));
        assert_eq!(
            inbox.contains(&format!("note=\"{note}\"")),
            is_shown,
            "{inbox}"
        );
        assert_eq!(inbox.contains("hidden-text"), !is_shown, "{inbox}");
        // The field is named in one remark.
        let remark = "hidden text: the parameter note has ";
        assert_eq!(review.contains(remark), !is_shown, "{review}");
        for other in ["C", "de_DE", "ar_EG.UTF-8"] {
            let review = review_of(&world, other, id);
            let text = review.replace(['ö', 'ü', 'ß', 'Ü', 'ä', '、', '「', '」', '。'], "");
            let is_german = other == "ar_EG.UTF-8" && locale.starts_with("de");
            assert!(
                if other == "ar_EG.UTF-8" {
                    text.is_ascii()
                } else {
                    review.is_ascii()
                },
                "{other}: {review}"
            );
            assert_eq!(review.contains(remark), !is_german, "{other}: {review}");
        }
        // The list of the agent has each escape once.
        let mut command = world.program(&["proposals"]);
        command
            .env("COUNTERSIGN_URL", &world.wire.url)
            .env("COUNTERSIGN_TOKEN", &world.agent)
            .env("LC_ALL", "C");
        let listed = said(&command.output().expect("started"));
        assert!(
            listed.contains(r"\u{") && !listed.contains(r"\\u") && listed.is_ascii(),
            "{listed}"
        );
        exited(
            as_alice(&world, "C", &["deny", id, "--yes", "--reason", reason]),
            0,
        );
    }
    let denied = said(&exited(as_alice(&world, "ko_KR.UTF-8", &["inbox"]), 0));
    assert!(
        denied.contains("(alice's words: \"창고 장애, 재시작\")") && denied.contains(r"\u{639}"),
        "{denied}"
    );
}

#[test]
fn only_titles_and_comments_of_a_script_show_letters() {
    let world = world();
    let proposal = world.propose("lager:go", json!({}));
    let review = review_of(&world, "de_DE.UTF-8", id_of(&proposal));
    for line in [
        " 1 | # Größe prüfen",
        " 2 | cat <<E >/dev/null # für später",
        r" 3 | # kein Kommentar: \u{dc}bergabe",
        r#" 5 | printf 'Gru\u{df} %s\n' "$PARAM_NOTE" # p\u{430}ypal"#,
        "\"Lager prüfen\"",
        r"hidden text: the script has p\u{430}ypal (letters of Latin and Cyrillic)",
    ] {
        assert!(review.contains(line), "{line}: {review}");
    }
    let mut list = world.program(&["registry", "list", "--url", &world.wire.url]);
    let list = list
        .env("COUNTERSIGN_TOKEN", &world.reader)
        .env("LC_ALL", "de_DE.UTF-8")
        .output()
        .expect("started");
    let list = said(&exited(list, 0));
    assert!(list.contains("Lager prüfen"), "{list}");
}

#[test]
fn the_configuration_of_a_person_says_which_scripts_are_shown() {
    let world = world();
    let proposal = propose(&world, "λόγος", "Störung, 再送");
    let show = |locale: &str| review_of(&world, locale, id_of(&proposal));
    let configure = |text: &str| world.write("home/.config/countersign/config.toml", text);
    configure("[display]\nscripts = [\"Japanese\", \"Greek\"]\n");
    let review = show("de_DE.UTF-8");
    assert!(
        review.contains(r#""St\u{f6}rung, 再送""#) && review.contains("\"λόγος\""),
        "{review}"
    );
    assert!(
        review.contains("or config.toml does not list Latin)"),
        "{review}"
    );
    // A terminal without UTF-8 could take a byte for a control character.
    let plain = show("C");
    assert!(
        plain.is_ascii()
            && plain
                .contains("(your locale, which must be UTF-8, or config.toml does not list Latin)"),
        "{plain}"
    );
    for (text, why) in [
        (
            "[display]\nscripts = [\"Klingon\"]\n",
            "\"Klingon\" is no script",
        ),
        ("[", "is no configuration"),
    ] {
        configure(text);
        let review = show("de_DE.UTF-8");
        assert!(
            review.is_ascii() && review.contains("note: ") && review.contains(why),
            "{review}"
        );
    }
}

#[test]
fn a_reason_has_1024_characters_of_any_script_and_its_refusal_says_so() {
    let world = world();
    let refused = |reason: &str| {
        let mut command = world.program(&["propose", "lager:go", "--reason", reason]);
        command
            .env("COUNTERSIGN_URL", &world.wire.url)
            .env("COUNTERSIGN_TOKEN", &world.agent);
        said(&command.output().expect("started"))
    };
    for letter in ["x", "ö", "語"] {
        let text = refused(&letter.repeat(1025));
        assert!(
            text.contains("1025 characters, at most 1024 are allowed"),
            "{text}"
        );
        let text = refused(&letter.repeat(1024));
        assert!(text.contains("the proposal is pending"), "{text}");
    }
    let text = refused(&"🦀".repeat(513));
    assert!(
        text.contains("6156 bytes as JSON, at most 6144 are allowed (an emoji takes 12)"),
        "{text}"
    );
}

#[test]
fn output_at_a_terminal_begins_a_line_at_each_carriage_return_and_the_recorded_bytes_stay() {
    let script =
        "printf 'progress 10%%\\rprogress 20%%\\r\\033[K\\033[32mdone\\033[0m\\n\\033[2J\\n'";
    let world = World::with(|setup| setup.runbook("bar.md", runbook(SMALL, &[("go", script)])));
    let finished = world.run("bar:go", json!({}), &[&alice()]);
    let id = id_of(&finished);
    let print = |line: &str| {
        let mut command = world.command("script");
        let program = crate::support::PROGRAM;
        command.args([
            "-qefc",
            &format!("exec {program} output {id} {line}"),
            "/dev/null",
        ]);
        command
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm")
            .env("COUNTERSIGN_URL", &world.wire.url);
        let output = command
            .env("COUNTERSIGN_TOKEN", &world.agent)
            .output()
            .expect("started");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let shown = print("").replace("\r\n", "\n");
    assert!(
        shown.contains("progress 10%\nprogress 20%\ndone\n\\x1b[2J\n"),
        "{shown:?}"
    );
    assert!(
        print("--raw").contains("progress 10%\rprogress 20%\r\x1b[K\x1b[32mdone"),
        "the recorded bytes"
    );
}
