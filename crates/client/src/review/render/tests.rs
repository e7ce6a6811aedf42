//! Tests of the screens: different statements have different screens, and no text can imitate another part of the
//! screen.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    SIGNED, StatementVerdict, lines_of, profile_words,
    review::{
        render::{DEFINITION, block, brief, decision, full},
        tests::review_case::{
            ReviewCase, case, decided, fails, is_script, judged, painted, program_list, section,
        },
        value_words::grouped,
    },
    terminal::tests::screen_decoder,
};
use documents::{Layer, Limits, Proc, Profile, STRICT, Workdir, to_canonical};
use reading::DEFAULT_TOOLS;
use wire::UnknownEnd;

#[test]
fn a_profile_is_described_by_its_weakest_possible_effect() {
    let strict = Profile::nothing(STRICT.to_vec(), Limits::default());
    let words = |profile: &Profile| profile_words(profile, false).join("\n");
    let said = words(&strict);
    assert!(
        said.contains("/proc: only its own processes\n")
            && said.contains("for all files: 1 GiB; 64 MiB more in /dev/shm\n"),
        "{said}"
    );
    let live = Profile {
        workdir: Workdir::InPlace,
        write: vec!["/srv/app".into()],
        ..strict.clone()
    };
    let said = words(&live);
    assert!(
        said.contains("for all files: as much as the host has, because nothing limits a live tree"),
        "{said}"
    );
    let poor = Profile {
        require: vec![Layer::Landlock],
        ..strict.clone()
    };
    let said = words(&poor);
    for weaker in [
        "1 GiB, but without namespaces as much as the host has",
        "without namespaces and Landlock all processes of the host",
        "processes: 100, and if the run has no namespaces and no control group, only if the run has its own user id",
    ] {
        assert!(said.contains(weaker), "{weaker}: {said}");
    }
    let full = Profile {
        proc: Proc::Full,
        ..strict
    };
    assert!(
        words(&full).contains("the host's boot command line, partitions"),
        "{}",
        words(&full)
    );
}

