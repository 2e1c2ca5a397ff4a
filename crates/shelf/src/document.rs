//! Documents of 0install: feeds, selections and what lies beside them.
//!
//! The formats: <https://docs.0install.net/specifications/>.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use roxmltree::{Document, Node, ParsingOptions};
use zeroshare_content::TreeId;

/// Feeds are smaller, even those of programs with hundreds of versions.
pub const MAX_FEED_BYTES: usize = 2 * 1024 * 1024;

/// Elements, attributes left out, and texts between them.
const MAX_NODES: u32 = 200_000;

/// Bytes from one `<` to the next. Parsing takes the square of how many attributes one element has.
const MAX_TAG_BYTES: usize = 32 * 1024;

/// Declarations of namespaces, of which each may be remembered at each element below it.
const MAX_NAMESPACES: usize = 64;

/// In which all elements are that mean something to 0install.
const NAMESPACE: &str = "http://zero-install.sourceforge.net/2004/injector/interface";

/// Why a document is not read.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It would take more time or room than it is worth.
    #[error("it is larger than such documents are")]
    TooLarge,
    /// It is not XML, or has a part that is not read: no DTD is.
    #[error("it is not XML")]
    Xml(#[source] roxmltree::Error),
}

/// Reads a document of at most so many bytes, in time that grows with its size and not with the square of it.
pub fn parse_document(text: &str, max_bytes: usize) -> Result<Document<'_>, DocumentError> {
    let is_modest = text.len() <= max_bytes
        && text.split('<').all(|tag| tag.len() <= MAX_TAG_BYTES)
        && text.matches("xmlns").count() <= MAX_NAMESPACES;
    if !is_modest {
        return Err(DocumentError::TooLarge);
    }
    let options = ParsingOptions {
        nodes_limit: MAX_NODES,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(text, options).map_err(DocumentError::Xml)
}

/// Whether it is the element of 0install that is called so.
pub fn is_element(node: Node<'_, '_>, name: &str) -> bool {
    node.has_tag_name((NAMESPACE, name))
}

/// The digests of an implementation or a selection, each once, the one that 0install likes best first.
///
/// Those of unknown algorithms, and malformed ones, are passed over. Old feeds give a digest as the id.
pub fn digests(implementation: Node<'_, '_>) -> Vec<TreeId> {
    let elements = implementation
        .children()
        .filter(|child| is_element(*child, "manifest-digest"));
    let named = elements
        .flat_map(|element| element.attributes())
        .filter_map(|digest| parse(&format!("{}={}", digest.name(), digest.value())));
    let own = implementation.attribute("id").and_then(parse);
    let all: BTreeSet<_> = named.chain(own).map(Reverse).collect();
    all.into_iter().map(|Reverse(tree)| tree).collect()
}

fn parse(text: &str) -> Option<TreeId> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX40: &str = "0123456789abcdef0123456789abcdef01234567";
    const HEX64: &str = "156ed6a81a6915f6385bffb3024a915b5ee5528ed7ade87c1d3241896ca157f9";
    const BASE32: &str = "CVXNNKA2NEK7MOC376ZQESURLNPOKUUO26W6Q7A5GJAYS3FBK74Q";

    #[test]
    fn what_would_take_the_square_of_its_size_is_refused() {
        let many =
            |count: u32, one: &dyn Fn(u32) -> String| -> String { (0..count).map(one).collect() };
        let wide = format!("<a{}/>", many(9000, &|number| format!(" a{number}=''")));
        let named = many(65, &|number| format!("<a xmlns:a{number}='a'>"));
        let long = " ".repeat(MAX_FEED_BYTES + 1);
        for text in [wide, named, long] {
            let refused = parse_document(&text, MAX_FEED_BYTES);
            assert!(matches!(refused, Err(DocumentError::TooLarge)));
        }
        let nodes = format!("<a>{}</a>", "<b/>".repeat(MAX_NODES as usize));
        let dtd = "<!DOCTYPE a [<!ENTITY b \"b\">]><a>&b;</a>";
        for text in [&nodes, dtd, "", "<a><b></a>"] {
            let refused = parse_document(text, MAX_FEED_BYTES);
            assert!(matches!(refused, Err(DocumentError::Xml(_))));
        }
    }

    #[test]
    fn every_spelling_of_every_algorithm_is_known_and_the_best_comes_first() {
        let text = format!(
            r#"<implementation xmlns="{NAMESPACE}" id="sha1={HEX40}"><manifest-digest sha1new="{HEX40}"/>
               <manifest-digest sha256="{HEX64}" sha256new="{BASE32}" sha512="00" sha1new="no"/></implementation>"#
        );
        let document = parse_document(&text, MAX_FEED_BYTES).unwrap();
        let found: Vec<String> = digests(document.root_element())
            .iter()
            .map(ToString::to_string)
            .collect();
        let expected = [
            format!("sha256new_{BASE32}"),
            format!("sha1new={HEX40}"),
            format!("sha1={HEX40}"),
        ];
        assert_eq!(found, expected, "two spellings of one digest are one");
    }
}
