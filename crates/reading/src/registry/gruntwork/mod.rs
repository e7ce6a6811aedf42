//! Reads Gruntwork runbooks: MDX pages whose `<Command>` and `<Check>` elements are steps.
//!
//! Example: `<Command id="restart" command="systemctl restart web" inputsId="config" />`. The page is parsed as MDX, so
//! comments and code samples are no steps, and the script of a step is the text that MDX gives to the element. This
//! module only reads a page and runs nothing. All other elements are prose.

mod boilerplate;
pub(crate) mod elements;
mod gruntwork_bytes;
mod inputs;
mod literal;

use std::collections::{BTreeMap, btree_map::Entry};

use serde_json::Value;

use crate::{
    BYTE_ORDER_MARK, DeclaredNeeds, Element, FoundStep, OtherFile, Page, REFUSED_CHARACTERS,
    ReadPage, RemarkKind, ScriptOrigin, TextLines, TextPlace, YamlFlaw, check_declared, check_path,
    check_size, interpreter_of_shebang, noted, plain_definition, refuse,
    registry::{
        declared_needs, front_matter,
        gruntwork::{
            elements::Notes,
            gruntwork_bytes::takes,
            inputs::{InputBlocks, has_word},
        },
    },
    step_ref, step_template,
};
use documents::{
    DeclaredSandbox, Format, Limit, Parameter, ParameterType, StepDefinition, Template, joined,
};

/// Reads an `*.mdx` page, and returns the steps without flaws together with the flaws of the page. Returns `None` if
/// the page has no step.
pub fn read(page: &Page<'_>) -> Option<ReadPage> {
    // The name of an element can't be written with escapes, so a page without these names contains no step.
    let may_have_step = STEPS.iter().any(|name| page.text.contains(name));
    if !may_have_step && !NEAR_MISSES.iter().any(|tag| page.text.contains(tag)) {
        return None;
    }
    let lines = TextLines::of(page.text);
    let mut notes = Notes::default();
    if page.text.len() > MAX_PAGE_BYTES {
        let message = format!("the page is larger than {MAX_PAGE_BYTES} bytes: split the page");
        return Some(ReadPage::of_flaws(vec![YamlFlaw::new(
            TextPlace::START,
            message,
        )]));
    }
    for (refused, message) in REFUSED_CHARACTERS
        .into_iter()
        .chain([('\u{feff}', BYTE_ORDER_MARK)])
    {
        if let Some(at) = page.text.find(refused) {
            refuse(&mut notes.flaws, lines.place(at), message);
        }
    }
    if !notes.flaws.is_empty() {
        return Some(ReadPage::of_flaws(notes.flaws));
    }
    let elements = match elements::read(page.text, &lines, &mut notes.flaws) {
        Ok(elements) => elements,
        Err(flaw) => return may_have_step.then(|| ReadPage::of_flaws(vec![flaw])),
    };
    for element in elements.iter().filter(|element| is_near_miss(element)) {
        let name = format!("<{}>", element.name);
        notes.shared.add(NO_STEPS, &name, element.place);
    }
    let steps = || {
        elements
            .iter()
            .enumerate()
            .filter(|(_, element)| STEPS.contains(&element.name.as_str()))
    };
    if steps().next().is_none() && (notes.flaws.is_empty() || !may_have_step) {
        let remarks = notes.shared.into_remarks();
        return (!remarks.is_empty()).then(|| ReadPage {
            remarks,
            ..ReadPage::default()
        });
    }
    if let Some((_, element)) = steps().nth(MAX_STEPS) {
        let message = format!("the page has more than {MAX_STEPS} steps: split the page");
        return Some(ReadPage::of_flaws(vec![YamlFlaw::new(
            element.place,
            message,
        )]));
    }
    noted(check_path(page.name), TextPlace::START, &mut notes.flaws);
    let mut reader = Reader {
        page,
        elements: &elements,
        inputs: InputBlocks::new(page, &lines, &elements),
        ids: BTreeMap::new(),
    };
    let found = steps()
        .filter_map(|(index, _)| reader.step(index, &mut notes))
        .collect();
    for list in [&mut notes.flaws, &mut notes.remarks] {
        // Several steps may use one block.
        list.sort();
        list.dedup();
    }
    let Notes {
        flaws,
        mut remarks,
        shared,
    } = notes;
    remarks.extend(shared.into_remarks());
    Some(ReadPage {
        steps: found,
        remarks,
        flaws,
    })
}

