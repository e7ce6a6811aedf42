//! Names of variables that make programs load or run other code.

/// Variables that make programs load or run other code, or sign with the keys of the person. No step inherits them, and
/// no session carries them. A `*` at the end matches any text.
pub const CODE_VARIABLES: [&str; 58] = [
    // Dynamic loaders and shells.
    "LD_*",
    "DYLD_*",
    "GLIBC_TUNABLES",
    "GCONV_PATH",
    "BASH_ENV",
    "ENV",
    "BASH_FUNC_*",
    "BASH_ALIASES",
    "BASH_CMDS",
    "BASH_LOADABLES_PATH",
    "BASH_XTRACEFD",
    "SHELLOPTS",
    "BASHOPTS",
    "PS4",
    "PROMPT_COMMAND",
    "IFS",
    "CDPATH",
    "GLOBIGNORE",
    "EXECIGNORE",
    "ZDOTDIR",
    // Interpreters and build tools.
    "PERL5*",
    "PERLLIB",
    "RUBYOPT",
    "RUBYLIB",
    "GEM_*",
    "NODE_OPTIONS",
    "NODE_PATH",
    "NODE_REPL_*",
    "npm_config_*",
    "NPM_CONFIG_*",
    "PYTHON*",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
    "CLASSPATH",
    "LUA_*",
    "MAKEFLAGS",
    "GNUMAKEFLAGS",
    "MAKEFILES",
    "TAR_OPTIONS",
    "OPENSSL_CONF",
    "OPENSSL_MODULES",
    "OPENSSL_ENGINES",
    "LESSOPEN",
    "LESSCLOSE",
    "GOFLAGS",
    "RUSTC",
    "RUSTC_*",
    "RUSTFLAGS",
    "CARGO_*",
    "DOTNET_STARTUP_HOOKS",
    "AWKLIBPATH",
    "LOCPATH",
    // Variables that change which programs git runs.
    "GIT_*",
    // A process that can reach the SSH agent can sign with the person's keys.
    "SSH_AUTH_SOCK",
    "SSH_ASKPASS*",
];

/// Returns true if a name matches one of the names. A `*` at the end of a name matches any text. A `*` at the beginning
/// also matches any text, without regard to case.
pub fn matches_any(name: &str, names: &[&str]) -> bool {
    names.iter().any(
        |pattern| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
            (Some(end), _) => name.to_ascii_uppercase().ends_with(end),
            (None, Some(beginning)) => name.starts_with(beginning),
            (None, None) => name == *pattern,
        },
    )
}
