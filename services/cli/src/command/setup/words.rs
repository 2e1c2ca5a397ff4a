//! Words in the languages of systemd's files and of the shell.

use crate::failure::Failure;

/// What needs no quotes anywhere.
fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "/._-+=,:@".contains(letter)
}

/// Refuses what no file of ours can name.
pub(super) fn check(path: &str) -> Result<&str, Failure> {
    if !path.starts_with('/') {
        return Err(Failure::usage(format!("{path:?} is no absolute path")));
    }
    if path.chars().any(char::is_control) {
        return Err(Failure::usage(format!(
            "{path:?} has control characters in its name"
        )));
    }
    Ok(path)
}

/// Says whether a word is read as it stands, wherever it stands.
pub(super) fn are_plain(word: &str) -> bool {
    !word.is_empty() && word.chars().all(is_plain)
}

/// An argument of a command in a unit: see systemd.service(5), "Command lines".
pub(super) fn in_command(word: &str) -> String {
    in_unit(word, &['%', '$'])
}

/// A word of `Environment=` in a unit, where dollar signs mean nothing.
pub(super) fn in_assignment(word: &str) -> String {
    in_unit(word, &['%'])
}

fn in_unit(word: &str, doubled: &[char]) -> String {
    if are_plain(word) {
        return word.to_owned();
    }
    let mut quoted = String::from("\"");
    for letter in word.chars() {
        if doubled.contains(&letter) {
            quoted.push(letter);
        } else if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    quoted
}

/// A word of a shell's command line.
pub(super) fn in_shell(word: &str) -> String {
    if are_plain(word) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn odd_words_are_quoted_and_plain_ones_stay_as_they_are() {
        assert_eq!(in_command("/usr/bin/zeroshare"), "/usr/bin/zeroshare");
        assert_eq!(in_command("/a b"), r#""/a b""#);
        let odd = r#"/100%/$HOME/"\"#;
        assert_eq!(in_command(odd), r#""/100%%/$$HOME/\"\\""#);
        assert_eq!(in_assignment(odd), r#""/100%%/$HOME/\"\\""#);
        assert_eq!(in_command(""), r#""""#);
    }

    #[test]
    fn the_shell_reads_what_was_meant() {
        for word in ["plain", "", "a b", "it's", "$HOME `x` \\ \"", "-n"] {
            let script = format!("printf %s. {}", in_shell(word));
            let said = Command::new("/bin/sh").args(["-c", &script]).output();
            let said = said.unwrap().stdout;
            assert_eq!(String::from_utf8(said).unwrap(), format!("{word}."));
        }
    }

    #[test]
    fn relative_paths_and_control_characters_are_refused() {
        assert!(check("/run/it's 100%").is_ok());
        for path in ["run", "", "/a\nExecStart=/bin/sh", "/a\u{7f}"] {
            assert!(check(path).is_err(), "{path:?}");
        }
    }
}