/// Element of a page that does something in Gruntwork and that is no step here.
pub struct OtherBlock {
    /// Name of the element, for example `Template`.
    pub component: String,
    /// Id of the element, if it has one.
    pub id: Option<String>,
}

/// Returns true for an element that was probably meant as a step: its name differs only in its letter case, a prefix or
/// a plural, and it has an id and a script.
fn is_near_miss(element: &Element) -> bool {
    let name = element
        .name
        .rsplit('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let has = |name| element.attribute(name).is_some();
    !STEPS.contains(&element.name.as_str())
        && ["command", "check"].contains(&name.trim_end_matches('s'))
        && has("id")
        && (has("command") || has("path"))
}

/// Returns the elements of a page that do something in Gruntwork and that are no steps here, in file order. A page that
/// is not MDX has none.
pub fn other_blocks(text: &str) -> Vec<OtherBlock> {
    let elements = elements::read(text, &TextLines::of(text), &mut Vec::new()).unwrap_or_default();
    let others = elements
        .iter()
        .filter(|element| OTHER_BLOCKS.contains(&element.name.as_str()));
    let block = |element: &Element| OtherBlock {
        component: element.name.clone(),
        id: element.text_of("id").map(str::to_owned),
    };
    others.map(block).collect()
}

/// Elements that do something in Gruntwork, besides [`STEPS`].
const OTHER_BLOCKS: [&str; 9] = [
    "AwsAuth",
    "GitAuth",
    "GitClone",
    "GitHubAuth",
    "GitHubPullRequest",
    "GitLabMergeRequest",
    "GoogleAuth",
    "Template",
    "TemplateInline",
];

struct Reader<'a> {
    page: &'a Page<'a>,
    elements: &'a [Element],
    inputs: InputBlocks<'a>,
    /// Ids of the steps before, in the form that templates use, with their places.
    ids: BTreeMap<String, (String, TextPlace)>,
}

/// Script of a step.
struct Script {
    text: String,
    /// Place of the attribute that contains or names the script.
    place: TextPlace,
    /// File, if the script is in a file.
    file: Option<OtherFile>,
}

impl Script {
    /// Returns a flaw at a place of the script.
    fn flaw(&self, place: TextPlace, message: impl Into<String>) -> YamlFlaw {
        match &self.file {
            Some(file) => YamlFlaw::in_other_file(file.clone(), place, message),
            None => YamlFlaw::new(self.place, message),
        }
    }
}

