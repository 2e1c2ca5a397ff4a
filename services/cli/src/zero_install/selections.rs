//! What a selections document names: implementations, by all their digests.
//!
//! The format is 0install's: <https://docs.0install.net/specifications/selections/>.

use std::collections::BTreeSet;
use std::fmt;

use roxmltree::Node;
use zeroshare_content::{ContentId, TreeId};
use zeroshare_shelf::{DocumentError, digests, is_element, parse_document};

/// Selections of large programs have some 100 KiB.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 8 * 1024 * 1024;

/// Implementations of one program; the largest known have some hundred.
const MAX_IMPLEMENTATIONS: usize = 4096;

/// Digests of one implementation, in all spellings: as many as one lookup takes.
const MAX_DIGESTS: usize = 8;

/// An implementation that was selected, and that a store may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Implementation {
    /// The address of the interface that it implements.
    pub(crate) interface: String,
    /// Its version.
    pub(crate) version: String,
    /// Its digests, the most trusted first, each once; may be empty.
    pub(crate) digests: Vec<TreeId>,
}

/// A document that is no selections document.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SelectionsError {
    /// It is not text.
    #[error("the document is not UTF-8")]
    NotText,
    /// It is no XML, or more than is read.
    #[error("the document cannot be read")]
    Document(#[source] DocumentError),
    /// It is something else.
    #[error("the document is not a selections document: its root is <{root}>")]
    SomethingElse {
        /// The root's name, without its namespace.
        root: String,
    },
    /// It names more than any program needs.
    #[error("the document names more than {MAX_IMPLEMENTATIONS} implementations")]
    TooMany,
}

impl Implementation {
    /// The ids by which it can be asked for: trees of the oldest format do not travel.
    pub(crate) fn ids(&self) -> Vec<ContentId> {
        let ids = self.digests.iter().map(ContentId::from);
        ids.filter(ContentId::travels).collect()
    }
}

/// The last part of the address and the version, such as "hello 1.0"; all of an address without one.
impl fmt::Display for Implementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.interface.rsplit('/').next().unwrap_or_default();
        let name = last.strip_suffix(".xml").unwrap_or(last);
        let name = if name.is_empty() {
            &self.interface
        } else {
            name
        };
        write!(f, "{name} {}", self.version)
    }
}

/// Reads the implementations that a document selects, in its order, each once.
///
/// What lies in a directory of somebody's own (`local-path`), and packages of the distribution, are left out: no store
/// holds them. Digests of unknown algorithms, and malformed ones, name nothing.
pub(crate) fn selected(document: &[u8]) -> Result<Vec<Implementation>, SelectionsError> {
    let text = str::from_utf8(document).map_err(|_| SelectionsError::NotText)?;
    let document = parse_document(text, MAX_DOCUMENT_BYTES).map_err(SelectionsError::Document)?;
    let root = document.root_element();
    if !is_element(root, "selections") {
        return Err(SelectionsError::SomethingElse {
            root: root.tag_name().name().to_owned(),
        });
    }
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    let selections = root
        .children()
        .filter(|node| is_element(*node, "selection"));
    for selection in selections.filter(is_stored) {
        let implementation = implementation(&selection);
        // One implementation may stand for several roles.
        let is_new =
            implementation.digests.is_empty() || seen.insert(implementation.digests.clone());
        if is_new {
            found.push(implementation);
        }
        if found.len() > MAX_IMPLEMENTATIONS {
            return Err(SelectionsError::TooMany);
        }
    }
    Ok(found)
}

fn implementation(selection: &Node<'_, '_>) -> Implementation {
    let text = |name| selection.attribute(name).unwrap_or_default().to_owned();
    Implementation {
        interface: text("interface"),
        version: text("version"),
        digests: digests(*selection).into_iter().take(MAX_DIGESTS).collect(),
    }
}

