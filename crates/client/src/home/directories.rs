//! Finds the home and configuration directories of the user from environment variables.
//!
//! The module also finds the scripts whose letters this person reads: from the file `config.toml` in the configuration
//! directory, or else from the locale.

use std::{ffi::OsString, path::PathBuf};

use crate::{CommandFailure, CommandResult, DisplayScripts, PrintableText, read_bounded};
use documents::UserConfiguration;

/// Home and configuration directories of the user.
#[derive(Default)]
pub struct Home {
    /// `$HOME`, or else the directory that the list of users names.
    pub home: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME/countersign`, by default `~/.config/countersign`.
    pub config: Option<PathBuf>,
}

impl Home {
    /// Returns the directories of the user of this process.
    pub fn of_process() -> Self {
        Self::of(
            std::env::home_dir().map(Into::into),
            std::env::var_os("XDG_CONFIG_HOME"),
        )
    }

    /// Returns the directories for these values of the variables. A relative path is ignored, as the XDG Base Directory
    /// specification requires.
    pub fn of(home: Option<OsString>, xdg: Option<OsString>) -> Self {
        let absolute =
            |value: OsString| Some(PathBuf::from(value)).filter(|path| path.is_absolute());
        let home = home.and_then(absolute);
        let config = xdg
            .and_then(absolute)
            .or_else(|| home.as_ref().map(|home| home.join(".config")));
        Self {
            home,
            config: config.map(|config| config.join("countersign")),
        }
    }

    /// Returns the path of the configuration directory as text for messages, or the default path if the directory is
    /// unknown.
    pub fn config_words(&self) -> String {
        self.config
            .as_ref()
            .map_or("~/.config/countersign".to_owned(), |path| {
                PrintableText::file(path).to_string()
            })
    }
}

/// Maximum size of the file in bytes.
const MAX_FILE_BYTES: usize = 1 << 16;

/// Makes this process show the letters that this person, or this desk, reads.
///
/// # Errors
/// Returns an error if the configuration can't be read or understood.
pub fn show_own_letters(is_desk: bool) -> CommandResult<()> {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok());
    let locale = set
        .into_iter()
        .find(|value| !value.is_empty())
        .unwrap_or_default();
    display_scripts(&Home::of_process(), &locale, is_desk).map(DisplayScripts::use_in_process)
}

/// Returns the scripts whose letters prose shows. If the encoding of the locale is not UTF-8, a terminal could take a
/// byte of a letter for a control character, so only ASCII is shown. The pages of a desk are always UTF-8.
///
/// # Errors
/// Returns an error if the file can't be read or understood.
fn display_scripts(home: &Home, locale: &str, is_desk: bool) -> CommandResult<DisplayScripts> {
    let of_locale = DisplayScripts::of_locale(locale);
    let path = home
        .config
        .as_ref()
        .map(|config| config.join("config.toml"))
        .filter(|path| path.exists());
    let Some(path) = path.filter(|_| is_desk || of_locale != DisplayScripts::default()) else {
        return Ok(of_locale);
    };
    let wrong = |why: &str| {
        let words = format!(
            "{} is no configuration: {why}; correct the file",
            path.display()
        );
        CommandFailure::usage(PrintableText::message(&words))
    };
    let text = String::from_utf8(read_bounded(&path, MAX_FILE_BYTES)?)
        .map_err(|_| wrong("the text is not UTF-8"))?;
    let file: UserConfiguration = toml::from_str(&text).map_err(|error| wrong(error.message()))?;
    match &file.display.scripts {
        Some(names) => {
            DisplayScripts::named(names.iter().map(String::as_str)).map_err(|why| wrong(&why))
        }
        None => Ok(of_locale),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_or_else_the_locale_decides_which_scripts_are_shown() {
        let directory = tempfile::tempdir().expect("a directory");
        let home = Home::of(Some(directory.path().into()), None);
        let of = |names: &[&str]| DisplayScripts::named(names.iter().copied()).expect("scripts");
        let shown =
            |locale: &str| display_scripts(&home, locale, false).map_err(|failure| failure.message);
        for (locale, names) in [
            ("", &[][..]),
            ("C", &[]),
            ("POSIX", &[]),
            ("de_DE", &[]),
            ("ja_JP.EUC-JP", &[]),
            ("C.UTF-8", &["Latin"]),
            ("de_DE.utf8", &["Latin"]),
            ("ja_JP.UTF-8", &["Latin", "Japanese"]),
            ("ko_KR.UTF-8", &["Latin", "Korean"]),
            ("el_GR.UTF-8@euro", &["Latin", "Greek"]),
            ("uk_UA.UTF-8", &["Latin", "Cyrillic"]),
            ("sr_RS.UTF-8@latin", &["Latin"]),
            ("uz_UZ.UTF-8@cyrillic", &["Latin", "Cyrillic"]),
            ("ar_EG.UTF-8", &["Latin"]),
        ] {
            assert_eq!(shown(locale), Ok(of(names)), "{locale}");
        }
        let config = home.config.clone().expect("a directory");
        std::fs::create_dir_all(&config).expect("a directory");
        let write = |text: &str| std::fs::write(config.join("config.toml"), text).expect("written");
        write("[display]\nscripts = [\"Latin\", \"Japanese\"]\n");
        assert_eq!(shown("de_DE.UTF-8"), Ok(of(&["Latin", "Japanese"])));
        // A terminal without UTF-8 shows only ASCII, and a desk uses its file.
        assert_eq!(shown("C"), Ok(of(&[])));
        assert_eq!(
            display_scripts(&home, "C", true).ok(),
            Some(of(&["Latin", "Japanese"]))
        );
        write("");
        assert_eq!(shown("el_GR.UTF-8"), Ok(of(&["Latin", "Greek"])));
        for (text, why) in [
            (
                "[display]\nscripts = [\"Latin\", \"Klingon\"]\n",
                "\"Klingon\" is no script: write one of Armenian, ",
            ),
            (
                "[display]\nscripts = [\"latin\"]\n",
                "\"latin\" is no script",
            ),
            ("[display]\nscripts = [\"Common\"]\n", "is no script"),
            (
                "[display]\nscripts = [\"Hebrew\"]\n",
                "Hebrew is written from right to left",
            ),
            (
                "[display]\nscript = [\"Latin\"]\n",
                "unknown field `script`",
            ),
            ("[displays]\n", "unknown field `displays`"),
            (
                "[display]\nscripts = [\"\\u001b\\u202e\"]\n",
                "is no script",
            ),
        ] {
            write(text);
            let failure = shown("C.UTF-8").expect_err(text);
            assert!(
                failure.contains(why)
                    && failure.is_ascii()
                    && failure.ends_with("; correct the file"),
                "{failure}"
            );
        }
    }
}
