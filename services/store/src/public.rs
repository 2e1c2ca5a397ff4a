//! What is listed for everybody who may read here.

use zeroshare_shelf::Audience;
use zeroshare_wire::pb::store::v1::ListPublicResponse;

use crate::store::Store;

/// Trees in one answer: more than most machines have, and less than 64 KiB.
pub(crate) const MAX_LISTED: usize = 1000;

/// Contents that are looked at in a row.
const PAGE: usize = 1000;

/// Lists trees that peers may read whole; at most so many.
pub(crate) fn list(store: &Store, most: usize) -> ListPublicResponse {
    let mut listed = ListPublicResponse::default();
    let mut after = None;
    loop {
        let page = store.shelf.holdings(after.as_ref(), PAGE, Audience::Peers);
        let offered = page.iter().filter(|holding| holding.offered);
        for tree in offered.filter_map(|holding| holding.id.tree()) {
            if listed.tree_ids.len() >= most {
                listed.truncated = true;
                return listed;
            }
            listed.tree_ids.push(tree.to_string());
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.id),
            Some(_) | None => return listed,
        }
    }
}

#[cfg(test)]
mod tests {
    use zeroshare_content::Algorithm;
    use zeroshare_testkit::TestTree;

    use super::*;
    use crate::fixture::Fixture;

    #[test]
    fn what_is_offered_is_listed_as_far_as_there_is_room() {
        let fixture = Fixture::new();
        assert_eq!(list(&fixture.store, 3), ListPublicResponse::default());
        let mut ids: Vec<String> = (0..3_u8)
            .map(|number| {
                let tree = TestTree::new().file("number", vec![number]);
                fixture.put(&tree, "shared").to_string()
            })
            .collect();
        fixture.put(&TestTree::small(), "own");
        let unverified = TestTree::new().file("number", "unverified");
        let root = fixture.scratch.directory("shared");
        zeroshare_testkit::put_in_store(&unverified, &root, Algorithm::Sha256New);
        let now = std::time::SystemTime::now();
        fixture.store.shelf.rescan(now).unwrap();

        let all = list(&fixture.store, 3);
        let mut listed = all.tree_ids.clone();
        ids.sort_unstable();
        listed.sort_unstable();
        assert_eq!((listed, all.truncated), (ids, false));
        let some = list(&fixture.store, 2);
        assert_eq!((some.tree_ids.len(), some.truncated), (2, true));
    }
}
