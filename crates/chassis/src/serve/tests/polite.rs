//! Callers who mean well.

use tokio::net::UnixStream;

use super::*;
use crate::{
    listen::{LocalAddress, LocalListener},
    serve::serve_local,
};

#[tokio::test]
async fn both_versions_of_http_are_answered_on_one_port() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = Server::start(Bounds::lan());
    let mut client = Client::connect(server.address).await;
    assert_eq!(
        client.call("Whoami").await.unwrap().headers()["caller"],
        "127.0.0.1"
    );
    let mut old = TcpStream::connect(server.address).await.unwrap();
    let request = b"POST /test.Probe/Whoami HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    old.write_all(request).await.unwrap();
    let mut answer = String::new();
    within(old.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("caller: 127.0.0.1\r\n"), "{answer}");
    server.end().await;
}

#[tokio::test]
async fn a_caller_on_a_unix_socket_is_known_by_its_user() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let address = LocalAddress::Unix {
        path: path.clone(),
        mode: 0o600,
    };
    let listener = LocalListener::bind(&address).unwrap();
    let lifetime = Lifetime::new();
    let serving = serve_local(vec![listener], Routes::new(Probe), lifetime.child());
    let served = Lifetime::new().spawn("server", serving);
    let mut client = Client::on(UnixStream::connect(&path).await.unwrap()).await;
    let uid = rustix::process::geteuid().as_raw().to_string();
    assert_eq!(
        client.call("Whoami").await.unwrap().headers()["caller"],
        uid.as_str()
    );
    assert!(lifetime.end(DEADLINE).await);
    within(served).await.unwrap().unwrap();
    client.cut().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_local_api_is_served_on_a_named_address_as_well() {
    let listener = LocalListener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let LocalAddress::Tcp(address) = listener.address() else {
        panic!("no address")
    };
    let lifetime = Lifetime::new();
    let serving = serve_local(vec![listener], Routes::new(Probe), lifetime.child());
    let served = Lifetime::new().spawn("server", serving);
    let mut client = Client::connect(address).await;
    assert_eq!(
        client.call("Whoami").await.unwrap().headers()["caller"],
        "127.0.0.1"
    );
    assert!(lifetime.end(DEADLINE).await);
    within(served).await.unwrap().unwrap();
}

#[tokio::test]
async fn who_reads_is_served_for_longer_than_the_deadline_of_those_who_do_not() {
    use http_body_util::BodyExt as _;
    let server = Server::start(Bounds {
        stall: SHORT,
        ..Bounds::lan()
    });
    let mut client = Client::connect(server.address).await;
    let mut body = client.call("Endless").await.unwrap().into_body();
    let began = time::Instant::now();
    while began.elapsed() < SHORT * 4 {
        within(body.frame()).await.unwrap().unwrap();
    }
    drop(body);
    client.call("Whoami").await.unwrap();
    server.end().await;
}

#[tokio::test]
async fn an_answer_that_goes_on_is_served_for_longer_than_it_may_be_silent() {
    use http_body_util::BodyExt as _;
    let server = Server::start(Bounds {
        silence: Some(SHORT),
        ..Bounds::lan()
    });
    let mut client = Client::connect(server.address).await;
    let mut body = client.call("Pages").await.unwrap().into_body();
    let began = time::Instant::now();
    while began.elapsed() < SHORT * 3 {
        let frame = within(body.frame()).await.unwrap().unwrap();
        assert!(frame.is_data());
    }
    server.end().await;
}

#[tokio::test]
async fn an_answer_that_waits_for_news_is_left_alone() {
    let server = Server::start(Bounds {
        stall: SHORT,
        idle: SHORT,
        drain: SHORT,
        ..Bounds::lan()
    });
    let mut watching = Client::connect(server.address).await;
    let _news = watching.call("Silent").await.unwrap();
    // The yardstick: came later, and is cut off.
    let mut stalled = Client::connect(server.address).await;
    let _unread = stalled.call("Endless").await.unwrap();
    stalled.cut().await;
    assert!(!watching.connection.is_finished());
    watching.call("Whoami").await.unwrap();
    server.end().await;
}

#[tokio::test]
async fn a_handler_that_panics_harms_nobody_else() {
    let server = Server::start(Bounds::lan());
    let mut client = Client::connect(server.address).await;
    assert!(client.call("Panic").await.is_err());
    client.call("Whoami").await.unwrap();
    server.end().await;
}
