//! How a server ends.

use http_body_util::BodyExt as _;

use super::*;

#[tokio::test]
async fn at_the_end_nothing_is_left() {
    let server = Server::start(Bounds::lan());
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = Client::connect(server.address).await;
        client.call("Whoami").await.unwrap();
        clients.push(client);
    }
    let lifetime = server.lifetime.clone();
    server.end().await;
    assert_eq!(lifetime.running(), 0);
    for client in clients {
        client.cut().await;
    }
}

#[tokio::test]
async fn a_call_in_progress_may_end() {
    let server = Server::start(Bounds {
        drain: DEADLINE,
        ..Bounds::lan()
    });
    let mut client = Client::connect(server.address).await;
    let mut body = client.call("Endless").await.unwrap().into_body();
    server.lifetime.stop();
    for _ in 0..100 {
        within(body.frame()).await.unwrap().unwrap();
    }
    assert!(!server.served.is_finished());
    drop(body);
    server.end().await;
    client.cut().await;
}

#[tokio::test]
async fn a_call_without_end_is_ended() {
    let server = Server::start(Bounds {
        drain: SHORT,
        ..Bounds::lan()
    });
    let mut client = Client::connect(server.address).await;
    let _silence = client.call("Silent").await.unwrap();
    server.end().await;
    client.cut().await;
}

#[tokio::test]
async fn a_stopped_server_takes_nobody_in() {
    let server = Server::start(Bounds::lan());
    let address = server.address;
    server.end().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_server_that_is_dropped_takes_its_calls_along() {
    let server = Server::start(Bounds::lan());
    let mut client = Client::connect(server.address).await;
    let _silence = client.call("Silent").await.unwrap();
    server.lifetime.abort();
    client.cut().await;
    until(|| server.lifetime.running() == 0).await;
}
