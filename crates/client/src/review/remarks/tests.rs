//! Tests of the remarks: when they appear, in which order, and how many.

use serde_json::json;

use crate::{
    FieldReason, MOST_REMARKS, ProposalReview, RemarkSeverity, ReviewSources, StatementVerdict,
    review::{
        render::{block, brief},
        tests::review_case::{case, emergency, fails, judged, painted, program_list, remarks},
    },
};
use documents::OWN_PROGRAMS;
use wire::{AdmittedJob, UnknownEnd};

#[test]
fn access_to_the_host_causes_a_red_remark() {
    let mut case = case();
    case.definition["sandbox"] = json!({"proc": "full"});
    let sources = case.sources();
    assert_eq!(
        judged(&sources).standing,
        StatementVerdict::Sound,
        "{}",
        fails(&judged(&sources))
    );
    let screen = painted(&sources, 100, true);
    assert!(
        screen.contains("\x1b[1;31m  remarks     1. sees the whole of /proc"),
        "{screen}"
    );
    assert!(
        !screen.contains("\x1b[32m"),
        "nothing is green beside a red remark: {screen}"
    );
}

#[test]
fn an_emergency_is_red_in_the_heading_and_the_first_remark_says_who_approves_and_who_reviews() {
    let sources = emergency().sources();
    let found = judged(&sources);
    assert_eq!(found.standing, StatementVerdict::Sound, "{}", fails(&found));
    let heading = "\x1b[1;31mEMERGENCY: nginx:restart at prod-eu, asked by ci-agent";
    for screen in [
        painted(&sources, 100, true),
        block(&found).paint(100, true),
        brief(&found).paint(100, true),
    ] {
        assert!(screen.starts_with(heading), "{screen}");
    }
    let said = remarks(&sources);
    let words = "EMERGENCY: approved by 1 person of ops, normally by 1 person of each of ops, security (nobody counts for two \
                 groups); afterwards 1 person of security must review the run";
    assert_eq!(
        said.first(),
        Some(&(RemarkSeverity::Emergency, words.to_owned()))
    );
    assert!(
        painted(&sources, 400, false)
            .contains("  signatures  1 of 1 of ops (bob); yours is number 2;")
    );
    let field = found
        .lines
        .fields
        .iter()
        .find(|field| field.path == "signed.predicate.emergency")
        .expect("the field");
    assert_eq!(field.why, FieldReason::Shown("remarks"));
    let json = ProposalReview { found, sources }.to_json();
    assert_eq!(
        (
            &json["emergency"],
            &json["emergency_rule"]["review"]["from"]
        ),
        (&json!(true), &json!(["security"]))
    );
    assert_eq!(json["rules"][0], json!({"required": 1, "from": ["ops"]}));
}

#[test]
fn an_emergency_that_policy_does_not_permit_fails_the_review() {
    let mut without = emergency();
    without.policy["default"]
        .as_object_mut()
        .expect("a map")
        .remove("emergency");
    let mut longer = emergency();
    longer.policy["default"]["emergency"]["max_window_s"] = 3599.into();
    for (case, why) in [
        (without, "policy permits no emergency for nginx:restart"),
        (longer, "may last 3599 s from its issue"),
    ] {
        let sources = case.sources();
        let found = judged(&sources);
        assert_eq!(found.standing, StatementVerdict::Unsound);
        let fails = fails(&found);
        assert!(
            fails.contains("policy permits this emergency: ") && fails.contains(why),
            "{fails}"
        );
        let said = remarks(&sources);
        assert_eq!(
            said.first().map(|(severity, _)| *severity),
            Some(RemarkSeverity::Emergency),
            "{said:?}"
        );
    }
    let json = {
        let sources = case().sources();
        ProposalReview {
            found: judged(&sources),
            sources,
        }
        .to_json()
    };
    assert_eq!(
        (&json["emergency"], &json["emergency_rule"]),
        (&json!(false), &json!(null))
    );
}

