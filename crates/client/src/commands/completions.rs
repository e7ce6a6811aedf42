//! The `completions` command prints a completion script for a shell. The script calls this program for each completion.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    path::PathBuf,
    time::Duration,
};

use clap::{Arg, Command};
use clap_complete::{
    CompleteEnv, Shell,
    engine::{
        ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter,
        ValueCompleter as _,
    },
    env::Shells,
};

use crate::{
    BoundaryList, CommandResult, Exit, FileSigner, GlobalOptions, Home, KeyArgs, Terminal,
    ask_each, newest,
};
use reading::Registry;
use wire::RegistryView;

/// Print a completion script for a shell.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign completions bash > ~/.local/share/bash-completion/completions/countersign
  countersign completions zsh > ~/.zfunc/_countersign
  countersign completions fish > ~/.config/fish/completions/countersign.fish

The script calls countersign, which completes commands, options, files and the boundaries of your list, and asks the \
boundary of the line for its steps, runbooks and open proposals. It waits at most 100 ms for an answer. It authenticates with \
your token, or with the key file of --key or countersign/key.pem, but never with an SSH key, which could ask for a passphrase. \
Print the script again after an upgrade of the program.")]
pub struct Args {
    /// The name of the shell
    shell: Shell,
}

/// Longest wait for an answer of a boundary. If a completion takes 150 ms, the program ends without values.
const PATIENCE: Duration = Duration::from_millis(100);

