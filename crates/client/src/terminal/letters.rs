//! Decides which words with letters beyond ASCII a text of prose shows.
//!
//! A word is a longest run of letters, marks and digits. A word is shown only if [`DisplayScripts::flaw`] finds no flaw. Any
//! other character beyond ASCII is shown only if it is in a fixed list of punctuation. All else becomes escapes. The rules
//! and the tables come from Unicode: UTS #39 (security mechanisms), UAX #15 (normal forms) and UAX #24 (scripts).
//!
//! The rules do not detect a word that looks like another word of ASCII letters, or of letters of the same script.

use std::sync::RwLock;

use unicode_general_category::get_general_category;
use unicode_normalization::{char::canonical_combining_class, is_nfc};
use unicode_script::{Script, ScriptExtension, UnicodeScript as _};
use unicode_security::{
    GeneralSecurityProfile as _, RestrictionLevel, RestrictionLevelDetection as _,
    confusable_detection::skeleton,
};

/// The scripts whose letters a person reads. Without a script, only ASCII is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DisplayScripts {
    scripts: ScriptExtension,
    /// True if the person reads a language with the letter `ı`, which others take for `i`.
    dotless: bool,
}

/// Names of the scripts that `config.toml` can list, each with the locale codes of the languages that use the script.
/// All other languages use Latin letters. `Chinese`, `Japanese` and `Korean` each mean all scripts of that language,
/// and `Turkish` is Latin with the letter `ı`. Scripts that are written from right to left are missing, because they
/// change the order of the text around them.
const SCRIPTS: [(&str, &str); 29] = [
    ("Armenian", "hy"),
    ("Bengali", "as bn"),
    ("Chinese", "zh"),
    ("Cyrillic", "be bg kk ky mk mn ru sr tg tt uk"),
    ("Devanagari", "hi mr ne sa"),
    ("Ethiopic", "am ti"),
    ("Georgian", "ka"),
    ("Greek", "el"),
    ("Gujarati", "gu"),
    ("Gurmukhi", "pa"),
    ("Han", ""),
    ("Hangul", ""),
    ("Hiragana", ""),
    ("Japanese", "ja"),
    ("Kannada", "kn"),
    ("Katakana", ""),
    ("Khmer", "km"),
    ("Korean", "ko"),
    ("Lao", "lo"),
    ("Latin", ""),
    ("Malayalam", "ml"),
    ("Myanmar", "my"),
    ("Oriya", "or"),
    ("Sinhala", "si"),
    ("Tamil", "ta"),
    ("Telugu", "te"),
    ("Thai", "th"),
    ("Tibetan", "bo dz"),
    ("Turkish", "az tr"),
];

/// Characters beyond ASCII outside of words that are shown. The skeleton of each has no ASCII character.
const PUNCTUATION: &str = "§¶©®°±÷€£₽₹₺₴«»„—•·¿†‡←↑→↓↔⇒≤≥≈√™✓✔✗✘⚠✅❌²³、。「」『』【】〈〉《》・";
/// Characters beyond ASCII outside of words that are shown although they resemble ASCII, because phones, word processors and
/// agents write them in ordinary prose.
const TYPOGRAPHY: &str = "‘’“”–…¡½¼¾，；：！．？（）％～¥";
/// Latin letters whose skeleton is ASCII, but which nobody takes for these ASCII letters.
const OWN_LETTERS: &str = "ÆæŒœþ";

/// Maximum number of marks after one letter, as UTS #39 recommends.
const MOST_MARKS: usize = 4;

static OF_PROCESS: RwLock<Option<DisplayScripts>> = RwLock::new(None);

impl Default for DisplayScripts {
    fn default() -> Self {
        Self {
            scripts: Script::Unknown.into(),
            dotless: false,
        }
    }
}

