//! Finds the elements of an MDX page, with their attributes and fences, as a reader of the page sees them. The file
//! also contains:
//!
//! - errors and remarks about a page, and the places of YAML in it
//! - a variable of Boilerplate, as a parameter of a step
//! - the secrets of a step that names a sign-in block, for example `awsAuthId="aws"`. Gruntwork's blocks sign in
//!   through a browser and put the result into variables. The registry names the same variables as secrets of the step:
//!   `aws.AWS_REGION` is the variable `AWS_REGION` of the block with the id `aws`.
//! - the entities of attributes, such as `&amp;`. An entity without its semicolon is plain text.
//! - the limits of the nesting of a page. The MDX parser needs quadratic time for deep nesting, so a page that exceeds
//!   a limit is refused before it is parsed. The limit of 100 levels is checked on the tree, because only the tree
//!   shows the exact nesting.

use std::{
    cell::Cell,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
};

use markdown::{
    Constructs, MdxSignal, ParseOptions,
    mdast::{AttributeContent, AttributeValue, Node, Stop},
    message::{Message, Place},
};
use serde_json::Value;

use crate::{
    TextLines, TextPlace, YamlFlaw, refuse,
    registry::{
        fence_remarks::SharedRemarks,
        gruntwork::literal::{self, ExpressionEnd},
    },
};
use documents::{Parameter, SecretAs, StepSecret};

/// Element of a page, for example `<Command id="a" />`.
pub struct Element {
    pub name: String,
    /// Place of the `<`.
    pub place: TextPlace,
    pub attributes: Vec<Attribute>,
    /// Offsets of the attributes in the page.
    pub attribute_text: Range<usize>,
    /// Index of the element around this element.
    pub parent: Option<usize>,
    /// Fenced blocks in the element, but not in an inner element.
    pub fences: Vec<Fence>,
}

impl Element {
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes
            .iter()
            .find(|attribute| attribute.name == name)
    }

    /// Returns the place of an attribute, or of the element if the attribute is missing.
    pub fn place_of(&self, name: &str) -> TextPlace {
        self.attribute(name)
            .map_or(self.place, |attribute| attribute.place)
    }

    /// Returns the text of an attribute, or `None` if the value is no text.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.attribute(name)?.value.as_ref()?.as_str()
    }

    /// Returns the text of an attribute. If the value is valid but no text, a flaw is added.
    pub fn text(&self, name: &str, flaws: &mut Vec<YamlFlaw>) -> Option<&str> {
        let attribute = self.attribute(name)?;
        let text = attribute.value.as_ref()?.as_str();
        if text.is_none() {
            refuse(
                flaws,
                attribute.place,
                format!("`{name}` must be a text: write {name}=\"...\""),
            );
        }
        text
    }
}

/// Attribute of an element.
pub struct Attribute {
    pub name: String,
    pub place: TextPlace,
    /// The value, as MDX reads it. An attribute without a value is `true`. `None` if the value is invalid.
    pub value: Option<Value>,
}

/// Fenced block.
pub struct Fence {
    pub place: TextPlace,
    pub language: Option<String>,
    pub text: String,
}

/// Returns the elements of a page, in the order of the page. Adds a flaw for each expression that is no literal.
///
/// # Errors
/// Returns the first part of the page that is not MDX.
pub fn read(
    text: &str,
    lines: &TextLines<'_>,
    flaws: &mut Vec<YamlFlaw>,
) -> Result<Vec<Element>, YamlFlaw> {
    let hidden =
        checked_text(text).map_err(|(at, message)| YamlFlaw::new(lines.place(at), message))?;
    // The parser has internal checks that panic. A page must not end the process.
    let parsed = catch_unwind(AssertUnwindSafe(|| markdown::to_mdast(&hidden, &options())));
    let parsed = parsed.map_err(|_| {
        let message = "the MDX parser can't read the page: make the page simpler";
        YamlFlaw::new(TextPlace::START, message)
    })?;
    let tree = parsed.map_err(|message| flaw_of(&message, lines))?;
    check_tree(&tree).map_err(|(at, message)| YamlFlaw::new(lines.place(at), message))?;
    let mut found = Vec::new();
    Collector {
        text,
        lines,
        found: &mut found,
        flaws,
    }
    .node(&tree, None);
    Ok(found)
}

