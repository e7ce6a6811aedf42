//! Makes the steps of a workflow from the parts of a file, and checks the order of the content of each step.
//!
//! The file also divides a Markdown file into headings, paragraphs, list items and code blocks, with their places.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use crate::{
    DeclaredNeeds, FencedBlock, LoopClause, PlacedText, TextLines, TextPlace, UnitLabel,
    UnitScript, Workflow, WorkflowStep, WorkflowUnit, YamlFlaw, attributes, check_declared, noted,
    refuse,
    registry::{
        declared_needs,
        rundown::{
            header::{step_header, substep_header},
            loop_clause::{loop_clause, replace_variable},
            transition::{TransitionLine, newer, transition, transitions},
        },
    },
    yaml::unknown,
};
use documents::{joined, parameter_variable};

/// Languages whose blocks are run, each with the interpreter.
const LANGUAGES: [(&str, &str); 3] = [("bash", "bash"), ("sh", "sh"), ("shell", "bash")];
/// Bullets of a newer version of Rundown.
const NEWER: [(&str, &str); 5] = [
    ("DELEGATE", "remove the line; a person runs other runbooks"),
    ("ARTIFACTS", "remove the block"),
    ("OUTPUTS", "remove the block"),
    ("INPUTS", "remove the block, and give lists with --var"),
    (
        "DEFER",
        "remove the line; the step itself can have transitions with ALL or ANY",
    ),
];

/// Reads the workflow. Every flaw is added to `flaws`, and reading continues.
pub fn build(pieces: Vec<MarkdownPiece>, flaws: &mut Vec<YamlFlaw>) -> Workflow {
    let mut builder = Builder {
        flaws,
        workflow: Workflow {
            title: None,
            description: None,
            steps: Vec::new(),
        },
        step: None,
        skips: Skip::Nothing,
        repeat_depth: None,
    };
    for piece in pieces {
        builder.take(piece);
    }
    builder.end_step();
    builder.workflow
}

/// Content that belongs to a heading with an error.
#[derive(PartialEq)]
enum Skip {
    Nothing,
    ToStep,
    ToHeading,
}

struct Builder<'a> {
    flaws: &'a mut Vec<YamlFlaw>,
    workflow: Workflow,
    step: Option<OpenStep>,
    skips: Skip,
    /// Depth of the list item with `FOR`, while the list items below it are read.
    repeat_depth: Option<usize>,
}

struct OpenStep {
    unit: OpenUnit,
    repeat: Option<LoopClause>,
    substeps: Vec<WorkflowUnit>,
    substep: Option<OpenUnit>,
}

/// Unit whose content is being read.
struct OpenUnit {
    unit: WorkflowUnit,
    transitions: Vec<TransitionLine>,
    /// True after the first text for the person.
    has_prompt: bool,
    /// True after the first block, substep or runbook.
    has_body: bool,
}

impl OpenUnit {
    fn new(label: UnitLabel, title: String, place: TextPlace) -> Self {
        Self {
            unit: WorkflowUnit {
                label,
                place,
                title,
                prompt: String::new(),
                shown: Vec::new(),
                script: None,
                runbooks: Vec::new(),
                transitions: None,
            },
            transitions: Vec::new(),
            has_prompt: false,
            has_body: false,
        }
    }

    fn end(self, flaws: &mut Vec<YamlFlaw>) -> WorkflowUnit {
        let mut unit = self.unit;
        unit.prompt.truncate(unit.prompt.trim_end().len());
        unit.transitions = transitions(self.transitions, flaws);
        unit
    }

    fn say(&mut self, text: &str) {
        self.unit.prompt.push_str(text);
        self.unit.prompt.push('\n');
    }
}