impl Reader<'_> {
    /// Reads one step. If the element has a flaw, the element gives no step, and reading continues.
    fn step(&mut self, index: usize, notes: &mut Notes) -> Option<FoundStep> {
        let before = notes.flaws.len();
        let element = &self.elements[index];
        check_attributes(element, notes);
        let id = self.id(element, &mut notes.flaws);
        let title = title(element, &mut notes.flaws);
        let script = self.script(element, &mut notes.flaws);
        let mut params = self.inputs.schema_of(
            index,
            script.as_ref().map_or("", |script| &script.text),
            notes,
        );
        let mut needs = needs(element, &mut notes.flaws);
        elements::add_secrets(element, self.elements, &mut needs.secrets, &mut notes.flaws);
        let script = script?;
        let interpreter =
            interpreter(&script).map_err(|message| script.flaw(TextPlace::START, message));
        let interpreter = interpreter.map_err(|flaw| notes.flaws.push(flaw)).ok()?;
        let (id, place) = id?;
        let reference = noted(step_ref(self.page.name, id), place, &mut notes.flaws)?;
        if notes.flaws.len() > before {
            return None;
        }
        self.compare(element, id, &script, notes);
        if has_word(&script.text, REPO_FILES) {
            notes.shared.add(UNSET, REPO_FILES, element.place);
        }
        add_outputs(&mut params, &script.text);
        let lines = match script.file {
            Some(file) => ScriptOrigin::File(file),
            None => ScriptOrigin::Attribute(script.place),
        };
        let (source, added) = with_functions(&script.text, &interpreter);
        let title = title.unwrap_or_else(|| id.to_owned());
        let mut definition = StepDefinition {
            params: params.into(),
            ..plain_definition(reference, Format::Gruntwork, title, interpreter, source)
        };
        if script.text.contains("{{") {
            definition.template = Template::Gruntwork;
        }
        let files = needs.contents(self.page.files);
        let put = files.and_then(|files| needs.put(&mut definition, &files));
        Some(FoundStep {
            place,
            contents: noted(put, place, &mut notes.flaws)?,
            script: lines,
            added,
            definition: Box::new(definition),
        })
    }

    /// Returns the id of a step with its place. Two ids are equal for templates if they differ only in `-` and `_`.
    fn id<'e>(
        &mut self,
        element: &'e Element,
        flaws: &mut Vec<YamlFlaw>,
    ) -> Option<(&'e str, TextPlace)> {
        let Some(attribute) = element.attribute("id") else {
            let message = format!("<{}> has no id: add id=\"...\"", element.name);
            refuse(flaws, element.place, message);
            return None;
        };
        let id = element.text("id", flaws)?;
        let normal = id.replace('-', "_");
        if let Some((first, at)) = self.ids.get(&normal) {
            let message = if first == id {
                format!("the id {id:?} is already at {at}: change the id of one of the two steps")
            } else {
                format!(
                    "the ids {first:?} at {at} and {id:?} are the same name in templates, where - becomes _: \
                     change the id of one of the two steps"
                )
            };
            refuse(flaws, attribute.place, message);
            return None;
        }
        self.ids.insert(normal, (id.to_owned(), attribute.place));
        Some((id, attribute.place))
    }

    fn script(&self, element: &Element, flaws: &mut Vec<YamlFlaw>) -> Option<Script> {
        let (text, place, file) = match (element.attribute("command"), element.attribute("path")) {
            (Some(_), None) => (
                element.text("command", flaws)?.to_owned(),
                element.place_of("command"),
                None,
            ),
            (None, Some(_)) => {
                let path = element.text("path", flaws)?;
                let place = element.place_of("path");
                let text = noted(self.page.files.read(path), place, flaws)?;
                let user = element.text_of("id").unwrap_or_default().to_owned();
                let file = OtherFile {
                    path: path.to_owned(),
                    named_at: place,
                    user,
                };
                (text, place, Some(file))
            }
            (found, _) => {
                let what = if found.is_some() {
                    "both `command` and `path`"
                } else {
                    "no script"
                };
                let message = format!(
                    "<{}> has {what}: write the script in command=\"...\", or name its file with path=\"...\"",
                    element.name
                );
                refuse(flaws, element.place, message);
                return None;
            }
        };
        let (before, script) = (flaws.len(), Script { text, place, file });
        let text = &script.text;
        if text.trim().is_empty() {
            flaws.push(script.flaw(TextPlace::START, "the script is empty: write the script"));
        }
        flaws.extend(
            check_size(text)
                .err()
                .map(|message| script.flaw(TextPlace::START, message)),
        );
        for (refused, message) in REFUSED_CHARACTERS {
            if let Some(at) = text.find(refused) {
                let place = TextLines::of(text).place(at);
                flaws.push(script.flaw(place, format!("the script: {message}")));
            }
        }
        (flaws.len() == before).then_some(script)
    }

    /// Adds a remark if Gruntwork's own registry takes another id or another script from the element.
    fn compare(&self, element: &Element, id: &str, script: &Script, notes: &mut Notes) {
        let attributes = self.page.text.get(element.attribute_text.clone());
        let path = script.file.as_ref().map(|file| file.path.as_str());
        if !takes(attributes.unwrap_or_default(), id, &script.text, path) {
            let message = format!(
                "Gruntwork's registry takes another script from <{} id={id:?}>, because it searches the text of the tag; \
                 Countersign runs what MDX shows: write the script in a file and name it with `path`, so that both are \
                 the same",
                element.name
            );
            notes.remarks.push(YamlFlaw::new(script.place, message));
        }
    }
}