/// Returns the text for the parser.
///
/// # Errors
/// Returns the offset of the first part that the parser can't read in good time.
pub fn checked_text(text: &str) -> Result<String, (usize, String)> {
    check_text(text)?;
    if let Some(at) = text.find(AMPERSAND) {
        return Err((
            at,
            "the page contains the control character U+0001: remove the character".to_owned(),
        ));
    }
    Ok(text.replace('&', AMPERSAND))
}

fn flaw_of(message: &Message, lines: &TextLines<'_>) -> YamlFlaw {
    let offset = message.place.as_deref().map_or(0, |place| match place {
        Place::Position(position) => position.start.offset,
        Place::Point(point) => point.offset,
    });
    let reason = message
        .reason
        .replace(AMPERSAND, "&")
        .replace("U+0001", "U+0026");
    YamlFlaw::new(
        lines.place(offset),
        format!("not readable as MDX: {reason}"),
    )
}

/// Character that stands for `&` while the parser reads the page. The parser panics if an attribute ends in `&` and
/// letters, and it knows only some of the names of entities. No other part of MDX depends on `&`.
pub const AMPERSAND: &str = "\u{1}";

/// Strict MDX with front matter. Programs that show such pages hide the front matter. Emphasis is switched off, because
/// emphasis can't hide an element, and its nesting has no limit.
pub fn options() -> ParseOptions {
    let budget = Cell::new(MAX_EXPRESSION_BYTES);
    ParseOptions {
        constructs: Constructs {
            attention: false,
            frontmatter: true,
            ..Constructs::mdx()
        },
        mdx_esm_parse: Some(Box::new(|_| MdxSignal::Ok)),
        mdx_expression_parse: Some(Box::new(move |text, _| {
            // The parser calls this closure at each brace inside of an expression, with all the text before the brace.
            let Some(left) = budget.get().checked_sub(text.len()) else {
                let message =
                    "the expressions of the page contain too many braces: make the page simpler";
                return signal(Some(0), message);
            };
            budget.set(left);
            match literal::expression_end(text) {
                ExpressionEnd::Complete => MdxSignal::Ok,
                ExpressionEnd::Open => signal(None, "the expression is not closed: write }"),
                ExpressionEnd::Unclear(at) => {
                    let message = "the expression is program code, which the registry does not run: write the value itself";
                    signal(Some(at), message)
                }
            }
        })),
        ..ParseOptions::mdx()
    }
}

/// Returns an error at this offset, or asks for more text.
fn signal(at: Option<usize>, message: &str) -> MdxSignal {
    let (source, rule) = (
        Box::new("countersign".to_owned()),
        Box::new("expression".to_owned()),
    );
    match at {
        Some(at) => MdxSignal::Error(message.to_owned(), at, source, rule),
        None => MdxSignal::Eof(message.to_owned(), source, rule),
    }
}

struct Collector<'a> {
    text: &'a str,
    lines: &'a TextLines<'a>,
    found: &'a mut Vec<Element>,
    flaws: &'a mut Vec<YamlFlaw>,
}

