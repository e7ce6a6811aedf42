//! Variables that change which commands a shell runs later. The table is frozen (CONTRIBUTING.md).

/// Returns true if a shell, the loader or an interpreter uses the variable to choose, find or parse a program.
pub fn changes(name: &str) -> bool {
    EXACT.binary_search(&name).is_ok()
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            && !HARMLESS.iter().any(|prefix| name.starts_with(prefix))
        || SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// Program directories that only the system's owner can write. The shell finds a program without a path in these
/// directories.
pub const TRUSTED: [&str; 6] = [
    "/bin",
    "/sbin",
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/local/sbin",
];

/// Returns true if the assignment `source` adds to `PATH` only directories of the system, so that a name still means a
/// program that only the system's owner can write.
pub fn keeps_programs(source: &str) -> bool {
    let value = source
        .strip_prefix("PATH=")
        .map(|value| value.replace('"', ""));
    let is_kept =
        |directory: &str| TRUSTED.contains(&directory) || ["$PATH", "${PATH}"].contains(&directory);
    value.is_some_and(|value| value.split(':').all(is_kept))
}

/// Returns true if `text` assigns to `IFS` only characters that are in no number.
pub fn keeps_numbers(text: &str) -> bool {
    let in_number = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    text.strip_prefix("IFS=")
        .is_some_and(|value| !value.contains(in_number))
}

/// Returns the names in `text` for which [`changes`] is true. Arithmetic in `text` may set these variables.
pub fn named_in(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|name| changes(name))
}

/// Returns true if a shell runs the file that this variable names, or if the variable's value redefines a command.
pub fn names_a_file(name: &str) -> bool {
    matches!(name, "BASH_ENV" | "ENV" | "BASH_ALIASES" | "BASH_CMDS")
        || name.starts_with("BASH_FUNC_")
}

/// Returns true if a shell performs expansions (also command substitutions) in the value of this variable.
pub fn is_expanded(name: &str) -> bool {
    matches!(name, "PROMPT_COMMAND" | "PS0" | "PS1" | "PS2" | "PS4")
}

/// Returns true if bash evaluates values of this variable as arithmetic.
pub fn is_integer(name: &str) -> bool {
    matches!(
        name,
        "BASHPID"
            | "EPOCHREALTIME"
            | "EPOCHSECONDS"
            | "HISTCMD"
            | "LINENO"
            | "OPTIND"
            | "RANDOM"
            | "SECONDS"
            | "SRANDOM"
    )
}

/// Returns true if bash itself defines this variable as an array.
pub fn is_array(name: &str) -> bool {
    name.starts_with("BASH_")
        || matches!(
            name,
            "COMPREPLY" | "COPROC" | "DIRSTACK" | "FUNCNAME" | "GROUPS" | "MAPFILE" | "PIPESTATUS"
        )
}

/// Names of variables, sorted for binary search.
const EXACT: &[&str] = &[
    "APT_CONFIG",
    "AWKPATH",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "BASHOPTS",
    "BASH_ALIASES",
    "BASH_CMDS",
    "BASH_COMPAT",
    "BASH_ENV",
    "BASH_LOADABLES_PATH",
    "BORG_PASSCOMMAND",
    "BORG_RSH",
    "BROWSER",
    "BUNDLE_GEMFILE",
    "CDPATH",
    "CLASSPATH",
    "COMSPEC",
    "CURL_HOME",
    "DOCKER_CONFIG",
    "DOCKER_HOST",
    "EDITOR",
    "ENV",
    "EXECIGNORE",
    "EXINIT",
    "FCEDIT",
    "FPATH",
    "GCONV_PATH",
    "GLOBIGNORE",
    "GNUMAKEFLAGS",
    "GNUPGHOME",
    "GOCACHEPROG",
    "GOENV",
    "GOFLAGS",
    "GOROOT",
    "GOTOOLCHAIN",
    "GOTOOLDIR",
    "GVIMINIT",
    "HGEDITOR",
    "HGRCPATH",
    "HOME",
    "HOSTALIASES",
    "IFS",
    "INPUTRC",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "KUBECONFIG",
    "KUBECTL_EXTERNAL_DIFF",
    "LESSCLOSE",
    "LESSKEY",
    "LESSKEYIN",
    "LESSOPEN",
    "LOCALDOMAIN",
    "LOCPATH",
    "LUA_CPATH",
    "LUA_INIT",
    "LUA_PATH",
    "MAKEFILES",
    "MAKEFLAGS",
    "MANOPT",
    "MFLAGS",
    "NLSPATH",
    "OPENSSL_CONF",
    "OPENSSL_ENGINES",
    "OPENSSL_MODULES",
    "PATH",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "PIP_CONFIG_FILE",
    "POSIXLY_CORRECT",
    "PROMPT_COMMAND",
    "PS0",
    "PS1",
    "PS2",
    "PS4",
    "PSQLRC",
    "RCLONE_PASSWORD_COMMAND",
    "RESTIC_PASSWORD_COMMAND",
    "RIPGREP_CONFIG_PATH",
    "RSYNC_CONNECT_PROG",
    "RSYNC_RSH",
    "RUBYLIB",
    "RUBYOPT",
    "RUSTDOC",
    "SHELL",
    "SHELLOPTS",
    "SUDO_ASKPASS",
    "SVN_SSH",
    "SYSTEMD_EDITOR",
    "TAR_OPTIONS",
    "TEXTDOMAIN",
    "TEXTDOMAINDIR",
    "TF_CLI_CONFIG_FILE",
    "VIMINIT",
    "VISUAL",
    "WGETRC",
    "XDG_CONFIG_HOME",
    "ZDOTDIR",
    "_JAVA_OPTIONS",
];

const PREFIXES: &[&str] = &[
    "ANSIBLE_",
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
    "CARGO_",
    "RUSTC",
    "RUSTUP_",
    "LUA_CPATH",
    "LUA_INIT",
    "LUA_PATH",
    "PARALLEL",
    "PIP_",
    "CMAKE_TOOLCHAIN",
];

/// Exceptions from `PREFIXES`.
const HARMLESS: &[&str] = &[
    "GIT_AUTHOR_",
    "GIT_COMMITTER_",
    "GIT_TERMINAL_PROMPT",
    "GIT_TRACE",
    "CARGO_TERM_",
    "CARGO_NET_OFFLINE",
    "CARGO_INCREMENTAL",
];

const SUFFIXES: &[&str] = &["_EDITOR", "PAGER", "_ASKPASS", "_RSH", "_LAUNCHER"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_variables_is_sorted() {
        assert!(EXACT.is_sorted());
    }

    #[test]
    fn the_list_contains_exactly_the_variables_that_change_commands() {
        for name in
            "PATH LD_PRELOAD BASH_ENV ENV IFS GIT_SSH_COMMAND PYTHONPATH NODE_OPTIONS MANPAGER"
                .split(' ')
        {
            assert!(changes(name), "{name}");
        }
        for name in [
            "NODE_ENV",
            "FOO",
            "path",
            "ENVIRONMENT",
            "MY_PATH",
            "LDFLAGS",
            "CC",
            "LANG",
        ] {
            assert!(!changes(name), "{name}");
        }
    }
}