/// Refuses attributes that occur twice, and reports the attributes that have no effect.
fn check_attributes(element: &Element, notes: &mut Notes) {
    for (index, attribute) in element.attributes.iter().enumerate() {
        let name = attribute.name.as_str();
        if element.attributes[..index]
            .iter()
            .any(|other| other.name == name)
        {
            let message = format!("`{name}` occurs twice: keep one of the two");
            refuse(&mut notes.flaws, attribute.place, message);
        } else if !ATTRIBUTES.contains(&name)
            && !elements::SIGN_INS.contains(&name)
            && !need_names().any(|need| need == name)
        {
            notes
                .shared
                .add(("attributes without effect: ", ""), name, element.place);
        }
    }
}

/// Returns the script with the functions of Gruntwork that it uses and does not define, so that reviewers see them. The
/// functions are at the beginning of the first line below the shebang, so that each line keeps its number. Also returns
/// this line, and the number of added characters.
fn with_functions(script: &str, interpreter: &str) -> (String, (usize, usize)) {
    let is_defined = |name: &str| {
        script.contains(&format!("{name}()")) || script.contains(&format!("function {name}"))
    };
    let used = FUNCTIONS
        .into_iter()
        .filter(|(name, _)| has_word(script, name) && !is_defined(name));
    let functions: Vec<String> = used
        .filter(|_| ["bash", "sh", "zsh"].contains(&interpreter))
        .map(|(name, level)| {
            // Only bash can print a time without another program.
            let (time, argument) = if interpreter == "bash" {
                ("%(%FT%TZ)T", " -1")
            } else {
                ("%s", " \"$(date -u +%FT%TZ)\"")
            };
            let print = format!("TZ=UTC printf '[{time}] [{level} %s\\n'{argument} \"$*\"");
            match name {
                "log_debug" => {
                    format!("{name}() {{ if [ \"${{DEBUG:-}}\" = true ]; then {print}; fi; }}; ")
                }
                _ => format!("{name}() {{ {print}; }}; "),
            }
        })
        .collect();
    let after = if script.starts_with("#!") {
        script.find('\n').map_or(script.len(), |end| end + 1)
    } else {
        0
    };
    let (shebang, rest) = script.split_at(after);
    let functions = functions.concat();
    (
        format!("{shebang}{functions}{rest}"),
        (1 + usize::from(after > 0), functions.len()),
    )
}

/// Adds a text parameter for each output of another block that the script uses. The proposer gives the value.
fn add_outputs(params: &mut Parameter, script: &str) {
    for name in step_template::output_parameters(script) {
        let declared = Parameter {
            description: Some("Output of an earlier block".to_owned()),
            max_length: Some(MAX_OUTPUT),
            ..Parameter::new(ParameterType::String)
        };
        let properties = params.properties.get_or_insert_default();
        if let Entry::Vacant(free) = properties.entry(name.clone()) {
            free.insert(declared);
            params.required.get_or_insert_default().push(name);
        }
    }
}

/// Functions that Gruntwork loads into each shell script, with the level in their output.
const FUNCTIONS: [(&str, &str); 4] = [
    ("log_info", "INFO] "),
    ("log_warn", "WARN] "),
    ("log_error", "ERROR]"),
    ("log_debug", "DEBUG]"),
];
/// Variable that Gruntwork sets for each script.
const REPO_FILES: &str = "REPO_FILES";
const UNSET: RemarkKind = (
    "variables of Gruntwork that no script gets: ",
    "; write the text to standard output, or to a file of the run",
);
/// Maximum number of steps of a page.
const MAX_STEPS: usize = 500;
/// Maximum length of the value of an output, in characters.
const MAX_OUTPUT: u64 = 4096;

