//! Characters that a reader cannot see, or that change what a reader sees.

use std::fmt::Write as _;

use unicode_general_category::{GeneralCategory, get_general_category};

words! {
    /// Kind of a hidden character.
    pub enum HiddenCharacter {
        /// Control character, except the end of a line and the tab.
        Control = "a control character",
        /// Changes the reading direction.
        Direction = "changes the reading direction",
        /// Has no visible form.
        Invisible = "invisible",
        /// Looks like a space, but is no ASCII space.
        Blank = "looks like a space",
        /// Not assigned in Unicode, or for private use.
        Unknown = "not assigned in Unicode",
    }
}

impl HiddenCharacter {
    /// Returns the kind of `c`, or `None` for a visible character.
    pub fn of(c: char) -> Option<Self> {
        match c {
            // Newlines and tabs are visible in a text of several lines.
            '\n' | '\t' | ' '..='~' => return None,
            '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                return Some(Self::Direction);
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
            | '\u{e0000}'..='\u{e0fff}' => return Some(Self::Invisible),
            _ => {}
        }
        match get_general_category(c) {
            GeneralCategory::Control => Some(Self::Control),
            GeneralCategory::Format => Some(Self::Invisible),
            GeneralCategory::SpaceSeparator
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator => Some(Self::Blank),
            GeneralCategory::PrivateUse | GeneralCategory::Unassigned => Some(Self::Unknown),
            _ => None,
        }
    }

    /// Returns true if [`visible`] escapes `c`. Spaces beyond ASCII are not escaped, because texts in other languages
    /// contain them. The exceptions are U+2028 and U+2029, which end a line.
    pub fn is_escaped(c: char) -> bool {
        Self::of(c).is_some_and(|kind| kind != Self::Blank || matches!(c, '\u{2028}' | '\u{2029}'))
    }
}

/// Escapes each hidden character of a text, except the end of a line and the tab. All other characters stay, so that a
/// text in any language is readable.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    for c in text.chars() {
        push_visible(&mut out, before, c);
        before = c;
    }
    out
}

/// Adds a character to a text, or its escape if the character is hidden. U+FE0F, which shows a symbol as a coloured
/// picture, is not escaped directly after a symbol.
pub fn push_visible(out: &mut String, before: char, c: char) {
    let is_symbol = |c| {
        get_general_category(c) == GeneralCategory::OtherSymbol && HiddenCharacter::of(c).is_none()
    };
    if HiddenCharacter::is_escaped(c) && !(c == '\u{fe0f}' && is_symbol(before)) {
        push_escape(out, c);
    } else {
        out.push(c);
    }
}

/// Adds the escape of a character to a text: `\xNN` below U+0080, and `\u{hex}` for all others.
pub fn push_escape(out: &mut String, c: char) {
    let code = u32::from(c);
    let _ = if code < 0x80 {
        write!(out, "\\x{code:02x}")
    } else {
        write!(out, "\\u{{{code:x}}}")
    };
}
