//! Ids, names and paths.

use zeroshare_content::{ContentId, Name, TreeId, TreePath};

/// Reads the bytes as whatever people and peers spell; what is read is shown so that it is read
/// again.
pub fn check(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        match text.parse::<ContentId>() {
            Ok(id) => assert_eq!(id.to_string().parse(), Ok(id)),
            Err(error) => {
                let shown = error.to_string();
                assert!(shown.len() < 1000, "a long text makes a long error");
                assert!(
                    !shown.contains(char::is_control),
                    "an error steers the terminal"
                );
            }
        }
    }
    if let Some(tree) = TreeId::from_directory_name(bytes) {
        assert!(
            tree.directory_names()
                .iter()
                .any(|name| name.as_bytes() == bytes)
        );
    }
    if let Ok(name) = Name::new(bytes) {
        let path = TreePath::from(name);
        assert_eq!(path.as_bytes(), bytes);
        assert_eq!((path.depth(), path.parent()), (1, None));
    }
    if let Ok(path) = TreePath::new(bytes) {
        let normal = |part| matches!(part, std::path::Component::Normal(_));
        assert!(
            path.as_path().components().all(normal),
            "{path} leads out of the tree"
        );
        assert_eq!(path.as_path().components().count(), path.depth());
        assert!(
            !path.to_string().contains(char::is_control),
            "a path steers the terminal"
        );
    }
}
