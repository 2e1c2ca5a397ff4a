//! Which trees a feed names, by version.
//!
//! The format: <https://docs.0install.net/specifications/feed/>.

use std::collections::BTreeMap;

use roxmltree::Node;
use zeroshare_content::TreeId;
use zeroshare_shelf::{DocumentError, MAX_FEED_BYTES, digests, is_element, parse_document};

use super::address::is_name;

/// Versions of one feed.
const MAX_VERSIONS: usize = 4096;

/// The trees of a feed by version, for one kind of machine.
pub(crate) type Versions = BTreeMap<String, TreeId>;

/// Why a feed says nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedError {
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error("it is no feed")]
    NoFeed,
    #[error("it is the feed of {other}")]
    OfAnother { other: String },
}

/// What groups hand down to what is in them.
#[derive(Debug, Clone, Copy, Default)]
struct Inherited<'a> {
    version: Option<&'a str>,
    modifier: Option<&'a str>,
    arch: Option<&'a str>,
}

/// Reads which trees a feed names for machines with this processor, as Rust calls it, and Linux.
///
/// Of several with one version that is the one made for the very processor, else one for all, else one for an older one, the
/// first that is written down. What has no digest, is not for everybody's 0install (`if-0install-version`), or is called as no
/// file can be, is passed over.
pub(crate) fn read(text: &str, address: &str, processor: &str) -> Result<Versions, FeedError> {
    let document = parse_document(text, MAX_FEED_BYTES)?;
    let root = document.root_element();
    if !is_element(root, "interface") && !is_element(root, "feed") {
        return Err(FeedError::NoFeed);
    }
    match root.attribute("uri") {
        Some(other) if other != address => {
            let other = other.to_owned();
            Err(FeedError::OfAnother { other })
        }
        Some(_) | None => Ok(versions(root, processor)),
    }
}

fn versions(root: Node<'_, '_>, processor: &str) -> Versions {
    let mut best: BTreeMap<String, (usize, TreeId)> = BTreeMap::new();
    // What is to be looked at, the next one last: groups can lie in each other as deep as they like.
    let mut left = vec![(root, Inherited::default())];
    while let Some((node, inherited)) = left.pop() {
        if node.has_attribute("if-0install-version") {
            continue;
        }
        let inherited = inherited.beside(node);
        if !is_element(node, "implementation") {
            let children = node.children().rev();
            let parts = children.filter(|child| {
                is_element(*child, "group") || is_element(*child, "implementation")
            });
            left.extend(parts.map(|child| (child, inherited)));
            continue;
        }
        let Some((version, rank, tree)) = implementation(node, inherited, processor) else {
            continue;
        };
        let is_better = |known: &(usize, TreeId)| rank < known.0;
        if best
            .get(&version)
            .map_or(best.len() < MAX_VERSIONS, is_better)
        {
            best.insert(version, (rank, tree));
        }
    }
    let versions = best.into_iter().map(|(version, (_, tree))| (version, tree));
    versions.collect()
}

fn implementation(
    node: Node<'_, '_>,
    inherited: Inherited<'_>,
    processor: &str,
) -> Option<(String, usize, TreeId)> {
    if node.has_attribute("local-path") {
        return None;
    }
    let version = inherited.version?;
    let version = format!("{version}{}", inherited.modifier.unwrap_or_default());
    let rank = rank(inherited.arch.unwrap_or("*-*"), processor)?;
    is_name(&version).then_some((version, rank, digests(node).first().copied()?))
}

impl<'a> Inherited<'a> {
    fn beside(self, node: Node<'a, '_>) -> Self {
        Self {
            version: node.attribute("version").or(self.version),
            modifier: node.attribute("version-modifier").or(self.modifier),
            arch: node.attribute("arch").or(self.arch),
        }
    }
}

/// How well `OS-CPU` fits Linux and a processor, 0 best; `None`: it does not run there.
fn rank(arch: &str, processor: &str) -> Option<usize> {
    let (os, cpu) = arch.split_once('-')?;
    if !matches!(os, "*" | "Linux" | "POSIX") {
        return None;
    }
    let fitting = processors(processor);
    match fitting.iter().position(|name| *name == cpu) {
        Some(0) => Some(0),
        Some(older) => Some(older + 1),
        None => (cpu == "*").then_some(1),
    }
}

