//! The prose of a runbook as markup. A page contains only the HTML tags that this module writes.

use documents::visible;
use markdown::mdast::Node;
use maud::{Markup, html};
use reading::{kind_of_element, original, text_attribute};

/// A heading, for the list of contents at the side.
pub struct Heading {
    /// Level from 1 to 6.
    pub level: u8,
    /// Fragment of the heading.
    pub id: String,
    /// Text of the heading.
    pub text: String,
}

/// A part of a page in the order of the file.
pub enum Part {
    /// Prose.
    Prose(Markup),
    /// The place of the step with this index.
    Step(usize),
}

/// The prose of a page, with the places of its steps.
#[derive(Default)]
pub struct Prose {
    /// Headings in the order of the page.
    pub headings: Vec<Heading>,
    /// Parts in the order of the page.
    pub parts: Vec<Part>,
    /// Addresses of the images, as the page gives them.
    pub images: Vec<String>,
    /// Addresses of the links to other runbooks, as the page gives them.
    pub links: Vec<String>,
    /// What the person confirms before each step: the texts of the admonitions between the last heading and the step.
    pub confirmations: Vec<Vec<String>>,
}

/// Converts the tree of a page. `lines` are the lines of the steps. A step comes after the block that contains its
/// line. A block that is only the step itself is left out.
pub fn prose(tree: &Node, lines: &[usize]) -> Prose {
    let prose = Prose {
        confirmations: vec![Vec::new(); lines.len()],
        ..Prose::default()
    };
    let mut walker = Walker {
        prose,
        lines,
        placed: vec![false; lines.len()],
        confirm: Vec::new(),
    };
    walker.flow(children(tree));
    for (at, placed) in walker.placed.iter().enumerate() {
        if !placed {
            walker.prose.parts.push(Part::Step(at));
        }
    }
    walker.prose
}

struct Walker<'a> {
    prose: Prose,
    lines: &'a [usize],
    placed: Vec<bool>,
    /// Texts to confirm before the steps up to the next heading.
    confirm: Vec<String>,
}

fn children(node: &Node) -> &[Node] {
    node.children().map_or(&[], |children| children)
}

