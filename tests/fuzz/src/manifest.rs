//! The text of a manifest, and the pieces that it is cut into.

use zeroshare_content::{Entry, Family, Layout, Manifest, Piece};

/// So many pieces are looked at one by one; 16 TiB would have a million.
const PIECES_LOOKED_AT: u32 = 5000;

/// Reads the bytes as a manifest of each family; whatever is read is written again as it was.
pub fn check(bytes: &[u8]) {
    assert!(
        Manifest::parse(Family::Sha1, bytes).is_err(),
        "the oldest format cannot be read"
    );
    for family in [Family::Sha1New, Family::Sha256] {
        let Ok(manifest) = Manifest::parse(family, bytes) else {
            continue;
        };
        assert_eq!(written(&manifest), bytes, "two texts for one tree");
        assert_eq!(
            manifest.id(),
            zeroshare_content::TreeId::of_manifest(family, bytes)
        );
        for line in manifest.lines() {
            let outside = |part: &[u8]| part.is_empty() || part == b"." || part == b"..";
            assert!(
                !line.path.components().any(outside),
                "{} leads out of the tree",
                line.path
            );
        }
        if let Ok(layout) = Layout::of_manifest(&manifest) {
            check_layout(&layout);
        }
    }
}

fn written(manifest: &Manifest) -> Vec<u8> {
    let mut text = Vec::new();
    for line in manifest.lines() {
        let (start, end) = match line.entry {
            Entry::Directory => ("D /".to_owned(), line.path.as_bytes()),
            Entry::File {
                executable,
                blob,
                mtime,
                size,
            } => {
                let letter = if executable { 'X' } else { 'F' };
                (
                    format!("{letter} {} {mtime} {size} ", blob.hex()),
                    line.path.name(),
                )
            }
            Entry::Symlink { blob, target_len } => {
                (format!("S {} {target_len} ", blob.hex()), line.path.name())
            }
        };
        text.extend_from_slice(start.as_bytes());
        text.extend_from_slice(end);
        text.push(b'\n');
    }
    text
}

fn check_layout(layout: &Layout) {
    let mut next = (0, 0);
    for number in 0..layout.piece_count().min(PIECES_LOOKED_AT) {
        let len = layout.piece_len(number);
        assert!(
            len.is_some_and(|len| len > 0 && len <= layout.piece_size()),
            "piece {number}"
        );
        match layout.piece(number) {
            Some(Piece::Run { items }) => {
                assert_eq!((items.start, 0), next);
                next = (items.end, 0);
            }
            Some(Piece::Slice { item, offset, len }) => {
                assert_eq!((item, offset), next);
                let whole = layout
                    .items()
                    .get(item as usize)
                    .is_some_and(|it| it.size == offset + len);
                next = if whole {
                    (item + 1, 0)
                } else {
                    (item, offset + len)
                };
            }
            // It has a length, as was asserted, so it is there.
            None => return,
        }
    }
    assert_eq!(layout.piece(layout.piece_count()), None);
    let bytes: u64 = layout.items().iter().map(|item| item.size).sum();
    assert_eq!(bytes, layout.content_size());
}
