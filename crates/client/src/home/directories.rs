//! Home and configuration directories of the user, from environment variables.

use std::{ffi::OsString, path::PathBuf};

use crate::PrintableText;

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
