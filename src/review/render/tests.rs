//! Tests of the screens: different statements have different screens, and no text can imitate another part of the
//! screen.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::crypto::canonical::to_canonical;
use crate::record::profile::{Layer, Limits, Proc, Profile, STRICT, Workdir};
use crate::review::render::{DEFINITION, SIGNED, brief, full, profile_words};
use crate::review::review_case::{case, decided, is_script, judged, painted, section};
use crate::terminal::screen::lines_of;
use crate::terminal::screen_decoder;

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
    let live = Profile { workdir: Workdir::InPlace, write: vec!["/srv/app".into()], ..strict.clone() };
    let said = words(&live);
    assert!(said.contains("for all files: as much as the host has, because nothing limits a live tree"), "{said}");
    let poor = Profile { require: vec![Layer::Landlock], ..strict.clone() };
    let said = words(&poor);
    for weaker in [
        "1 GiB, but without namespaces as much as the host has",
        "without namespaces and Landlock all processes of the host",
        "processes: 100, and if the run has no namespaces and no control group, only if the run has its own user id",
    ] {
        assert!(said.contains(weaker), "{weaker}: {said}");
    }
    let full = Profile { proc: Proc::Full, ..strict };
    assert!(words(&full).contains("the host's boot command line, partitions"), "{}", words(&full));
}

#[test]
fn the_decision_screen_matches_its_snapshot() {
    insta::assert_snapshot!(painted(&case().sources(), 80, false), @r#"
    nginx:restart at prod-eu, asked by ci-agent (owner carol)

          1 | set -eu
          2 | systemctl restart "nginx@$PARAM_HOST"
            bash, 2 lines, 46 bytes, "Restart nginx"; script unchanged since the
          +  last successful run (the boundary says: 2026-11-19T09:00:00Z, 4
          +  successes so far)

      proposal    prp_019aa0b0-5c00-7000-8000-000000000001, nonce
                +  AZqgsFwAQkJCQkJCQkJCQkJCQkJCQg
      parameters  host = "web-3"
      reason      "p99 is up"  (ci-agent's words, not checked)
      programs    policy asks about nothing that the script names
      may run     every program of the host: the kernel holds no list
      sandbox     strict, own empty directory, no network, no files of the host
      limits      5 min, 512 MiB, 100 processes, 1 CPU
      signatures  1 of 2 so far, the boundary says (bob); policy asks 1 person of
                +  each of ops, security (nobody counts for two groups); yours is
                +  number 2; carol can't count
      until       2026-11-20T10:39:00Z (59 min 0 s left)
      trust       roster example version 1, from --roster roster.json; all 13
                +  checks of this program passed
                  33 further signed fields equal a value shown here or a built-in
                +  default; 4 only restrict the parameters
      remarks     none
      digest sha256:83dd22f85e9d7355bc9f1cfb9c257c4dc780ee9431bb3c9eb513345aabe8a184
    "#);
}

#[test]
fn lines_are_broken_between_words() {
    for width in [60, 80] {
        let screen = painted(&case().sources(), width, false);
        // The narrow screen breaks the digest.
        let (screen, _) = screen.split_once("  digest ").expect("a digest");
        for line in screen.lines() {
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
    case.params = Value::Object((0..40).map(|at| (format!("p{at}"), "z".repeat(99).into())).collect());
    let screen = brief(&judged(&case.sources())).paint(80, false);
    assert!(screen.lines().count() <= 7 && screen.lines().all(|line| line.len() <= 80), "{screen}");
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
        prop_assert_eq!(found.lines.foot.as_str().contains(&format!(" {} bytes, no newline at the end", source.len())), !ends);
        let definition = screen_decoder::document(&section(&lines, DEFINITION), &[(".source", source.into())]);
        prop_assert_eq!(to_canonical(&definition), sources.definition.clone().expect("definition"));
        let payload = screen_decoder::document(&section(&lines, SIGNED), &[]);
        prop_assert_eq!(to_canonical(&payload), sources.payload.clone());
        // The screen has exactly one digest, at the end.
        prop_assert_eq!(screen.lines().filter(|line| line.starts_with("  digest ")).count(), 1);
        let end = format!("  digest {}", found.digest);
        prop_assert_eq!(&lines.last().expect("a line").1, &end);
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
