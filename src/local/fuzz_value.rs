//! Random values for the inputs of a test.

use serde_json::Value;

use documents::yaml::{YamlFlaw, YamlKind, YamlNode};

/// Kind of a random value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FuzzValue {
    /// Letters and digits.
    Text {
        /// Number of characters: at least, and at most.
        length: (u64, u64),
        /// Text before the random characters.
        prefix: String,
        /// Text after the random characters.
        suffix: String,
    },
    /// An integer in a range.
    Integer(i64, i64),
    /// `true` or `false`.
    Boolean,
    /// One of these values.
    OneOf(Vec<String>),
    /// A UUID of version 4.
    Uuid,
    /// An e-mail address of this domain.
    Email(String),
    /// A URL of this domain.
    Url(String),
    /// Words: at least, and at most.
    Words(u64, u64),
}

const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const WORDS: [&str; 8] = ["alpha", "bravo", "delta", "golf", "hotel", "lima", "oscar", "tango"];
/// Maximum length of a random text, and maximum number of random words.
const MAX_LENGTH: u64 = 4096;

impl FuzzValue {
    /// Reads the value of `fuzz`.
    ///
    /// # Errors
    /// Returns the kind or option that this program does not support. Flaws are added to `flaws`.
    pub fn read(fuzz: &YamlNode, flaws: &mut Vec<YamlFlaw>) -> Result<Self, String> {
        let kind = fuzz.value("type").and_then(|kind| kind.text("`type`", flaws)).unwrap_or_default();
        let known: &[&str] = match kind {
            "string" => &["type", "length", "minLength", "maxLength", "prefix", "suffix"],
            "int" => &["type", "min", "max"],
            "bool" | "uuid" => &["type"],
            "enum" => &["type", "options"],
            "email" | "url" => &["type", "domain"],
            "words" => &["type", "wordCount", "minWordCount", "maxWordCount"],
            other => return Err(format!("`fuzz` of the type {other:?}")),
        };
        if let Some((key, _)) = fuzz.entries().iter().find(|(key, _)| !known.contains(&key.name.as_str())) {
            return Err(format!("`{}` of `fuzz`", key.name));
        }
        let number = |name: &str| match fuzz.value(name).map(|value| &value.kind) {
            Some(YamlKind::Integer(number)) => Some(*number),
            _ => None,
        };
        let text = |name: &str| {
            fuzz.value(name).map_or(String::new(), |value| value.to_json().as_str().unwrap_or_default().to_owned())
        };
        let range = |exact: &str, least: &str, most: &str, default: i64, more: i64| {
            let least = number(exact).or_else(|| number(least)).unwrap_or(default);
            let most = number(exact).or_else(|| number(most)).unwrap_or(least.saturating_add(more));
            let within = |number: i64| u64::try_from(number).unwrap_or(0).min(MAX_LENGTH);
            (within(least), within(most.max(least)))
        };
        let domain = || if text("domain").is_empty() { "example.com".to_owned() } else { text("domain") };
        Ok(match kind {
            "string" => Self::Text {
                length: range("length", "minLength", "maxLength", 8, 10),
                prefix: text("prefix"),
                suffix: text("suffix"),
            },
            "int" => {
                let least = number("min").unwrap_or(0);
                Self::Integer(least, number("max").unwrap_or(100).max(least))
            }
            "bool" => Self::Boolean,
            "uuid" => Self::Uuid,
            "email" => Self::Email(domain()),
            "url" => Self::Url(domain()),
            "words" => {
                let (least, most) = range("wordCount", "minWordCount", "maxWordCount", 2, 3);
                Self::Words(least, most)
            }
            _ => {
                let options =
                    fuzz.value("options").and_then(|options| options.list("`options`", flaws)).unwrap_or_default();
                let options: Vec<String> =
                    options.iter().filter_map(|option| option.text("an option", flaws)).map(str::to_owned).collect();
                if options.is_empty() {
                    flaws.push(YamlFlaw::new(fuzz.place, "`fuzz` of the type enum has no `options`: add them"));
                }
                Self::OneOf(options)
            }
        })
    }

