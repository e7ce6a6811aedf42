//! Reads transitions such as `PASS: CONTINUE` and `FAIL ANY RETRY 2 STOP "message"`.

use crate::{
    Aggregation, FinalAction, MAX_ITERATIONS, TextPlace, UnitLabel, YamlFlaw, is_name, refuse,
    registry::rundown::{
        header::{RESERVED, is_separator, target},
        workflow::{TransitionAction, Transitions},
    },
    yaml::unknown,
};

/// One transition of the file.
pub struct TransitionLine {
    pub on_pass: bool,
    pub aggregation: Option<Aggregation>,
    pub action: TransitionAction,
}

const KEYWORDS: [(&str, bool); 4] = [
    ("PASS", true),
    ("YES", true),
    ("FAIL", false),
    ("NO", false),
];
const ACTIONS: [&str; 5] = ["CONTINUE", "COMPLETE", "STOP", "GOTO", "RETRY"];

/// Reads one line. Returns `None` if the line is prose. In a list item, each line that begins with the keyword of a
/// transition must be a transition. In a paragraph, such a line may be prose.
pub fn transition(
    text: &str,
    place: TextPlace,
    in_item: bool,
) -> Result<Option<TransitionLine>, String> {
    let text = text.trim();
    let Some((keyword, on_pass)) = KEYWORDS.into_iter().find(|(keyword, _)| {
        text.strip_prefix(keyword)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(is_separator))
    }) else {
        return Ok(None);
    };
    let rest = &text[keyword.len()..];
    let word = rest
        .trim_start()
        .split(is_separator)
        .next()
        .unwrap_or_default();
    let is_prose = rest.starts_with(char::is_whitespace)
        && !word.is_empty()
        && !ACTIONS
            .iter()
            .any(|action| word.eq_ignore_ascii_case(action))
        && !word.bytes().all(|c| c.is_ascii_uppercase());
    if is_prose && !in_item {
        return Ok(None);
    }
    let (aggregation, rest) = match word {
        "ALL" | "ANY" => {
            let all = (word == "ALL") == on_pass;
            let rest = rest.trim_start().strip_prefix(word).unwrap_or_default();
            (
                Some(if all {
                    Aggregation::AllPass
                } else {
                    Aggregation::AnyPasses
                }),
                rest,
            )
        }
        _ => (None, rest),
    };
    let action = action(rest.trim_start_matches(is_separator), keyword, place)?;
    Ok(Some(TransitionLine {
        on_pass,
        aggregation,
        action,
    }))
}

fn action(text: &str, keyword: &str, place: TextPlace) -> Result<TransitionAction, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err(format!(
            "{keyword} has no action: write for example {keyword}: CONTINUE"
        ));
    }
    let Some(rest) = after_word(text, "RETRY") else {
        return Ok(TransitionAction {
            place,
            retries: 0,
            then: final_action(text)?,
        });
    };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let count = &rest[..digits];
    let then = rest[digits..].trim();
    if digits > 0 && rest[digits..].starts_with(|c: char| !c.is_whitespace()) {
        return Err(format!(
            "{rest:?} is not valid after RETRY: write for example RETRY 2 STOP"
        ));
    }
    let retries = match count.parse::<u32>() {
        _ if count.is_empty() => 1,
        Ok(count) if (1..=MAX_ITERATIONS).contains(&count) => count,
        _ => {
            return Err(format!(
                "RETRY {count} is not valid: write a number from 1 to {MAX_ITERATIONS}"
            ));
        }
    };
    if after_word(then, "RETRY").is_some() {
        return Err(
            "a RETRY can't contain another RETRY: write one RETRY with a larger number".to_owned(),
        );
    }
    let then = match then {
        "" => FinalAction::Stop(None),
        message if message.starts_with('"') => FinalAction::Stop(Some(quoted(message)?)),
        action => final_action(action)?,
    };
    Ok(TransitionAction {
        place,
        retries,
        then,
    })
}