impl Walker<'_> {
    fn flow(&mut self, nodes: &[Node]) {
        for node in nodes {
            let range = node
                .position()
                .map_or(0..=0, |place| place.start.line..=place.end.line);
            let steps: Vec<usize> = (0..self.lines.len())
                .filter(|at| !self.placed[*at] && range.contains(&self.lines[*at]))
                .collect();
            let is_step =
                !steps.is_empty() && matches!(node, Node::Code(_) | Node::MdxJsxFlowElement(_));
            let element = kind_of_element(node);
            if matches!(node, Node::Heading(_)) {
                self.confirm.clear();
            }
            if element == Some("Admonition") {
                self.confirm
                    .extend(text_attribute(node, "confirmationText").map(|text| shown(&text)));
            }
            // Walk into an element such as an admonition, because steps can be between its prose.
            let opens =
                element.is_some() && !children(node).is_empty() && !is_step_element(element);
            if opens && !steps.is_empty() {
                if let Some(title) = element.and_then(|_| admonition_title(node)) {
                    self.prose
                        .parts
                        .push(Part::Prose(html! { p.admonition { strong { (title) } } }));
                }
                self.flow(children(node));
            } else if !is_step {
                let markup = self.block(node);
                self.prose.parts.push(Part::Prose(markup));
            }
            for at in steps
                .into_iter()
                .filter(|at| !self.placed[*at])
                .collect::<Vec<_>>()
            {
                self.placed[at] = true;
                self.prose.confirmations[at].clone_from(&self.confirm);
                self.prose.parts.push(Part::Step(at));
            }
        }
    }

    fn block(&mut self, node: &Node) -> Markup {
        match node {
            Node::Heading(heading) => {
                let text = plain(node);
                let id = format!("h{}", self.prose.headings.len());
                // A heading without a text gets no entry in the contents, because its link would have no text.
                if !text.trim().is_empty() {
                    self.prose.headings.push(Heading {
                        level: heading.depth,
                        id: id.clone(),
                        text,
                    });
                }
                let inner = self.inline(&heading.children);
                // The page has one heading of the first level: its title.
                match heading.depth {
                    1 => html! { h2 id=(id) { (inner) } },
                    2 => html! { h3 id=(id) { (inner) } },
                    3 => html! { h4 id=(id) { (inner) } },
                    _ => html! { h5 id=(id) { (inner) } },
                }
            }
            Node::Paragraph(paragraph) => html! { p { (self.inline(&paragraph.children)) } },
            Node::Blockquote(quote) => html! { blockquote { (self.blocks(&quote.children)) } },
            Node::List(list) => {
                let items = html! { @for item in &list.children { li { (self.item(item)) } } };
                if list.ordered {
                    html! { ol start=(list.start.unwrap_or(1)) { (items) } }
                } else {
                    html! { ul { (items) } }
                }
            }
            Node::Code(code) => code_block(&code.value),
            Node::ThematicBreak(_) => html! { hr; },
            Node::Table(table) => html! {
                div.wide tabindex="0" role="region" aria-label="Table" { table {
                    @for (at, row) in table.children.iter().enumerate() {
                        tr { @for cell in children(row) {
                            @if at == 0 { th scope="col" { (self.inline(children(cell))) } }
                            @else { td { (self.inline(children(cell))) } }
                        } }
                    }
                } }
            },
            Node::Html(html) => code_block(&html.value),
            Node::MdxJsxFlowElement(element) if admonition_title(node).is_some() => html! {
                div.admonition role="note" {
                    p { strong { (admonition_title(node).unwrap_or_default()) } }
                    @if let Some(text) = text_attribute(node, "description") { p { (shown(&text)) } }
                    (self.blocks(&element.children))
                }
            },
            Node::MdxJsxFlowElement(element) if element.children.is_empty() => html! {},
            Node::MdxJsxFlowElement(element) => self.blocks(&element.children),
            Node::FootnoteDefinition(note) => html! {
                div.note { (shown(&note.identifier)) ": " (self.blocks(&note.children)) }
            },
            // A page does not show front matter, imports, exports, values in braces and definitions of links.
            Node::Yaml(_)
            | Node::Toml(_)
            | Node::MdxjsEsm(_)
            | Node::MdxFlowExpression(_)
            | Node::Definition(_) => {
                html! {}
            }
            other => self.inline(std::slice::from_ref(other)),
        }
    }

    fn blocks(&mut self, nodes: &[Node]) -> Markup {
        html! { @for node in nodes { (self.block(node)) } }
    }

    fn item(&mut self, item: &Node) -> Markup {
        let checked = if let Node::ListItem(item) = item {
            item.checked
        } else {
            None
        };
        let text = match children(item) {
            [Node::Paragraph(only)] => self.inline(&only.children),
            more => self.blocks(more),
        };
        html! { @if let Some(checked) = checked { (if checked { "[x] " } else { "[ ] " }) } (text) }
    }

    fn inline(&mut self, nodes: &[Node]) -> Markup {
        html! { @for node in nodes { (self.span(node)) } }
    }

    fn span(&mut self, node: &Node) -> Markup {
        match node {
            Node::Text(text) => html! { (visible(&decoded(&text.value))) },
            Node::InlineCode(code) => html! { code { (shown(&code.value)) } },
            Node::Emphasis(inner) => html! { em { (self.inline(&inner.children)) } },
            Node::Strong(inner) => html! { strong { (self.inline(&inner.children)) } },
            Node::Delete(inner) => html! { del { (self.inline(&inner.children)) } },
            Node::Break(_) => html! { br; },
            Node::Link(link) => {
                let (url, inner) = (original(&link.url), self.inline(&link.children));
                if (is_web(&url) || url.starts_with('#')) && visible(&url) == url {
                    // Show a host name with other scripts in its ASCII form, because its letters can look like those of
                    // a known host.
                    let host = url.split('/').nth(2).filter(|host| host.contains("xn--"));
                    html! { a href=(url) rel="noreferrer noopener" { (inner) } @if let Some(host) = host { " (" code { (host) } ")" } }
                } else if is_runbook(&url) {
                    let at = self.prose.links.len();
                    self.prose.links.push(url);
                    html! { a href=(format!("link/{at}")) { (inner) } }
                } else {
                    html! { (inner) " (" code { (visible(&url)) } ")" }
                }
            }
            Node::Image(image) => {
                let (url, alt) = (original(&image.url), shown(&image.alt));
                if is_web(&url) || url.contains(':') || url.starts_with('/') {
                    return html! { "[image: " (alt) ", " code { (visible(&url)) } "]" };
                }
                let at = self.prose.images.len();
                self.prose.images.push(url);
                html! { img src=(format!("image/{at}")) alt=(alt); }
            }
            Node::MdxTextExpression(value) => html! { code { "{" (shown(&value.value)) "}" } },
            Node::Html(html) => html! { code { (shown(&html.value)) } },
            Node::InlineMath(math) => html! { code { (shown(&math.value)) } },
            Node::Math(math) => code_block(&math.value),
            other => self.inline(children(other)),
        }
    }
}

