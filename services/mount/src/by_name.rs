//! `by-name/HOST/PATH/VERSION`: links from what cached feeds say to the trees that they name.
//!
//! A path is there as soon as its feed is cached; the feed is read when a version of it is asked for, and again when it has
//! changed. `address` and `feed` decide without a disk, `feeds` reads, `nodes` gives paths their numbers.

mod address;
mod feed;
mod feeds;
mod index;
mod nodes;

pub(crate) use feeds::Feeds;
pub(crate) use index::What;
pub(crate) use nodes::Nodes;

/// What it is called in the root of a mount.
pub(crate) const NAME: &str = "by-name";

/// Where a path lies below it: names that are neither empty, nor `.` or `..`, nor too long.
pub(crate) type Path = Vec<String>;

/// Where a link must point to lead from a path to a name in the root of the mount.
pub(crate) fn target(path: &Path, name: &str) -> String {
    format!("{}{name}", "../".repeat(path.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_the_root_of_the_mount() {
        let path = ["example.org", "feeds", "hello.xml", "1.0"].map(String::from);
        assert_eq!(target(&path.into(), "id"), "../../../../id");
    }
}