impl Collector<'_> {
    fn node(&mut self, node: &Node, parent: Option<usize>) {
        let start = node.position().map_or(0, |position| position.start.offset);
        let mut inside = parent;
        match node {
            Node::MdxJsxFlowElement(element) => {
                inside =
                    Some(self.element(element.name.as_deref(), &element.attributes, start, parent));
            }
            Node::MdxJsxTextElement(element) => {
                inside =
                    Some(self.element(element.name.as_deref(), &element.attributes, start, parent));
            }
            Node::MdxFlowExpression(expression) => {
                self.expression(&expression.value, &expression.stops, start);
            }
            Node::MdxTextExpression(expression) => {
                self.expression(&expression.value, &expression.stops, start);
            }
            Node::MdxjsEsm(_) => {
                let message = "`import` and `export` at the beginning of a line are program code, which the registry does \
                               not run: remove the line, or begin the line with another word";
                self.flaw(start, message);
            }
            // The parser shows some invalid tags as text instead of an error. A step must not become text silently.
            Node::Text(_) => {
                let end = node
                    .position()
                    .map_or(start, |position| position.end.offset);
                if let Some(at) = invalid_tag(self.text.as_bytes(), start..end) {
                    self.flaw(
                        at,
                        "the character < begins no valid tag: correct the tag, or write \\<",
                    );
                }
            }
            Node::Code(code) => {
                if let Some(element) = parent.and_then(|parent| self.found.get_mut(parent)) {
                    let place = self.lines.place(start);
                    element.fences.push(Fence {
                        place,
                        language: code.lang.clone(),
                        text: code.value.replace(AMPERSAND, "&"),
                    });
                }
            }
            _ => {}
        }
        for child in node.children().into_iter().flatten() {
            self.node(child, inside);
        }
    }

    fn flaw(&mut self, at: usize, message: &str) {
        refuse(self.flaws, self.lines.place(at), message);
    }

    /// Reads the value of an expression: null if the expression contains only comments. Adds a flaw if the expression
    /// is no literal.
    fn expression(&mut self, text: &str, stops: &[Stop], start: usize) -> Option<Value> {
        match literal::parse(&text.replace(AMPERSAND, "&")) {
            Ok(value) => Some(value.unwrap_or(Value::Null)),
            Err((at, message)) => {
                self.flaw(offset_in_page(stops, at).unwrap_or(start), &message);
                None
            }
        }
    }

    fn element(
        &mut self,
        name: Option<&str>,
        found: &[AttributeContent],
        start: usize,
        parent: Option<usize>,
    ) -> usize {
        let begin = self.after(start, name.unwrap_or("<"));
        let (mut at, mut attributes) = (begin, Vec::new());
        for attribute in found {
            match attribute {
                AttributeContent::Expression(spread) => {
                    let begin = self.after(at, "{");
                    self.flaw(
                        begin.saturating_sub(1),
                        "{...} is program code: write each attribute with its name",
                    );
                    at = end_of(&spread.stops, &spread.value).unwrap_or(begin);
                }
                AttributeContent::Property(property) => {
                    let end = self.after(at, &property.name);
                    let place = self.lines.place(end.saturating_sub(property.name.len()));
                    at = end;
                    let value = match &property.value {
                        None => Some(Value::Bool(true)),
                        Some(AttributeValue::Literal(text)) => {
                            at = self.after_quotes(end);
                            self.without_entities(&text.replace(AMPERSAND, "&"), end)
                        }
                        Some(AttributeValue::Expression(expression)) => {
                            at = end_of(&expression.stops, &expression.value)
                                .map_or(end, |end| end + 1);
                            self.expression(&expression.value, &expression.stops, end)
                        }
                    };
                    attributes.push(Attribute {
                        name: property.name.clone(),
                        place,
                        value,
                    });
                }
            }
        }
        let end = self
            .text
            .get(at..)
            .and_then(|rest| rest.find('>'))
            .map_or(at, |length| at + length);
        self.found.push(Element {
            name: name.unwrap_or_default().to_owned(),
            place: self.lines.place(start),
            attributes,
            attribute_text: begin..end,
            parent,
            fences: Vec::new(),
        });
        self.found.len() - 1
    }

    fn without_entities(&mut self, text: &str, at: usize) -> Option<Value> {
        match decode_entities(text) {
            Ok(text) => Some(Value::String(text)),
            Err(entity) => {
                let message = format!(
                    "programs read the entity {entity} differently: write the character itself"
                );
                self.flaw(at, &message);
                None
            }
        }
    }

    /// Returns the offset after the next occurrence of `word`, or `from` if there is none.
    fn after(&self, from: usize, word: &str) -> usize {
        let rest = self.text.get(from..).unwrap_or_default();
        rest.find(word).map_or(from, |at| from + at + word.len())
    }

    /// Returns the offset after the next text in quotes.
    fn after_quotes(&self, from: usize) -> usize {
        let rest = self.text.get(from..).unwrap_or_default();
        let Some(open) = rest.find(['"', '\'']) else {
            return from;
        };
        let length = rest[open + 1..].find(char::from(rest.as_bytes()[open]));
        length.map_or(from, |length| from + open + length + 2)
    }
}

/// Returns the offset of the first `<` in a part of the page that is neither escaped nor followed by a space.
fn invalid_tag(page: &[u8], part: Range<usize>) -> Option<usize> {
    part.filter(|at| page.get(*at) == Some(&b'<')).find(|at| {
        let escapes = page[..*at]
            .iter()
            .rev()
            .take_while(|byte| **byte == b'\\')
            .count();
        escapes % 2 == 0 && !matches!(page.get(at + 1), Some(b' ' | b'\t'))
    })
}