/// Returns a block that the keyboard can scroll.
fn code_block(text: &str) -> Markup {
    html! { pre tabindex="0" role="region" aria-label="Code" { code { (shown(text)) } } }
}

/// Returns the text of prose, with decoded character references such as `&lt;`.
fn decoded(text: &str) -> String {
    let text = original(text);
    let mut parts = text.split('&');
    let mut read = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let named = part.split_once(';').and_then(|(name, rest)| {
            let character = match name {
                "lt" => '<',
                "gt" => '>',
                "amp" => '&',
                "quot" => '"',
                "apos" => '\'',
                "nbsp" => ' ',
                _ => {
                    let code = name.strip_prefix('#')?;
                    let hex = code
                        .strip_prefix(['x', 'X'])
                        .map(|hex| u32::from_str_radix(hex, 16));
                    char::from_u32(hex.unwrap_or_else(|| code.parse()).ok()?)?
                }
            };
            Some((character, rest))
        });
        match named {
            Some((character, rest)) => {
                read.push(character);
                read.push_str(rest);
            }
            None => {
                read.push('&');
                read.push_str(part);
            }
        }
    }
    read
}

fn is_step_element(name: Option<&str>) -> bool {
    matches!(
        name,
        Some("Command" | "Check" | "Template" | "TemplateInline" | "Inputs")
    )
}

/// Returns the title of an admonition.
fn admonition_title(node: &Node) -> Option<String> {
    if kind_of_element(node) != Some("Admonition") {
        return None;
    }
    let kind = text_attribute(node, "type").unwrap_or_else(|| "note".to_owned());
    let kind = shown(&kind);
    Some(match text_attribute(node, "title") {
        Some(title) => format!("{kind}: {}", shown(&title)),
        None => kind,
    })
}

/// Returns true for a relative path to a runbook, perhaps with a fragment.
fn is_runbook(url: &str) -> bool {
    let path = url.split('#').next().unwrap_or_default();
    let is_relative = !path.starts_with('/') && !url.contains([':', '\\', '?']);
    is_relative && (path.ends_with(".md") || path.ends_with(".mdx")) && visible(url) == *url
}

