//! The `schema` command generates the JSON Schemas and OpenAPI from the types.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde_json::{Value, json};

use crate::Config;
use boundary::openapi;
use client::{CommandFailure, CommandResult, Exit, Terminal};
use documents::{
    Bundle, Configuration, Envelope, KINDS, RegistryLeaf, SealedToken, StepDefinition,
    UserConfiguration, settings,
};
use reading::PolicyFile;

/// Generate the JSON Schemas and OpenAPI from the types.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign schema check
  countersign schema write --dir .")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// The directory with schemas/ and openapi.json
    #[arg(long, global = true, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Write the files
    Write,
    /// Compare the files with the types; the exit code is 1 if they differ
    Check,
}

/// Writes or compares the files.
///
/// # Errors
/// Returns an error if a file cannot be written.
pub fn run(args: &Args, terminal: &Terminal) -> CommandResult {
    match args.command {
        Command::Write => {
            for (name, text) in files() {
                let path = args.dir.join(&name);
                let failed = CommandFailure::unable("write", &path);
                std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
                std::fs::write(&path, text).map_err(failed)?;
                terminal.say(format!("wrote {name}"));
            }
            Ok(Exit::Done)
        }
        Command::Check => {
            let drifted: Vec<String> = drift(&args.dir);
            for what in &drifted {
                terminal.line(what)?;
            }
            Ok(if drifted.is_empty() {
                Exit::Done
            } else {
                Exit::CheckSaidNo
            })
        }
    }
}

/// Returns the differences between the files below `dir` and the generated files.
pub fn drift(dir: &Path) -> Vec<String> {
    let files = files();
    let mut found: Vec<String> = files
        .iter()
        .filter_map(|(name, text)| match std::fs::read_to_string(dir.join(name)) {
            Ok(there) if there == *text => None,
            Ok(_) => Some(format!("{name} differs from the types: run `countersign schema write` and read the diff")),
            Err(error) => Some(format!("{name} can't be read ({error}): run `countersign schema write`")),
        })
        .collect();
    let stray = std::fs::read_dir(dir.join("schemas"))
        .into_iter()
        .flatten()
        .flatten();
    for entry in stray {
        let name = format!("schemas/{}", entry.file_name().to_string_lossy());
        if !files.iter().any(|(known, _)| *known == name) {
            found.push(format!("{name} belongs to no type: remove the file"));
        }
    }
    found.sort();
    found
}

/// Returns the name and the text of every generated file.
pub fn files() -> Vec<(String, String)> {
    let mut files = vec![
        schema::<Bundle>("bundle"),
        schema::<Configuration>("sealed-configuration"),
        schema::<UserConfiguration>("config.toml"),
        schema::<Config>("countersign.toml"),
        schema::<Envelope>("envelope"),
        policy(),
        schema::<Vec<RegistryLeaf>>("registry"),
        schema::<StepDefinition>("step"),
        schema::<Vec<SealedToken>>("tokens"),
    ];
    files.extend(KINDS.iter().map(|kind| named(kind.word, (kind.schema)())));
    files.push(("openapi.json".to_owned(), pretty(&openapi())));
    files.sort();
    files
}

fn schema<T: JsonSchema>(name: &str) -> (String, String) {
    named(name, generate::<T>())
}

/// Returns the schema of the policy file. The function adds rules to the generated schema, because the types describe
/// the policy after reading, and a step uses some of them too. The reader of the file refuses more, and fills in
/// `required`.
fn policy() -> (String, String) {
    let mut value = generate::<PolicyFile>();
    value["properties"]["version"]["const"] = json!(1);
    let places = ["limits", "proc", "deny", "programs"];
    value["properties"]["default"]["properties"] =
        json!({"sandbox": {"propertyNames": {"enum": places}}});
    let parts = &mut value["$defs"];
    parts["Override"]["minProperties"] = json!(2);
    parts["Approvals"]["required"] = json!(["from"]);
    parts["Approvals"]["properties"]["required"]["minimum"] = json!(1);
    parts["Approvals"]["properties"]["required"]["default"] = json!(1);
    parts["Approvals"]["properties"]["from"]["minItems"] = json!(1);
    for limit in parts["DeclaredLimits"]["properties"]
        .as_object_mut()
        .into_iter()
        .flatten()
    {
        limit.1["minimum"] = json!(1);
    }
    for list in ["read", "write", "sockets", "deny"] {
        parts["SandboxRule"]["properties"][list]["minItems"] = json!(1);
        parts["SandboxRule"]["properties"][list]["uniqueItems"] = json!(true);
    }
    named("policy", value)
}

fn generate<T: JsonSchema>() -> Value {
    settings()
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

/// Returns the name and the text of the file of a schema.
fn named(name: &str, mut value: Value) -> (String, String) {
    value["$id"] = Value::from(format!("https://countersign.dev/schemas/{name}/v1"));
    value["title"] = Value::from(format!("Countersign {name}, version 1"));
    (format!("schemas/{name}.v1.json"), pretty(&value))
}

fn pretty(value: &Value) -> String {
    let mut text = format!("{value:#}");
    text.push('\n');
    text
}