impl DisplayScripts {
    /// Returns the scripts with these names.
    ///
    /// # Errors
    /// Returns an error for the first name that is not in the list.
    pub fn named<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Self, String> {
        names.into_iter().try_fold(Self::default(), |all, name| {
            let scripts: &[Script] = match name {
                "Turkish" => &[Script::Latin],
                "Chinese" => &[Script::Han, Script::Bopomofo],
                "Japanese" => &[Script::Han, Script::Hiragana, Script::Katakana],
                "Korean" => &[Script::Han, Script::Hangul],
                "Arabic" | "Hebrew" | "Thaana" => {
                    return Err(format!(
                        "{name} is written from right to left, so its letters are always escapes"
                    ));
                }
                _ => match Script::from_full_name(name)
                    .filter(|_| SCRIPTS.iter().any(|(known, _)| *known == name))
                {
                    Some(script) => &[script],
                    None => {
                        return Err(format!(
                            "{name:?} is no script: write one of {}",
                            SCRIPTS.map(|(name, _)| name).join(", ")
                        ));
                    }
                },
            };
            let scripts = scripts
                .iter()
                .fold(all.scripts, |all, script| all.union((*script).into()));
            Ok(Self {
                scripts,
                dotless: all.dotless || name == "Turkish",
            })
        })
    }

    /// Returns Latin and the script of a locale such as `ja_JP.UTF-8`, or no script if its encoding is not UTF-8.
    pub fn of_locale(locale: &str) -> Self {
        let (place, variant) = locale.split_once('@').unwrap_or((locale, ""));
        let (place, encoding) = place.split_once('.').unwrap_or((place, ""));
        if !encoding.replace('-', "").eq_ignore_ascii_case("utf8") {
            return Self::default();
        }
        let language = place
            .split('_')
            .next()
            .filter(|code| !code.is_empty())
            .unwrap_or("en");
        let of_variant = SCRIPTS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(variant));
        let of_language = || {
            SCRIPTS
                .iter()
                .find(|(_, codes)| codes.split(' ').any(|code| code == language))
        };
        let script = of_variant
            .or_else(of_language)
            .map_or("Latin", |(name, _)| *name);
        Self::named(["Latin", script]).unwrap_or_default()
    }

    /// Returns the scripts that this process shows. Before [`Self::use_in_process`], there are none.
    pub fn of_process() -> Self {
        OF_PROCESS
            .read()
            .ok()
            .and_then(|scripts| *scripts)
            .unwrap_or_default()
    }

    /// Sets the scripts that this process shows.
    pub fn use_in_process(self) {
        if let Ok(mut scripts) = OF_PROCESS.write() {
            *scripts = Some(self);
        }
    }

    /// Returns true if prose shows this piece unchanged: a word, or one character outside of words.
    pub fn shows(self, piece: &str) -> bool {
        match piece.chars().next() {
            _ if piece.is_ascii() => true,
            Some(first) if is_of_word(first) => self.flaw(piece).is_none(),
            _ => {
                self != Self::default()
                    && (PUNCTUATION.contains(piece) || TYPOGRAPHY.contains(piece))
            }
        }
    }

    fn is_own(self, c: char) -> bool {
        OWN_LETTERS.contains(c) || (self.dotless && c == '\u{131}')
    }

    /// Returns the reason why a word with letters beyond ASCII is not shown: a text, and the name of a script to
    /// append, or an empty text.
    pub fn flaw(self, word: &str) -> Option<(&'static str, &'static str)> {
        let is_listed =
            |c: &char| c.is_ascii() || !c.script_extension().intersection(self.scripts).is_empty();
        if let Some(other) = word.chars().find(|c| !is_listed(c)) {
            return Some((
                "your locale, which must be UTF-8, or config.toml does not list ",
                other.script().full_name(),
            ));
        }
        let why = if !is_nfc(word) {
            "not in the normal form NFC"
        } else if has_odd_marks(word) {
            "marks that hide something"
        } else if !word.chars().all(|c| c.identifier_allowed()) {
            "a character that Unicode advises against in names"
        } else if !word.check_restriction_level(RestrictionLevel::HighlyRestrictive) {
            "letters of several scripts"
        } else if skeleton(word).all(|c| c.is_ascii()) && !word.chars().any(|c| self.is_own(c)) {
            "looks like ASCII but is not ASCII"
        } else {
            return None;
        };
        Some((why, ""))
    }
}

