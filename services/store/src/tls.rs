//! What peers prove to the store of a group, and it to them.

use zeroshare_chassis::serve::Tls;
use zeroshare_identity::{KeyError, Member, MemberError, node_key};

use crate::settings::StoreConfig;

/// Why peers cannot be made to prove themselves.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The node has no key.
    #[error("cannot get this node's key, which members of a group prove themselves with")]
    Key(#[source] KeyError),
    /// It has no certificate.
    #[error(transparent)]
    Member(MemberError),
}

impl StoreConfig {
    /// What peers must prove before they are served; `None` without a group, or without a LAN listener.
    ///
    /// Makes the node's key if there is none, so it must be called before the kernel forbids that.
    pub fn tls(&self) -> Result<Option<Tls>, TlsError> {
        let Some(group) = self.group.as_ref().filter(|_| self.lan) else {
            return Ok(None);
        };
        let key = node_key::on_disk(&self.state_dir).map_err(TlsError::Key)?;
        let member = Member::new(group, &key).map_err(TlsError::Member)?;
        Ok(Some(Tls::new(member.server_config(), group.name())))
    }
}
