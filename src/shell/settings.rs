//! Variables that change what later commands do or are.

/// Whether a shell, the loader, or an interpreter takes from variable `name` what to run, where to find it, or how to read it.
pub(super) fn changes(name: &str) -> bool {
    EXACT.binary_search(&name).is_ok()
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            && !HARMLESS.iter().any(|prefix| name.starts_with(prefix))
        || SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// A shell runs the file that this variable names, or what it says for another name.
pub(super) fn names_a_file(name: &str) -> bool {
    matches!(name, "BASH_ENV" | "ENV" | "BASH_ALIASES" | "BASH_CMDS") || name.starts_with("BASH_FUNC_")
}

/// A shell expands the value of this variable, with its substitutions.
pub(super) fn is_expanded(name: &str) -> bool {
    matches!(name, "PROMPT_COMMAND" | "PS0" | "PS1" | "PS2" | "PS4")
}

/// In order.
const EXACT: &[&str] = &[
    "AWKPATH",
    "BASHOPTS",
    "BASH_ALIASES",
    "BASH_CMDS",
    "BASH_COMPAT",
    "BASH_ENV",
    "BASH_LOADABLES_PATH",
    "BROWSER",
    "CDPATH",
    "CLASSPATH",
    "COMSPEC",
    "EDITOR",
    "ENV",
    "EXECIGNORE",
    "FCEDIT",
    "FPATH",
    "GCONV_PATH",
    "GLOBIGNORE",
    "HOME",
    "HOSTALIASES",
    "IFS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "LESSCLOSE",
    "LESSOPEN",
    "LOCALDOMAIN",
    "LOCPATH",
    "LUA_CPATH",
    "LUA_INIT",
    "LUA_PATH",
    "MAKEFILES",
    "MAKEFLAGS",
    "NLSPATH",
    "PATH",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "POSIXLY_CORRECT",
    "PROMPT_COMMAND",
    "PS0",
    "PS1",
    "PS2",
    "PS4",
    "RSYNC_RSH",
    "RUBYLIB",
    "RUBYOPT",
    "SHELL",
    "SHELLOPTS",
    "SUDO_ASKPASS",
    "SYSTEMD_EDITOR",
    "TAR_OPTIONS",
    "VISUAL",
    "XDG_CONFIG_HOME",
    "ZDOTDIR",
    "_JAVA_OPTIONS",
];

const PREFIXES: &[&str] = &[
    "BASH_FUNC_",
    "DYLD_",
    "GIT_",
    "GEM_",
    "LD_",
    "NODE_OPTIONS",
    "NODE_PATH",
    "NODE_REPL_",
    "PERL5",
    "PERLLIB",
    "PYTHON",
    "SSH_ASKPASS",
    "npm_config_",
    "NPM_CONFIG_",
];

/// Of those with such a beginning.
const HARMLESS: &[&str] = &["GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_TERMINAL_PROMPT", "GIT_TRACE"];

const SUFFIXES: &[&str] = &["_EDITOR", "PAGER", "_ASKPASS", "_RSH"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order() {
        assert!(EXACT.is_sorted());
    }

    #[test]
    fn what_changes_commands_is_named_and_nothing_else() {
        for name in [
            "PATH",
            "LD_PRELOAD",
            "BASH_ENV",
            "ENV",
            "IFS",
            "GIT_SSH_COMMAND",
            "PYTHONPATH",
            "NODE_OPTIONS",
            "MANPAGER",
        ] {
            assert!(changes(name), "{name}");
        }
        for name in ["NODE_ENV", "FOO", "path", "ENVIRONMENT", "MY_PATH", "LDFLAGS", "CC", "LANG"] {
            assert!(!changes(name), "{name}");
        }
    }
}
