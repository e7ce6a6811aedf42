//! Opens pages: prints the address, starts the browser, and serves until a signal ends the program.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use client::{CommandFailure, CommandResult, Exit, Terminal};

use crate::{
    Door,
    web::{browser::start, guard::serve},
};

/// Where and how the pages open.
#[derive(Clone, Copy, clap::Args)]
pub struct OpenOptions {
    /// Also start the browser of this desktop
    #[arg(long = "open")]
    pub browser: bool,
    /// Port of 127.0.0.1. The default is a free port
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub port: u16,
}

/// Returns the failure of a server.
pub fn failed(what: &str, error: io::Error) -> CommandFailure {
    CommandFailure::unreachable(format!("{what}: {error}"))
}

/// Runs the server of the pages or of the desk to its end.
pub fn run_server<T>(of: &str, server: impl Future<Output = CommandResult<T>>) -> CommandResult<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime
        .map_err(|error| failed(&format!("the server of the {of} can't be started"), error))?;
    runtime.block_on(server)
}

/// Serves the pages that `pages` makes for a door. The function runs in the runtime of the server.
///
/// # Errors
/// Returns an error if the port is taken, or if the server fails.
pub fn serve_pages(
    options: OpenOptions,
    terminal: &Terminal,
    pages: impl FnOnce(Arc<Door>) -> Router,
) -> CommandResult {
    run_server("pages", async {
        let port = options.port;
        let (door, listener) = Door::open(port).await.map_err(|error| {
            CommandFailure::usage(format!(
                "port {port} of 127.0.0.1 can't be opened: {error}; choose another --port"
            ))
        })?;
        let door = Arc::new(door);
        terminal.line(format!(
            "open this address in a browser of this machine: {}",
            door.link().unwrap_or_default()
        ))?;
        terminal.say(format!(
            "the address works once; Ctrl-C ends the command; if the browser can't find the server, add this line to /etc/hosts: \
             127.0.0.1 {}",
            door.host_name()
        ));
        let file = options.browser.then(|| start(&door)).transpose();
        if let Err(error) = &file {
            terminal.say(format!(
                "note: the browser can't be started ({error}): open the address yourself"
            ));
        }
        let uses = door.clone();
        tokio::spawn(async move {
            // The file is useless after the link was used, so remove it then.
            while file.is_ok() && uses.link().is_some() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            drop(file);
        });
        let served = serve(listener, door.clone(), pages(door), std::future::pending()).await;
        served.map_err(|error| failed("the server of the pages ended", error))
    })?;
    Ok(Exit::Done)
}