impl Builder<'_> {
    fn refuse(&mut self, place: TextPlace, message: impl Into<String>) {
        refuse(self.flaws, place, message);
    }

    fn unit(&mut self) -> Option<&mut OpenUnit> {
        let step = self.step.as_mut()?;
        Some(step.substep.as_mut().unwrap_or(&mut step.unit))
    }

    fn take(&mut self, piece: MarkdownPiece) {
        let below_repeat = self.repeat_depth.take();
        match piece {
            MarkdownPiece::Heading { level, text } => self.heading(level, &text),
            _ if self.skips != Skip::Nothing => {}
            MarkdownPiece::Paragraph(lines) => self.paragraph(&lines),
            MarkdownPiece::Item { depth, lines } => {
                if below_repeat.is_some_and(|above| depth > above)
                    && let Some(line) = lines.first()
                {
                    let message = newer(
                        "a line below FOR",
                        "write the transitions at the step or at its substeps",
                    );
                    self.refuse(line.place, message);
                    self.repeat_depth = below_repeat;
                    return;
                }
                self.item(depth, &lines);
            }
            MarkdownPiece::Fence(block) => self.fence(block),
            MarkdownPiece::Indented(text) => {
                if let Some(unit) = self.unit() {
                    unit.unit.shown.push(text);
                }
            }
        }
    }

    fn heading(&mut self, level: HeadingLevel, text: &PlacedText) {
        match level {
            HeadingLevel::H1 => {
                if text.text.starts_with(|c: char| c.is_ascii_digit()) && begins_like_step(&text.text) {
                    self.refuse(text.place, format!("an H1 heading can't be a step: write ## {}", text.text));
                }
                self.workflow.title.get_or_insert_with(|| text.text.clone());
            }
            HeadingLevel::H2 => {
                self.end_step();
                                self.skips = Skip::ToStep;
                let read = noted(step_header(&text.text), text.place, self.flaws);
                let Some((label, title)) = read else { return };
                self.skips = Skip::Nothing;
                self.step = Some(OpenStep {
                    unit: OpenUnit::new(label, title, text.place),
                    repeat: None,
                    substeps: Vec::new(),
                    substep: None,
                });
            }
            HeadingLevel::H3 if self.skips == Skip::ToStep => {}
            HeadingLevel::H3 => self.substep_heading(text),
            _ => self.refuse(
                text.place,
                "a heading below ### is not supported: write ## for steps, ### for substeps, and bold text for the rest",
            ),
        }
    }

    fn substep_heading(&mut self, text: &PlacedText) {
        self.end_substep();
        self.skips = Skip::ToHeading;
        let Some(step) = &mut self.step else {
            return self.refuse(
                text.place,
                "the substep is above the first step: write a step, ## 1. Title, first",
            );
        };
        step.unit.has_body = true;
        let read = noted(substep_header(&text.text), text.place, self.flaws);
        let Some((target, title)) = read else { return };
        let Some(label) = target.substep else { return };
        if target.step != step.unit.unit.label {
            let own = &step.unit.unit.label;
            let message = format!(
                "the substep names the step {}, but belongs to the step {own}: write ### {own}.{} ...",
                target.step,
                label.substep_text()
            );
            return self.refuse(text.place, message);
        }
        if let Some(first) = step.substeps.iter().find(|other| other.label == label) {
            let message = format!(
                "the substep {own}.{} is already in line {}: write another number or name",
                label.substep_text(),
                first.place.line,
                own = target.step
            );
            return self.refuse(text.place, message);
        }
        let is_dynamic = label == UnitLabel::Dynamic;
        if step
            .substeps
            .iter()
            .any(|other| (other.label == UnitLabel::Dynamic) != is_dynamic)
        {
            let message =
                "a step can't have {n} and other substeps together: move one kind to another step";
            return self.refuse(text.place, message);
        }
        if step.unit.unit.script.is_some() || !step.unit.unit.runbooks.is_empty() {
            let message = "a step with substeps can't have a block or runbooks of its own: move them to a substep";
            return self.refuse(text.place, message);
        }
        step.substep = Some(OpenUnit::new(label, title, text.place));
        self.skips = Skip::Nothing;
    }

    fn paragraph(&mut self, lines: &[PlacedText]) {
        if self.step.is_none() {
            let text = joined(lines.iter().map(|line| &line.text), "\n");
            let description = self.workflow.description.get_or_insert_default();
            if !description.is_empty() {
                description.push('\n');
            }
            description.push_str(&text);
            return;
        }
        for line in lines {
            match noted(
                transition(&line.text, line.place, false),
                line.place,
                self.flaws,
            ) {
                Some(Some(found)) => self.transition(found),
                Some(None) => self.text(line),
                None => {}
            }
        }
    }

    fn text(&mut self, line: &PlacedText) {
        let Some(unit) = self.unit() else { return };
        if line.text.trim().is_empty() {
            return;
        }
        if unit.has_body {
            return self.refuse(line.place, AFTER_BODY);
        }
        unit.has_prompt = true;
        unit.say(line.text.trim());
    }

    fn transition(&mut self, found: TransitionLine) {
        let Some(unit) = self.unit() else { return };
        if unit.has_prompt || unit.has_body {
            let message = "a transition must stand directly below the heading: move the line above the text and the \
                           block of the step";
            return self.refuse(found.action.place, message);
        }
        unit.transitions.push(found);
    }

    fn item(&mut self, depth: usize, lines: &[PlacedText]) {
        let Some((first, rest)) = lines.split_first() else {
            return;
        };
        let text = first.text.trim();
        if self.step.is_none() {
            return;
        }
        if let Some((word, instead)) = NEWER.iter().find(|(word, _)| *word == text) {
            return self.refuse(first.place, newer(word, instead));
        }
        if let Some(clause) = text
            .strip_prefix("FOR")
            .filter(|rest| rest.starts_with(char::is_whitespace))
        {
            self.repeat_depth = Some(depth);
            return self.repeat(clause, first.place);
        }
        match noted(transition(text, first.place, true), first.place, self.flaws) {
            Some(Some(found)) => {
                self.transition(found);
                rest.iter().for_each(|line| self.text(line));
            }
            Some(None) => self.bullet(text, first.place, rest),
            None => {}
        }
    }

    /// Reads a list item that is no transition: the name of a runbook, or text for the person.
    fn bullet(&mut self, text: &str, place: TextPlace, rest: &[PlacedText]) {
        let Some(unit) = self.unit() else { return };
        if text.ends_with(".runbook.md") && !text.contains(char::is_whitespace) {
            unit.has_body = true;
            unit.unit.runbooks.push((place, text.to_owned()));
            if unit.unit.script.is_some() {
                self.refuse(
                    place,
                    "a step can't have a block and runbooks: move one of them to another step",
                );
            }
            return;
        }
        if unit.has_body {
            return self.refuse(place, AFTER_BODY);
        }
        unit.say(&format!("- {text}"));
        for line in rest {
            unit.say(&format!("  {}", line.text.trim()));
        }
    }

    fn repeat(&mut self, clause: &str, place: TextPlace) {
        let read = noted(loop_clause(clause, place), place, self.flaws);
        let (Some(clause), Some(step)) = (read, &mut self.step) else {
            return;
        };
        let unit = &step.unit;
        let message = if step.substep.is_some() {
            "FOR must belong to a step: move the line below the ## heading"
        } else if step.repeat.is_some() {
            "a step can have only one FOR: remove one of the two"
        } else if unit.has_prompt || unit.has_body || !unit.transitions.is_empty() {
            "FOR must be the first line below the heading: move the line up"
        } else {
            step.repeat = Some(clause);
            return;
        };
        self.refuse(place, message);
    }

    fn fence(&mut self, block: FencedBlock) {
        if self.step.is_none() {
            return;
        }
        let info = block.info.text.trim().to_owned();
        let (info, braces) = info.split_at(info.find('{').unwrap_or(info.len()));
        let mut words = info.split_whitespace();
        let language = words.next().unwrap_or_default().to_ascii_lowercase();
        let more: Vec<&str> = words.collect();
        let executable = LANGUAGES.iter().find(|(name, _)| *name == language);
        let is_prompt =
            language == "prompt" || more.iter().any(|word| word.eq_ignore_ascii_case("prompt"));
        let fence = block.fence;
        if !block.closed {
            self.refuse(
                fence,
                "the block is not closed: end the block with the same fence",
            );
        }
        if let Some(word) = more
            .iter()
            .find(|word| !word.eq_ignore_ascii_case("prompt"))
            && executable.is_some()
        {
            self.refuse(
                block.info.place,
                format!("{word:?} has no meaning after {language}: write ```{language} to run the block, or ```{language} prompt to show it"),
            );
        }
        let Some((_, interpreter)) = executable.filter(|_| !is_prompt) else {
            if is_prompt {
                self.body(fence);
            }
            if let Some(unit) = self.unit() {
                unit.unit.shown.push(block.source);
            }
            return;
        };
        self.body(fence);
        let needs = if braces.is_empty() {
            DeclaredNeeds::default()
        } else {
            self.needs(&block.info)
        };
        self.script(&block, interpreter, needs);
    }

    /// Reads the needs of a block, in braces after the language.
    fn needs(&mut self, info: &PlacedText) -> DeclaredNeeds {
        let (before, mut needs) = (self.flaws.len(), DeclaredNeeds::default());
        let place = info.place;
        match attributes::parse(&info.text, place, self.flaws) {
            Some((_, None, found)) => {
                let known: Vec<&str> = declared_needs::names().collect();
                for (key, value) in found {
                                        if known.contains(&key.text.as_str()) {
                        noted(needs.add(&key.text, &value.text), value.place, self.flaws);
                    } else {
                        self.refuse(key.place, unknown("attribute of a Rundown block", &key.text, &known));
                    }
                }
            }
            Some((_, Some(id), _)) => {
                let message = "the heading gives the id of a Rundown step: remove the id from the braces";
                self.refuse(id.place, message);
            }
            None if self.flaws.len() > before => {}
            None => self.refuse(
                place,
                "the braces contain no need of the step: write for example {network=api.example.com:443}, or remove the \
                 braces",
            ),
        }
        if self.flaws.len() == before {
            noted(check_declared(&needs.sandbox), place, self.flaws);
        }
        needs
    }

    /// Notes the only block of a unit.
    fn body(&mut self, fence: TextPlace) {
        let Some(unit) = self.unit() else { return };
        let message = if !unit.unit.runbooks.is_empty() {
            "a step can't have a block and runbooks: move one of them to another step"
        } else if unit.has_body {
            "a step can have only one block: move the block to another step, or join the scripts"
        } else {
            unit.has_body = true;
            return;
        };
        self.refuse(fence, message);
    }

    fn script(&mut self, block: &FencedBlock, interpreter: &str, needs: DeclaredNeeds) {
        let before = self.flaws.len();
        if block.closed {
            block.check_script("write ```text to show the block", self.flaws);
        }
        let interpreter = match block.shebang() {
            Some(Ok(named)) => named,
            Some(Err(flaw)) => {
                self.flaws.push(flaw);
                return;
            }
            None => interpreter.to_owned(),
        };
        let Some(step) = &self.step else { return };
        // No name contains a dash, so the id of a dynamic step or substep is never a name.
        let (mut id, mut source) = (
            step.unit.unit.label.with_dynamic("N-th"),
            block.source.clone(),
        );
        if let Some(substep) = &step.substep {
            id = format!("{id}.{}", substep.unit.label.with_dynamic("n-th"));
        }
        if let Some(variable) = step
            .repeat
            .as_ref()
            .and_then(|repeat| repeat.variable.as_deref())
        {
            match replaced(&source, variable, &interpreter) {
                Ok(text) => source = text,
                Err((line, message)) => {
                    self.refuse(
                        TextPlace {
                            line: block.fence.line + line,
                            column: 1,
                        },
                        message,
                    );
                }
            }
        }
        if self.flaws.len() == before
            && let Some(unit) = self.unit()
        {
            unit.unit.script = Some(UnitScript {
                id,
                fence: block.fence,
                interpreter,
                source,
                needs,
            });
        }
    }

    fn end_substep(&mut self) {
        if let Some(step) = &mut self.step
            && let Some(substep) = step.substep.take()
        {
            step.substeps.push(substep.end(self.flaws));
        }
    }

    fn end_step(&mut self) {
        self.end_substep();
        if let Some(step) = self.step.take() {
            let unit = step.unit.end(self.flaws);
            self.workflow.steps.push(WorkflowStep {
                unit,
                repeat: step.repeat,
                substeps: step.substeps,
            });
        }
    }
}

