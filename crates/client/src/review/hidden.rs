//! Finds characters that make a text look like another text.
//!
//! The findings name control characters, invisible characters, characters that change the reading direction, words with
//! letters of several scripts, and words with letters that look like ASCII. The screen shows such characters as
//! escapes.

use unicode_script::{Script, UnicodeScript as _};

use crate::{DisplayScripts, PrintableText, terminal::letters::is_of_word};
use documents::{HiddenCharacter, joined};

/// Lists the characters and words that a reader could misread, each once. With the scripts of a person, the text is prose,
/// and the list also has each other word whose letters this person sees as escapes.
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
                .and(words(kind))
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

const fn words(kind: HiddenCharacter) -> &'static str {
    match kind {
        HiddenCharacter::Control => "a control character",
        HiddenCharacter::Direction => "changes the reading direction",
        HiddenCharacter::Invisible => "invisible",
        HiddenCharacter::Blank => "looks like a space",
        HiddenCharacter::Unknown => "not assigned in Unicode",
    }
}

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

#[cfg(test)]
mod tests {
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
