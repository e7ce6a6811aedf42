//! Parser of templates: the text of a script with actions between `{{` and `}}`.

use crate::{Condition, TemplateFlaw, ValueName, template::condition::parse_condition};

/// Beginning of the names of parameters for outputs.
pub const OUTPUTS: &str = "outputs_";

/// Part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateNode {
    /// Text of the script, with its byte offset in the source.
    Text(String, usize),
    /// A placeholder. The number is its byte offset in the source.
    Value(ValueName, usize),
    /// `{{ if }}` with its branches. A branch without a condition is `{{ else }}`.
    Choice(Vec<(Option<Condition>, Vec<TemplateNode>)>),
    /// `{{ range }}` over the list of a parameter.
    Repeat(ValueName, Vec<TemplateNode>),
}

/// Names that a `{{ range }}` declares.
#[derive(Debug, Clone, Default)]
pub struct RangeScope {
    pub inside: bool,
    index: Option<String>,
    item: Option<String>,
}

/// Parses the source of a template.
pub fn parse(source: &str) -> Result<Vec<TemplateNode>, Vec<TemplateFlaw>> {
    let fail = |(at, message): (usize, String)| vec![TemplateFlaw::new(source, at, message)];
    let mut parser = TemplateParser {
        pieces: pieces(source).map_err(fail)?,
        next: 0,
        paths: Vec::new(),
        depth: 0,
    };
    let (nodes, end) = parser.list(&RangeScope::default()).map_err(fail)?;
    if let Some((at, end)) = end {
        return Err(fail((
            at,
            format!("`{{{{ {end} }}}}` has no `if` or `range` before it: remove it"),
        )));
    }
    Ok(nodes)
}

type Parsed<T> = Result<T, (usize, String)>;

enum Piece<'s> {
    Text(&'s str, usize),
    Action(&'s str, usize),
}

/// Splits the source into texts and actions. `{{-` removes the white space before the action, and `-}}` the white
/// space after it.
fn pieces(source: &str) -> Parsed<Vec<Piece<'_>>> {
    const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];
    let mut pieces = Vec::new();
    let (mut at, mut trim) = (0, false);
    loop {
        let open = source[at..].find("{{").map(|open| at + open);
        let text = &source[at..open.unwrap_or(source.len())];
        let mut text = if trim {
            text.trim_start_matches(SPACE)
        } else {
            text
        };
        let start = open.unwrap_or(source.len()) - text.len();
        let Some(open) = open else {
            pieces.push(Piece::Text(text, start));
            return Ok(pieces);
        };
        let inside = &source[open + 2..];
        let length = action_length(inside).ok_or_else(|| {
            (
                open,
                "a `{{` is not closed: close it with `}}` on the same line".to_owned(),
            )
        })?;
        let mut action = &inside[..length];
        if let Some(rest) = action
            .strip_prefix('-')
            .filter(|rest| rest.starts_with(SPACE))
        {
            action = rest;
            text = text.trim_end_matches(SPACE);
        }
        trim = false;
        if let Some(rest) = action
            .strip_suffix('-')
            .filter(|rest| rest.ends_with(SPACE))
        {
            action = rest;
            trim = true;
        }
        pieces.push(Piece::Text(text, start));
        let action = action.trim_matches(SPACE);
        if !(action.starts_with("/*") && action.ends_with("*/") && action.len() >= 4) {
            pieces.push(Piece::Action(action, open));
        }
        at = open + 2 + length + 2;
    }
}

/// Returns the length of an action, up to its `}}`. A quoted text of the action may contain `}}`.
fn action_length(inside: &str) -> Option<usize> {
    let bytes = inside.as_bytes();
    let mut at = 0;
    let comment = inside
        .trim_start_matches(['-', ' ', '\t', '\n'])
        .starts_with("/*");
    if comment {
        let end = inside.find("*/")? + 2;
        return inside[end..].find("}}").map(|close| end + close);
    }
    let mut quote = None;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (_, b'\n') => return None,
            (Some(b'"'), b'\\') => at += 1,
            (None, byte @ (b'"' | b'`')) => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

struct TemplateParser<'s> {
    pieces: Vec<Piece<'s>>,
    next: usize,
    /// Parameters of the source with the paths by which the source names them.
    paths: Vec<(String, String)>,
    depth: usize,
}