#[test]
fn remarks_are_sorted_by_importance_and_at_most_five_are_above_the_question() {
    let mut case = case();
    case.policy = json!({"version": 1, "default": {
        "mode": "prompted", "run": {"allow": ["set"]}, "approvals": {"required": 1, "from": ["ops"]},
    }, "overrides": [{"runbook": "nginx", "sandbox": {"read": ["/srv"], "write": ["/srv"], "workdir": "in-place",
        "network": {"allow": ["a.example:443"]}}}]});
    case.definition["sandbox"] = json!({"write": ["/srv/app"], "workdir": "in-place", "network": {"allow": ["a.example:443"]}, "proc": "full"});
    case.definition["source"] = "rm -f x\n\"$A\"\n".into();
    case.params = json!({"host": "x".repeat(501)});
    case.reason = "\u{202e}".to_owned();
    let mut sources = case.sources();
    sources.last = None;
    assert_eq!(
        judged(&sources).standing,
        StatementVerdict::Sound,
        "{}",
        fails(&judged(&sources))
    );
    let found = remarks(&sources);
    let weights: Vec<_> = found.iter().map(|(weight, _)| *weight).collect();
    use RemarkSeverity::{
        BuiltInDenied, FirstRun, HiddenText, HostNeed, LiveTree, LongValue, Network, Unknowable,
    };
    assert_eq!(
        weights,
        [
            LiveTree,
            Network,
            HostNeed,
            Unknowable,
            BuiltInDenied,
            HiddenText,
            LongValue,
            FirstRun
        ],
        "{found:#?}"
    );
    let screen = painted(&sources, 80, false);
    let question = screen.lines().rev().take(20).collect::<Vec<_>>();
    for at in 1..=MOST_REMARKS {
        assert!(
            question.iter().any(|line| line
                .get(14..)
                .is_some_and(|text| text.starts_with(&format!("{at}. ")))),
            "{screen}"
        );
    }
    assert!(screen.contains("and 3 more above\n"), "{screen}");
    let (above, _) = screen.split_once("== Script ==").expect("a script");
    for number in [
        "6. hidden text: the reason has",
        "7. the parameter host has 501 bytes: read it whole",
        "8. no success of this step",
    ] {
        assert!(above.contains(number), "{number}: {screen}");
    }
}

#[test]
fn documents_that_are_missing_for_the_same_reason_cause_one_remark() {
    let mut sources = case().sources();
    sources.seal = None;
    sources.policy = None;
    sources.missing = vec![
        "the seal: not allowed".to_owned(),
        "the policy: not allowed".to_owned(),
    ];
    let found = remarks(&sources);
    assert_eq!(
        found[0].1,
        "these documents could not be fetched: the seal, the policy: not allowed"
    );
    assert!(
        found[1].1.starts_with("not checked: the seal is signed"),
        "{found:#?}"
    );
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        painted(&sources, 80, false).contains("COULD NOT BE PROVED"),
        "{found:#?}"
    );
}

#[test]
fn the_screen_of_an_ordinary_run_states_that_there_are_no_remarks() {
    let sources = case().sources();
    assert_eq!(remarks(&sources), []);
    assert!(painted(&sources, 80, false).contains("  remarks     none\n"));
}

#[test]
fn programs_that_are_in_no_list_get_one_line_and_no_remark() {
    let mut case = case();
    case.policy = json!({"version": 1, "default": {"mode": "prompted", "approvals": {"required": 1, "from": ["ops"]}}, "extends": "none"});
    case.definition["source"] = "aa1 x\nbb2\ncc3\nrm -f y\n".into();
    let sources = case.sources();
    assert_eq!(
        judged(&sources).standing,
        StatementVerdict::Sound,
        "{}",
        fails(&judged(&sources))
    );
    let screen = painted(&sources, 100, false);
    assert!(
        screen.contains(
            "  asks        aa1, line 1; bb2, line 2; cc3, line 3; rm, line 4: in no list; your signature allows"
        ),
        "{screen}"
    );
}

