//! A page of text for people.

use std::fmt::{self, Write};

/// Text being written, with or without colours.
#[derive(Debug)]
pub struct Page {
    text: String,
    color: bool,
}

impl Page {
    /// An empty page.
    pub fn new(color: bool) -> Self {
        Self {
            text: String::new(),
            color,
        }
    }

    /// What was written.
    pub fn into_text(self) -> String {
        self.text
    }

    /// Writes what should be seen as a heading.
    pub fn strong(&mut self, words: &str) -> fmt::Result {
        self.painted("1", words)
    }

    /// Writes what is as it should be.
    pub fn good(&mut self, words: &str) -> fmt::Result {
        self.painted("32", words)
    }

    /// Writes what is not.
    pub fn bad(&mut self, words: &str) -> fmt::Result {
        self.painted("1;31", words)
    }

    fn painted(&mut self, code: &str, words: &str) -> fmt::Result {
        if self.color {
            write!(self.text, "\u{1b}[{code}m{words}\u{1b}[0m")
        } else {
            self.text.write_str(words)
        }
    }
}

impl Write for Page {
    /// Writes text; what could steer a terminal is shown instead of sent.
    fn write_str(&mut self, words: &str) -> fmt::Result {
        for letter in words.chars() {
            if letter.is_control() && letter != '\n' {
                write!(self.text, "{}", letter.escape_default())?;
            } else {
                self.text.push(letter);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        let mut page = Page::new(true);
        write!(page, "evil\u{1b}[2Jname\r").unwrap();
        assert_eq!(page.into_text(), "evil\\u{1b}[2Jname\\r");
    }

    #[test]
    fn colours_are_left_out_when_not_wanted() {
        let mut page = Page::new(false);
        page.good("ok").unwrap();
        assert_eq!(page.into_text(), "ok");
    }
}
