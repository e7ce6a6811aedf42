//! Decodes the entities of attributes, such as `&amp;`. An entity without its semicolon is plain text.

use markdown::ParseOptions;
use markdown::mdast::Node;

/// Replaces each entity by its character, once.
pub(super) fn decode(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        decoded.push_str(&rest[..at]);
        rest = &rest[at..];
        match entity(rest).and_then(|name| Some((name, character(name)?))) {
            Some((name, character)) => {
                decoded.push_str(&character);
                rest = &rest[name.len()..];
            }
            None => {
                decoded.push('&');
                rest = &rest[1..];
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

/// Returns the text from `&` to `;`, if it has the form of an entity.
fn entity(text: &str) -> Option<&str> {
    let end = text.bytes().take(MAX_ENTITY_BYTES).position(|byte| byte == b';')?;
    let name = &text[1..end];
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_name(name.strip_prefix('#').unwrap_or(name)).then(|| &text[..=end])
}

/// Returns the character of an entity. Markdown has the same entities as MDX, and its parser has the table.
fn character(entity: &str) -> Option<String> {
    let tree = markdown::to_mdast(entity, &ParseOptions::default()).ok()?;
    let Node::Text(text) = tree.children()?.first()?.children()?.first()? else { return None };
    (text.value != entity).then(|| text.value.clone())
}

/// Maximum length of an entity. The longest name has 31 letters.
const MAX_ENTITY_BYTES: usize = 33;