/// Returns the word at the beginning of a text, or else its first character.
pub fn first_piece(text: &str) -> &str {
    let end = text.find(|c| !is_of_word(c)).unwrap_or(text.len());
    if end > 0 {
        &text[..end]
    } else {
        &text[..text.chars().next().map_or(0, char::len_utf8)]
    }
}

/// Returns true for a letter, a mark or a digit.
pub fn is_of_word(c: char) -> bool {
    let category = get_general_category(c).abbreviation();
    category.starts_with(['L', 'M']) || category == "Nd"
}

/// Returns true if a mark of the word has no letter before it, follows itself, is one of more than four in a row, is drawn
/// over its letter, or is the dot above a letter that has this dot already. UTS #39 advises against such marks.
fn has_odd_marks(word: &str) -> bool {
    let (mut before, mut marks) = (' ', MOST_MARKS);
    word.chars().any(|c| {
        marks = if get_general_category(c).abbreviation().starts_with('M') {
            marks + 1
        } else {
            0
        };
        let last = std::mem::replace(&mut before, c);
        let is_hidden = c == '\u{307}' && "ijl\u{131}\u{237}".contains(last);
        marks > MOST_MARKS
            || (marks > 0 && last == c)
            || is_hidden
            || canonical_combining_class(c) == OVERLAY
    })
}

/// Combining class of a mark that is drawn over its letter.
const OVERLAY: u8 = 1;

#[cfg(test)]
mod tests {
    use unicode_bidi::{BidiClass, bidi_class};
    use unicode_general_category::GeneralCategory;

    use super::*;
    use crate::{PrintableText, terminal::tests::screen_decoder::unescape};

    fn scripts(names: &[&str]) -> DisplayScripts {
        DisplayScripts::named(names.iter().copied()).expect("scripts")
    }

    fn shown(text: &str, names: &[&str]) -> String {
        let quoted = PrintableText::quoted_in(text, scripts(names));
        quoted
            .as_str()
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .expect("quotes")
            .to_owned()
    }

    /// Checks all that the rule says about the words and characters beyond ASCII that a screen shows.
    fn check_shown(text: &str, shown: &str) {
        assert_eq!(unescape(shown), text);
        let mut rest = shown;
        while !rest.is_empty() {
            let piece = first_piece(rest);
            rest = &rest[piece.len()..];
            if piece.is_ascii() {
                continue;
            }
            let is_word = piece.chars().all(is_of_word);
            assert!(
                is_word || PUNCTUATION.contains(piece) || TYPOGRAPHY.contains(piece),
                "{piece:?} of {text:?}"
            );
            assert!(is_nfc(piece), "{text:?}");
            let is_known = TYPOGRAPHY.contains(piece)
                || piece.contains(|c| OWN_LETTERS.contains(c) || c == '\u{131}');
            assert!(
                is_known || skeleton(piece).any(|c| !c.is_ascii()),
                "{text:?} looks like ASCII"
            );
            let is_left_to_right = |c: char| {
                !matches!(
                    bidi_class(c),
                    BidiClass::R
                        | BidiClass::AL
                        | BidiClass::AN
                        | BidiClass::RLO
                        | BidiClass::RLE
                        | BidiClass::RLI
                )
            };
            assert!(piece.chars().all(is_left_to_right), "{text:?}");
            if is_word {
                assert!(piece.chars().all(|c| c.identifier_allowed()), "{text:?}");
                assert!(
                    piece.check_restriction_level(RestrictionLevel::HighlyRestrictive),
                    "{text:?}"
                );
            }
        }
    }