fn title(element: &Element, flaws: &mut Vec<YamlFlaw>) -> Option<String> {
    let text = joined(element.text("title", flaws)?.split_whitespace(), " ");
    if text.is_empty() {
        return None;
    }
    noted(front_matter::title(&text), element.place_of("title"), flaws)
}

/// Returns the interpreter of a script: its shebang, else bash, as in Gruntwork.
fn interpreter(script: &Script) -> Result<String, String> {
    if let Some(name) = interpreter_of_shebang(&script.text)? {
        return Ok(name);
    }
    let path = script.file.as_ref().map(|file| file.path.as_str());
    let ending = path
        .and_then(|path| path.rsplit('/').next()?.rsplit_once('.'))
        .map(|(_, end)| end);
    match LANGUAGES.iter().find(|(known, _)| Some(*known) == ending) {
        Some((ending, name)) => Err(format!(
            "the script ends in .{ending} but has no shebang, so bash would run it: write #!/usr/bin/env {name} in its \
             first line"
        )),
        None => Ok("bash".to_owned()),
    }
}

/// Returns the names of the attributes that declare a need. `timeoutMs` declares the limit of time.
fn need_names() -> impl Iterator<Item = &'static str> {
    declared_needs::names().filter(|name| *name != "timeout")
}

/// Reads the attributes that declare what the step needs of the host.
fn needs(element: &Element, flaws: &mut Vec<YamlFlaw>) -> DeclaredNeeds {
    let (before, mut needs) = (flaws.len(), DeclaredNeeds::default());
    let mut last = element.place;
    for name in need_names() {
        let (Some(attribute), Some(text)) = (element.attribute(name), element.text(name, flaws))
        else {
            continue;
        };
        last = attribute.place;
        noted(needs.add(name, text), last, flaws);
    }
    declare_time(element, &mut needs.sandbox, flaws);
    if flaws.len() == before {
        noted(check_declared(&needs.sandbox), last, flaws);
    }
    needs
}

fn declare_time(element: &Element, sandbox: &mut DeclaredSandbox, flaws: &mut Vec<YamlFlaw>) {
    let Some(attribute) = element.attribute("timeoutMs") else {
        return;
    };
    let millis = match &attribute.value {
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) => None,
        None => return,
    };
    match millis.filter(|millis| (1..1 << 53).contains(millis)) {
        Some(millis) => sandbox
            .limits
            .get_or_insert_default()
            .declare(Limit::Wall, millis),
        None => {
            let message = "`timeoutMs` must be a whole number of milliseconds above 0: write timeoutMs={300000}";
            refuse(flaws, attribute.place, message);
        }
    }
}

/// Elements that are steps.
const STEPS: [&str; 2] = ["Command", "Check"];
/// Beginnings of tags that are no steps, besides those that contain the name of a step.
const NEAR_MISSES: [&str; 2] = ["<command", "<check"];
const NO_STEPS: RemarkKind = (
    "elements that are no steps: ",
    "; write <Command> or <Check>",
);
/// Attributes of a step that have an effect, besides [`elements::SIGN_INS`] and the attributes of needs.
const ATTRIBUTES: [&str; 6] = ["id", "title", "command", "path", "inputsId", "timeoutMs"];
/// Endings of files that are not for bash, with their interpreters.
const LANGUAGES: [(&str, &str); 7] = [
    ("py", "python3"),
    ("js", "node"),
    ("mjs", "node"),
    ("rb", "ruby"),
    ("pl", "perl"),
    ("go", "go"),
    ("zsh", "zsh"),
];
/// Maximum size of a page. The parser needs quadratic time for some pages.
const MAX_PAGE_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests;
