//! The frame of each page (its head, its title and its two files), and the parts that several pages share:
//!
//! - errors of a form: a summary above the form, and each error beside its field
//! - text from outside, and the output of a step, as markup
//! - the parts of a form that a passkey signs: the script of the pages asks the passkey, and fills the hidden fields
//! - the lines of a screen as markup: the same text as at a terminal
//!
//! Each line is an element with two columns: the prefix, which only the program chooses, and the content. A line that
//! is too long continues in the second column, so no external text begins where a line of the program begins.

use maud::{DOCTYPE, Markup, html};

use client::{ColouredText, LineTone, PrintableText, Screen, ScreenLine};
use documents::visible;

/// Path of the style sheet.
pub const STYLE_PATH: &str = "/page.css";
/// Path of the script.
pub const SCRIPT_PATH: &str = "/page.js";
/// Style sheet of all pages.
pub const STYLE: &str = include_str!("page.css");
/// Script of all pages. Each page also works without the script, except for output that appears while a step runs, and
/// for the use of a passkey.
pub const SCRIPT: &str = include_str!("page.js");

/// Returns the whole document. `side` is the list of contents at the side. If `changes` is true, the page changes by
/// itself, and a browser without the script loads the page again.
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

/// Returns a page that forwards to another page at once. After a redirect, the browser would not send cookies with
/// `SameSite=Strict`.
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

/// The error of one field.
#[derive(Clone)]
pub struct FieldError {
    /// Id of the element that the person corrects.
    pub id: String,
    /// Name of the field, as its label has it.
    pub label: String,
    /// Text of the error.
    pub message: String,
}

/// The errors of one form.
#[derive(Clone, Default)]
pub struct FieldErrors(pub Vec<FieldError>);

impl FieldErrors {
    /// Returns the error of the field with this id.
    pub fn of(&self, id: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|error| error.id == id)
            .map(|error| error.message.as_str())
    }

    /// Returns the error, for the place beside the field.
    pub fn beside(&self, id: &str) -> Markup {
        html! { @if let Some(message) = self.of(id) { p.error id=(format!("{id}-error")) { (message) } } }
    }

    /// Returns the value of `aria-invalid`, or `None` for a field without an error.
    pub fn invalid(&self, id: &str) -> Option<&'static str> {
        self.of(id).map(|_| "true")
    }

    /// Returns the ids of the elements that describe the field: its hint and its error.
    pub fn described(&self, id: &str, hint: &str) -> String {
        let error = self
            .of(id)
            .map(|_| format!("{id}-error"))
            .unwrap_or_default();
        format!("{hint} {error}").trim().to_owned()
    }

    /// Returns a field of one line with its label, its error and its hint.
    pub fn field(&self, id: &str, label: &str, value: &str, hint: &Markup) -> Markup {
        let hinted = format!("{id}-hint");
        html! {
            div {
                label for=(id) { (label) }
                input id=(id) name=(id) value=(value) autocapitalize="none" spellcheck="false" aria-invalid=[self.invalid(id)]
                    aria-describedby=(self.described(id, &hinted));
                (self.beside(id))
                p.hint id=(hinted) { (hint) }
            }
        }
    }

    /// Returns the summary, with a link to each field, or no markup if there are no errors.
    pub fn summary(&self, title: &str) -> Markup {
        html! {
            @if !self.0.is_empty() {
                div.question #errors role="alert" {
                    p { strong { (title) } }
                    ul { @for error in &self.0 { li { a href=(format!("#{}", error.id)) { (error.label) } ": " (error.message) } } }
                }
            }
        }
    }
}

/// Returns external text with escapes in place of characters that a reader can't see.
pub fn plain(text: &str) -> String {
    PrintableText::text(text).to_string()
}

/// Returns prose for a page. See [`PrintableText::prose`].
pub fn plain_prose(text: &str) -> String {
    PrintableText::prose(text).to_string()
}

/// Returns pieces of output as markup.
pub fn coloured(parts: &[ColouredText]) -> Markup {
    html! {
        @for part in parts {
            @if part.class.is_empty() { (part.text) } @else { span class=(part.class) { (part.text) } }
        }
    }
}

/// Names of the fields for the answer of the browser to a signature.
pub const ANSWER_FIELDS: [&str; 3] = ["client_data", "authenticator_data", "signature"];

/// The question for a passkey.
pub struct PasskeyQuestion {
    /// Name of the desk, to which the passkey belongs.
    pub host: String,
    /// The bytes to sign, as base64url.
    pub challenge: String,
}

