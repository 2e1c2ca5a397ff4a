//! A node as a member of its group: what it shows in TLS, and what it wants to see.

use std::{fmt, io, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::{Resumption, WebPkiServerVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{PrivateKeyDer, ServerName},
    server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier},
    version::TLS13,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};
use zeroshare_wire::datagram::{NodeId, PublicKey, SigningKey};

use crate::{
    GroupSecret,
    certificate::{Certificates, certify, key_of, private_key},
};

/// All that is spoken over TLS.
const HTTP2: &[u8] = b"h2";

/// What a member of a group proves itself with, and checks others with.
///
/// Both sides of a connection show a certificate that the group's authority signed, whose key follows from the secret,
/// for their node key: so a connection proves that the other one knows the secret, and which node it is.
#[derive(Clone)]
pub struct Member {
    node: NodeId,
    name: ServerName<'static>,
    server: Arc<ServerConfig>,
    client: TlsConnector,
}

/// Why a node cannot become a member.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// Its certificate cannot be made.
    #[error("cannot make this node's certificate")]
    Certificate(#[source] rcgen::Error),
    /// TLS does not take it.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// Nobody could be checked.
    #[error("cannot set up how members are checked")]
    Verifier(#[source] VerifierBuilderError),
}

/// Another node answered than the one that was wanted.
#[derive(Debug, thiserror::Error)]
#[error("node {found} answered instead of {wanted}")]
struct AnotherNode {
    wanted: NodeId,
    found: NodeId,
}

impl Member {
    /// Makes the certificate of a node's key, for some 100 µs.
    pub fn new(secret: &GroupSecret, key: &SigningKey) -> Result<Self, MemberError> {
        let Certificates { authority, own } =
            certify(secret, key).map_err(MemberError::Certificate)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority).map_err(MemberError::Tls)?;
        let roots = Arc::new(roots);
        let provider = Arc::new(provider());
        let private = || PrivateKeyDer::from(private_key(key));

        let clients =
            WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(MemberError::Tls)?
            .with_client_cert_verifier(clients.map_err(MemberError::Verifier)?)
            .with_single_cert(vec![own.clone()], private())
            .map_err(MemberError::Tls)?;
        server.alpn_protocols = vec![HTTP2.to_vec()];
        // Whoever comes again proves itself again.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        let servers = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(MemberError::Tls)?
            .with_webpki_verifier(servers.map_err(MemberError::Verifier)?)
            .with_client_auth_cert(vec![own], private())
            .map_err(MemberError::Tls)?;
        client.alpn_protocols = vec![HTTP2.to_vec()];
        client.resumption = Resumption::disabled();

        let name = ServerName::try_from(secret.name())
            .map_err(|_| MemberError::Tls(rustls::Error::General("no name".to_owned())))?;
        Ok(Self {
            node: key.node_id(),
            name,
            server: Arc::new(server),
            client: TlsConnector::from(Arc::new(client)),
        })
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// What a listener takes members in with.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.server.clone()
    }

    /// Proves to another member who this is, and finds out who that is; with `wanted`, anybody else is an error.
    ///
    /// Waits for as long as the other one likes. May be dropped midway.
    pub async fn connect<I>(
        &self,
        io: I,
        wanted: Option<NodeId>,
    ) -> io::Result<(TlsStream<I>, PublicKey)>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = self.client.connect(self.name.clone(), io).await?;
        let shown = stream.get_ref().1.peer_certificates();
        let key = shown.and_then(|shown| key_of(shown.first()?));
        let Some(key) = key else {
            let error = rustls::Error::NoCertificatesPresented;
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        };
        let found = NodeId::of(&key);
        match wanted.filter(|wanted| *wanted != found) {
            Some(wanted) => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                AnotherNode { wanted, found },
            )),
            None => Ok((stream, key)),
        }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member({})", self.node)
    }
}