/// Returns the offset in the page of an offset in an expression.
fn offset_in_page(stops: &[Stop], at: usize) -> Option<usize> {
    let (begin, in_page) = stops.iter().rev().find(|(begin, _)| *begin <= at)?;
    Some(in_page + at - begin)
}

fn end_of(stops: &[Stop], text: &str) -> Option<usize> {
    offset_in_page(stops, text.len())
}

/// Maximum number of bytes of expressions that the reader scans for one page. Each brace in an expression makes the
/// reader scan the expression again.
const MAX_EXPRESSION_BYTES: usize = 8 << 20;

/// Errors and remarks that the reader has found.
#[derive(Default)]
pub struct Notes {
    pub flaws: Vec<YamlFlaw>,
    pub remarks: Vec<YamlFlaw>,
    /// Remarks that are merged, so that the page has only one of each kind.
    pub shared: SharedRemarks,
}

/// Origin of a YAML document.
#[derive(Clone)]
pub enum YamlSource {
    /// Fence of the page. `indents` has one number for each line of the YAML, from the line after the fence on: the
    /// number of columns before the YAML.
    Fence {
        first_line: usize,
        indents: Vec<usize>,
    },
    /// File that an attribute at `place` of the page names.
    File { path: String, place: TextPlace },
}

impl YamlSource {
    /// Returns the origin of the YAML in a fence.
    pub fn of_fence(fence: &Fence, page: &TextLines<'_>) -> Self {
        let first_line = fence.place.line + 1;
        let indent = |(index, yaml): (usize, &str)| {
            let written = page.line(first_line + index).trim_end_matches('\n');
            written
                .strip_suffix(yaml)
                .map_or(0, |indent| indent.chars().count())
        };
        Self::Fence {
            first_line,
            indents: fence.text.lines().enumerate().map(indent).collect(),
        }
    }

    /// Returns the number of the first line, for the YAML reader.
    pub fn first_line(&self) -> usize {
        match self {
            Self::Fence { first_line, .. } => *first_line,
            Self::File { .. } => 1,
        }
    }

    /// Returns an error or a remark at a place of the YAML.
    pub fn flaw(&self, place: TextPlace, message: &str) -> YamlFlaw {
        match self {
            Self::Fence {
                first_line,
                indents,
            } => {
                let indent = place
                    .line
                    .checked_sub(*first_line)
                    .and_then(|index| indents.get(index))
                    .unwrap_or(&0);
                YamlFlaw::new(place.after(*indent), message)
            }
            Self::File { path, place: named } => {
                YamlFlaw::new(*named, format!("{path}:{place}: {message}"))
            }
        }
    }
}

/// Variable of an `<Inputs>` or `<Template>` block.
#[derive(Clone)]
pub struct Variable {
    pub name: String,
    pub declared: Parameter,
    pub source: YamlSource,
    pub place: TextPlace,
    /// True for a map whose keys are unknown. No schema can describe such a map.
    pub open_map: bool,
    /// True for a number that a step requires only if the script of the step uses the number.
    pub if_used: bool,
}

impl Variable {
    /// Returns a flaw or a remark about the variable.
    pub fn flaw(&self, message: &str) -> YamlFlaw {
        self.source
            .flaw(self.place, &format!("{}: {message}", self.name))
    }
}

/// Attributes of a step that name a sign-in block.
pub const SIGN_INS: [&str; 4] = ["awsAuthId", "githubAuthId", "gitAuthId", "googleAuthId"];

const AWS: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
];
const GITHUB: &[&str] = &["GITHUB_TOKEN", "GITHUB_USER"];
const GITLAB: &[&str] = &["GITLAB_TOKEN", "GITLAB_USER"];
const GOOGLE: &[&str] = &[
    "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
    "CLOUDSDK_CORE_ACCOUNT",
    "CLOUDSDK_CORE_PROJECT",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_PROJECT",
];
/// Variables of Google that contain the path of a file with the credentials.
const FILES: [&str; 2] = [
    "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
    "GOOGLE_APPLICATION_CREDENTIALS",
];

