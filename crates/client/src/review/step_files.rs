//! Checks and describes the files of a step in a review: each file with its size and digest, and the content of each
//! text file.

use std::collections::BTreeMap;

use crate::{
    PrintableText, ReviewFinding, ReviewLine, ReviewedContent, plain_or_quoted,
    review::value_words::{bytes, counted},
};
use documents::{ContentDigest, StepDefinition};

/// Name of the check that the files have the signed digests.
pub const FILES: &str = "the files shown have the digests in the definition";
/// Heading of the files above the script.
pub const HEADING: &str = "Files beside the script";
/// Maximum number of files that the line below the script names.
const MOST_NAMED: usize = 12;

/// Checks the contents from the boundary against the definition. Returns no finding if the step has no files.
pub fn check(
    definition: &StepDefinition,
    contents: &BTreeMap<ContentDigest, Vec<u8>>,
) -> (Vec<ReviewedContent>, Option<ReviewFinding>) {
    let signed = definition.files.iter().map(|file| {
        let signed = ReviewedContent {
            kind: "file",
            name: file.path.clone(),
            digest: file.digest,
            bytes: Some(file.bytes),
            executable: file.executable,
            content: None,
        };
        (signed, contents.get(&file.digest))
    });
    check_contents(signed)
}

/// Takes each content from the boundary if it has the signed digest. Returns no finding if there are no files.
pub fn check_contents<'c>(
    signed: impl Iterator<Item = (ReviewedContent, Option<&'c Vec<u8>>)>,
) -> (Vec<ReviewedContent>, Option<ReviewFinding>) {
    let (mut lacking, mut other) = (Vec::new(), Vec::new());
    let reviewed = signed.map(|(one, given)| {
        let is_signed = |content: &&Vec<u8>| {
            ContentDigest::of(content) == one.digest
                && one.bytes.is_none_or(|bytes| content.len() as u64 == bytes)
        };
        let content = given.filter(is_signed).cloned();
        match (given, &content) {
            (None, _) => lacking.push(one.name.clone()),
            (Some(_), None) => other.push(one.name.clone()),
            (Some(_), Some(_)) => {}
        }
        ReviewedContent { content, ..one }
    });
    let reviewed: Vec<_> = reviewed.collect();
    let finding = if !other.is_empty() {
        ReviewFinding::Fails(format!(
            "the boundary gave another content of {}",
            other.join(", ")
        ))
    } else if !lacking.is_empty() {
        ReviewFinding::NotChecked(format!(
            "the boundary gave no content of {}",
            lacking.join(", ")
        ))
    } else {
        ReviewFinding::Holds
    };
    let finding = (!reviewed.is_empty()).then_some(finding);
    (reviewed, finding)
}

/// Returns the line below the script that names the files.
pub fn line(files: &[ReviewedContent]) -> Option<ReviewLine> {
    if files.is_empty() {
        return None;
    }
    let all: u64 = files.iter().map(ReviewedContent::size).sum();
    let name = |one: &ReviewedContent| {
        let name = plain_or_quoted(&one.name);
        let name = if one.executable {
            name.and(" (executable)")
        } else {
            name
        };
        if one.text().is_some() {
            name
        } else {
            name.and(" (binary, NOT SHOWN)")
        }
    };
    let named = PrintableText::joined(files.iter().take(MOST_NAMED).map(name), ", ");
    let mut text = PrintableText::text(&format!(
        "{}, {}, above the script:",
        counted(files.len(), "file"),
        bytes(all)
    ))
    .and(" ")
    .then(&named);
    if files.len() > MOST_NAMED {
        text = text
            .and(" and ")
            .then(format!("{} more", files.len() - MOST_NAMED));
    }
    let fields = |at| {
        ["path", "bytes", "digest", "executable"]
            .map(|field| format!("definition.files[{at}].{field}"))
    };
    let shows = (0..files.len()).flat_map(fields);
    Some(ReviewLine::always("files", text).showing(shows))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{
        RemarkSeverity, ReviewSources, StatementVerdict,
        review::tests::review_case::{case, fails, judged, painted, remarks},
    };
    use documents::ContentDigest;

    const LIB: &str = "greet() { printf 'hi\\n'; }\n";

    fn with_files(files: &[(&str, &[u8], bool)]) -> ReviewSources {
        let entry = |(path, bytes, executable): &(&str, &[u8], bool)| json!({"path": path, "bytes": bytes.len(), "digest": ContentDigest::of(bytes), "executable": executable});
        let mut case = case();
        case.definition["files"] = files.iter().map(entry).collect::<Value>();
        let contents = files
            .iter()
            .map(|(_, bytes, _)| (ContentDigest::of(bytes), bytes.to_vec()))
            .collect();
        ReviewSources {
            contents,
            ..case.sources()
        }
    }

    #[test]
    fn a_review_names_each_file_and_shows_each_text() {
        let sources = with_files(&[
            ("bin/tool", b"\x7fELF\0\xff", true),
            ("lib.sh", LIB.as_bytes(), false),
        ]);
        assert_eq!(
            judged(&sources).standing,
            StatementVerdict::Sound,
            "{}",
            fails(&judged(&sources))
        );
        let screen = painted(&sources, 400, false);
        let digest = ContentDigest::of(LIB.as_bytes());
        for line in [
            "== Files beside the script ==\n".to_owned(),
            format!("  file \"bin/tool\", executable, 6 bytes, {}: no text, so", ContentDigest::of(b"\x7fELF\0\xff")),
            format!("  file \"lib.sh\", 27 bytes, {digest}\n      1 | greet() {{ printf 'hi\\n'; }}\n"),
            "== Script ==\n".to_owned(),
            "  files       2 files, 33 bytes, above the script: bin/tool (executable) (binary, NOT SHOWN), lib.sh\n"
                .to_owned(),
        ] {
            assert!(screen.contains(&line), "{line}\n{screen}");
        }
    }

    #[test]
    fn a_file_without_its_signed_content_can_not_be_signed() {
        let mut sources = with_files(&[("lib.sh", LIB.as_bytes(), false)]);
        let digest = ContentDigest::of(LIB.as_bytes());
        sources.contents.insert(digest, b"other\n".to_vec());
        let found = judged(&sources);
        assert_eq!(found.standing, StatementVerdict::Unsound);
        assert!(
            fails(&found).contains("another content of lib.sh"),
            "{}",
            fails(&found)
        );
        assert!(
            !painted(&sources, 400, false).contains("1 | other"),
            "an unsigned content is not shown"
        );
        sources.contents.clear();
        assert_eq!(judged(&sources).standing, StatementVerdict::Unsound);
        let screen = painted(&sources, 400, false);
        assert!(
            screen.contains("NOT SHOWN, because") && screen.contains("no content of lib.sh"),
            "{screen}"
        );
    }

    #[test]
    fn a_file_with_hidden_text_has_a_remark() {
        let sources = with_files(&[("a.sh", "rm \u{202e}x\n".as_bytes(), false)]);
        let found = remarks(&sources);
        assert!(
            found
                .iter()
                .any(|(kind, text)| *kind == RemarkSeverity::HiddenText
                    && text.contains("the file a.sh has")),
            "{found:?}"
        );
    }
}
