//! Proving to peers that this reader is of their group.

use std::sync::Arc;

use zeroshare_identity::{KeyError, Member, MemberError, node_key};

use crate::settings::FetcherConfig;

/// Why a reader cannot prove that it is of a group.
#[derive(Debug, thiserror::Error)]
pub enum JoinGroupError {
    /// It has no key.
    #[error("cannot get a key to prove membership of the group with")]
    Key(#[source] KeyError),
    /// It has no certificate.
    #[error(transparent)]
    Member(MemberError),
}

impl FetcherConfig {
    /// As whom peers are read; `None` without a group.
    ///
    /// With the node's key if there is one: nobody has to find a reader again, so that any other does too. Blocks for as long
    /// as the disk does.
    pub fn member(&self) -> Result<Option<Arc<Member>>, JoinGroupError> {
        let Some(group) = &self.group else {
            return Ok(None);
        };
        let key = match node_key::existing(&self.state_dir) {
            Ok(Some(key)) => key,
            Ok(None) | Err(_) => node_key::in_memory().map_err(JoinGroupError::Key)?,
        };
        let member = Member::new(group, &key).map_err(JoinGroupError::Member)?;
        Ok(Some(Arc::new(member)))
    }
}