    /// Returns a value. `random` returns random numbers.
    pub fn value(&self, random: &mut dyn FnMut() -> u64) -> Value {
        let mut below = |count: u64| random() % count.max(1);
        let one_of = |at: u64, count: usize| usize::try_from(at).unwrap_or(0).min(count.saturating_sub(1));
        match self {
            Self::Text { length: (least, most), prefix, suffix } => {
                let count = least + below(most - least + 1);
                Value::from(format!("{prefix}{}{suffix}", letters(count, &mut below)))
            }
            Self::Integer(least, most) => {
                let span = most.abs_diff(*least).saturating_add(1);
                Value::from(least.saturating_add_unsigned(below(span)))
            }
            Self::Boolean => Value::from(below(2) == 1),
            Self::OneOf(options) => {
                let at = below(options.len() as u64);
                options.get(one_of(at, options.len())).map_or(Value::Null, |option| Value::from(option.as_str()))
            }
            Self::Uuid => {
                let (high, low) = (below(u64::MAX), below(u64::MAX));
                let high = (high & !0xf000) | 0x4000;
                let low = (low & (u64::MAX >> 2)) | (1 << 63);
                let hex = format!("{high:016x}{low:016x}");
                Value::from(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
            }
            Self::Email(domain) => Value::from(format!("{}@{domain}", letters(8, &mut below).to_lowercase())),
            Self::Url(domain) => Value::from(format!("https://{domain}/{}", letters(8, &mut below))),
            Self::Words(least, most) => {
                let count = least + below(most - least + 1);
                let word = |_| WORDS[one_of(below(WORDS.len() as u64), WORDS.len())];
                Value::from((0..count).map(word).collect::<Vec<_>>().join(" "))
            }
        }
    }
}

fn letters(count: u64, below: &mut dyn FnMut(u64) -> u64) -> String {
    let letter = |_| usize::try_from(below(ALPHABET.len() as u64)).ok().and_then(|at| ALPHABET.get(at));
    (0..count).filter_map(letter).map(|letter| char::from(*letter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(fuzz: &str) -> Vec<Value> {
        let node = documents::yaml::parse(fuzz, 1).expect("YAML");
        let mut flaws = Vec::new();
        let fuzz = FuzzValue::read(&node, &mut flaws).expect("a supported kind");
        assert!(flaws.is_empty(), "{flaws:?}");
        let mut state = 7_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.rotate_left(32)
        };
        (0..200).map(|_| fuzz.value(&mut random)).collect()
    }

    #[test]
    fn random_values_have_the_wanted_form() {
        for (fuzz, pattern) in [
            ("{type: string, minLength: 5, maxLength: 7}", "^[a-zA-Z0-9]{5,7}$"),
            ("{type: string, length: 3, prefix: a-, suffix: -z}", "^a-[a-zA-Z0-9]{3}-z$"),
            ("{type: string}", "^[a-zA-Z0-9]{8,18}$"),
            ("{type: int, min: -2, max: 2}", "^(-2|-1|0|1|2)$"),
            ("{type: bool}", "^(true|false)$"),
            ("{type: enum, options: [x, y]}", "^(x|y)$"),
            ("{type: uuid}", "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"),
            ("{type: email, domain: a.example}", "^[a-z0-9]{8}@a\\.example$"),
            ("{type: url}", "^https://example\\.com/[a-zA-Z0-9]{8}$"),
            ("{type: words, wordCount: 2}", "^[a-z]+ [a-z]+$"),
        ] {
            let pattern = regex::Regex::new(pattern).expect("a pattern");
            let found = values(fuzz);
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            for value in &found {
                assert!(pattern.is_match(&text(value)), "{fuzz}: {value}");
            }
            assert!(found.iter().any(|value| *value != found[0]), "{fuzz}");
        }
    }

    #[test]
    fn unknown_kinds_and_options_are_not_supported() {
        for (fuzz, words) in [("{type: map}", "\"map\""), ("{type: string, includeSpaces: true}", "`includeSpaces`")] {
            let node = documents::yaml::parse(fuzz, 1).expect("YAML");
            let unsupported = FuzzValue::read(&node, &mut Vec::new()).expect_err("unsupported");
            assert!(unsupported.contains(words), "{unsupported}");
        }
        let mut flaws = Vec::new();
        let node = documents::yaml::parse("{type: enum}", 1).expect("YAML");
        assert!(FuzzValue::read(&node, &mut flaws).is_ok() && flaws.len() == 1);
    }
}
