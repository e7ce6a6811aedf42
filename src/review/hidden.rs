//! Finds characters that make a text look like another text.
//!
//! The findings name control characters, invisible characters, characters that change the reading direction, words with
//! letters of several scripts, and words with letters that look like ASCII. The screen shows such characters as
//! escapes.

use unicode_general_category::{GeneralCategory, get_general_category};
use unicode_script::{Script, UnicodeScript as _};

use crate::terminal::printable_text::PrintableText;

/// Lists the characters and words that a reader could misread, each once.
#[must_use]
pub fn hidden(text: &str) -> Vec<PrintableText> {
    let mut found: Vec<PrintableText> = Vec::new();
    let mut add = |what: PrintableText| {
        if found.len() < MOST_FOUND && !found.contains(&what) {
            found.push(what);
        }
    };
    for c in text.chars() {
        if let Some(kind) = kind_of(c) {
            add(PrintableText::text(&c.to_string()).and(" (").and(kind.words()).and(")"));
        }
    }
    for word in text.split(|c: char| !c.is_alphabetic() && !is_mark(c)) {
        let scripts = scripts_of(word);
        if scripts.len() > 1 {
            let names = scripts.iter().map(|script| script.full_name()).collect::<Vec<_>>().join(" and ");
            add(PrintableText::text(word).cut(MOST).and(" (letters of ").then(&PrintableText::text(&names)).and(")"));
        }
    }
    for word in text.split(|c: char| !c.is_alphanumeric() && !is_mark(c)) {
        if word.contains(looks_like_ascii) {
            add(PrintableText::text(word).cut(MOST).and(" (looks like ASCII but is not ASCII)"));
        }
    }
    found
}

/// Maximum number of findings, which bounds the time for a large text.
const MOST_FOUND: usize = 100;
/// Maximum number of characters of a word in a finding.
const MOST: usize = 48;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Control,
    Direction,
    Invisible,
    Blank,
    Unknown,
}

impl Kind {
    const fn words(self) -> &'static str {
        match self {
            Self::Control => "a control character",
            Self::Direction => "changes the reading direction",
            Self::Invisible => "invisible",
            Self::Blank => "looks like a space",
            Self::Unknown => "not assigned in Unicode",
        }
    }
}

fn kind_of(c: char) -> Option<Kind> {
    match c {
        // Newlines and tabs are visible in a text of several lines.
        '\n' | '\t' | ' '..='~' => return None,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            return Some(Kind::Direction);
        }
        // Characters without a visible form: default ignorable code points that are letters, marks or symbols, and
        // the blank Braille pattern.
        '\u{34f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{ffa0}'
        | '\u{e0000}'..='\u{e0fff}' => return Some(Kind::Invisible),
        _ => {}
    }
    match get_general_category(c) {
        GeneralCategory::Control => Some(Kind::Control),
        GeneralCategory::Format => Some(Kind::Invisible),
        GeneralCategory::SpaceSeparator | GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator => {
            Some(Kind::Blank)
        }
        GeneralCategory::PrivateUse | GeneralCategory::Unassigned => Some(Kind::Unknown),
        _ => None,
    }
}

/// Returns true for a full-width letter or digit, or a mathematical letter. The normalization form NFKC turns each such
/// character into an ASCII letter or digit, except the mathematical dotless i and j (U+1D6A4 and U+1D6A5).
fn looks_like_ascii(c: char) -> bool {
    matches!(c, '\u{ff10}'..='\u{ff19}' | '\u{ff21}'..='\u{ff3a}' | '\u{ff41}'..='\u{ff5a}' | '\u{1d400}'..='\u{1d6a5}')
}

fn is_mark(c: char) -> bool {
    matches!(get_general_category(c), GeneralCategory::NonspacingMark | GeneralCategory::SpacingMark)
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
        hidden(text).iter().map(|what| what.as_str().to_owned()).collect()
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
        assert_eq!(told("\u{ff41}dmin"), [r"\u{ff41}dmin (looks like ASCII but is not ASCII)"]);
        assert_eq!(told("\u{1d42b}\u{1d426}"), [r"\u{1d42b}\u{1d426} (looks like ASCII but is not ASCII)"]);
        // Chinese and Japanese punctuation is full-width.
        assert_eq!(told("\u{65e5}\u{672c}\u{ff0c}\u{8a9e}\u{ff01}"), [""; 0]);
    }

    #[test]
    fn hidden_characters_are_reported() {
        assert_eq!(told("a\u{202e}b\u{202e}"), [r"\u{202e} (changes the reading direction)"]);
        assert_eq!(told("\x1b[2K\u{9b}"), [r"\x1b (a control character)", r"\u{9b} (a control character)"]);
        assert_eq!(told("a\r"), [r"\r (a control character)"]);
        for invisible in ["\u{200b}", "\u{feff}", "\u{3164}", "\u{e0041}", "\u{ad}", "\u{fe0f}"] {
            assert!(told(invisible)[0].ends_with(" (invisible)"), "{:?}", told(invisible));
        }
        assert!(told("a\u{a0}b")[0].ends_with(" (looks like a space)"));
        assert_eq!(told("p\u{430}ypal"), [r"p\u{430}ypal (letters of Latin and Cyrillic)"]);
        assert_eq!(told("\u{3bf}ps one"), [r"\u{3bf}ps (letters of Greek and Latin)"]);
    }
}
