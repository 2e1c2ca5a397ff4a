//! Manifests that must never become a tree.

/// A manifest that its id matches and that must be refused all the same.
#[derive(Debug, Clone)]
pub struct EvilManifest {
    /// What is evil about it.
    pub name: &'static str,
    /// Its text; see [`crate::Offered::manifest`] for its id.
    pub text: Vec<u8>,
}

/// SHA-256 of the five bytes `hello`.
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

/// Manifests of family SHA-256 with all that a stranger may try.
pub fn evil_manifests() -> Vec<EvilManifest> {
    let file = |name: &str| format!("F {HELLO} 1 5 {name}\n");
    let evil = |name, text: String| EvilManifest {
        name,
        text: text.into_bytes(),
    };
    vec![
        evil("a file named ..", file("..")),
        evil("a file named .", file(".")),
        evil("a file above the tree", file("../escape")),
        evil("a file with an absolute path", file("/etc/escape")),
        evil("a file with a slash", file("a/b")),
        evil("a file with a newline", file("a\nb")),
        evil("a file with a NUL", file("a\0b")),
        evil("a file without a name", file("")),
        evil("a file with a name of 256 bytes", file(&"n".repeat(256))),
        evil("a file twice", file("a") + &file("a")),
        evil("a file named like a directory", file("a") + "D /a\n"),
        evil(
            "a directory above the tree",
            "D /..\n".to_owned() + &file("escape"),
        ),
        evil("a directory with .. inside", "D /a\nD /a/../b\n".to_owned()),
        evil("a directory with a NUL", "D /a\0b\n".to_owned()),
        evil("a directory without its parent", "D /a/b\n".to_owned()),
        evil("a directory twice", "D /a\nD /a\n".to_owned()),
        evil(
            "a symlink above the tree",
            format!("S {HELLO} 5 ../escape\n"),
        ),
        evil(
            "a symlink with a target of 1 GiB",
            format!("S {HELLO} 1073741824 link\n"),
        ),
        evil(
            "one hash with two sizes",
            file("a") + &format!("F {HELLO} 1 6 b\n"),
        ),
        evil(
            "a size of 2^64",
            format!("F {HELLO} 1 18446744073709551616 a\n"),
        ),
        evil(
            "sizes that add up to more than 2^64",
            format!("F {HELLO} 1 18446744073709551615 a\n")
                + &format!("F {} 1 18446744073709551615 b\n", HELLO.replace('2', "3")),
        ),
        evil("a negative size", format!("F {HELLO} 1 -5 a\n")),
        evil(
            "a hash that is none",
            "F ../../etc/passwd 1 5 a\n".to_owned(),
        ),
        evil("a kind that is none", format!("Z {HELLO} 1 5 a\n")),
        evil("no newline at the end", file("a").trim_end().to_owned()),
        evil("a carriage return", format!("F {HELLO} 1 5 a\r\n\r\n")),
    ]
}