    /// A word of each script that a list can have.
    const WORDS: [(&str, &str); 27] = [
        ("Latin", "Größe"),
        ("Greek", "λόγος"),
        ("Cyrillic", "журнал"),
        ("Armenian", "բառարան"),
        ("Georgian", "გამარჯობა"),
        ("Devanagari", "नमस्ते"),
        ("Bengali", "বাংলা"),
        ("Gujarati", "ગુજરાતી"),
        ("Gurmukhi", "ਪੰਜਾਬੀ"),
        ("Kannada", "ಕನ್ನಡ"),
        ("Malayalam", "മലയാളം"),
        ("Oriya", "ଓଡ଼ିଆ"),
        ("Sinhala", "සිංහල"),
        ("Tamil", "தமிழ்"),
        ("Telugu", "తెలుగు"),
        ("Thai", "ภาษาไทย"),
        ("Lao", "ພາສາລາວ"),
        ("Khmer", "ភាសាខ្មែរ"),
        ("Myanmar", "မြန်မာ"),
        ("Ethiopic", "አማርኛ"),
        ("Tibetan", "བོད"),
        ("Han", "漢字"),
        ("Hiragana", "ひらがな"),
        ("Katakana", "カタカナ"),
        ("Hangul", "한국어"),
        ("Japanese", "障害で再起動する"),
        ("Chinese", "重啟伺服器"),
    ];

    #[test]
    fn promise_4_each_code_point_alone_and_in_a_word_of_each_script_obeys_the_rule() {
        let all = scripts(&SCRIPTS.map(|(name, _)| name));
        let assigned = |c: &char| {
            !matches!(
                get_general_category(*c),
                GeneralCategory::Unassigned | GeneralCategory::PrivateUse
            )
        };
        let mut seen = 0;
        for c in (0..=0x0010_ffff).filter_map(char::from_u32) {
            let alone = c.to_string();
            if !assigned(&c) {
                assert!(!all.shows(&alone), "{c:?}");
                continue;
            }
            let shown = PrintableText::quoted_in(&alone, all);
            let shown = &shown.as_str()[1..shown.as_str().len() - 1];
            check_shown(&alone, shown);
            // Without a script, and in other text than prose, only ASCII is shown.
            assert!(PrintableText::text(&alone).as_str().is_ascii());
            if c.is_ascii() {
                continue;
            }
            seen += 1;
            // The words of another script follow the same path, so most characters are tried in a few words.
            let own = WORDS.iter().filter(|(name, _)| {
                all.flaw(&alone).is_none_or(|_| seen % 16 == 0) || *name == "Latin"
            });
            for (_, word) in own.take(if seen % 64 == 0 { WORDS.len() } else { 2 }) {
                for text in [format!("{word}{c}"), format!("{c}{word}"), format!("a{c}b")] {
                    let shown = PrintableText::quoted_in(&text, all);
                    check_shown(&text, &shown.as_str()[1..shown.as_str().len() - 1]);
                }
            }
        }
        assert!(seen > 140_000, "{seen}");
    }

    #[test]
    fn a_word_is_shown_to_a_person_who_lists_its_script_and_to_no_other() {
        for (name, word) in WORDS {
            assert_eq!(shown(word, &[name]), word);
            let other = if name == "Latin" { "Greek" } else { "Latin" };
            assert!(shown(word, &[other]).is_ascii(), "{word}");
            assert!(shown(word, &[]).is_ascii(), "{word}");
        }
        for (text, names) in [
            ("Störung im Lager: Übergabe hängt", &["Latin"][..]),
            ("Tシャツを3枚、「再送」。", &["Japanese"]),
            ("서버 재시작 server를", &["Korean"]),
            ("Zapalenie żółtej lampki, 5 €, §3", &["Latin"]),
            ("Lægen siger “nej” – se cœur, þing…", &["Latin"]),
            ("sınır nasıl", &["Turkish"]),
            (
                "重启服务器（生产环境），原因：内存不足；请批准！",
                &["Chinese"],
            ),
        ] {
            assert_eq!(shown(text, names), text);
        }
    }

