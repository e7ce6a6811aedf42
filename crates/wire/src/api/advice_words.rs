//! Advice of the boundary in the words of the reader: HTTP, the command line, or the tools of MCP.
//!
//! The boundary writes its refusals for HTTP. The client and the MCP server replace the words in this table.

/// Words for HTTP, for the command line, and for the tools.
const WORDS: [[&str; 3]; 6] = [
    [
        "`GET /v1/registry`",
        "`countersign registry list`",
        "`list_steps`",
    ],
    [
        "with `POST /v1/sessions`",
        "with `countersign session create`",
        "(no tool makes a session, so ask the user)",
    ],
    [
        "`POST /v1/sessions/{id}/reset`",
        "`countersign session reset`",
        "ask the user",
    ],
    [
        "`POST /v1/sessions/{id}/end`",
        "`countersign session end`",
        "ask the user",
    ],
    ["as `session`", "(--session ID)", "as `session`"],
    ["as `plan`", "(--plan RECEIPT)", "as `plan`"],
];

/// Returns a text of the boundary with the words of the command line.
pub fn for_command_line(text: &str) -> String {
    WORDS
        .iter()
        .fold(text.to_owned(), |text, [http, command, _]| {
            text.replace(http, command)
        })
}

/// Returns a text of the boundary with the words of the tools.
pub fn for_tools(text: &str) -> String {
    WORDS.iter().fold(text.to_owned(), |text, [http, _, tool]| {
        text.replace(http, tool)
    })
}