/// Adds the secrets of the sign-in blocks to the secrets that a step declares, and sorts all by name.
pub fn add_secrets(
    step: &Element,
    page: &[Element],
    found: &mut Vec<StepSecret>,
    flaws: &mut Vec<YamlFlaw>,
) {
    for name in SIGN_INS {
        let Some(id) = step.text(name, flaws) else {
            continue;
        };
        let place = step.place_of(name);
        let Some(block) = page.iter().find(|block| {
            SIGN_IN_BLOCKS.contains(&block.name.as_str()) && block.text_of("id") == Some(id)
        }) else {
            let message = format!(
                "no sign-in block of the page has the id {id:?}: correct `{name}`, or add the block"
            );
            refuse(flaws, place, message);
            continue;
        };
        let Some(variables) = variables(name, block) else {
            let message = format!(
                "the block {id:?} is a <{}>, which `{name}` can't name: correct the id",
                block.name
            );
            refuse(flaws, place, message);
            continue;
        };
        for name in variables {
            let given = if FILES.contains(name) {
                SecretAs::File
            } else {
                SecretAs::Env
            };
            let (Ok(secret), Ok(variable)) = (format!("{id}.{name}").parse(), name.parse()) else {
                let message = format!(
                    "{id:?} can't be part of the name of a secret: use letters, digits and . _ -, begin with a letter, \
                     and use at most 24 bytes"
                );
                refuse(flaws, place, message);
                break;
            };
            if found
                .iter()
                .any(|other| other.variable.as_ref() == Some(&variable) || other.name == secret)
            {
                let message = format!(
                    "{} is already set by another sign-in block or by `secrets` of this step: name only one of the two",
                    variable.as_str()
                );
                refuse(flaws, place, message);
                break;
            }
            found.push(StepSecret {
                name: secret,
                given,
                variable: Some(variable),
            });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
}

const SIGN_IN_BLOCKS: [&str; 5] = [
    "AwsAuth",
    "GitHubAuth",
    "GitLabAuth",
    "GitAuth",
    "GoogleAuth",
];

/// Returns the variables that Gruntwork documents for a block, or `None` if the attribute can't name such a block.
fn variables(attribute: &str, block: &Element) -> Option<&'static [&'static str]> {
    let gitlab = block.text_of("provider") == Some("gitlab");
    match (attribute, block.name.as_str()) {
        ("awsAuthId", "AwsAuth") => Some(AWS),
        ("googleAuthId", "GoogleAuth") => Some(GOOGLE),
        ("gitAuthId", "GitLabAuth") => Some(GITLAB),
        ("gitAuthId", "GitAuth") if gitlab => Some(GITLAB),
        ("gitAuthId" | "githubAuthId", "GitHubAuth") => Some(GITHUB),
        ("gitAuthId" | "githubAuthId", "GitAuth") if !gitlab => Some(GITHUB),
        _ => None,
    }
}

/// Replaces each entity by its character, once.
///
/// # Errors
/// Returns the first entity that programs read differently: the number of no printable character, or an unknown name
/// that begins with a known name, such as `&ampx;`.
fn decode_entities(text: &str) -> Result<String, &str> {
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

/// Returns the character of an entity. Markdown has the same entities as MDX, and the Markdown parser contains their
/// table.
fn character(entity: &str) -> Option<String> {
    let tree = markdown::to_mdast(entity, &ParseOptions::default()).ok()?;
    let Node::Text(text) = tree.children()?.first()?.children()?.first()? else {
        return None;
    };
    (text.value != entity).then(|| text.value.clone())
}

/// Maximum length of an entity. The longest name has 31 letters.
const MAX_ENTITY_BYTES: usize = 33;

/// Checks everything that makes the parser slow.
///
/// # Errors
/// Returns the offset of the first part that exceeds a limit.
fn check_text(text: &str) -> Result<(), (usize, String)> {
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
fn check_tree(tree: &Node) -> Result<(), (usize, String)> {
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
/// Maximum number of tags that are open at one place, counted in the text. This limit bounds the time and the recursion
/// of the parser. The parsed tree must then respect [`MAX_LEVELS`].
const MAX_OPEN_TAGS: usize = 1000;
/// Maximum number of lines. The parser needs quadratic time for many short headings or blocks.
const MAX_LINES: usize = 10_000;
/// Maximum number of opening brackets. The parser looks through all brackets before each bracket.
const MAX_BRACKETS: usize = 8192;