/// The script for bash. Bash divides words at `:` and `=`. This script joins the parts again, but the script of
/// clap_complete does not. This script adds only the continuation of the word that the person typed, and quotes each
/// special character of the shell.
const BASH: &str = r#"_NAME() {
    local rest=${COMP_LINE:0:COMP_POINT} words=() word i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        ((i < COMP_CWORD)) || word=${rest#"${rest%%[![:space:]]*}"}
        if ((i == 0)) || [[ $rest == [[:space:]]* ]]; then
            words[${#words[@]}]=$word
        else
            words[${#words[@]}-1]+=$word
        fi
        rest=${rest#"${rest%%[![:space:]]*}"}
        rest=${rest#"$word"}
    done
    COMPREPLY=()
    local last=$((${#words[@]} - 1))
    while IFS= read -r word || [[ -n $word ]]; do
        [[ $word == "${words[last]}"* ]] || continue
        rest=${word#"${words[last]}"}
        [[ -z $rest ]] || printf -v rest %q "$rest"
        COMPREPLY+=("$2$rest")
    done < <(COMPLETE=bash _CLAP_COMPLETE_INDEX=$last _CLAP_IFS=$'\n' NAME -- "${words[@]}" 2>/dev/null)
    [[ ${#COMPREPLY[@]} -ne 1 || $COMPREPLY != *[/:=] ]] || compopt -o nospace 2>/dev/null
}
complete -o bashdefault -o default -F _NAME NAME
"#;

/// Prints the script for the program of this name.
///
/// # Errors
/// Returns an error if the standard output cannot be written.
pub fn run(args: &Args, name: &str, terminal: &Terminal) -> CommandResult {
    let mut script = Vec::new();
    match Shells::builtins().completer(&args.shell.to_string()) {
        Some(shell) if args.shell != Shell::Bash => {
            shell.write_registration("COMPLETE", name, name, name, &mut script)?
        }
        _ => script = BASH.replace("NAME", name).into_bytes(),
    }
    if args.shell == Shell::Zsh {
        // zsh loads a script in `$fpath` at the first completion, so the script must also answer this completion.
        script.extend_from_slice(b"[[ $funcstack[1] != _$service ]] || $_comps[$service] \"$@\"\n");
    }
    terminal.put(&script)?;
    Ok(Exit::Done)
}

/// Answers a call of a completion script, `COMPLETE=SHELL countersign -- WORDS`, and ends the program. For any other
/// call, the function only returns, so that the variable alone changes no command.
pub fn answer(command: fn() -> Command) {
    if std::env::var_os("COMPLETE").is_some()
        && std::env::args_os()
            .nth(1)
            .is_some_and(|first| first == "--")
    {
        // No message and no wait may disturb the person who types.
        let _ = File::create("/dev/null").map(rustix::stdio::dup2_stderr);
        std::thread::spawn(|| {
            std::thread::sleep(PATIENCE * 3 / 2);
            std::process::exit(0)
        });
        CompleteEnv::with_factory(command).complete();
    }
}

/// Function that reads the command line in which the argument with this id is completed. Returns the options and the
/// key of this line.
pub type ReadLine = fn(&str) -> Option<(GlobalOptions, Option<OsString>)>;

/// Completes the arguments of a command that calls a boundary.
pub fn with_values(command: Command, line: ReadLine) -> Command {
    let complete = |argument: Arg| {
        let id = argument.get_id().to_string();
        if !["step", "runbook", "proposal", "proposals"].contains(&id.as_str()) {
            return argument;
        }
        argument.add(ArgValueCandidates::new(move || {
            values(&id, line).unwrap_or_default()
        }))
    };
    command
        .mut_args(complete)
        .mut_subcommands(|below| with_values(below, line))
}

/// Completes the name of a boundary of the list.
pub fn boundaries() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        BoundaryList::of_process()
            .into_iter()
            .flat_map(|list| list.boundaries)
            .map(|one| one.name.into())
            .collect()
    })
}

/// Completes a runbook of a local directory, and after its colon a step.
pub fn runbook_or_step() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let Some((file, step)) = typed.to_str().and_then(|text| text.rsplit_once(':')) else {
            return PathCompleter::any().complete(typed);
        };
        let found = Registry::of_file(file.as_ref(), file.rsplit('/').next().unwrap_or(file), file);
        found
            .iter()
            .flat_map(|found| &found.steps)
            .map(|one| one.definition.reference.step())
            .filter(|id| id.starts_with(step))
            .map(|id| format!("{file}:{id}").into())
            .collect()
    })
}

/// Reads values for the argument `id` from the boundary of the line. Their types permit only plain names, so a boundary can't put
/// anything else into the line.
fn values(id: &str, line: ReadLine) -> Option<Vec<CompletionCandidate>> {
    let (mut global, key) = line(id)?;
    global.patience = Some(PATIENCE);
    let key = key.map(PathBuf::from).or_else(|| {
        Home::of_process()
            .config
            .map(|config| config.join("key.pem"))
    });
    // Use only a key file that this program can read, because another key could ask for a passphrase or a touch. An
    // empty path means that there is no key.
    let key = key
        .filter(|path| FileSigner::open(path).is_ok())
        .unwrap_or_default();
    let key = KeyArgs {
        key: Some(key),
        more: Vec::new(),
    };
    let all = if id == "proposals" {
        global.chosen().ok()?
    } else {
        vec![global]
    };
    let mut found = Vec::new();
    ask_each::<Vec<String>>(
        &all,
        |one, tell| {
            let client = one.client(&key)?;
            if id.starts_with("proposal") {
                let open = newest(&client, &[("status", "open")], 100, None)?;
                return tell(open.iter().map(|view| view.id.to_string()).collect());
            }
            let steps = client.get::<RegistryView>("/v1/registry")?.steps;
            tell(
                steps
                    .iter()
                    .map(|step| {
                        if id == "runbook" {
                            step.reference.path()
                        } else {
                            step.reference.as_str()
                        }
                        .to_owned()
                    })
                    .collect(),
            )
        },
        |_, values| {
            found.extend(values.unwrap_or_default());
            Ok(())
        },
    )
    .ok()?;
    found.dedup();
    // A command could parse a value that begins with a dash as an option.
    Some(
        found
            .into_iter()
            .filter(|value| !value.starts_with('-'))
            .map(CompletionCandidate::from)
            .collect(),
    )
}
