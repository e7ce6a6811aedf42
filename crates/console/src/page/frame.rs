//! The frame of each page: its head, its title and its two files.

use documents::visible;
use maud::{DOCTYPE, Markup, html};

/// Path of the style sheet.
pub const STYLE_PATH: &str = "/page.css";
/// Path of the script.
pub const SCRIPT_PATH: &str = "/page.js";
/// Style sheet of all pages.
pub const STYLE: &str = include_str!("page.css");
/// Script of all pages. Each page also works without it, except for output that appears while a step runs.
pub const SCRIPT: &str = include_str!("page.js");

/// Returns the whole document. `side` is the contents at the side. If `changes` is true, something changes on this page now, and
/// a browser without the script loads the page again.
pub fn framed(title: &str, side: Option<&Markup>, main: &Markup, changes: bool) -> Markup {
    let shown_title = visible(title);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (shown_title) " - countersign" }
                link rel="stylesheet" href=(STYLE_PATH);
                @if changes { noscript { meta http-equiv="refresh" content="2"; } }
                script src=(SCRIPT_PATH) defer {}
            }
            body {
                a.skip href="#main" { "Skip to the page" }
                header { strong { "countersign" } " " span { (shown_title) } }
                div.columns {
                    @if let Some(side) = side { nav aria-label="Contents" { (side) } }
                    main id="main" { (main) }
                }
            }
        }
    }
}

/// Returns a page that says what went wrong and what to do.
pub fn problem(title: &str, what: &str) -> Markup {
    let main = html! { h1 { (visible(title)) } p { (visible(what)) } p { a href="/" { "Back to the first page" } } };
    page(title, &main)
}

/// Returns a page that leads to another page at once. A redirect would not send the cookies of `SameSite=Strict`.
pub fn forwarding(to: &str, words: &str) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { "countersign" } meta http-equiv="refresh" content=(format!("0;url={to}")); }
            body { a href=(to) { (words) } }
        }
    }
}

/// Returns a page without a list of contents.
pub fn page(title: &str, main: &Markup) -> Markup {
    framed(title, None, main, false)
}
