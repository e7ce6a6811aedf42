//! The lines of a screen as markup: the same text as at a terminal.
//!
//! Each line is an element with two columns: the prefix, which only the program chooses, and the content. A line that is
//! too long continues in the second column, so no external text begins where a line of the program begins.

use client::{LineTone, Screen, ScreenLine};
use maud::{Markup, html};

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
    // The number of a line stays beside its text also on a phone.
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
mod tests {
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
            // Nothing but the elements of lines: external text makes no tag and no attribute.
            let tags = page.split('<').skip(1).map(|tag| tag.split('>').next().unwrap_or_default());
            let known = |tag: &str| ["div", "span", "h2", "/div", "/span", "/h2"].iter().any(|name| tag.split(' ').next() == Some(name));
            prop_assert!(tags.into_iter().all(known));
        }
    }
}
