//! HTML pages from templates: filling, escaping, links.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Bytes of a path that are percent-encoded in a link: all but letters, digits and these.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'/');

/// The template with its `{{names}}` filled in one pass, so that what is filled in may hold any text. `write` appends what a name stands for.
pub fn fill(template: &str, mut write: impl FnMut(&str, &mut String)) -> String {
    let mut page = String::with_capacity(2 * template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{")
        && let Some((name, after)) = after.split_once("}}")
    {
        page.push_str(before);
        write(name, &mut page);
        rest = after;
    }
    page.push_str(rest);
    page
}

/// Escapes text for HTML, attributes included.
pub fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            character if character.is_control() => html.push('\u{fffd}'),
            character => html.push(character),
        }
    }
    html
}

/// A relative path as a link, percent-encoded.
pub fn url(path: &str) -> String {
    format!("./{}", utf8_percent_encode(path, ESCAPED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_cannot_leave_their_place_in_the_page() {
        assert_eq!(escape(r#"<a href="x">'&"#), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
        assert_eq!(url("a b/ü#?.png"), "./a%20b/%C3%BC%23%3F.png");
        assert_eq!(url("javascript:x"), "./javascript%3Ax");
    }

    #[test]
    fn what_is_filled_in_is_not_filled_again() {
        let page = fill("a {{x}} b {{y}} }}", |name, page| page.push_str(if name == "x" { "{{y}}" } else { "Y" }));
        assert_eq!(page, "a {{y}} b Y }}");
    }
}
