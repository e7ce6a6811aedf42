//! Decodes the entities of attributes, such as `&amp;`. An entity without its semicolon is plain text.

use markdown::{ParseOptions, mdast::Node};

/// Replaces each entity by its character, once.
///
/// # Errors
/// Returns the first entity that programs read differently: the number of no printable character, or an unknown name
/// that begins with a known name, such as `&ampx;`.
pub fn decode(text: &str) -> Result<String, &str> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        decoded.push_str(&rest[..at]);
        rest = &rest[at..];
        match entity(rest).and_then(|name| Some((name, character(name)?))) {
            Some((name, character)) if character == "\u{fffd}" => return Err(name),
            Some((name, character)) => {
                decoded.push_str(&character);
                rest = &rest[name.len()..];
            }
            None if entity(rest).is_some_and(begins_with_entity) => {
                return Err(entity(rest).unwrap_or("&"));
            }
            None => {
                decoded.push('&');
                rest = &rest[1..];
            }
        }
    }
    decoded.push_str(rest);
    Ok(decoded)
}

/// Returns the text from `&` to `;`, if it has the form of an entity.
fn entity(text: &str) -> Option<&str> {
    let end = text
        .bytes()
        .take(MAX_ENTITY_BYTES)
        .position(|byte| byte == b';')?;
    let name = &text[1..end];
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_name(name.strip_prefix('#').unwrap_or(name)).then(|| &text[..=end])
}

/// Returns true if the name of an unknown entity begins with the name of a known entity.
fn begins_with_entity(unknown: &str) -> bool {
    (3..unknown.len() - 1).any(|end| character(&format!("{};", &unknown[..end])).is_some())
}

/// Returns the character of an entity. Markdown has the same entities as MDX, and its parser has the table.
fn character(entity: &str) -> Option<String> {
    let tree = markdown::to_mdast(entity, &ParseOptions::default()).ok()?;
    let Node::Text(text) = tree.children()?.first()?.children()?.first()? else {
        return None;
    };
    (text.value != entity).then(|| text.value.clone())
}

/// Maximum length of an entity. The longest name has 31 letters.
const MAX_ENTITY_BYTES: usize = 33;
