//! The configuration file, and what is said of it.

use std::fs;

use crate::home::{Home, UNKNOWN};

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let home = Home::new();
    write(&home, "[common]\nport = 0\n\n[store]\nshared = [\"/x\"]\n");
    for words in [
        &["node"][..],
        &["config", "show"],
        &["list"],
        &["fetch", UNKNOWN],
    ] {
        let said = home.run(words);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(
            said.err.contains("config.toml:5") && said.err.contains("shared"),
            "{said:?}"
        );
    }
    let said = home.run(&["config", "show", "--json"]);
    assert_eq!(said.error()["reason"], "CONFIGURATION");
}

#[test]
fn wrong_values_are_refused() {
    let home = Home::new();
    for wrong in [
        "[common]\nport = 70000\n",
        "[nonsense]\n",
        "port = 1\n",
        "[log]\nverbose = \"much\"\n",
        "[common\n",
    ] {
        write(&home, wrong);
        let said = home.run(&["config", "show"]);
        assert_eq!(said.code, Some(2), "{wrong}: {said:?}");
        assert!(said.err.contains("config.toml:"), "{wrong}: {said:?}");
    }
    fs::remove_file(home.path("config/zeroshare/config.toml")).unwrap();
    let mut command = home.command(&["config", "show"]);
    let output = command.env("ZEROSHARE_PORT", "much").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("environment") && said.contains("much"),
        "{said}"
    );
}

#[test]
fn a_named_file_must_exist() {
    let home = Home::new();
    let said = home.run(&["config", "show", "--config", "missing.toml"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("missing.toml"), "{said:?}");
}

#[test]
fn every_value_says_where_it_comes_from() {
    let home = Home::new();
    write(&home, "[fetcher]\nlocate-timeout = \"2s\"\n");
    let document = home.document(&["config", "show"]);
    assert_eq!(document["file_exists"], true);
    let settings = document["settings"].as_array().unwrap();
    let of = |key: &str| {
        settings
            .iter()
            .find(|setting| setting["key"] == key)
            .unwrap()
    };
    assert_eq!(of("port")["source"], "environment ZEROSHARE_PORT");
    assert_eq!(of("locate-timeout")["source"], "file");
    assert_eq!(of("locate-timeout")["value"], "\"2s\"");
    assert!(
        of("state-dir")["source"]
            .as_str()
            .unwrap()
            .starts_with("default")
    );
    let text = home.must(&["config", "show"]);
    assert!(text.contains("locate-timeout = \"2s\"  # file"), "{text}");
}

fn write(home: &Home, text: &str) {
    let directory = home.path("config/zeroshare");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("config.toml"), text).unwrap();
}