/// Whether a store may hold what was selected.
fn is_stored(selection: &Node<'_, '_>) -> bool {
    let id = selection.attribute("id").unwrap_or_default();
    let is_package = id.starts_with("package:") || selection.attribute("package").is_some();
    let is_local = selection.attribute("local-path").is_some() || id.starts_with(['/', '.']);
    !is_package && !is_local
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMESPACE: &str = "http://zero-install.sourceforge.net/2004/injector/interface";
    const HEX40: &str = "0123456789abcdef0123456789abcdef01234567";
    const HEX64: &str = "156ed6a81a6915f6385bffb3024a915b5ee5528ed7ade87c1d3241896ca157f9";
    const BASE32: &str = "CVXNNKA2NEK7MOC376ZQESURLNPOKUUO26W6Q7A5GJAYS3FBK74Q";

    fn document(selections: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<selections command=\"run\" \
             interface=\"http://h/hello.xml\" xmlns=\"{NAMESPACE}\">{selections}</selections>"
        )
    }

    fn read(selections: &str) -> Vec<Implementation> {
        selected(document(selections).as_bytes()).unwrap()
    }

    #[test]
    fn what_0install_printed_is_read() {
        let found = read(&format!(
            r#"
            <selection id="hello-1" interface="http://h/hello.xml" released="2026-01-01" version="1.0">
              <command name="run" path="bin/hello"><runner interface="http://h/sh.xml"/></command>
              <manifest-digest sha1new="{HEX40}" sha256new="{BASE32}"/>
            </selection>"#
        ));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].interface, "http://h/hello.xml");
        assert_eq!(found[0].to_string(), "hello 1.0");
        let ids: Vec<_> = found[0].ids().iter().map(ToString::to_string).collect();
        assert_eq!(
            ids,
            [format!("sha256new_{BASE32}"), format!("sha1new={HEX40}")]
        );
    }

    #[test]
    fn what_no_store_holds_is_left_out() {
        let found = read(
            r#"<selection id="/home/u/src" local-path="/home/u/src"/>
               <selection id="./src"/>
               <selection id="package:deb:python3:3.11:x86_64" package="python3"/>
               <requires interface="http://h/x.xml"/>
               <other:selection xmlns:other="http://other" id="x"/>"#,
        );
        assert_eq!(found, []);
    }

    #[test]
    fn an_implementation_in_two_roles_is_one_and_one_without_digests_is_named() {
        let one = format!(
            r#"<selection id="x" interface="http://h/" version="2"><manifest-digest sha256="{HEX64}"/></selection>"#
        );
        let found = read(&format!(r#"{one}{one}<selection id="y"/>"#));
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].to_string(), "http://h/ 2");
        assert_eq!(found[1].ids(), []);
    }

    #[test]
    fn other_documents_are_refused() {
        let refused = |text: &str| selected(text.as_bytes()).unwrap_err().to_string();
        let feed = format!(r#"<interface xmlns="{NAMESPACE}"/>"#);
        assert!(refused(&feed).contains("<interface>"));
        assert!(
            refused("<selections/>").contains("<selections>"),
            "no namespace"
        );
        assert!(refused("").contains("cannot be read"));
        assert!(refused("<a><b></a>").contains("cannot be read"));
        let bomb = format!(
            r#"<!DOCTYPE x [<!ENTITY a "aaaa">]><selections xmlns="{NAMESPACE}">&a;</selections>"#
        );
        assert!(refused(&bomb).contains("cannot be read"), "no DTD is read");
        assert!(matches!(selected(b"\xff"), Err(SelectionsError::NotText)));
    }

    #[test]
    fn size_depth_and_number_are_bounded() {
        let long = vec![b' '; MAX_DOCUMENT_BYTES + 1];
        let too_large = |text: &[u8]| {
            let refused = selected(text);
            matches!(
                refused,
                Err(SelectionsError::Document(DocumentError::TooLarge))
            )
        };
        assert!(too_large(&long));
        let wide: Vec<String> = (0..9000).map(|number| format!(" a{number}=''")).collect();
        let wide = document(&format!("<x{}/>", wide.concat()));
        assert!(
            too_large(wide.as_bytes()),
            "attributes are compared with each other"
        );
        let many = document(&"<selection/>".repeat(MAX_IMPLEMENTATIONS + 1));
        assert!(matches!(
            selected(many.as_bytes()),
            Err(SelectionsError::TooMany)
        ));
        let nodes = document(&"<x/>".repeat(200_000));
        assert!(matches!(
            selected(nodes.as_bytes()),
            Err(SelectionsError::Document(DocumentError::Xml(_)))
        ));
        let deep = document(&format!(
            "{}{}",
            "<x>".repeat(50_000),
            "</x>".repeat(50_000)
        ));
        assert!(selected(deep.as_bytes()).is_ok(), "nothing recurses");
    }
}
