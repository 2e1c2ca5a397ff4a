//! Who this node is: the key that makes its id, the secret of the group it belongs to, and TLS that proves both.
//!
//! Files are read here and keys derived; who is spoken with, and what is done about those who prove nothing, is decided
//! elsewhere. The crate knows no content, no addresses and no settings. Start reading at [`GroupSecret`], then at
//! [`Member`].

mod certificate;
mod member;
pub mod node_key;
pub mod private;
mod secret;

pub use certificate::key_of;
pub use member::{Member, MemberError};
pub use node_key::KeyError;
pub use secret::{GroupSecret, SecretError};
pub use tokio_rustls::client::TlsStream;
