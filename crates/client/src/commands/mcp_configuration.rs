//! The configuration that a client of MCP needs to start `countersign mcp`.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::{
    ALL, BoundaryChoice, CommandFailure, CommandResult, GlobalOptions, TrustArgs, absolute_roster,
    absolute_text, own_program,
};

/// A client of MCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum McpClient {
    /// Claude Code: .mcp.json of a project
    Claude,
    /// Claude Desktop: claude_desktop_config.json
    ClaudeDesktop,
    /// Codex: ~/.codex/config.toml
    Codex,
    /// Cursor: .cursor/mcp.json
    Cursor,
    /// VS Code: .vscode/mcp.json
    Vscode,
}

/// Returns the block of configuration for a client. The block contains the path of the file of the token or the key, but
/// never a token.
///
/// # Errors
/// Returns an error if the user gave a token itself, or if the path of this program is unknown.
pub fn configuration(
    client: McpClient,
    global: &GlobalOptions,
    trust: &TrustArgs,
    key: Option<&Path>,
    same_user_approves: bool,
) -> CommandResult<String> {
    if global.token.is_some() && key.is_none() {
        return Err(CommandFailure::usage(
            "a configuration must not contain a token: write the token to a file of mode 0600, and give the file with \
             --token-file (and unset COUNTERSIGN_TOKEN)",
        ));
    }
    let program = own_program().map_err(|error| {
        CommandFailure::usage(format!("the path of this program is unknown: {error}"))
    })?;
    // A client may start the program without the environment of the user, so the block contains what the environment
    // names.
    let (option, value) = match global.choice {
        BoundaryChoice::All => ("--boundary", ALL),
        _ => ("--url", global.url.as_str()),
    };
    let mut arguments = vec!["mcp".to_owned(), option.to_owned(), value.to_owned()];
    let tls = &global.tls;
    for (option, file) in [
        (
            "--token-file",
            global.token_file.as_deref().filter(|_| key.is_none()),
        ),
        ("--key", key),
        ("--cacert", tls.cacert.as_deref()),
        ("--cert", tls.cert.as_deref()),
        ("--cert-key", tls.cert_key.as_deref()),
    ] {
        if let Some(file) = file {
            arguments.extend([option.to_owned(), absolute_text(file)?]);
        }
    }
    if let Some(proxy) = &tls.proxy {
        arguments.extend(["--proxy".to_owned(), proxy.as_ref().to_owned()]);
    }
    let variable = std::env::var("COUNTERSIGN_TRUST")
        .ok()
        .filter(|value| !value.is_empty());
    let given = if trust.roster.is_empty() {
        variable.or(trust.listed.clone()).into_iter().collect()
    } else {
        trust.roster.clone()
    };
    for roster in given {
        arguments.extend(["--roster".to_owned(), absolute_roster(&roster)?]);
    }
    if same_user_approves {
        arguments.push("--same-user-approves".to_owned());
    }
    let program = program.to_string_lossy().into_owned();
    let mut entry = json!({"command": program, "args": arguments});
    let key = match client {
        McpClient::Codex => return Ok(codex(&program, &arguments)),
        McpClient::ClaudeDesktop => "mcpServers",
        McpClient::Claude | McpClient::Cursor => {
            entry["type"] = "stdio".into();
            "mcpServers"
        }
        McpClient::Vscode => {
            entry["type"] = "stdio".into();
            "servers"
        }
    };
    let servers: Map<String, Value> = [("countersign".to_owned(), entry)].into_iter().collect();
    let file: Map<String, Value> = [(key.to_owned(), Value::Object(servers))]
        .into_iter()
        .collect();
    serde_json::to_string_pretty(&file).map_err(CommandFailure::usage)
}

fn codex(program: &str, arguments: &[String]) -> String {
    let text = |text: &str| toml::Value::from(text).to_string();
    let arguments: Vec<String> = arguments.iter().map(|argument| text(argument)).collect();
    format!(
        "[mcp_servers.countersign]\ncommand = {}\nargs = [{}]",
        text(program),
        arguments.join(", ")
    )
}
