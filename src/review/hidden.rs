//! Hidden text: characters by which a text can look like another one.
//!
//! The screen shows them all as escapes. What is said here makes a tired reader look: control characters, invisible
//! characters, characters that change the reading direction, words whose letters are of several scripts, and words of letters
//! that look like those of ASCII.

use unicode_general_category::{GeneralCategory, get_general_category};
use unicode_script::{Script, UnicodeScript as _};

use crate::terminal::screen::Shown;

/// What a reader could miss in a text, each kind once; nothing for an ordinary text.
#[must_use]
pub fn hidden(text: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    let mut add = |what: Shown| {
        if !found.contains(&what) {
            found.push(what);
        }
    };
    for c in text.chars() {
        if let Some(kind) = kind_of(c) {
            add(Shown::text(&c.to_string()).and(" (").and(kind.words()).and(")"));
        }
    }
    for word in text.split(|c: char| !c.is_alphabetic() && !is_mark(c)) {
        let scripts = scripts_of(word);
        if scripts.len() > 1 {
            let names = scripts.iter().map(|script| script.full_name()).collect::<Vec<_>>().join(" and ");
            add(Shown::text(word).cut(MOST).and(" (letters of ").then(&Shown::text(&names)).and(")"));
        }
    }
    for word in text.split(|c: char| !c.is_alphanumeric() && !is_mark(c)) {
        if word.contains(looks_like_ascii) {
            add(Shown::text(word).cut(MOST).and(" (looks like ASCII and is not)"));
        }
    }
    found
}

/// The longest word that is shown of a text.
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
        // These two are shown as what they are, and a text of several lines has them.
        '\n' | '\t' | ' '..='~' => return None,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            return Some(Kind::Direction);
        }
        // Default ignorable code points that are letters, marks or symbols, and the empty pattern of Braille.
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

/// Whether it is a full-width letter or digit, or a mathematical letter. Unicode's compatibility decomposition (NFKC) makes
/// each of them a letter or digit of ASCII, except the few mathematical letters that are Greek.
fn looks_like_ascii(c: char) -> bool {
    matches!(c, '\u{ff10}'..='\u{ff19}' | '\u{ff21}'..='\u{ff3a}' | '\u{ff41}'..='\u{ff5a}' | '\u{1d400}'..='\u{1d6a5}')
}

fn is_mark(c: char) -> bool {
    matches!(get_general_category(c), GeneralCategory::NonspacingMark | GeneralCategory::SpacingMark)
}

/// The scripts of a word's letters. Those that one language writes together count as one.
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
    fn ordinary_texts_of_many_languages_contain_no_hidden_characters() {
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
    fn letters_that_look_like_ascii_are_named_with_the_word_around_them() {
        let word = r"\u{ff21}\u{ff22}\u{ff23}\u{ff11} (looks like ASCII and is not)";
        assert_eq!(told("x \u{ff21}\u{ff22}\u{ff23}\u{ff11}, ok"), [word]);
        assert_eq!(told("\u{ff41}dmin"), [r"\u{ff41}dmin (looks like ASCII and is not)"]);
        assert_eq!(told("\u{1d42b}\u{1d426}"), [r"\u{1d42b}\u{1d426} (looks like ASCII and is not)"]);
        // The punctuation of Chinese and Japanese is full-width.
        assert_eq!(told("\u{65e5}\u{672c}\u{ff0c}\u{8a9e}\u{ff01}"), [""; 0]);
    }

    #[test]
    fn characters_that_a_reader_could_miss_are_named() {
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
