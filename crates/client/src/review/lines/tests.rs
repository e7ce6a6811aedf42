//! Tests of the lines for parameters and signatures. No parameter may hide another.

use serde_json::{Value, json};

use crate::{
    RemarkSeverity, ReviewSources, RosterSource, StatementVerdict,
    review::{
        derive::comparisons::derive_granted,
        render::brief,
        tests::review_case::{
            ReviewCase, case, fails, is_script, judged, painted, program_list, remarks,
        },
    },
    terminal::tests::screen_decoder,
};
use documents::{Authorization, Group, OWN_PROGRAMS, PresenceRule, Statement, to_canonical};
use verdict::TrustedRoster;

#[test]
fn a_long_value_is_shortened_in_its_line_and_shown_completely_above_the_script() {
    let mut case = case();
    let value = format!("begin-{}-end", "0123456789".repeat(60));
    case.params = json!({"host": value});
    let sources = case.sources();
    assert_eq!(
        judged(&sources).standing,
        StatementVerdict::Sound,
        "{}",
        fails(&judged(&sources))
    );
    let screen = painted(&sources, 80, false);
    let (above, below) = screen.split_once("== Script ==").expect("both");
    let joined = |text: &str| {
        screen_decoder::logical(text)
            .into_iter()
            .map(|(_, line)| line)
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert!(
        joined(above).contains(&format!("host = \"{value}\"")),
        "{screen}"
    );
    let below = joined(below);
    let digest = documents::ContentDigest::of(value.as_bytes());
    assert!(
        below.contains("parameters  host = \"begin-0123456789"),
        "{screen}"
    );
    assert!(
        below.contains(&format!("-end\", {} bytes, {digest}", value.len())),
        "{screen}"
    );
    // The screen shows a value of three lines in full.
    case.params = json!({"host": "y".repeat(170)});
    let screen = painted(&case.sources(), 80, false);
    assert!(
        !screen.contains("== Script ==") && joined(&screen).contains(&"y".repeat(170)),
        "{screen}"
    );
}

/// Returns a case with these parameters and a definition that accepts them.
fn with_params(params: Value) -> ReviewCase {
    let mut case = case();
    let types = params.as_object().expect("an object").iter().map(|(name, value)| {
        let schema = match value {
            Value::Array(_) => json!({"type": "array", "items": {"type": "integer"}, "maxItems": 1000}),
            Value::Object(_) => json!({"type": "object", "properties": {"k": {"type": "string", "maxLength": 9}}}),
            _ => json!({"type": "string", "maxLength": 4000}),
        };
        (name.clone(), schema)
    });
    let properties: serde_json::Map<String, Value> = types.collect();
    case.definition["params"] = json!({"type": "object", "properties": properties});
    case.params = params;
    case
}

/// Returns the lines of a screen below the script, with wrapped lines joined.
fn below_the_script(screen: &str) -> Vec<String> {
    let lines: Vec<String> = screen_decoder::logical(screen)
        .into_iter()
        .map(|(_, line)| line)
        .collect();
    let script = lines
        .iter()
        .rposition(|line| is_script(line))
        .expect("a script");
    lines[script + 1..].to_vec()
}

#[test]
fn a_parameter_with_many_parts_does_not_hide_another_parameter() {
    let many: Vec<u32> = (0..200).collect();
    let case = with_params(json!({"a": many, "few": [1, 2], "k": {"k": "v"}, "zz": "prod"}));
    let mut sources = case.sources();
    assert_eq!(
        judged(&sources).standing,
        StatementVerdict::Sound,
        "{}",
        fails(&judged(&sources))
    );
    let screen = painted(&sources, 80, false);
    let below = below_the_script(&screen);
    let digest = documents::ContentDigest::of(&to_canonical(&json!(many)));
    for expected in [
        &*format!(
            "  parameters  a = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 1... 188, 189, 190, 191, 192, 193, \
             194, 195, 196, 197, 198, 199], 200 elements, 691 bytes, {digest}"
        ),
        "few = [1, 2]",
        "k = {\"k\": \"v\"}",
        "zz = \"prod\"",
    ] {
        assert!(
            below.iter().any(|line| line.trim() == expected.trim()),
            "{expected}\n{}",
            below.join("\n")
        );
    }
    let (above, _) = screen.split_once("== Script ==").expect("both");
    assert!(
        above.contains("    a[0] = 0\n") && above.contains("    a[199] = 199\n"),
        "{screen}"
    );
    assert!(
        !below.iter().any(|line| line.contains("escapes")),
        "there are none: {}",
        below.join("\n")
    );
    let told = [(
        RemarkSeverity::LongValue,
        "the parameter a has 691 bytes: read it whole".to_owned(),
    )];
    assert_eq!(remarks(&sources), told);
    let asked = brief(&judged(&sources)).paint(80, false);
    assert!(asked.contains("zz = \"prod\""), "{asked}");
    // The values have the same beginning and end, so the line names the place that differs.
    let mut before = many;
    before[100] = 7;
    before.push(200);
    if let Some(last) = &mut sources.last {
        last.params = json!({"a": before, "few": [1, 2], "k": 3, "zz": "test"});
    }
    let below = below_the_script(&painted(&sources, 80, false)).join("\n");
    for expected in [
        "(differs from the last success at [100], [200])\n",
        "few = [1, 2]\n",
        "(differs from the last success at .k, the whole)\n",
        "zz = \"prod\"  (last success: \"test\")\n",
    ] {
        assert!(below.contains(expected), "{expected}\n{below}");
    }
}

#[test]
fn many_parameters_get_one_row_each_and_a_remark_names_the_parameters_without_a_row() {
    let params = |count: usize| -> Value {
        let all = (0..count).map(|at| {
            (
                format!("p{at:02}"),
                Value::from("z".repeat(170) + &at.to_string()),
            )
        });
        Value::Object(all.collect())
    };
    let sources = with_params(params(12)).sources();
    assert_eq!(
        judged(&sources).standing,
        StatementVerdict::Sound,
        "{}",
        fails(&judged(&sources))
    );
    let screen = painted(&sources, 80, false);
    let rows = |screen: &str| {
        let (_, below) = screen.split_once("== Script ==").expect("both");
        below
            .lines()
            .filter(|line| line.contains("zzz...z") && line.contains(" bytes"))
            .count()
    };
    assert_eq!(rows(&screen), 12, "{screen}");
    assert_eq!(remarks(&sources), []);
    let sources = with_params(params(14)).sources();
    let screen = painted(&sources, 80, false);
    assert_eq!(rows(&screen), 12, "{screen}");
    assert!(
        below_the_script(&screen)
            .iter()
            .any(|line| line.trim() == "and 2 more, in full above the script"),
        "{screen}"
    );
    let [(RemarkSeverity::LongValue, remark)] = &remarks(&sources)[..] else {
        panic!("{:?}", remarks(&sources))
    };
    assert!(
        remark.starts_with("2 parameters are shown only above the script"),
        "{remark}"
    );
    // A denial shows at most nine parameters.
    for (count, shown, more) in [
        (1, 1, None),
        (3, 3, None),
        (4, 4, None),
        (9, 9, None),
        (14, 8, Some("and 6 more")),
    ] {
        let screen = brief(&judged(&with_params(params(count)).sources())).paint(80, false);
        assert!(
            screen.lines().count() <= 7 && screen.lines().all(|line| line.len() <= 80),
            "{count}: {screen}"
        );
        assert_eq!(
            screen.matches(" = \"zz").count(),
            shown,
            "{count}: {screen}"
        );
        assert!(
            screen.contains("and ") == more.is_some() && screen.contains(more.unwrap_or("")),
            "{count}: {screen}"
        );
    }
}

#[test]
fn the_signatures_line_names_the_kind_of_key_that_a_group_requires() {
    for (rule, words) in [
        (
            Some(PresenceRule::Required),
            "of security: only security keys with touch count",
        ),
        (
            Some(PresenceRule::Verified),
            "of security: only security keys that verified the person (PIN or fingerprint) count",
        ),
        (None, ""),
    ] {
        let mut sources = case().sources();
        let RosterSource::Trusted(roster, _) = &sources.roster else {
            panic!("no roster")
        };
        let mut tables = roster.tables().clone();
        tables.groups.insert(
            "security".parse().expect("a name"),
            Group { presence: rule },
        );
        let payload = tables
            .into_statement()
            .and_then(|statement| statement.to_payload())
            .expect("a roster");
        let roster = TrustedRoster::from_payload(&payload).expect("a roster");
        sources.roster = RosterSource::Trusted(Box::new(roster), "--roster roster.json".to_owned());
        let found = judged(&sources);
        let line = found
            .lines
            .always
            .iter()
            .find(|line| line.name == "signatures")
            .expect("a line");
        let text = line.text.as_str();
        assert!(
            text.contains(words) && text.contains("security keys") == rule.is_some(),
            "{text}"
        );
    }
}

/// Returns a case whose policy asks for a list of programs.
fn listed(interpreter: &str, spoil: fn(&mut Authorization)) -> ReviewCase {
    let mut case = case();
    case.policy = json!({"version": 1, "default": {"mode": "prompted", "run": {"allow": ["systemctl"]},
        "sandbox": {"programs": {"mode": "listed", "allow": ["awk", "{work}/**"]}}, "approvals": {"required": 1, "from": ["ops"]}}});
    case.definition["interpreter"] = interpreter.into();
    case.spoil = spoil;
    case
}

#[test]
fn the_list_of_programs_is_one_line_that_shows_the_file_of_each_link() {
    let bash = |signed: &mut Authorization| {
        signed.sandbox.programs = program_list(&[
            ("awk", "/usr/bin/mawk"),
            ("bash", "/usr/bin/bash"),
            ("systemctl", "/usr/bin/systemctl"),
            (OWN_PROGRAMS, OWN_PROGRAMS),
        ]);
    };
    let sources = listed("bash", bash).sources();
    assert_eq!(
        judged(&sources).standing,
        StatementVerdict::Sound,
        "{}",
        fails(&judged(&sources))
    );
    let screen = painted(&sources, 400, false);
    assert!(
        screen.contains(
            "  may run     awk (the file /usr/bin/mawk), bash, systemctl, every file in the directories that the run may \
             write; the kernel starts no others\n"
        ),
        "{screen}"
    );
}

#[test]
fn nothing_is_signed_if_the_boundary_sends_another_list_of_programs() {
    let bash = |signed: &mut Authorization| {
        signed.sandbox.programs = program_list(&[
            ("bash", "/usr/bin/bash"),
            ("systemctl", "/usr/bin/systemctl"),
        ]);
    };
    let honest = listed("bash", bash).sources();
    let signed = Statement::<Authorization>::from_payload(&honest.payload).expect("a statement");
    let run = signed.predicate;
    let verdicts = |sources: &ReviewSources| {
        let of_grant = derive_granted(sources, &run, run.not_before);
        [judged(sources), of_grant].map(|found| (found.standing, fails(&found)))
    };
    for (standing, why) in verdicts(&honest) {
        assert_eq!(standing, StatementVerdict::Sound, "{why}");
    }
    let mut others = vec![Vec::new(); 3];
    others[0].clone_from(&honest.programs);
    others[0][1].path = "/usr/bin/true".parse().expect("a path");
    others[1].clone_from(&honest.programs);
    others[1].reverse();
    for programs in others {
        let sources = ReviewSources {
            programs,
            ..listed("bash", bash).sources()
        };
        for (standing, why) in verdicts(&sources) {
            assert_eq!(standing, StatementVerdict::Unsound);
            assert!(
                why.contains("the list of programs is the signed list"),
                "{why}"
            );
        }
    }
    let mut without = case().sources();
    without.programs = honest.programs;
    assert_eq!(judged(&without).standing, StatementVerdict::Unsound);
}

#[test]
fn a_script_that_policy_cannot_read_starts_only_listed_programs() {
    let python = |signed: &mut Authorization| {
        signed.sandbox.programs = program_list(&[("python3", "/usr/bin/python3.11")]);
    };
    let sources = listed("python", python).sources();
    assert_eq!(
        judged(&sources).standing,
        StatementVerdict::Sound,
        "{}",
        fails(&judged(&sources))
    );
    let screen = painted(&sources, 400, false);
    for line in [
        "  asks        not a shell script, so policy can't see which programs the script starts\n",
        "  may run     python3 (the file /usr/bin/python3.11); the kernel starts no others\n",
    ] {
        assert!(screen.contains(line), "{line}{screen}");
    }
    let mut case = case();
    case.definition["interpreter"] = "python".into();
    let screen = painted(&case.sources(), 400, false);
    assert!(
        screen.contains("so the script may start any program\n"),
        "{screen}"
    );
}

#[test]
fn a_list_with_a_file_that_policy_denies_fails_the_review() {
    let bash = |signed: &mut Authorization| {
        signed.sandbox.programs =
            program_list(&[("awk", "/usr/bin/mawk"), ("bash", "/usr/bin/bash")]);
    };
    let mut case = listed("bash", bash);
    assert_eq!(judged(&case.sources()).standing, StatementVerdict::Sound);
    case.policy["default"]["run"]["deny"] = json!(["mawk"]);
    let found = judged(&case.sources());
    assert_ne!(found.standing, StatementVerdict::Sound);
    assert!(fails(&found).contains("awk"), "{}", fails(&found));
}