#[test]
fn a_path_that_is_not_in_the_list_of_programs_causes_a_remark() {
    let mut case = case();
    case.policy = json!({"version": 1, "default": {"mode": "prompted", "sandbox": {"programs": {"mode": "listed"}},
        "approvals": {"required": 1, "from": ["ops"]}}});
    case.definition["source"] = "./d.sh\n/opt/x/tool\n/opt/y/known\nkubectl\n".into();
    case.spoil = |signed| {
        signed.sandbox.programs =
            program_list(&[("bash", "/usr/bin/bash"), ("known", "/opt/y/known")])
    };
    let sources = case.sources();
    assert_eq!(
        judged(&sources).standing,
        StatementVerdict::Sound,
        "{}",
        fails(&judged(&sources))
    );
    let expected = (
        RemarkSeverity::HostNeed,
        "./d.sh, /opt/x/tool: not in the list of programs, so such a file can't start on the boundary's host, unless \
         it is a link to a listed program or an executable file of the step"
            .to_owned(),
    );
    assert!(
        remarks(&sources).contains(&expected),
        "{:#?}",
        remarks(&sources)
    );
    // There is no remark if the run may start all programs in its work directory (`{work}/**`), or if it has no list.
    case.spoil = |signed| {
        signed.sandbox.programs =
            program_list(&[("bash", "/usr/bin/bash"), (OWN_PROGRAMS, OWN_PROGRAMS)]);
    };
    assert!(
        !remarks(&case.sources())
            .iter()
            .any(|(_, text)| text.contains("not in the list"))
    );
    case.policy["default"]["sandbox"]["programs"]["mode"] = "any".into();
    case.spoil = |_| {};
    assert!(
        !remarks(&case.sources())
            .iter()
            .any(|(_, text)| text.contains("not in the list"))
    );
}