const AFTER_BODY: &str =
    "text can't follow the block, the substeps or the runbooks of a step: move the text above them";

/// Returns true for an H1 heading that was probably meant as a step, such as `# 1. Build`.
fn begins_like_step(text: &str) -> bool {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.starts_with(|c: char| c.is_whitespace() || ".:-)".contains(c))
}

fn replaced(source: &str, variable: &str, interpreter: &str) -> Result<String, (usize, String)> {
    let text = replace_variable(source, variable)?;
    if text != source && !["bash", "sh", "zsh"].contains(&interpreter) {
        let name = parameter_variable(variable);
        let message = format!(
            "{{{{ {variable} }}}} is replaced only in shell scripts: read the variable {name} of the environment"
        );
        return Err((1, message));
    }
    Ok(text)
}

/// Part of a Rundown file.
pub enum MarkdownPiece {
    Heading {
        level: HeadingLevel,
        text: PlacedText,
    },
    /// Lines of a paragraph.
    Paragraph(Vec<PlacedText>),
    /// Lines of the first paragraph of a list item.
    Item {
        depth: usize,
        lines: Vec<PlacedText>,
    },
    Fence(FencedBlock),
    /// Indented code block.
    Indented(String),
}

/// Returns the parts of the text from byte `from` on, in the order of the file.
pub fn outline(text: &str, from: usize, lines: &TextLines<'_>) -> Vec<MarkdownPiece> {
    let mut reader = Reader {
        lines,
        from,
        found: Vec::new(),
        inline: None,
        items: Vec::new(),
        heading: None,
    };
    let mut code: Option<MarkdownPiece> = None;
    for (event, range) in Parser::new_ext(&text[from..], Options::empty()).into_offset_iter() {
        match (&event, &mut code) {
            (Event::Start(Tag::CodeBlock(kind)), _) => {
                reader.flush();
                code = Some(match kind {
                    CodeBlockKind::Fenced(_) => {
                        MarkdownPiece::Fence(FencedBlock::at(text, range.start + from, lines))
                    }
                    CodeBlockKind::Indented => MarkdownPiece::Indented(String::new()),
                });
            }
            (Event::End(TagEnd::CodeBlock), open) => {
                if let Some(MarkdownPiece::Fence(block)) = open {
                    block.end(&text[from..][range]);
                }
                reader.found.extend(code.take());
            }
            (Event::Text(piece), Some(MarkdownPiece::Fence(block))) => block.source.push_str(piece),
            (Event::Text(piece), Some(MarkdownPiece::Indented(text))) => text.push_str(piece),
            _ => reader.take(&event, &range),
        }
    }
    reader.flush();
    reader.found
}