fn final_action(text: &str) -> Result<FinalAction, String> {
    if text == "CONTINUE" {
        return Ok(FinalAction::Continue);
    }
    if let Some(message) = after_word(text, "COMPLETE") {
        return Ok(FinalAction::Complete(self::message(message)?));
    }
    if let Some(message) = after_word(text, "STOP") {
        return Ok(FinalAction::Stop(self::message(message)?));
    }
    if let Some(target) = after_word(text, "GOTO") {
        return goto(target);
    }
    let word = text.split(is_separator).next().unwrap_or_default();
    Err(match word {
        "NEXT" => newer(
            "NEXT",
            "write GOTO NEXT in a dynamic step, or CONTINUE in the last substep of a FOR loop",
        ),
        "BREAK" => newer("BREAK", "write GOTO and the step after the loop"),
        "DEFER" => newer(
            "DEFER",
            "write CONTINUE; the step itself can have transitions with ALL or ANY",
        ),
        "CONTINUE" => format!(
            "CONTINUE has no message: remove {:?}",
            text["CONTINUE".len()..].trim()
        ),
        _ => unknown("action", word, &ACTIONS),
    })
}

/// Returns the message for a word of a newer version of Rundown.
pub fn newer(word: &str, instead: &str) -> String {
    format!(
        "{word} belongs to a newer version of Rundown, which this program does not read: {instead}"
    )
}

fn goto(text: &str) -> Result<FinalAction, String> {
    let mut words = text.split_whitespace();
    let (first, second, third) = (words.next(), words.next(), words.next());
    let wrong = |text: &str| {
        format!(
            "{text:?} is no target of GOTO: write a step like 2, 2.1, {{N}}, or Name, or write NEXT"
        )
    };
    let read = |word: &str| {
        let names = |label: &UnitLabel| matches!(label, UnitLabel::Name(name) if RESERVED.contains(&name.as_str()));
        target(word)
            .filter(|target| !names(&target.step) && !target.substep.as_ref().is_some_and(names))
            .ok_or_else(|| wrong(word))
    };
    match (first, second, third) {
        (None, ..) => Err("GOTO has no target: write for example GOTO 2".to_owned()),
        (Some("NEXT"), None, _) => Ok(FinalAction::NextInstance(None)),
        (Some("NEXT"), Some(word), None) => Ok(FinalAction::NextInstance(Some(read(word)?))),
        (_, Some("AT"), _) => Err(newer(
            "GOTO ... AT",
            "write GOTO without AT; the loop then begins at its start",
        )),
        (Some(word), None, _) => Ok(FinalAction::Goto(read(word)?)),
        _ => Err(wrong(text)),
    }
}

fn message(text: &str) -> Result<Option<String>, String> {
    match text {
        "" => Ok(None),
        _ if text.contains('"') => quoted(text).map(Some),
        _ if is_name(text) => Ok(Some(text.to_owned())),
        _ => Err(format!(
            "the message {text:?} has more than one word: put the message in quotes, \"...\""
        )),
    }
}

fn quoted(text: &str) -> Result<String, String> {
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    inner
        .map(str::to_owned)
        .ok_or_else(|| format!("the quotes of the message {text} are not closed: write \"...\""))
}

/// Returns the trimmed text after a whole word.
fn after_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(word)?;
    (rest.is_empty() || rest.starts_with(char::is_whitespace)).then(|| rest.trim())
}

/// Makes the transitions of a unit from its lines. The default is `PASS ALL: CONTINUE` and `FAIL ANY: STOP`.
pub fn transitions(lines: Vec<TransitionLine>, flaws: &mut Vec<YamlFlaw>) -> Option<Transitions> {
    let mut found = Transitions::default();
    let (mut pass, mut fail): (Option<TransitionLine>, Option<TransitionLine>) = (None, None);
    if lines.is_empty() {
        return None;
    }
    for line in lines {
        let slot = if line.on_pass { &mut pass } else { &mut fail };
        if let Some(first) = slot {
            let word = if line.on_pass {
                "PASS (or YES)"
            } else {
                "FAIL (or NO)"
            };
            let message = format!(
                "{word} is already in line {}: keep one of the two",
                first.action.place.line
            );
            refuse(flaws, line.action.place, message);
        } else {
            *slot = Some(line);
        }
    }
    let stated = |line: &Option<TransitionLine>| line.as_ref().and_then(|line| line.aggregation);
    if let (Some(of_pass), Some(of_fail), Some(line)) = (stated(&pass), stated(&fail), &fail)
        && of_pass != of_fail
    {
        let message = "ALL and ANY contradict each other: write PASS ALL with FAIL ANY, or PASS ANY with FAIL ALL";
        refuse(flaws, line.action.place, message);
    }
    found.aggregation = stated(&pass)
        .or(stated(&fail))
        .unwrap_or(Aggregation::AllPass);
    if let Some(line) = pass {
        found.pass = line.action;
    }
    if let Some(line) = fail {
        found.fail = line.action;
    }
    Some(found)
}