    #[test]
    fn no_attack_with_letters_beyond_ascii_is_shown() {
        let all = SCRIPTS.map(|(name, _)| name);
        let all: &[&str] = &all
            .into_iter()
            .filter(|name| *name != "Turkish")
            .collect::<Vec<_>>();
        for (text, expected) in [
            // Look-alikes of ASCII, and scripts that no language mixes.
            ("p\u{430}ypal", r"p\u{430}ypal"),
            ("\u{430}", r"\u{430}"),
            (
                "\u{440}\u{430}\u{440}\u{430}",
                r"\u{440}\u{430}\u{440}\u{430}",
            ),
            ("Gr\u{f6}\u{430}", r"Gr\u{f6}\u{430}"),
            ("\u{30ce}", r"\u{30ce}"),
            ("etc\u{30ce}passwd", r"etc\u{30ce}passwd"),
            ("\u{3bf}\u{3bd}", r"\u{3bf}\u{3bd}"),
            ("\u{131}nit", r"\u{131}nit"),
            // The order of the text.
            (
                "\u{5e9}\u{5dc}\u{5d5}\u{5dd}",
                r"\u{5e9}\u{5dc}\u{5d5}\u{5dd}",
            ),
            (
                "\u{645}\u{631}\u{62d}\u{628}\u{627}",
                r"\u{645}\u{631}\u{62d}\u{628}\u{627}",
            ),
            (
                "a\u{202e}\u{f6}\u{2066}",
                r"a\u{202e}\u{f6}\u{2066}".replace(r"\u{f6}", "ö").as_str(),
            ),
            // Invisible characters and tags.
            ("ä\u{200b}ö\u{200d}\u{ad}", r"ä\u{200b}ö\u{200d}\u{ad}"),
            ("ä\u{e0041}\u{e007f}", r"ä\u{e0041}\u{e007f}"),
            ("ä\u{fe0f}", r"\u{e4}\u{fe0f}"),
            (
                "\u{3164}\u{115f}\u{ffa0}\u{2800}",
                r"\u{3164}\u{115f}\u{ffa0}\u{2800}",
            ),
            // Normal forms and marks.
            ("o\u{308}", r"o\u{308}"),
            ("/\u{338}x", r"/\u{338}x"),
            ("\"\u{301}", r#"\"\u{301}"#),
            ("i\u{307}nit", r"i\u{307}nit"),
            ("s\u{336}t", r"s\u{336}t"),
            ("a\u{331}\u{331}", r"a\u{331}\u{331}"),
            (
                "\u{1e05}\u{302}\u{303}\u{304}\u{306}\u{30c}",
                r"\u{1e05}\u{302}\u{303}\u{304}\u{306}\u{30c}",
            ),
            // Other forms of ASCII, blanks and signs.
            ("\u{ff21}\u{ff22}\u{ff11}", r"\u{ff21}\u{ff22}\u{ff11}"),
            ("\u{1d42b}\u{1d426}", r"\u{1d42b}\u{1d426}"),
            ("\u{660}\u{661}", r"\u{660}\u{661}"),
            ("a\u{3000}b\u{a0}c\u{2003}d", r"a\u{3000}b\u{a0}c\u{2003}d"),
            (
                "1\u{2044}2 \u{2215} \u{29f8}",
                r"1\u{2044}2 \u{2215} \u{29f8}",
            ),
            (
                "\u{201b}\u{ff02}\u{2024}\u{2010}\u{37e}",
                r"\u{201b}\u{ff02}\u{2024}\u{2010}\u{37e}",
            ),
            ("x\u{2070}\u{2160}\u{1f600}", r"x\u{2070}\u{2160}\u{1f600}"),
        ] {
            assert_eq!(shown(text, all), expected, "{text}");
        }
        // A long run of marks covers no other line.
        let marks = format!("a{}", "\u{301}\u{302}".repeat(40));
        assert!(shown(&marks, all).is_ascii());
    }

    #[test]
    fn the_punctuation_looks_like_no_ascii() {
        let looks_like_ascii = |c: &char| skeleton(&c.to_string()).any(|c| c.is_ascii());
        assert_eq!(
            PUNCTUATION
                .chars()
                .filter(looks_like_ascii)
                .collect::<String>(),
            ""
        );
        assert_eq!(
            TYPOGRAPHY
                .chars()
                .filter(looks_like_ascii)
                .collect::<String>(),
            TYPOGRAPHY
        );
        assert!(
            PUNCTUATION
                .chars()
                .chain(TYPOGRAPHY.chars())
                .all(|c| !c.is_ascii() && !is_of_word(c))
        );
    }
}