/// The action that ended a list, with its place.
type ListEnd<'s> = Option<(usize, &'s str)>;

impl<'s> TemplateParser<'s> {
    fn list(&mut self, scope: &RangeScope) -> Parsed<(Vec<TemplateNode>, ListEnd<'s>)> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.get(self.next) {
            self.next += 1;
            let (action, at) = match piece {
                Piece::Text("", _) => continue,
                Piece::Text(text, at) => {
                    nodes.push(TemplateNode::Text((*text).to_owned(), *at));
                    continue;
                }
                Piece::Action(action, at) => (*action, *at),
            };
            if let Some(text) = literal(action) {
                nodes.push(TemplateNode::Text(text.to_owned(), at));
                continue;
            }
            let (word, rest) = action.split_once([' ', '\t']).unwrap_or((action, ""));
            match word {
                "end" | "else" => return Ok((nodes, Some((at, action)))),
                "if" => nodes.push(self.choice(rest, at, scope)?),
                "range" => nodes.push(self.repeat(rest, at, scope)?),
                _ => nodes.push(TemplateNode::Value(
                    self.value(action, scope).map_err(|message| (at, message))?,
                    at,
                )),
            }
        }
        Ok((nodes, None))
    }

    fn open(&mut self, at: usize) -> Parsed<()> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err((
                at,
                format!(
                    "conditions are nested deeper than {MAX_NESTING} levels: reduce the nesting"
                ),
            ));
        }
        Ok(())
    }

    fn choice(&mut self, condition: &str, at: usize, scope: &RangeScope) -> Parsed<TemplateNode> {
        self.open(at)?;
        let mut branches = Vec::new();
        let mut condition = Some(self.condition(condition, at, scope)?);
        loop {
            let last = condition.is_none();
            let (nodes, end) = self.list(scope)?;
            branches.push((condition, nodes));
            let Some((place, end)) = end else {
                return Err((
                    at,
                    "`{{ if }}` is not closed: close it with `{{ end }}`".to_owned(),
                ));
            };
            condition = match end.split_whitespace().collect::<Vec<_>>()[..] {
                ["end"] => break,
                ["else"] if !last => None,
                ["else", "if", ..] if !last => {
                    let rest = end.split_once("if").map_or("", |(_, rest)| rest);
                    Some(self.condition(rest, place, scope)?)
                }
                _ => {
                    return Err((
                        place,
                        format!("`{{{{ {end} }}}}` can't stand here: write `{{{{ end }}}}`"),
                    ));
                }
            };
        }
        if branches
            .last()
            .is_some_and(|(condition, _)| condition.is_some())
        {
            branches.push((None, Vec::new()));
        }
        self.depth -= 1;
        Ok(TemplateNode::Choice(branches))
    }

    fn condition(&mut self, text: &str, at: usize, scope: &RangeScope) -> Parsed<Condition> {
        parse_condition(text, &mut |name| self.value(name, scope)).map_err(|message| (at, message))
    }

    /// Reads `range .list` or `range $item := .list` or `range $index, $item := .list`.
    fn repeat(&mut self, text: &str, at: usize, scope: &RangeScope) -> Parsed<TemplateNode> {
        if scope.inside {
            let message = "`range` is in another `range`: use one `range`, or a loop of the script";
            return Err((at, message.to_owned()));
        }
        self.open(at)?;
        let (names, list) = text
            .split_once(":=")
            .map_or((None, text), |(names, list)| (Some(names), list));
        let mut inner = RangeScope {
            inside: true,
            ..RangeScope::default()
        };
        if let Some(names) = names {
            let names: Vec<&str> = names.split(',').map(str::trim).collect();
            let good = |name: &&str| name.strip_prefix('$').is_some_and(is_word);
            match names[..] {
                [item] if good(&item) => inner.item = Some(item.to_owned()),
                [index, item] if good(&index) && good(&item) && index != item => {
                    inner.index = Some(index.to_owned());
                    inner.item = Some(item.to_owned());
                }
                _ => {
                    return Err((
                        at,
                        "write `{{ range $index, $item := .inputs.List }}`".to_owned(),
                    ));
                }
            }
        }
        let list = self
            .value(list.trim(), scope)
            .map_err(|message| (at, message))?;
        let (nodes, end) = self.list(&inner)?;
        match end {
            Some((_, "end")) => {}
            Some((place, _)) => {
                return Err((place, "a `range` has no `else`: use `{{ if }}`".to_owned()));
            }
            None => {
                return Err((
                    at,
                    "`{{ range }}` is not closed: close it with `{{ end }}`".to_owned(),
                ));
            }
        }
        self.depth -= 1;
        Ok(TemplateNode::Repeat(list, nodes))
    }

    /// Reads the name of a value, for example `.Name`, `.inputs.Name`, `.outputs.block.key`, `.` or `$item`.
    fn value(&mut self, text: &str, scope: &RangeScope) -> Result<ValueName, String> {
        if scope.inside && (text == "." || scope.item.as_deref() == Some(text)) {
            return Ok(ValueName::Item);
        }
        if scope.inside && scope.index.as_deref() == Some(text) {
            return Ok(ValueName::Index);
        }
        let path = match text.strip_prefix("$.") {
            Some(path) => path,
            None if scope.inside && text.starts_with('.') => {
                return Err(format!(
                    "inside `range`, `{text}` is a part of the item: write `${text}` for a parameter"
                ));
            }
            None => text.strip_prefix('.').ok_or_else(|| not_a_name(text))?,
        };
        let name = match path.split('.').collect::<Vec<_>>()[..] {
            [name] | ["inputs", name] if is_word(name) && !matches!(name, "inputs" | "outputs") => {
                name.to_owned()
            }
            ["outputs", block, key]
                if is_word(&block.replace('-', "_")) && is_word(&key.replace('-', "_")) =>
            {
                format!("{OUTPUTS}{block}_{key}").replace('-', "_")
            }
            _ => return Err(not_a_name(text)),
        };
        let place = if let Some(output) = path.strip_prefix("outputs.") {
            format!("outputs.{}", output.replace('-', "_"))
        } else {
            name.clone()
        };
        match self.paths.iter().find(|(known, _)| *known == name) {
            Some((_, other)) if *other != place => Err(format!(
                "`.{other}` and `.{place}` are both the parameter `{name}`: rename one of them"
            )),
            Some(_) => Ok(ValueName::Parameter(name)),
            None => {
                self.paths.push((name.clone(), place));
                Ok(ValueName::Parameter(name))
            }
        }
    }
}

/// Returns the text of an action that is only a text in quotes, for example ``{{`{{.Names}}`}}``.
fn literal(action: &str) -> Option<&str> {
    let quote = action
        .chars()
        .next()
        .filter(|quote| matches!(quote, '"' | '`'))?;
    let text = action.get(1..)?.strip_suffix(quote)?;
    (!text.contains(quote) && (quote == '`' || !text.contains('\\'))).then_some(text)
}

fn is_word(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && text.len() <= MAX_NAME
}

fn not_a_name(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    format!(
        "`{{{{ {short} }}}}` is not supported: write `{{{{ .inputs.Name }}}}` or `{{{{ .outputs.block.key }}}}`, and \
         compute other values in the script, from the environment variable of the parameter (`PARAM_NAME`); if another \
         program reads this text, write {{{{`{{{{{short}}}}}`}}}}"
    )
}

/// Maximum nesting of conditions, because each level uses stack.
const MAX_NESTING: usize = 16;
/// Maximum length of a name, in bytes.
const MAX_NAME: usize = 64;