/// Returns the empty fields for the answer of the browser, and the element in which the script says why the browser
/// refused.
pub fn answer_fields(names: &[&str]) -> Markup {
    html! {
        @for name in names { input type="hidden" name=(name) value=""; }
        p.error.said role="alert" {}
        noscript { p.error { "A passkey needs JavaScript in this browser." } }
    }
}

/// Returns the lines of a screen. The lines that begin with `== ` are headings of this level, 2 or 3.
pub fn screen_lines(screen: &Screen, level: u8) -> Markup {
    html! {
        div.screen {
            @for line in screen.whole_lines() { (line_of(line, level)) }
        }
    }
}

fn line_of(line: ScreenLine<'_>, level: u8) -> Markup {
    let tone = match line.tone {
        LineTone::Plain => "",
        LineTone::Strong => " strong",
        LineTone::Bad => " bad",
        LineTone::Good => " good",
        LineTone::Faint => " faint",
    };
    // The number of a line stays beside its text, also on a phone.
    let class = format!(
        "line{}{tone}",
        if line.prefix.ends_with("| ") {
            " numbered"
        } else {
            ""
        }
    );
    let parts = html! {
        @if !line.prefix.is_empty() { span.before { (line.prefix) } }
        @if !line.content.is_empty() { span.after { (line.content) } }
    };
    // Only the program chooses a prefix, so external text makes no heading.
    match (line.prefix.starts_with("== "), level) {
        (true, 2) => html! { h2 class=(class) { (parts) } },
        (true, _) => html! { h3 class=(class) { (parts) } },
        (false, _) => html! { div class=(class) { (parts) } },
    }
}

#[cfg(test)]
mod screen_lines_tests {
    use proptest::prelude::*;

    use super::*;
    use client::PrintableText;

    /// Returns the text of the lines in a page.
    fn text_of_lines(page: &str) -> String {
        let mut text = String::new();
        for line in page.split("class=\"line").skip(1) {
            let Some((_, line)) = line.split_once('>') else {
                continue;
            };
            let end = ["</div>", "</h2>", "</h3>"]
                .iter()
                .filter_map(|end| line.find(end))
                .min()
                .unwrap_or(line.len());
            let mut rest = &line[..end];
            while let Some((plain, tag)) = rest.split_once('<') {
                text.push_str(&unescaped(plain));
                rest = tag.split_once('>').map_or("", |(_, rest)| rest);
            }
            text.push_str(&unescaped(rest));
            text.push('\n');
        }
        text
    }

    fn unescaped(text: &str) -> String {
        text.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&amp;", "&")
    }

    #[test]
    fn a_line_that_looks_like_a_heading_or_markup_stays_content() {
        let mut screen = Screen::default();
        screen.heading("Decision");
        screen.say(LineTone::Bad, "== Decision == </div><h2 class=\"line\">");
        screen.push(
            LineTone::Plain,
            String::new(),
            PrintableText::text("== Script =="),
        );
        let page = screen_lines(&screen, 2).into_string();
        assert_eq!(page.matches("<h2").count(), 1, "{page}");
        assert!(page.contains("&lt;/div&gt;&lt;h2"), "{page}");
        assert_eq!(text_of_lines(&page), screen.paint(usize::MAX, false));
    }

    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("<div class=\"line\">".to_owned()),
            Just("&amp;lt;".to_owned()),
            Just("== x ==\n".to_owned()),
            Just("\u{202e}\t  \\".to_owned()),
            any::<char>().prop_map(String::from),
            "[ -~]{0,12}",
        ];
        prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn the_page_has_the_text_of_the_terminal(texts in prop::collection::vec(text(), 0..8)) {
            let mut screen = Screen::default();
            for text in &texts {
                screen.say(LineTone::Plain, text);
                screen.numbered(text, &[]);
                screen.exact(&serde_json::json!({"a": text}), &[]);
            }
            let page = screen_lines(&screen, 2).into_string();
            prop_assert_eq!(text_of_lines(&page), screen.paint(usize::MAX, false));
            // The page has only the elements of lines: external text adds no tag and no attribute.
            let tags = page.split('<').skip(1).map(|tag| tag.split('>').next().unwrap_or_default());
            let known = |tag: &str| ["div", "span", "h2", "/div", "/span", "/h2"].iter().any(|name| tag.split(' ').next() == Some(name));
            prop_assert!(tags.into_iter().all(known));
        }
    }
}
