use std::fmt::{self, Write as _};

/// Shows bytes from outside so that they neither break a line nor steer a terminal.
pub(crate) fn fmt_escaped(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() || character == '\\' {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

/// The longest piece of somebody else's text that an error repeats, in bytes.
const SHOWN_BYTES: usize = 100;

/// Makes text from outside fit for an error message: escaped and short.
pub(crate) fn shortened(bytes: &[u8]) -> String {
    struct Escaped<'a>(&'a [u8]);
    impl fmt::Display for Escaped<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt_escaped(self.0, f)
        }
    }
    match bytes.get(..SHOWN_BYTES) {
        Some(start) if bytes.len() > SHOWN_BYTES => format!("{}…", Escaped(start)),
        _ => Escaped(bytes).to_string(),
    }
}