/// Under which names programs for a processor go, its own first.
fn processors(processor: &str) -> &'static [&'static str] {
    match processor {
        "x86_64" => &["x86_64", "i686", "i586", "i486", "i386"],
        "x86" => &["i686", "i586", "i486", "i386"],
        "aarch64" => &["aarch64"],
        "arm" => &["armv7l", "armv6l", "armv6"],
        "powerpc64" => &["ppc64", "ppc"],
        "powerpc" => &["ppc"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use zeroshare_content::Family;

    use super::*;

    const NAMESPACE: &str = "http://zero-install.sourceforge.net/2004/injector/interface";
    const ADDRESS: &str = "http://example.org/hello.xml";

    #[test]
    fn groups_hand_down_and_the_best_digest_counts() {
        let (new, old) = (id(1), TreeId::of_manifest(Family::Sha1New, b""));
        let hex = new.directory_names()[1].clone();
        let hex = hex.strip_prefix("sha256=").unwrap();
        let feed = feed(&format!(
            r#"<group version="1.0" arch="Linux-x86_64">
                 <group><group version-modifier="-rc1">
                   <implementation id="a"><manifest-digest sha1new="{}" sha256new="{}"/></implementation>
                 </group></group>
                 <implementation id="b"><manifest-digest sha256="{hex}"/></implementation>
                 <implementation id="{old}" version="0.9"/>
                 <package-implementation package="hello"/>
               </group>
               <implementation id="c" version="2.0"/>
               <implementation id="{new}" version="2.1" local-path="."/>
               <implementation id="{new}" version="../x"/>
               <implementation id="{new}" version="3" if-0install-version="3.."/>
               <x:implementation xmlns:x="http://example.org/x" id="{new}" version="4"/>"#,
            text(&old),
            text(&new),
        ));
        let found = read(&feed, ADDRESS, "x86_64").unwrap();
        let expected = [("0.9", old), ("1.0", new), ("1.0-rc1", new)];
        assert_eq!(
            found,
            Versions::from(expected.map(|(version, id)| (version.to_owned(), id)))
        );
        assert_eq!(read(&feed, ADDRESS, "aarch64").unwrap(), Versions::new());
    }

    #[test]
    fn of_one_version_the_one_for_this_machine_counts() {
        let of = |arch: &str, number| {
            let id = id(number);
            format!(r#"<implementation version="1" arch="{arch}" id="{id}"/>"#)
        };
        let all = [
            of("Windows-x86_64", 1),
            of("Linux-i486", 2),
            of("*-*", 3),
            of("*-src", 4),
            of("Linux-i686", 5),
            of("Linux-aarch64", 6),
            of("POSIX-*", 7),
            of("Linux-x86_64", 8),
            of("Linux-x86_64", 9),
            of("odd", 10),
        ];
        let feed = feed(&all.concat());
        let best = |processor| read(&feed, ADDRESS, processor).unwrap()["1"];
        assert_eq!(best("x86_64"), id(8));
        assert_eq!(best("aarch64"), id(6));
        assert_eq!(best("x86"), id(5));
        assert_eq!(best("riscv64"), id(3));
        assert_eq!(rank("Linux-i686", "x86_64"), Some(2));
    }

    #[test]
    fn what_is_no_feed_or_another_ones_is_refused() {
        let other = feed("").replace(ADDRESS, "http://example.org/other.xml");
        for (text, why) in [
            (
                other.as_str(),
                "it is the feed of http://example.org/other.xml",
            ),
            ("<interface/>", "it is no feed"),
            ("", "it is not XML"),
            (
                "<!DOCTYPE a [<!ENTITY b \"b\">]><a>&b;</a>",
                "it is not XML",
            ),
        ] {
            let error = read(text, ADDRESS, "x86_64").unwrap_err();
            assert_eq!(error.to_string(), why);
        }
        let unnamed = feed("").replace(&format!("uri=\"{ADDRESS}\""), "");
        assert_eq!(read(&unnamed, ADDRESS, "x86_64").unwrap(), Versions::new());
    }

    #[test]
    fn what_would_take_much_time_or_room_is_refused_and_what_lies_deep_is_read() {
        let many =
            |count: u32, one: &dyn Fn(u32) -> String| -> String { (0..count).map(one).collect() };
        let wide = many(9000, &|number| format!(" a{number}=''"));
        let named = many(65, &|number| format!("<a xmlns:a{number}='a'>"));
        let large = " ".repeat(MAX_FEED_BYTES);
        for inside in [format!("<group{wide}/>"), named, large] {
            let refused = read(&feed(&inside), ADDRESS, "x86_64");
            assert!(
                matches!(refused, Err(FeedError::Document(DocumentError::TooLarge))),
                "{refused:?}"
            );
        }
        let groups = "<group/>".repeat(200_000);
        assert!(matches!(
            read(&feed(&groups), ADDRESS, "x86_64"),
            Err(FeedError::Document(DocumentError::Xml(_)))
        ));
        let deep = 90_000;
        let own = format!(r#"<implementation version="1" id="{}"/>"#, id(1));
        let inside = ["<group>".repeat(deep), own, "</group>".repeat(deep)].concat();
        assert_eq!(read(&feed(&inside), ADDRESS, "x86_64").unwrap()["1"], id(1));
        let versions = many(5000, &|number| {
            format!(r#"<implementation version="{number}" id="{}"/>"#, id(1))
        });
        let found = read(&feed(&versions), ADDRESS, "x86_64").unwrap();
        assert_eq!(found.len(), MAX_VERSIONS);
    }

    fn feed(inside: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<interface xmlns=\"{NAMESPACE}\" uri=\"{ADDRESS}\">\
             <name>Hello</name>{inside}</interface>\n<!-- Base64 Signature\naGk=\n\n-->\n"
        )
    }

    fn id(number: u32) -> TreeId {
        TreeId::of_manifest(Family::Sha256, &number.to_be_bytes())
    }

    /// A digest as an attribute has it.
    fn text(id: &TreeId) -> String {
        let name = id.to_string();
        let (_, digest) = name.split_once(['=', '_']).unwrap();
        digest.to_owned()
    }
}