#[test]
fn the_decision_screen_matches_its_snapshot() {
    let expected = r#"nginx:restart at prod-eu, asked by ci-agent (owner carol), prp_...000001
  digest sha256:5261bbe71d85a04087a78d158581b3764ece43423e5702dff8ce5cf421e7b8e9
  proposal    prp_01a1f889-c1a0-7000-8000-000000000001, nonce
            +  AAAAAGsAI0RCQkJCQkJCQkJCQkJCQkJC
  window      2026-11-20T09:39:00Z to 2026-11-20T10:39:00Z
  fields      29 more are defaults or follow from the fields shown, 4 only
            +  limit the parameters

      1 | set -eu
      2 | systemctl restart "nginx@$PARAM_HOST"
        bash, 2 lines, 46 bytes, title "Restart nginx"; script unchanged since
      +  the last successful run (the boundary says: 2026-11-19T09:00:00Z, 4
      +  successes so far)

nginx:restart at prod-eu, asked by ci-agent (owner carol), prp_...000001
  parameters  host = "web-3"
  reason      "p99 is up"  (ci-agent's words, not checked)
  may run     every program of the host: the kernel holds no list
  sandbox     strict, own empty directory, no network, no files of the host
  limits      5 min, 512 MiB, 100 processes, 1 CPU
  signatures  1 of 2 (bob); policy asks 1 person of each of ops, security
            +  (nobody counts for two groups); yours is number 2; carol can't
            +  count
  until       10:39 UTC (59 min left)
  trust       roster example version 1, pinned by you; all checks hold
  remarks     none"#;
    assert_eq!(painted(&case().sources(), 80, false).trim_end(), expected);
}

/// Returns a case with three parameters, five remarks and the default tools.
fn ordinary() -> ReviewCase {
    let mut case = case();
    let mut properties = serde_json::Map::new();
    let names = ["host", "release", "zone"];
    properties
        .extend(names.map(|name| (name.to_owned(), json!({"type": "string", "maxLength": 99}))));
    case.definition["params"] = json!({"type": "object", "properties": properties});
    case.params = json!({"host": "web-3.example", "release": "v2.4.1-candidate", "zone": "eu-central-1 (Frankfurt)"});
    case.reason =
        "the nightly release, because the build of yesterday did not contain the fix".to_owned();
    case.definition["source"] = "rm -f x\nkill 1\n\"$A\"\n".into();
    case.definition["sandbox"] = json!({"proc": "full"});
    case.policy = json!({"version": 1, "default": {"mode": "prompted", "run": {"allow": ["systemctl"]},
        "sandbox": {"programs": {"mode": "listed", "allow": DEFAULT_TOOLS}}, "approvals": {"required": 2, "from": ["ops"]}}});
    case.spoil = |signed| {
        let file = |tool: &str| format!("/usr/bin/{}", if tool == "awk" { "mawk" } else { tool });
        let mut names = [&DEFAULT_TOOLS[..], &["bash", "kill", "rm"]].concat();
        names.sort_unstable();
        let list: Vec<_> = names.iter().map(|name| (*name, file(name))).collect();
        let list: Vec<_> = list
            .iter()
            .map(|(name, path)| (*name, path.as_str()))
            .collect();
        signed.sandbox.programs = program_list(&list);
    };
    case
}

#[test]
fn the_decision_about_an_ordinary_run_fits_on_a_screen_of_80_columns_and_breaks_no_word() {
    let mut sources = ordinary().sources();
    sources.last = None;
    sources.unknown_end = Some(UnknownEnd {
        receipt: "rcp_019aa0b0-5c00-7000-8000-00000077a1b3"
            .parse()
            .expect("an id"),
        finished_at: "2026-11-18T02:10:59Z".parse().expect("a time"),
    });
    let found = judged(&sources);
    assert_eq!(found.standing, StatementVerdict::Sound, "{}", fails(&found));
    assert!(found.lines.remarks.len() >= 4, "{:?}", found.lines.remarks);
    let screen = block(&found).paint(80, false);
    // The question needs one more line.
    assert!(screen.lines().count() <= 22, "{screen}");
    assert!(
        screen.contains(
            "  may run     the 23 default tools, bash, kill, rm; the kernel starts no others\n"
        ),
        "{screen}"
    );
    assert!(
        screen.contains("  parameters  host = \"web-3.example\"\n"),
        "{screen}"
    );
    for width in [60, 80] {
        let screen = block(&found).paint(width, false);
        for line in screen.lines() {
            assert!(line.len() <= width, "{width}: {line}");
            let more = line.trim_start_matches(' ').strip_prefix("+ ");
            assert!(
                more.is_none_or(|more| more.starts_with(' ')),
                "{width}: within a word: {line}"
            );
        }
    }
    // Short parameters share a line.
    let mut case = ordinary();
    case.params = json!({"host": "web-3", "release": "v2.4.1", "zone": "eu"});
    let screen = block(&judged(&case.sources())).paint(80, false);
    assert!(
        screen.contains("  parameters  host = \"web-3\"   release = \"v2.4.1\"   zone = \"eu\"\n"),
        "{screen}"
    );
}

#[test]
fn lines_are_broken_between_words() {
    for width in [60, 80] {
        let screen = painted(&case().sources(), width, false);
        // The narrow screen breaks the digest.
        let (_, screen) = screen.split_once("  proposal ").expect("a proposal");
        for line in screen.lines().skip(1) {
            assert!(line.len() <= width, "{width}: {line}");
            if let Some(more) = line.trim_start_matches(' ').strip_prefix("+ ") {
                assert!(more.starts_with(' '), "{width}: within a word: {line}");
            }
        }
    }
}

#[test]
fn the_screen_of_a_denial_has_at_most_seven_lines() {
    let mut case = case();
    case.reason = "because \u{202e} ".repeat(50);
    case.params = Value::Object(
        (0..40)
            .map(|at| (format!("p{at}"), "z".repeat(99).into()))
            .collect(),
    );
    let screen = brief(&judged(&case.sources())).paint(80, false);
    assert!(
        screen.lines().count() <= 7 && screen.lines().all(|line| line.len() <= 80),
        "{screen}"
    );
    for name in [
        "nginx:restart at prod-eu, asked by ci-agent",
        "\n  parameters  p0 = ",
        "\n  reason      \"because",
        "\n  signatures  1 of 2",
    ] {
        assert!(screen.contains(name), "{name}: {screen}");
    }
}

fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\n".to_owned()),
        Just("== Summary ==".to_owned()),
        Just("\n== Summary ==\n  digest        sha256:0\n".to_owned()),
        Just("\\".to_owned()),
        Just("\"".to_owned()),
        Just("\u{202e}".to_owned()),
        Just("\x1b[2K\r".to_owned()),
        Just("    + ".to_owned()),
        Just(".predicate.reason = ".to_owned()),
        " {0,40}",
        "[ -~]{0,16}",
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    // The test parses the full screen back to the exact payload and definition. So two reviews that differ in a signed
    // byte have different screens, and no text can imitate another part of the screen.
    #[test]
    fn promise_4_different_statements_have_different_reviews(
        source in nasty(), title in nasty(), host in nasty(), reason in nasty(), exclusive in nasty(), interpreter in nasty(), width in 60_usize..140,
    ) {
        let mut case = case();
        case.definition["source"] = source.clone().into();
        case.definition["title"] = title.into();
        case.definition["interpreter"] = interpreter.into();
        case.definition["exclusive"] = exclusive.into();
        case.params = json!({"host": host});
        case.reason = reason.chars().take(60).collect();
        let sources = case.sources();
        let found = judged(&sources);
        let screen = full(&sources, &found).paint(width, false);
        prop_assert!(screen.bytes().all(|c| c == b'\n' || (0x20..0x7f).contains(&c)));
        let lines = screen_decoder::logical(&screen);
        let script: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).filter(|line| is_script(line)).collect();
        let (expected, ends) = lines_of(&source);
        prop_assert_eq!(screen_decoder::numbered(&script), expected.join("\n"));
        prop_assert_eq!(found.lines.foot.as_str().contains(&format!(" {} bytes, no newline at the end", grouped(source.len()))), !ends);
        let definition = screen_decoder::document(&section(&lines, DEFINITION), &[(".source", source.into())]);
        prop_assert_eq!(to_canonical(&definition), sources.definition.clone().expect("definition"));
        let payload = screen_decoder::document(&section(&lines, SIGNED), &[]);
        prop_assert_eq!(to_canonical(&payload), sources.payload.clone());
        // The screen has exactly one digest, and the decision is at the end.
        let digests: Vec<_> = lines.iter().map(|(_, line)| line).filter(|line| line.starts_with("  digest ")).collect();
        let digest = format!("  digest {}", found.digest);
        prop_assert_eq!(digests, vec![&digest]);
        prop_assert!(screen.ends_with(&block(&found).paint(width, false)));
    }

    #[test]
    fn promise_4_different_texts_give_different_decision_screens(one in nasty(), other in nasty(), which in 0..4, long in any::<bool>()) {
        let screen = |text: &str| {
            let text = if long { format!("{}{text}{}", "a".repeat(150), "b".repeat(150)) } else { text.to_owned() };
            let mut case = case();
            match which {
                0 => case.reason = text,
                1 => case.params = json!({"host": text}),
                2 => case.definition["title"] = text.into(),
                _ => case.definition["source"] = text.into(),
            }
            decided(&case.sources())
        };
        prop_assert_eq!(screen(&one) == screen(&other), one == other);
    }

    // The pages of the companion wrap lines themselves. Their lines must have the text of the terminal.
    #[test]
    fn promise_4_the_lines_of_a_page_have_the_text_of_the_terminal(
        source in nasty(), host in nasty(), reason in nasty(), many in 0_usize..12, width in 60_usize..140,
    ) {
        let mut case = case();
        case.definition["source"] = format!("{source}{}", "\ncurl x".repeat(many)).into();
        case.params = json!({"host": host.repeat(many + 1)});
        case.reason = reason.chars().take(60).collect();
        let sources = case.sources();
        let found = judged(&sources);
        for screen in [decision(&sources, &found), full(&sources, &found)] {
            let lines = || screen.whole_lines();
            let whole: String = lines().map(|line| format!("{}{}\n", line.prefix, line.content)).collect();
            prop_assert_eq!(&whole, &screen.paint(usize::MAX, false));
            prop_assert_eq!(screen_decoder::logical(&whole), screen_decoder::logical(&screen.paint(width, false)));
            // Only the program chooses a prefix, and no content begins like a heading in the first column.
            prop_assert!(lines().all(|line| !line.prefix.is_empty() || !line.content.starts_with("==")));
        }
    }

    #[test]
    fn the_screen_has_the_same_content_without_colour(source in nasty(), reason in nasty(), width in 60_usize..140) {
        let mut case = case();
        case.definition["source"] = source.into();
        case.reason = reason.chars().take(60).collect();
        let sources = case.sources();
        let mut bare = painted(&sources, width, true);
        for code in ["\x1b[1;31m", "\x1b[1m", "\x1b[32m", "\x1b[2m", "\x1b[0m"] {
            bare = bare.replace(code, "");
        }
        prop_assert_eq!(bare, painted(&sources, width, false));
    }
}
