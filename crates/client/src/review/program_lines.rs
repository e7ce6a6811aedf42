//! The lines of a review about programs: what policy asks about, and which programs the run can start.

use crate::{
    PrintableText, ReviewLine, list_words,
    review::{
        remarks,
        value_words::{ScriptPlaces, short_list_words},
    },
};
use documents::{Authorization, PermissionKind, PermissionReason, Profile, StepDefinition};

/// Returns the line about programs, files and variables that are in no list, and about a script that policy can't read.
/// Without both, there is no line. Remarks name what a built-in list denies.
pub fn asked(
    definition: Option<&StepDefinition>,
    signed: &Authorization,
    places: &ScriptPlaces,
) -> Option<ReviewLine> {
    let mut parts = Vec::new();
    let mut shows = Vec::new();
    for kind in [
        PermissionKind::Run,
        PermissionKind::Read,
        PermissionKind::Write,
        PermissionKind::Env,
    ] {
        let asked = remarks::asked(signed, kind, PermissionReason::Unlisted);
        if !asked.is_empty() {
            parts.push(
                PrintableText::words(remarks::verb(kind)).then(places.with_lines(kind, &asked)),
            );
            shows.extend(
                asked
                    .iter()
                    .flat_map(|(at, _)| remarks::permission_paths(*at)),
            );
        }
    }
    let readable = definition.is_none_or(|definition| {
        ["bash", "sh", "dash", "zsh"].contains(&definition.interpreter.as_str())
    });
    let text = if !parts.is_empty() {
        PrintableText::joined(parts, "; ")
            .and(": in no list; your signature allows this ")
            .and(remarks::how_often(signed))
    } else if readable {
        return None;
    } else if signed.sandbox.programs.is_some() {
        PrintableText::words(
            "not a shell script, so policy can't see which programs the script starts",
        )
    } else {
        PrintableText::words(
            "unknown: this is not a shell script, so the script may start any program",
        )
    };
    Some(ReviewLine::always("asks", text).showing(shows))
}

/// Returns the line with the programs that the run can start, in a few words. If the sandbox is off, a remark says so.
pub fn may_run(profile: &Profile, step_programs: bool) -> Option<ReviewLine> {
    if profile.off_reason.is_some() {
        return None;
    }
    let text = match &profile.programs {
        Some(programs) => short_list_words(programs, step_programs),
        None => PrintableText::words("every program of the host: the kernel holds no list"),
    };
    Some(ReviewLine::always("may run", text))
}

/// Returns the line above the script with each program of the list.
pub fn listed(profile: &Profile, step_programs: bool) -> Option<ReviewLine> {
    let programs = profile.programs.as_ref()?;
    let each = |at| {
        ["name", "path"]
            .map(|field| format!("signed.predicate.sandbox.programs.list[{at}].{field}"))
    };
    let mut shows: Vec<String> = (0..programs.list.len()).flat_map(each).collect();
    shows.push("signed.predicate.sandbox.programs.mode".to_owned());
    Some(ReviewLine::always("programs", list_words(programs, step_programs)).showing(shows))
}
