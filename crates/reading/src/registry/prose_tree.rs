//! Parses a page to a tree, from which the prose of the page is shown.
//!
//! Nothing that runs depends on this tree: steps come from the readers of the four formats.

use std::panic::{AssertUnwindSafe, catch_unwind};

use markdown::{
    ParseOptions,
    mdast::{AttributeContent, AttributeValue, MdxJsxAttribute, Node},
};

use crate::registry::gruntwork::elements::{AMPERSAND, checked_text, options as page_options};

/// Maximum number of characters that can begin or end an emphasis. If a page has more, its emphasis is shown as it is
/// written, because each of these characters can nest the tree one level deeper.
const MAX_EMPHASIS: usize = 500;

/// Returns the tree of a page with this name.
///
/// # Errors
/// Returns why the page can't be shown.
pub fn prose_tree(name: &str, text: &str) -> Result<Node, String> {
    let hidden = checked_text(text).map_err(|(_, message)| message)?;
    let emphasis = text
        .bytes()
        .filter(|byte| matches!(byte, b'*' | b'_' | b'~'))
        .count()
        <= MAX_EMPHASIS;
    let mut options = if name.ends_with(".mdx") {
        page_options()
    } else {
        ParseOptions::gfm()
    };
    options.constructs.attention = emphasis;
    options.constructs.frontmatter = true;
    options.constructs.gfm_table = true;
    let parsed = catch_unwind(AssertUnwindSafe(|| markdown::to_mdast(&hidden, &options)));
    let tree = parsed.map_err(|_| "the parser of Markdown can't read the page".to_owned())?;
    tree.map_err(|message| original(&message.reason))
}

/// Returns the name of an MDX element.
pub fn kind_of_element(node: &Node) -> Option<&str> {
    match node {
        Node::MdxJsxFlowElement(element) => element.name.as_deref(),
        Node::MdxJsxTextElement(element) => element.name.as_deref(),
        _ => None,
    }
}

/// Returns an attribute of an MDX element, if the attribute is a text.
pub fn text_attribute(node: &Node, name: &str) -> Option<String> {
    let attributes = match node {
        Node::MdxJsxFlowElement(element) => &element.attributes,
        Node::MdxJsxTextElement(element) => &element.attributes,
        _ => return None,
    };
    attributes.iter().find_map(|attribute| match attribute {
        AttributeContent::Property(MdxJsxAttribute {
            name: known,
            value: Some(AttributeValue::Literal(text)),
        }) if known == name => Some(text.clone()),
        _ => None,
    })
}

/// Returns a text of the tree as the page has it. While the parser reads, another character stands for `&`.
pub fn original(text: &str) -> String {
    text.replace(AMPERSAND, "&")
}
