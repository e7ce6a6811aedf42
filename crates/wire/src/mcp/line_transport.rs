//! MCP over two streams: one JSON-RPC message on each line.
//!
//! The transport bounds the memory: a line has at most [`MAX_LINE_BYTES`], and no line is read while the client does
//! not read the answers.

use std::io;

use rmcp::{
    model::{ClientJsonRpcMessage, ServerJsonRpcMessage},
    service::RoleServer,
    transport::Transport,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    sync::mpsc,
    task::JoinHandle,
};

use documents::json;

/// Maximum length of a message in bytes. The largest useful message is a proposal, which has at most 256 KiB.
pub const MAX_LINE_BYTES: usize = 1 << 20;
/// Number of answers that wait for the client.
const QUEUED_ANSWERS: usize = 16;

/// Transport over two streams.
pub struct LineTransport<R> {
    input: BufReader<R>,
    line: Vec<u8>,
    /// True while the rest of a line that is too long is skipped.
    skips: bool,
    /// True after the first request. A notification before the first request has no meaning.
    opened: bool,
    output: Option<mpsc::Sender<Vec<u8>>>,
    writer: Option<JoinHandle<()>>,
}

enum ReadLine {
    Whole,
    TooLong,
    End,
}

impl<R: AsyncRead + Unpin> LineTransport<R> {
    /// Creates a transport. Must be called in a tokio runtime.
    pub fn new(input: R, mut output: impl AsyncWrite + Unpin + Send + 'static) -> Self {
        let (to, mut from) = mpsc::channel::<Vec<u8>>(QUEUED_ANSWERS);
        let writer = tokio::spawn(async move {
            while let Some(line) = from.recv().await {
                // If the client closed its end, the channel closes, and the server ends.
                if output.write_all(&line).await.is_err() || output.flush().await.is_err() {
                    return;
                }
            }
        });
        Self {
            input: BufReader::new(input),
            line: Vec::new(),
            skips: false,
            opened: false,
            output: Some(to),
            writer: Some(writer),
        }
    }

    /// Reads up to the end of a line. The future can be dropped at each await: the bytes read so far stay in `line`.
    async fn read_line(&mut self) -> io::Result<ReadLine> {
        loop {
            let bytes = self.input.fill_buf().await?;
            if bytes.is_empty() {
                return Ok(ReadLine::End);
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let used = end.map_or(bytes.len(), |end| end + 1);
            let fits = self.line.len() + used <= MAX_LINE_BYTES;
            if !self.skips && fits {
                self.line.extend_from_slice(&bytes[..used]);
            }
            self.input.consume(used);
            if !fits && !self.skips {
                self.skips = true;
                self.line = Vec::new();
            }
            if end.is_some() {
                return Ok(if std::mem::take(&mut self.skips) {
                    ReadLine::TooLong
                } else {
                    ReadLine::Whole
                });
            }
        }
    }
}

impl<R: AsyncRead + Unpin + Send> Transport<RoleServer> for LineTransport<R> {
    type Error = io::Error;

    fn send(
        &mut self,
        item: ServerJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let output = self.output.clone();
        async move {
            let mut line = serde_json::to_vec(&item)?;
            line.push(b'\n');
            let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
            output
                .ok_or_else(gone)?
                .send(line)
                .await
                .map_err(|_| gone())
        }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            // Wait for a free place before a line is read, so that an error can be answered without an await.
            let output = self.output.clone()?;
            let place = output.reserve().await.ok()?;
            let error = match self.read_line().await.ok()? {
                ReadLine::End => return None,
                ReadLine::TooLong => failure(
                    -32600,
                    &Value::Null,
                    &format!("a message has at most {MAX_LINE_BYTES} bytes"),
                ),
                ReadLine::Whole => {
                    let line = std::mem::take(&mut self.line);
                    // A program of Windows may begin its first line with a byte order mark.
                    let marked = line
                        .strip_prefix(b"\xef\xbb\xbf".as_slice())
                        .filter(|_| !self.opened);
                    match parse_message(marked.unwrap_or(&line)) {
                        Ok(Some(message)) => {
                            self.opened |= matches!(message, ClientJsonRpcMessage::Request(_));
                            if self.opened {
                                return Some(message);
                            }
                            continue;
                        }
                        Ok(None) => continue,
                        Err(error) => error,
                    }
                }
            };
            place.send(error);
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.output = None;
        if let Some(writer) = self.writer.take() {
            // The writer ends after the last answer. A client that does not read must not keep the program alive.
            let _ = tokio::time::timeout(std::time::Duration::from_secs(2), writer).await;
        }
        Ok(())
    }
}

/// Parses a message. Returns `None` for bytes that need no answer on a stream: blanks, and a malformed notification.
///
/// # Errors
/// Returns the JSON-RPC error with which the server answers.
pub fn parse_message(bytes: &[u8]) -> Result<Option<ClientJsonRpcMessage>, Vec<u8>> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        failure(
            -32700,
            &Value::Null,
            &format!("the message is no JSON document: {error}"),
        )
    })?;
    // Two readers could use different values of a repeated key, and a deep message could exhaust the stack of a reader.
    json::parse_foreign(bytes, bytes.len())
        .map_err(|error| failure(-32600, &Value::Null, &error.to_string()))?;
    let Some(members) = value.as_object() else {
        let words = "send one JSON-RPC message, which is an object: batches are not supported";
        return Err(failure(-32600, &Value::Null, words));
    };
    let id = members
        .get("id")
        .filter(|id| id.is_string() || id.is_i64() || id.is_u64())
        .cloned();
    // A reply or a notification gets no answer, even if it is malformed (JSON-RPC 2.0, section 4.1).
    let unanswered = members.contains_key("method") && !members.contains_key("id");
    match serde_json::from_value(value) {
        Ok(message) => Ok(Some(message)),
        Err(_) if unanswered => Ok(None),
        Err(_) => Err(no_message(&id.unwrap_or_default())),
    }
}

/// Returns the answer to a JSON document that is no message of the protocol.
pub fn no_message(id: &Value) -> Vec<u8> {
    failure(
        -32600,
        id,
        "this is no message of the protocol: check `jsonrpc`, `id`, `method` and `params`",
    )
}

fn failure(code: i32, id: &Value, message: &str) -> Vec<u8> {
    let mut line = json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
        .to_string();
    line.push('\n');
    line.into_bytes()
}
