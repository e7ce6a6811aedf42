//! Limits of the nesting of a page.
//!
//! The MDX parser needs quadratic time for deep nesting. A page that exceeds a limit is refused before it is parsed. The
//! limit of 100 levels is checked on the tree, because only the tree shows the exact nesting.

use markdown::mdast::Node;

/// Checks everything that makes the parser slow.
///
/// # Errors
/// Returns the offset of the first part that exceeds a limit.
pub fn check_text(text: &str) -> Result<(), (usize, String)> {
    let mut start = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if number == MAX_LINES {
            return Err((
                start,
                format!("the page has more than {MAX_LINES} lines: split the page"),
            ));
        }
        if let Some(at) = deep_marker(line) {
            return Err((start + at, too_deep()));
        }
        start += line.len();
    }
    let (mut tags, mut brackets) = (0_usize, 0_usize);
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        match (c, rest.peek().map(|(_, next)| *next)) {
            // A tag is counted until its end tag or its `/>`. Text such as `a <b` counts too.
            ('<', Some('/')) => {
                rest.next();
                tags = tags.saturating_sub(1);
            }
            ('/', Some('>')) => tags = tags.saturating_sub(1),
            ('<', Some(next)) if next.is_alphabetic() || next == '>' => tags += 1,
            ('[', _) => brackets += 1,
            _ => {}
        }
        if tags > MAX_OPEN_TAGS {
            return Err((
                at,
                format!(
                    "more than {MAX_OPEN_TAGS} tags are open: close the tags, or split the page"
                ),
            ));
        }
        if brackets > MAX_BRACKETS {
            return Err((
                at,
                format!("the page has more than {MAX_BRACKETS} opening brackets: split the page"),
            ));
        }
    }
    Ok(())
}

/// Returns the offset of the marker that opens the block quote or list after [`MAX_LEVELS`] others in one line.
fn deep_marker(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    let (mut levels, mut at) = (0, 0);
    loop {
        let indent = bytes[at..]
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        // Each level of a list needs at least two columns of indentation.
        levels += indent / 2;
        at += indent;
        let digits = bytes[at..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let ends = |at: usize| matches!(bytes.get(at), None | Some(b' ' | b'\t' | b'\n'));
        let length = match bytes.get(at + digits) {
            Some(b'>') if digits == 0 => 1,
            Some(b'.' | b')') if digits > 0 && ends(at + digits + 1) => digits + 1,
            Some(b'-' | b'+' | b'*') if digits == 0 && ends(at + 1) => 1,
            _ => return None,
        };
        levels += 1;
        if levels > 2 * MAX_LEVELS {
            return Some(at);
        }
        at += length;
    }
}

/// Checks the nesting of the parsed page.
///
/// # Errors
/// Returns the offset of the first part that is nested too deep.
pub fn check_tree(tree: &Node) -> Result<(), (usize, String)> {
    let mut open = vec![(tree, 0_usize)];
    while let Some((node, level)) = open.pop() {
        if level > MAX_LEVELS {
            return Err((
                node.position().map_or(0, |position| position.start.offset),
                too_deep(),
            ));
        }
        open.extend(
            node.children()
                .into_iter()
                .flatten()
                .map(|child| (child, level + 1)),
        );
    }
    Ok(())
}

fn too_deep() -> String {
    format!("the page is nested deeper than {MAX_LEVELS} levels: reduce the nesting")
}

/// Maximum number of nested blocks and elements.
const MAX_LEVELS: usize = 100;
/// Maximum number of tags that are open at one place, as far as a look at the text shows. The parsed tree must then
/// respect [`MAX_LEVELS`]; this larger limit bounds the time and the recursion of the parser.
const MAX_OPEN_TAGS: usize = 1000;
/// Maximum number of lines. The parser needs quadratic time for many short headings or blocks.
const MAX_LINES: usize = 10_000;
/// Maximum number of opening brackets. The parser looks through all brackets before each bracket.
const MAX_BRACKETS: usize = 8192;