fn is_web(url: &str) -> bool {
    ["https://", "http://", "mailto:"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
}

/// Returns all text of a node.
fn plain(node: &Node) -> String {
    match node {
        Node::Text(text) => visible(&decoded(&text.value)),
        Node::InlineCode(code) => shown(&code.value),
        _ => children(node).iter().map(plain).collect(),
    }
}

/// Returns a text of the page, with escapes in place of hidden characters.
fn shown(text: &str) -> String {
    visible(&original(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use documents::HiddenCharacter;
    use proptest::prelude::*;
    use reading::prose_tree;

    const TAGS: [&str; 29] = [
        "a",
        "blockquote",
        "br",
        "code",
        "del",
        "div",
        "em",
        "h2",
        "h3",
        "h4",
        "h5",
        "hr",
        "img",
        "li",
        "ol",
        "p",
        "pre",
        "span",
        "strong",
        "table",
        "td",
        "th",
        "tr",
        "ul",
        "tbody",
        "thead",
        "h1",
        "h6",
        "dl",
    ];

    fn markup_of(name: &str, text: &str, lines: &[usize]) -> (String, Vec<usize>) {
        let tree = prose_tree(name, text).expect("a tree");
        let (mut markup, mut steps) = (String::new(), Vec::new());
        for part in prose(&tree, lines).parts {
            match part {
                Part::Prose(prose) => markup.push_str(&prose.into_string()),
                Part::Step(at) => {
                    markup.push_str(&format!("[{at}]"));
                    steps.push(at);
                }
            }
        }
        (markup, steps)
    }

    #[test]
    fn prose_has_its_steps_in_place_of_their_blocks() {
        let page = "# Title\n\nBefore **this** & that.\n\n```bash {#one}\necho 1\n```\n\n- after\n";
        let (markup, _) = markup_of("a.md", page, &[5]);
        assert_eq!(
            markup,
            "<h2 id=\"h0\">Title</h2><p>Before <strong>this</strong> &amp; that.</p>[0]<ul><li>after</li></ul>"
        );
        let page = "<Admonition type=\"warning\" title=\"Careful\" />\n\n<Command id=\"a\" command=\"b\" />\n\ntext\n";
        let (markup, steps) = markup_of("a.mdx", page, &[3]);
        assert!(markup.contains("warning: Careful"), "{markup}");
        assert!(markup.ends_with("[0]<p>text</p>"), "{markup}");
        assert_eq!(steps, [0]);
    }

    #[test]
    fn an_admonition_is_confirmed_before_the_steps_up_to_the_next_heading() {
        let page = "<Command id=\"a\" command=\"x\" />\n\n<Admonition type=\"danger\" confirmationText=\"I have a backup\">\n\
            text\n</Admonition>\n\n<Command id=\"b\" command=\"x\" />\n\n## Next\n\n<Command id=\"c\" command=\"x\" />\n";
        let tree = prose_tree("a.mdx", page).expect("a tree");
        let asked = prose(&tree, &[1, 7, 11]).confirmations;
        assert_eq!(asked, [vec![], vec!["I have a backup".to_owned()], vec![]]);
    }

    #[test]
    fn references_to_characters_are_shown_as_the_characters() {
        let (markup, _) = markup_of(
            "a.md",
            "a &lt;b&gt; &amp; &nbsp;&#8230; &#x2014; &none; & `&lt;`\n",
            &[],
        );
        assert!(
            markup.contains("a &lt;b&gt; &amp;  \u{2026} \u{2014} &amp;none; &amp; "),
            "{markup}"
        );
        assert!(
            markup.contains("<code>&amp;lt;</code>"),
            "code is shown as it is written: {markup}"
        );
    }

    #[test]
    fn a_link_to_a_host_in_punycode_shows_the_host() {
        let (markup, _) = markup_of(
            "a.md",
            "[bank](https://xn--bnk-rla.example/x) [own](https://own.example/)\n",
            &[],
        );
        assert!(
            markup.contains("bank</a> (<code>xn--bnk-rla.example</code>)")
                && !markup.contains("<code>own"),
            "{markup}"
        );
    }

    #[test]
    fn an_empty_heading_has_no_link_and_the_keyboard_can_scroll_code() {
        let tree = prose_tree("a.md", "#\n\n# One\n\n```text\nlong\n```\n").expect("a tree");
        let headings: Vec<String> = prose(&tree, &[])
            .headings
            .into_iter()
            .map(|heading| heading.text)
            .collect();
        assert_eq!(headings, ["One"]);
        let (markup, _) = markup_of("a.md", "```text\nlong\n```\n", &[]);
        assert!(
            markup.contains("<pre tabindex=\"0\" role=\"region\" aria-label=\"Code\">"),
            "{markup}"
        );
    }

    #[test]
    fn no_script_link_and_no_image_from_outside_come_into_a_page() {
        let page = "[a](javascript:alert(1)) ![x](https://example.com/a.png) ![y](pictures/b.png) <b onclick=\"c()\">d</b>\n";
        let (markup, _) = markup_of("a.md", page, &[]);
        assert!(
            !markup.contains("href=\"javascript")
                && !markup.contains("<b ")
                && !markup.contains("src=\"http"),
            "{markup}"
        );
        assert!(markup.contains("src=\"image/0\""), "{markup}");
    }

    #[test]
    fn every_hidden_character_in_a_text_of_a_page_is_an_escape() {
        // Invisible and reordering characters, tags and control characters, and what readers of other languages need.
        let hidden = "\u{202e}\u{2066}\u{200b}\u{ad}\u{e0041}\u{7f}\u{feff}\u{3164}\u{fe0f}";
        let page = format!(
            "# A{hidden}b\n\nC{hidden}d **e{hidden}f** `g{hidden}h` [i{hidden}j](k{hidden}l) ![m{hidden}n](https://o.example/{hidden})\n\n\
             > p{hidden}q\n\n| r{hidden}s |\n|---|\n| t{hidden}u |\n\n```\nv{hidden}w\n```\n\n- x{hidden}y\n\nGr\u{fc}n \u{5b8c}\u{4e86} \u{26a0}\u{fe0f}\n"
        );
        for name in ["a.md", "a.mdx"] {
            let tree = prose_tree(name, &page).expect("a tree");
            let prose = prose(&tree, &[]);
            let mut texts: String = prose
                .headings
                .iter()
                .map(|heading| heading.text.clone())
                .collect();
            for part in prose.parts {
                let Part::Prose(markup) = part else { continue };
                texts.push_str(&markup.into_string());
            }
            let escaped =
                "\\u{202e}\\u{2066}\\u{200b}\\u{ad}\\u{e0041}\\x7f\\u{feff}\\u{3164}\\u{fe0f}";
            // The address of a link stands beside its text.
            assert!(texts.matches(escaped).count() >= 13, "{texts}");
            assert!(
                texts.contains("Gr\u{fc}n \u{5b8c}\u{4e86} \u{26a0}\u{fe0f}"),
                "{texts}"
            );
            let rest = texts.replace("\u{26a0}\u{fe0f}", "");
            assert!(
                !rest.contains(|c| HiddenCharacter::of(c).is_some()),
                "{texts}"
            );
        }
    }

    proptest! {
        #[test]
        fn only_listed_tags_come_into_a_page(parts in proptest::collection::vec(prop_oneof![
            Just("<script>".to_owned()), Just("# ".to_owned()), Just("\n\n".to_owned()), Just("> ".to_owned()),
            Just("- ".to_owned()), Just("`".to_owned()), Just("```\n".to_owned()), Just("<Admonition>".to_owned()),
            Just("</Admonition>".to_owned()), Just("![a](b\"onerror=)".to_owned()), Just("**".to_owned()),
            Just("| a |\n|---|\n".to_owned()), Just("<img src=x>".to_owned()), Just("&lt;".to_owned()), ".{0,8}",
        ], 0..20), mdx in any::<bool>()) {
            let name = if mdx { "a.mdx" } else { "a.md" };
            let Ok(tree) = prose_tree(name, &parts.concat()) else { return Ok(()) };
            for part in prose(&tree, &[1]).parts {
                let Part::Prose(markup) = part else { continue };
                let markup = markup.into_string();
                for tag in markup.split('<').skip(1) {
                    let name = tag.trim_start_matches('/').split(|c: char| !c.is_ascii_alphanumeric()).next();
                    prop_assert!(name.is_some_and(|name| TAGS.contains(&name)), "{}", markup);
                }
            }
        }
    }
}