#[test]
fn hidden_text_causes_one_remark_that_names_the_field() {
    let mut case = case();
    case.params = json!({"host": "w\u{435}b-3"});
    case.reason = "all \u{200b}good\x1b[2J".to_owned();
    case.definition["source"] = "echo \u{202e}\n".into();
    let found = remarks(&case.sources());
    let hidden: Vec<_> = found
        .iter()
        .filter(|(weight, _)| *weight == RemarkSeverity::HiddenText)
        .collect();
    let [(_, text)] = hidden.as_slice() else {
        panic!("{found:#?}")
    };
    for expected in [
        r"the parameter host has w\u{435}b (letters of Latin and Cyrillic)",
        r"the reason has \u{200b} (invisible), \x1b (a control character)",
        r"the script has \u{202e} (changes the reading direction)",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    // The screen explains escapes only if it contains escapes.
    case.params = json!({"host": "web     3"});
    case.reason = "fine".to_owned();
    case.definition["source"] = "echo\n".into();
    let screen = painted(&case.sources(), 80, false);
    assert!(
        screen.contains(r"web\s{5}3") && screen.contains(r"  escapes     \s{n} is n spaces"),
        "{screen}"
    );
    case.params = json!({"host": "web3"});
    assert!(!painted(&case.sources(), 80, false).contains("escapes"));
}

#[test]
fn denied_names_that_are_no_longer_masked_cause_a_remark() {
    let mut sources = case().sources();
    if let Some(last) = &mut sources.last {
        last.masked = Some(3);
    }
    let found = remarks(&sources);
    assert_eq!(
        found[0].1,
        "the last run hid 3 denied names, but this profile hides no name"
    );
    if let Some(last) = &mut sources.last {
        last.masked = Some(0);
    }
    assert_eq!(remarks(&sources), []);
}

#[test]
fn denied_names_in_the_last_receipt_cause_one_remark() {
    let mut case = case();
    case.spoil = |signed| signed.sandbox.deny = vec!["**/.env".to_owned()];
    let mut sources = case.sources();
    let masked = |sources: &ReviewSources| {
        let mut found = remarks(sources);
        found.retain(|(_, text)| text.contains("the last run hid"));
        found
    };
    assert_eq!(masked(&sources), []);
    if let Some(last) = &mut sources.last {
        last.masked = Some(3);
    }
    let text = "the last run hid 3 denied names; which names this run can't see is decided when the run starts";
    assert_eq!(
        masked(&sources),
        [(RemarkSeverity::HostNeed, text.to_owned())]
    );
    if let Some(last) = &mut sources.last {
        (last.masked, last.masked_before) = (Some(0), Some(2));
    }
    let text = "the last run hid none of the 2 denied names that the run before hid: these names were moved or removed, and a run may read the files";
    assert_eq!(
        masked(&sources),
        [(RemarkSeverity::LiveTree, text.to_owned())]
    );
}

#[test]
fn many_long_values_with_long_names_are_one_short_remark() {
    let mut case = case();
    let fields = (0..9).map(|at| {
        (
            format!("{at}\u{202e}{}", "n".repeat(400)),
            json!("x".repeat(181)),
        )
    });
    case.params = json!({"host": fields.collect::<serde_json::Map<_, _>>()});
    let sources = case.sources();
    let found = remarks(&sources);
    for severity in [RemarkSeverity::LongValue, RemarkSeverity::HiddenText] {
        let (_, text) = found
            .iter()
            .find(|(of, _)| *of == severity)
            .unwrap_or_else(|| panic!("{found:?}"));
        assert!(text.len() < 600, "{} characters: {text}", text.len());
    }
    let (_, long) = found
        .iter()
        .find(|(of, _)| *of == RemarkSeverity::LongValue)
        .expect("a remark");
    assert!(long.ends_with(" more are long: read them whole"), "{long}");
}

#[test]
fn the_same_run_with_an_unknown_end_is_the_first_remark() {
    let mut case = case();
    case.definition["sandbox"] = json!({"proc": "full"});
    let mut sources = case.sources();
    sources.unknown_end = Some(UnknownEnd {
        receipt: "rcp_019aa0b0-5c00-7000-8000-00000077a1b3"
            .parse()
            .expect("an id"),
        finished_at: "2026-11-20T02:10:59Z".parse().expect("a time"),
    });
    let found = remarks(&sources);
    let expected = (
        RemarkSeverity::UnknownEnd,
        "the same run ended unknown at 02:10 UTC (rcp_...77a1b3)".to_owned(),
    );
    assert_eq!((found.len(), &found[0]), (2, &expected), "{found:?}");
}

#[test]
fn a_content_that_cannot_be_shown_weighs_more_than_a_long_script() {
    let mut case = case();
    case.definition["source"] = format!("{}rm -f x\n", ":\n".repeat(60)).into();
    case.policy = json!({"version": 1, "default": {
        "mode": "prompted", "run": {"allow": [":"]}, "approvals": {"required": 1, "from": ["ops"]},
    }});
    case.spoil = |signed| {
        let digest = documents::ContentDigest::of(&[0; 2000]);
        let blob = json!([{"name": "blob", "digest": digest, "bytes": 2000}]);
        signed.artifacts = Some(serde_json::from_value(blob).expect("artifacts"));
    };
    let mut sources = case.sources();
    sources.inputs.insert("blob".to_owned(), vec![0; 2000]);
    assert_eq!(
        judged(&sources).standing,
        StatementVerdict::Sound,
        "{}",
        fails(&judged(&sources))
    );
    let found: Vec<_> = remarks(&sources)
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert_eq!(
        found[..3],
        [
            "blob: content that can't be shown, 2,000 bytes from ci-agent",
            "rm, line 61: denied by a built-in list",
            "61 lines: read all of them; f shows them again",
        ]
    );
    let screen = painted(&sources, 80, false);
    assert!(
        screen.contains("  uploads     blob: 2,000 bytes, binary, NOT SHOWN\n"),
        "{screen}"
    );
    // A script of 60 lines has no such remark.
    case.definition["source"] = ":\n".repeat(60).into();
    assert!(
        !remarks(&case.sources())
            .iter()
            .any(|(_, text)| text.contains("read all of them"))
    );
}

#[test]
fn the_job_of_a_proposal_is_the_boundary_s_word_and_long_or_hidden_text_stays_harmless() {
    let mut sources = case().sources();
    let line = |sources: &ReviewSources| {
        let lines = judged(sources).lines.always;
        lines
            .iter()
            .find(|line| line.name == "job")
            .map(|line| line.text.as_str().to_owned())
    };
    assert_eq!(line(&sources), None, "a token with a secret");
    let mut job = AdmittedJob {
        issuer: "https://i.example".to_owned(),
        claims: [
            ("ref".to_owned(), "main\u{202e}".to_owned()),
            ("sha".to_owned(), "89ab".to_owned()),
        ]
        .into(),
        bind: [("commit".to_owned(), "sha".to_owned())].into(),
        job: Some("https://i.example/jobs/7".to_owned()),
    };
    sources.job = Some(job.clone());
    assert_eq!(
        line(&sources).as_deref(),
        Some(
            "the boundary says: admitted by OIDC of https://i.example as ref=main\\u{202e}, sha=89ab, job \
             https://i.example/jobs/7; commit is its claim sha"
        )
    );
    job.claims.insert("long".to_owned(), "x".repeat(10_000));
    sources.job = Some(job);
    assert!(line(&sources).is_some_and(|line| line.len() < 600 && line.contains("jobs/7")));
}
