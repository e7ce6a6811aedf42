//! Opens the pages of an approver.

use std::{path::PathBuf, sync::Arc};

use client::{CommandResult, GlobalOptions, Terminal, TrustArgs};

use crate::{
    Companion, OpenOptions, PageState, ReachedBoundary,
    companion::{routes::routes, signing::Signing},
    serve_pages,
};

/// Serves the pages until a signal ends the program.
///
/// # Errors
/// Returns an error if the list of boundaries can't be read, if a named key can't be used, or if the port is taken.
pub fn run(
    keys: &[PathBuf],
    trust: &TrustArgs,
    open: OpenOptions,
    global: &GlobalOptions,
    terminal: &Terminal,
) -> CommandResult {
    let signing = Arc::new(Signing::new(keys));
    if !keys.is_empty() {
        // Load the named keys now, so that an error is reported before a page opens.
        drop(signing.keys()?);
    }
    let options = global.chosen()?;
    let places = options.into_iter().map(|one| {
        let (options, signing) = (one.clone(), signing.clone());
        let make = move || options.reviewer(&signing.keys, &Terminal::new(false));
        Arc::new(ReachedBoundary::new(one, trust, make))
    });
    let places: Vec<_> = places.collect();
    serve_pages(open, terminal, |door| {
        routes(Arc::new(Companion::new(
            PageState::new(places, door.form_key.clone()),
            signing,
        )))
    })
}
