//! Characters that a reader cannot see, or that change what a reader sees.

use unicode_general_category::{GeneralCategory, get_general_category};

/// Kind of such a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HiddenCharacter {
    /// Control character, except the end of a line and the tab.
    Control,
    /// Changes the reading direction.
    Direction,
    /// Has no visible form.
    Invisible,
    /// Looks like a space, but is no ASCII space.
    Blank,
    /// Not assigned in Unicode, or for private use.
    Unknown,
}

impl HiddenCharacter {
    /// Returns the kind of `c`, or `None` for a visible character.
    #[must_use]
    pub fn of(c: char) -> Option<Self> {
        match c {
            // Newlines and tabs are visible in a text of several lines.
            '\n' | '\t' | ' '..='~' => return None,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
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
            GeneralCategory::SpaceSeparator | GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator => {
                Some(Self::Blank)
            }
            GeneralCategory::PrivateUse | GeneralCategory::Unassigned => Some(Self::Unknown),
            _ => None,
        }
    }
}