struct Reader<'a> {
    lines: &'a TextLines<'a>,
    from: usize,
    found: Vec<MarkdownPiece>,
    /// Lines of the paragraph that is being read.
    inline: Option<Vec<PlacedText>>,
    /// For each open list item, true if its first paragraph was read.
    items: Vec<bool>,
    heading: Option<(HeadingLevel, TextPlace)>,
}

impl Reader<'_> {
    fn take(&mut self, event: &Event<'_>, range: &Range<usize>) {
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                self.flush();
                self.heading = Some((*level, self.lines.place(range.start + self.from)));
            }
            Event::End(TagEnd::Heading(_)) => {
                let lines = self.inline.take().unwrap_or_default();
                if let Some((level, place)) = self.heading.take() {
                    self.found.push(MarkdownPiece::Heading {
                        level,
                        text: PlacedText {
                            place,
                            text: joined(lines.iter().map(|line| &line.text), " "),
                        },
                    });
                }
            }
            Event::Start(Tag::Item) => {
                self.flush();
                self.items.push(false);
            }
            Event::End(TagEnd::Item) => {
                self.flush();
                self.items.pop();
            }
            Event::Start(Tag::Paragraph | Tag::List(_) | Tag::BlockQuote(_) | Tag::HtmlBlock)
            | Event::End(TagEnd::Paragraph | TagEnd::HtmlBlock)
            | Event::Rule => self.flush(),
            Event::Text(piece) | Event::InlineHtml(piece) => self.push(piece, range),
            Event::Code(piece) => self.push(&format!("`{piece}`"), range),
            Event::SoftBreak | Event::HardBreak => {
                let place = self.lines.place(range.end + self.from);
                if let Some(lines) = &mut self.inline {
                    lines.push(PlacedText {
                        place,
                        text: String::new(),
                    });
                }
            }
            _ => {}
        }
    }

    fn push(&mut self, text: &str, range: &Range<usize>) {
        // A long line has many pieces, so its place is found only once.
        let place = || self.lines.place(range.start + self.from);
        let lines = self.inline.get_or_insert_default();
        match lines.last_mut() {
            Some(line) => {
                if line.text.is_empty() {
                    line.place = place();
                }
                line.text.push_str(text);
            }
            None => lines.push(PlacedText {
                place: place(),
                text: text.to_owned(),
            }),
        }
    }

    fn flush(&mut self) {
        let Some(lines) = self.inline.take() else {
            return;
        };
        let depth = self.items.len();
        self.found.push(match self.items.last_mut() {
            Some(read @ false) => {
                *read = true;
                MarkdownPiece::Item { depth, lines }
            }
            _ => MarkdownPiece::Paragraph(lines),
        });
    }
}
