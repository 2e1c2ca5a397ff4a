//! Connections as services use them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    future::pending, net::Ipv4Addr, os::unix::fs::MetadataExt as _, path::Path, time::Duration,
};

use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream, UnixListener},
    task::JoinSet,
    time::timeout,
};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::{Code, Request, Response, Status, transport::Server};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_client::HealthClient,
    health_server::{Health as HealthService, HealthServer},
};
use tracing::{Instrument as _, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;
use zeroshare_api::{
    connect::{
        ConnectError, LocalEndpoint, PeerChannelOptions, local_channel, peer_channel,
        trusting_channel,
    },
    deadline,
    health::{Health, check_health},
    reflection,
};

const LIMIT: Duration = Duration::from_secs(10);

const SOON: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_local_channel_finds_a_service_that_starts_later_and_starts_again() {
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let socket = directory.path().join("s.sock");
    let endpoint = LocalEndpoint::Unix(socket.clone());
    let mut client = HealthClient::new(local_channel(&endpoint));

    let nobody = client.check(request("all")).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unavailable);
    assert!(nobody.message().contains("s.sock"), "{nobody}");

    for _ in 0..2 {
        let mut tasks = JoinSet::new();
        serve(&mut tasks, &socket);
        // The first call after a restart may still meet the connection that ended.
        timeout(LIMIT, async {
            while client.check(request("all")).await.is_err() {}
        })
        .await
        .unwrap();
        assert_eq!(
            check_health(&endpoint, "all").await.unwrap(),
            Health::Serving
        );
        tasks.shutdown().await;
        std::fs::remove_file(&socket).unwrap();
    }
    assert!(check_health(&endpoint, "all").await.is_err());
}

#[tokio::test]
async fn a_socket_of_an_untrusted_user_is_told_nothing() {
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let socket = directory.path().join("s.sock");
    let mut tasks = JoinSet::new();
    serve(&mut tasks, &socket);
    let us = std::fs::metadata(&socket).unwrap().uid();
    let endpoint = LocalEndpoint::Unix(socket);

    let mut client = HealthClient::new(trusting_channel(&endpoint, &[us]));
    client.check(request("all")).await.unwrap();

    let mut wary = HealthClient::new(trusting_channel(&endpoint, &[us + 1]));
    let refused = wary.check(request("all")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
}

#[tokio::test]
async fn health_is_told_apart_from_silence() {
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let socket = directory.path().join("s.sock");
    let mut tasks = JoinSet::new();
    serve(&mut tasks, &socket);
    let endpoint = LocalEndpoint::Unix(socket);
    for (service, health) in [
        ("all", Health::Serving),
        ("none", Health::NotServing),
        ("other", Health::Unknown),
    ] {
        assert_eq!(check_health(&endpoint, service).await.unwrap(), health);
    }
}

#[tokio::test]
async fn a_passed_deadline_is_called_so() {
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let socket = directory.path().join("s.sock");
    let mut tasks = JoinSet::new();
    serve(&mut tasks, &socket);
    let mut client = HealthClient::new(local_channel(&LocalEndpoint::Unix(socket)));

    let mut slow = Request::new(request("stall"));
    slow.set_timeout(SOON);
    let late = client.check(slow).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");

    let late = deadline::within(SOON, client.check(request("stall")))
        .await
        .unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
}

#[tokio::test]
async fn a_peer_is_reached_over_tcp_or_named_in_the_error() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    let server = Server::builder().add_service(HealthServer::new(Told));
    tasks.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let channel = peer_channel(address, &PeerChannelOptions::default())
        .await
        .unwrap();
    let mut client = HealthClient::new(channel);
    client.check(request("all")).await.unwrap();
    tasks.shutdown().await;

    let refused = peer_channel(address, &PeerChannelOptions::default())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, ConnectError::Failed { .. }),
        "{refused:?}"
    );
    assert_eq!(refused.to_string(), format!("cannot connect to {address}"));
}

#[tokio::test]
async fn a_peer_that_never_answers_is_given_up() {
    // A listener whose queue is full drops what more knocks: nothing comes back, as from a machine that is gone.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(connected) = timeout(SOON, TcpStream::connect(address)).await {
        queued.push(connected.unwrap());
    }
    let options = PeerChannelOptions {
        connect_time: SOON,
        ..PeerChannelOptions::default()
    };
    let error = peer_channel(address, &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error:?}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn a_peer_that_accepts_and_says_nothing_fails_its_calls() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let options = PeerChannelOptions {
        keep_alive_interval: SOON,
        keep_alive_time: SOON,
        pool: None,
        ..PeerChannelOptions::default()
    };
    let address = listener.local_addr().unwrap();
    let mut client = HealthClient::new(peer_channel(address, &options).await.unwrap());
    let silent = client.check(request("all")).await.unwrap_err();
    assert_eq!(silent.code(), Code::Unavailable, "{silent:?}");
}

#[tokio::test]
async fn calls_carry_the_trace_of_their_span() {
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let socket = directory.path().join("s.sock");
    let mut tasks = JoinSet::new();
    serve(&mut tasks, &socket);
    let channel = local_channel(&LocalEndpoint::Unix(socket));
    let mut client = HealthClient::new(channel);

    let none = client.check(request("echo")).await.unwrap_err();
    assert_eq!(none.message(), "");

    let tracer = SdkTracerProvider::builder().build().tracer("test");
    let subscriber =
        tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(tracer));
    let _guard = tracing::subscriber::set_default(subscriber);
    let span = info_span!("caller");
    let context = span.context();
    let echoed = client
        .check(request("echo"))
        .instrument(span)
        .await
        .unwrap_err();
    let sent = context.span().span_context().clone();
    assert!(sent.is_valid());
    let expected = format!("00-{}-{}-01", sent.trace_id(), sent.span_id());
    assert_eq!(echoed.message(), expected);
}

#[test]
fn reflection_knows_all_services() {
    assert!(reflection().is_ok());
}

/// A health service that does as the name of the service asked about says.
struct Told;

#[tonic::async_trait]
impl HealthService for Told {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let parent = request.metadata().get("traceparent").cloned();
        let status = match request.into_inner().service.as_str() {
            "all" => 1,
            "none" => 2,
            "stall" => pending().await,
            "echo" => {
                let parent = parent.map_or_else(String::new, |parent| {
                    parent.to_str().unwrap_or("unreadable").to_owned()
                });
                return Err(Status::aborted(parent));
            }
            _ => return Err(Status::not_found("no such service")),
        };
        Ok(Response::new(HealthCheckResponse { status }))
    }

    type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not asked for"))
    }
}

fn request(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

fn serve(tasks: &mut JoinSet<Result<(), tonic::transport::Error>>, socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    let server = Server::builder().add_service(HealthServer::new(Told));
    tasks.spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
}
