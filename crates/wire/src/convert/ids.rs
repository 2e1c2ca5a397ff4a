//! Ids travel as text.

use std::fmt::Display;

use zeroshare_content::{BlobId, ContentId, FeedUrl, TreeId};

use crate::FieldError;

/// Reads an id.
pub fn content_id(field: &'static str, text: &str) -> Result<ContentId, FieldError> {
    text.parse().map_err(|error| refused(field, &error))
}

/// Reads the id of a tree.
pub fn tree_id(field: &'static str, text: &str) -> Result<TreeId, FieldError> {
    text.parse().map_err(|error| refused(field, &error))
}

/// Reads the address of a feed.
pub fn feed_url(field: &'static str, text: &str) -> Result<FeedUrl, FieldError> {
    text.parse().map_err(|error| refused(field, &error))
}

/// Reads at least one and at most `most` ids; the order stays, repetitions are dropped.
pub fn content_ids(
    field: &'static str,
    texts: &[String],
    most: usize,
) -> Result<Vec<ContentId>, FieldError> {
    if texts.is_empty() {
        return Err(FieldError::missing(field));
    }
    if texts.len() > most {
        return Err(FieldError::too_many(field, texts.len(), most));
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut ids = Vec::with_capacity(texts.len());
    for text in texts {
        let id = content_id(field, text)?;
        if seen.insert(id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Reads at most `most` ids of blobs, in their order.
pub fn blob_ids(
    field: &'static str,
    texts: &[String],
    most: usize,
) -> Result<Vec<BlobId>, FieldError> {
    if texts.len() > most {
        return Err(FieldError::too_many(field, texts.len(), most));
    }
    texts
        .iter()
        .map(|text| match content_id(field, text)? {
            ContentId::Blob(blob) => Ok(blob),
            ContentId::Tree(_) => Err(FieldError::refused(field, "the id of a tree, not a blob")),
        })
        .collect()
}

fn refused(field: &'static str, error: &impl Display) -> FieldError {
    FieldError::refused(field, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOB: &str = "blob:sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709";
    const TREE: &str = "sha1new=da39a3ee5e6b4b0d3255bfef95601890afd80709";

    fn ids(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn lists_keep_their_order_and_lose_repetitions() {
        let read = content_ids("content_ids", &ids(&[TREE, BLOB, TREE]), 3).unwrap();
        let read: Vec<_> = read.iter().map(ToString::to_string).collect();
        assert_eq!(read, [TREE, BLOB]);
    }

    #[test]
    fn what_is_wrong_is_said_of_the_field() {
        for (texts, most) in [(&[][..], 1), (&[TREE, BLOB], 1), (&["sha256:x"], 1)] {
            let error = content_ids("content_ids", &ids(texts), most).unwrap_err();
            assert_eq!(error.field, "content_ids");
        }
        assert_eq!(tree_id("tree_id", BLOB).unwrap_err().field, "tree_id");
        assert_eq!(
            blob_ids("blob_ids", &ids(&[TREE]), 1).unwrap_err().field,
            "blob_ids"
        );
        assert_eq!(
            blob_ids("blob_ids", &ids(&[BLOB, BLOB]), 1)
                .unwrap_err()
                .field,
            "blob_ids"
        );
        assert_eq!(blob_ids("blob_ids", &[], 1), Ok(vec![]));
    }
}
