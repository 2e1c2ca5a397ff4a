//! Ids travel as text.

use std::fmt::Display;

use zeroshare_content::{BlobId, ContentId, TreeId};

use crate::FieldError;

/// Reads an id.
pub fn content_id(field: &'static str, text: &str) -> Result<ContentId, FieldError> {
    text.parse().map_err(|error| refused(field, &error))
}

/// Reads the id of a tree.
pub fn tree_id(field: &'static str, text: &str) -> Result<TreeId, FieldError> {
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
