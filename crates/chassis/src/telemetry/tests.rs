//! One trace over two ends of a connection, as a collector sees it.

mod collector;

use std::{
    io::{self, Write},
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::HeaderMap;
use tonic::{Request, metadata::MetadataMap, service::Routes, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tracing::{Instrument as _, Span, debug, info, info_span, subscriber::DefaultGuard};

use self::collector::Collector;
use super::*;
use crate::{
    Lifetime,
    health::Health,
    listen::bind_lan,
    propagate,
    serve::{Admission, Bounds, serve_lan},
};

const DEADLINE: Duration = Duration::from_secs(20);

/// Installs telemetry for this thread, as [`start`] does for a process.
fn install(settings: &TelemetrySettings, lines: &Lines) -> (DefaultGuard, Telemetry) {
    let writer = BoxMakeWriter::new(lines.clone());
    let (subscriber, telemetry) = subscriber(settings, false, writer).unwrap();
    (tracing::subscriber::set_default(subscriber), telemetry)
}

fn traced(endpoint: &str) -> TelemetrySettings {
    TelemetrySettings {
        service: "zeroshare-test".to_owned(),
        instance: "here".to_owned(),
        otlp_endpoint: Some(endpoint.to_owned()),
        ..TelemetrySettings::default()
    }
}

#[test]
fn an_instance_that_the_environment_names_keeps_its_name() {
    let named = |attributes: &[(&'static str, &'static str)]| {
        let attributes = attributes
            .iter()
            .map(|(key, value)| KeyValue::new(*key, *value));
        let found = Resource::builder_empty()
            .with_attributes(attributes)
            .build();
        let resource = resource(&traced("unused"), &found);
        let get = |key| {
            resource
                .get(&Key::from_static_str(key))
                .map(|value| value.to_string())
        };
        assert_eq!(get("service.name").unwrap(), "zeroshare-test");
        (get(INSTANCE).unwrap(), get("host.rack"))
    };
    assert_eq!(named(&[]), ("here".to_owned(), None));
    assert_eq!(
        named(&[(INSTANCE, "lab-7"), ("host.rack", "b")]),
        ("lab-7".to_owned(), Some("b".to_owned()))
    );
}

#[tokio::test]
async fn a_call_is_the_child_of_its_caller_at_the_other_end() {
    let collector = Collector::start().await;
    let (guard, telemetry) = install(&traced(&collector.endpoint), &Lines::default());
    let lifetime = Lifetime::new();
    let port = serve_health(&lifetime).await;
    let caller = info_span!("caller");
    check_health(port).instrument(caller.clone()).await;
    drop(caller);
    assert!(lifetime.end(DEADLINE).await);
    telemetry.shutdown().await;
    drop(guard);
    let spans = collector.finish().await;
    let caller = spans.named("caller");
    let call = spans.named("grpc.health.v1.Health/Check");
    assert_eq!(call.trace_id, caller.trace_id);
    assert_eq!(call.parent_span_id, caller.span_id);
    assert!(caller.parent_span_id.is_empty());
    assert_eq!(spans.resource("service.name"), "zeroshare-test");
    assert_eq!(spans.resource("service.instance.id"), "here");
}

#[tokio::test]
async fn what_a_datagram_caused_is_the_child_of_its_sender() {
    let collector = Collector::start().await;
    let (guard, telemetry) = install(&traced(&collector.endpoint), &Lines::default());
    let sent = info_span!("sender").in_scope(|| propagate::trace_context().unwrap());
    let receiver = info_span!("receiver");
    propagate::set_parent(&receiver, &sent);
    receiver.in_scope(|| drop(info_span!("inner").entered()));
    drop(receiver);
    telemetry.shutdown().await;
    drop(guard);
    let spans = collector.finish().await;
    let (sender, receiver) = (spans.named("sender"), spans.named("receiver"));
    assert_eq!(sent[..16], sender.trace_id[..]);
    assert_eq!(sent[16..24], sender.span_id[..]);
    assert_eq!(receiver.trace_id, sender.trace_id);
    assert_eq!(receiver.parent_span_id, sender.span_id);
    assert_eq!(spans.named("inner").parent_span_id, receiver.span_id);
}

#[tokio::test]
async fn a_stranger_cannot_break_a_trace() {
    let collector = Collector::start().await;
    let (guard, telemetry) = install(&traced(&collector.endpoint), &Lines::default());
    let request = http::Request::get("/a")
        .header("traceparent", "00-zz-\u{ff}")
        .body(())
        .unwrap();
    let spans = [propagate::request_span(&request), info_span!("nothing")];
    propagate::set_parent(&spans[1], &[0; 25]);
    for span in spans {
        span.in_scope(|| assert!(propagate::trace_context().is_some()));
    }
    telemetry.shutdown().await;
    drop(guard);
    let spans = collector.finish().await;
    assert!(spans.named("a").parent_span_id.is_empty());
    assert!(spans.named("nothing").parent_span_id.is_empty());
}

#[tokio::test]
async fn a_collector_that_is_gone_does_not_hold_up_the_end() {
    let gone = bind_lan(0, false).unwrap();
    let port = gone[0].local_addr().unwrap().port();
    drop(gone);
    let (guard, telemetry) = install(
        &traced(&format!("http://127.0.0.1:{port}")),
        &Lines::default(),
    );
    drop(info_span!("lost").entered());
    tokio::time::timeout(DEADLINE, telemetry.shutdown())
        .await
        .unwrap();
    drop(guard);
}

#[test]
fn without_a_collector_there_is_no_trace_and_no_fault() {
    let (_guard, _telemetry) = install(&TelemetrySettings::default(), &Lines::default());
    let span = info_span!("span");
    propagate::set_parent(&span, &[7; 25]);
    span.in_scope(|| assert_eq!(propagate::trace_context(), None));
    let mut headers = HeaderMap::new();
    propagate::inject(&span, &mut headers);
    assert!(headers.is_empty());
}

#[test]
fn verbosity_says_how_much_of_ours_is_logged() {
    for (verbosity, filter, expected) in [
        (0, None, "info"),
        (1, None, "info debug"),
        (0, Some("zeroshare_chassis=debug"), "info debug"),
        (2, Some("error"), ""),
    ] {
        let lines = Lines::default();
        let filter = filter.map(str::to_owned);
        let settings = TelemetrySettings {
            verbosity,
            filter,
            ..TelemetrySettings::default()
        };
        let (guard, _telemetry) = install(&settings, &lines);
        info!("info");
        debug!("debug");
        info!(target: "foreign", "foreign");
        drop(guard);
        let text = lines.text();
        let said = text
            .lines()
            .map(|line| line.rsplit(' ').next().unwrap())
            .collect::<Vec<_>>();
        assert_eq!(said.join(" "), expected);
    }
}

#[test]
fn json_is_one_object_a_line() {
    let lines = Lines::default();
    let settings = TelemetrySettings {
        log_json: true,
        ..TelemetrySettings::default()
    };
    let (guard, _telemetry) = install(&settings, &lines);
    info!(peer = "10.0.0.7", "fetch\nstarted");
    drop(guard);
    let object: serde_json::Value = serde_json::from_str(lines.text().trim_end()).unwrap();
    assert_eq!(object["fields"]["peer"], "10.0.0.7");
    assert_eq!(object["fields"]["message"], "fetch\nstarted");
}

#[test]
fn a_filter_that_is_none_is_refused() {
    let filter = Some("zeroshare=loud".to_owned());
    let settings = TelemetrySettings {
        filter,
        ..TelemetrySettings::default()
    };
    let refused = subscriber(&settings, false, BoxMakeWriter::new(io::sink))
        .err()
        .unwrap();
    assert!(refused.to_string().contains("zeroshare=loud"), "{refused}");
}

async fn serve_health(lifetime: &Lifetime) -> u16 {
    let (health, service) = Health::new(&[]).await;
    health.serving().await;
    let listeners = bind_lan(0, false).unwrap();
    let port = listeners[0].local_addr().unwrap().port();
    let routes = Routes::new(service);
    let everybody: Admission = Arc::new(|_| crate::serve::Welcome::Served);
    let serving = serve_lan(
        listeners,
        routes,
        Bounds::lan(),
        everybody.into(),
        lifetime.child(),
    );
    drop(lifetime.spawn("server", serving));
    port
}

/// Calls another end, with the current span named in the request's metadata.
async fn check_health(port: u16) {
    let address = format!("http://{}:{port}", Ipv4Addr::LOCALHOST);
    let channel = Endpoint::from_shared(address)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut headers = HeaderMap::new();
    propagate::inject(&Span::current(), &mut headers);
    let mut request = Request::new(HealthCheckRequest::default());
    *request.metadata_mut() = MetadataMap::from_headers(headers);
    HealthClient::new(channel).check(request).await.unwrap();
}

/// Where a test's log goes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
