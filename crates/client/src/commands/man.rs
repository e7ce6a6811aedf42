//! The `man` command writes a man page for each command. The packages contain these pages.

use std::path::PathBuf;

use clap_mangen::{
    Man,
    roff::{Roff, roman},
};

use crate::{CommandFailure, CommandResult, Exit, Terminal};

/// Write a man page for each command.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign man ~/.local/share/man/man1")]
pub struct Args {
    /// The directory for the pages
    dir: PathBuf,
}

/// Writes the pages of `command` and of all visible commands below it.
///
/// # Errors
/// Returns an error if a file cannot be written.
pub fn run(args: &Args, command: clap::Command, terminal: &Terminal) -> CommandResult {
    let mut command = without_help(command);
    command.build();
    std::fs::create_dir_all(&args.dir).map_err(CommandFailure::unable("write", &args.dir))?;
    for (name, page) in pages(&command) {
        let path = args.dir.join(&name);
        std::fs::write(&path, page).map_err(CommandFailure::unable("write", &path))?;
        terminal.say(format!("wrote {name}"));
    }
    Ok(Exit::Done)
}

/// Removes the commands `help`, which only print what the pages contain.
fn without_help(command: clap::Command) -> clap::Command {
    command
        .disable_help_subcommand(true)
        .mut_subcommands(without_help)
}

/// Returns the file name and the text of each page. `command` must be built.
pub fn pages(command: &clap::Command) -> Vec<(String, Vec<u8>)> {
    let man = Man::new(command.clone())
        .source(concat!("countersign ", env!("CARGO_PKG_VERSION")))
        .manual("Countersign");
    let mut found = vec![(man.get_filename(), page(&man, command))];
    for below in command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
    {
        found.extend(pages(below));
    }
    found
}

fn page(man: &Man, command: &clap::Command) -> Vec<u8> {
    // Write the title here, because `clap_mangen` leaves out an empty date, and the version would take the place of the
    // date.
    let title = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name());
    let mut page = format!(
        ".TH {title} 1 \"\" \"countersign {}\" Countersign\n",
        env!("CARGO_PKG_VERSION")
    )
    .into_bytes();
    let written = man
        .render_name_section(&mut page)
        .and_then(|()| man.render_synopsis_section(&mut page))
        .and_then(|()| man.render_description_section(&mut page))
        .and_then(|()| man.render_options_section(&mut page));
    let written = match command.get_subcommands().any(|below| !below.is_hide_set()) {
        true => written.and_then(|()| man.render_subcommands_section(&mut page)),
        false => written,
    };
    let after = command
        .get_after_long_help()
        .or_else(|| command.get_after_help());
    let written = match after {
        Some(text) => written.and_then(|()| after_help(&text.to_string()).to_writer(&mut page)),
        None => written,
    };
    // A write to a vector never fails.
    debug_assert!(written.is_ok());
    ascii(&String::from_utf8_lossy(&page))
}

/// Replaces each non-ASCII character by its escape of groff(7), because roff reads bytes of Latin-1.
fn ascii(page: &str) -> Vec<u8> {
    let mut text = String::with_capacity(page.len());
    for character in page.chars() {
        if character.is_ascii() {
            text.push(character);
        } else {
            text += &format!("\\[u{:04X}]", u32::from(character));
        }
    }
    text.into_bytes()
}

/// Returns the text after the options. Indented lines, such as examples of commands, keep their line breaks.
/// `clap_mangen` would join them to one paragraph.
fn after_help(text: &str) -> Roff {
    let mut section = Roff::new();
    let text = match text.strip_prefix("Examples:\n") {
        Some(examples) => {
            section.control("SH", ["EXAMPLES"]);
            examples
        }
        None => {
            section.control("SH", ["NOTES"]);
            text
        }
    };
    let mut literal = false;
    for line in text.lines() {
        let indented = line.starts_with(' ');
        if indented != literal {
            section.control(if indented { "nf" } else { "fi" }, []);
            literal = indented;
        }
        if line.trim().is_empty() {
            section.control("PP", []);
        } else {
            section.text([roman(line)]);
        }
    }
    if literal {
        section.control("fi", []);
    }
    section
}