/// AES of 128 bits goes first: it is as safe here as that of 256, and faster.
fn provider() -> CryptoProvider {
    use aws_lc_rs::cipher_suite::{
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    };
    CryptoProvider {
        cipher_suites: vec![
            TLS13_AES_128_GCM_SHA256,
            TLS13_AES_256_GCM_SHA384,
            TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio_rustls::TlsAcceptor;

    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    fn member(secret: &[u8], seed: u8) -> Member {
        Member::new(&GroupSecret::of(secret), &key(seed)).unwrap()
    }

    /// What each side comes to, the one who connects first.
    async fn meet(
        client: &Member,
        server: &Member,
        wanted: Option<NodeId>,
    ) -> (io::Result<PublicKey>, io::Result<PublicKey>) {
        let (here, there) = duplex(64 * 1024);
        let connecting = async {
            let (mut stream, key) = client.connect(here, wanted).await?;
            // A server refuses a client only behind the client's own handshake.
            let mut word = [0; 2];
            stream.read_exact(&mut word).await?;
            assert_eq!(&word, b"hi");
            Ok(key)
        };
        let accepting = async {
            let acceptor = TlsAcceptor::from(server.server_config());
            let mut stream = acceptor.accept(there).await?;
            let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
            stream.write_all(b"hi").await?;
            stream.shutdown().await?;
            Ok(key_of(&shown).unwrap())
        };
        tokio::join!(connecting, accepting)
    }

    #[tokio::test]
    async fn members_learn_each_others_keys() {
        let (one, other) = (member(&[1; 16], 1), member(&[1; 16], 2));
        for wanted in [None, Some(key(2).node_id())] {
            let (seen, shown) = meet(&one, &other, wanted).await;
            assert_eq!(seen.unwrap(), key(2).public_key());
            assert_eq!(shown.unwrap(), key(1).public_key());
        }
    }

    #[tokio::test]
    async fn who_knows_another_secret_is_no_member_on_either_side() {
        let (one, other) = (member(&[1; 16], 1), member(&[2; 16], 2));
        let (seen, shown) = meet(&one, &other, None).await;
        assert!(seen.is_err() && shown.is_err());
    }

    #[tokio::test]
    async fn a_member_that_is_not_the_one_wanted_is_refused() {
        let (one, other) = (member(&[1; 16], 1), member(&[1; 16], 2));
        let (seen, _) = meet(&one, &other, Some(key(3).node_id())).await;
        let error = seen.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("answered instead"), "{error}");
    }

    #[tokio::test]
    async fn a_client_that_takes_the_server_and_shows_nothing_is_refused() {
        let secret = GroupSecret::of(&[1; 16]);
        let one = member(&[1; 16], 1);
        let Certificates { authority, .. } = certify(&secret, &key(9)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority).unwrap();
        let bare = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let bare = Member {
            client: TlsConnector::from(Arc::new(bare)),
            ..one.clone()
        };
        let (seen, shown) = meet(&bare, &member(&[1; 16], 2), None).await;
        assert!(seen.is_err(), "not a byte behind the handshake");
        assert!(shown.is_err());
    }

    /// An issuer's name is compared byte by byte, and its bytes are up to whoever writes it.
    #[test]
    fn the_authoritys_name_is_written_as_ever() {
        let certificates = certify(&GroupSecret::of(&[1; 16]), &key(1)).unwrap();
        let name = b"\x31\x18\x30\x16\x06\x03\x55\x04\x03\x0c\x0fzeroshare group";
        for certificate in [&certificates.authority, &certificates.own] {
            let has_it = certificate
                .windows(name.len())
                .any(|window| window == &name[..]);
            assert!(has_it);
        }
        assert_eq!(key_of(&certificates.own), Some(key(1).public_key()));
    }

    #[test]
    fn dates_hold_from_the_first_to_the_last_that_can_be_written() {
        let certificates = certify(&GroupSecret::of(&[1; 16]), &key(1)).unwrap();
        let has = |text: &[u8]| {
            certificates
                .own
                .windows(text.len())
                .any(|part| part == text)
        };
        assert!(has(b"700101000000Z") && has(b"99991231000000Z"));
    }
}
