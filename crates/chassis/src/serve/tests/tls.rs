//! A listener that wants proof, and those who have none.

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    server::WebPkiClientVerifier,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::*;
use crate::serve::Tls;

const NAME: &str = "only-we-know.test";

/// A key and the certificate that it signed itself, which is all that anybody trusts.
struct Own {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Own {
    fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let params = CertificateParams::new([NAME.to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificate, key }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        Arc::new(roots)
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.serialize_der().into())
    }

    fn tls(&self) -> Tls {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(self.roots(), provider.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(vec![self.certificate.clone()], self.key())
            .unwrap();
        Tls::new(Arc::new(config), NAME)
    }

    /// A client that shows the certificate of somebody.
    fn connector(&self, shown: Option<&Self>) -> TlsConnector {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots());
        let config = match shown {
            Some(shown) => builder
                .with_client_auth_cert(vec![shown.certificate.clone()], shown.key())
                .unwrap(),
            None => builder.with_no_client_auth(),
        };
        TlsConnector::from(Arc::new(config))
    }

    fn serve(&self, bounds: Bounds) -> Server {
        let everybody: Admission = Arc::new(|_| Welcome::Served);
        let entrance = Entrance {
            admission: everybody,
            tls: Some(self.tls()),
        };
        Server::start_behind(bounds, entrance)
    }
}

fn name(text: &str) -> ServerName<'static> {
    ServerName::try_from(text.to_owned()).unwrap()
}

#[tokio::test]
async fn who_proves_itself_is_served_as_ever() {
    let own = Own::new();
    let server = own.serve(Bounds::lan());
    let io = TcpStream::connect(server.address).await.unwrap();
    let connecting = own.connector(Some(&own)).connect(name(NAME), io);
    let mut client = Client::on(within(connecting).await.unwrap()).await;
    let answer = within(client.call("Whoami")).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = within(client.call("Pages")).await.unwrap().into_body();
    for _ in 0..64 {
        within(http_body_util::BodyExt::frame(&mut body))
            .await
            .unwrap()
            .unwrap();
    }
    drop(body);
    server.end().await;
}

#[tokio::test]
async fn a_reader_that_never_reads_is_cut_off_behind_tls_too() {
    let own = Own::new();
    let server = own.serve(Bounds {
        stall: SHORT,
        ..Bounds::lan()
    });
    let io = TcpStream::connect(server.address).await.unwrap();
    let connecting = own.connector(Some(&own)).connect(name(NAME), io);
    let mut client = Client::on(within(connecting).await.unwrap()).await;
    let unread = client.call("Endless").await.unwrap();
    client.cut().await;
    drop(unread);
    server.settle(0).await;
    server.end().await;
}

#[tokio::test]
async fn strangers_are_hung_up_on_without_a_byte() {
    let own = Own::new();
    let server = own.serve(Bounds::lan());
    let hello = hello_for(&own, "somebody-else.test").await;
    let mut cut = hello.clone();
    cut[5] ^= 0xff;
    let words: [&[u8]; 6] = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"GET / HTTP/1.1\r\nhost: test\r\n\r\n",
        &[0; 64],
        &vec![0x16; 40_000],
        &hello,
        &cut,
    ];
    for word in words {
        assert_eq!(answer(&server, word).await, b"");
    }
    server.settle(0).await;
    server.end().await;
}

#[tokio::test]
async fn who_knows_the_name_and_shows_nothing_or_anothers_certificate_gets_no_answer() {
    let own = Own::new();
    let server = own.serve(Bounds::lan());
    for shown in [None, Some(&Own::new())] {
        let io = TcpStream::connect(server.address).await.unwrap();
        let connecting = own.connector(shown).connect(name(NAME), io);
        let mut io = within(connecting).await.unwrap();
        let asked = io.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
        let mut answer = Vec::new();
        let read = within(io.read_to_end(&mut answer)).await;
        assert!(asked.is_err() || read.is_err(), "an alert ends it");
        assert_eq!(answer, b"");
    }
    server.settle(0).await;
    server.end().await;
}

#[tokio::test]
async fn a_handshake_has_a_deadline_and_takes_a_seat() {
    let own = Own::new();
    let server = own.serve(Bounds {
        first_request: SHORT,
        connections_per_peer: 4,
        ..Bounds::lan()
    });
    let hello = hello_for(&own, NAME).await;
    let mut waiting = Vec::new();
    for beginning in [&b""[..], &hello[..1], &hello[..hello.len() - 1], &hello] {
        let mut io = connect_from(1, server.address).await.unwrap();
        io.write_all(beginning).await.unwrap();
        waiting.push(io);
    }
    let began = time::Instant::now();
    let mut fifth = connect_from(1, server.address).await.unwrap();
    let mut nothing = Vec::new();
    drop(within(fifth.read_to_end(&mut nothing)).await);
    assert_eq!(nothing, b"");
    server.settle(0).await;
    assert!(began.elapsed() < DEADLINE / 2);
    server.end().await;
}

/// The first message of a client that calls this name.
async fn hello_for(own: &Own, called: &str) -> Vec<u8> {
    let (here, mut there) = tokio::io::duplex(64 * 1024);
    let connecting = own.connector(Some(own)).connect(name(called), here);
    let reading = async {
        let mut head = [0; 5];
        there.read_exact(&mut head).await.unwrap();
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        let mut rest = vec![0; length];
        there.read_exact(&mut rest).await.unwrap();
        drop(there);
        [&head[..], &rest].concat()
    };
    let (_hung_up, hello) = tokio::join!(connecting, reading);
    hello
}

/// What comes back until the server hangs up.
async fn answer(server: &Server, word: &[u8]) -> Vec<u8> {
    let mut io = TcpStream::connect(server.address).await.unwrap();
    // It may hang up before it has heard everything.
    drop(io.write_all(word).await);
    let mut answer = Vec::new();
    drop(within(io.read_to_end(&mut answer)).await);
    answer
}
