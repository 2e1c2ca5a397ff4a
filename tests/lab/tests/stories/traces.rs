//! One fetch is one trace over all services and machines.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use anyhow::{Context as _, Result};
use data_encoding::HEXLOWER;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    resource::v1::Resource,
    trace::v1::Span,
};
use tonic::{Request, Response, Status, transport::Server};

use crate::compose::{Lab, wait_until};

/// Where containers reach this test: the management network's gateway.
const GATEWAY: &str = "172.28.9.1";

#[derive(Clone)]
struct Seen {
    service: String,
    span: Span,
}

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Seen>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut seen = self.0.lock().map_err(|_| Status::internal("poisoned"))?;
        for spans in request.into_inner().resource_spans {
            let service = instance(spans.resource.as_ref());
            for span in spans.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                seen.push(Seen {
                    service: service.clone(),
                    span,
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn instance(resource: Option<&Resource>) -> String {
    resource
        .into_iter()
        .flat_map(|resource| &resource.attributes)
        .find(|attribute| attribute.key == "service.instance.id")
        .and_then(|attribute| attribute.value.as_ref()?.value.as_ref())
        .map(|value| {
            if let Value::StringValue(text) = value {
                text.clone()
            } else {
                format!("{value:?}")
            }
        })
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn one_fetch_is_one_trace_over_three_hosts() -> Result<()> {
    let collector = Collector::default();
    let socket = tokio::net::TcpListener::bind("0.0.0.0:0").await?;
    let port = socket.local_addr()?.port();
    let server = Server::builder()
        .add_service(TraceServiceServer::new(collector.clone()))
        .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(socket));
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    let server = tokio::spawn(server);
    let endpoint: SocketAddr = format!("{GATEWAY}:{port}").parse()?;

    let spans =
        tokio::task::spawn_blocking(move || fetch_over_three_hosts(&collector, endpoint)).await??;
    server.abort();

    print_tree(&spans);
    let services: BTreeSet<&str> = spans.iter().map(|seen| seen.service.as_str()).collect();
    for service in ["fetcher-c", "discovery-c", "store-a", "store-b"] {
        assert!(
            services.contains(service),
            "{service} took no part: {services:?}"
        );
    }
    let ids: BTreeSet<&[u8]> = spans
        .iter()
        .map(|seen| seen.span.span_id.as_slice())
        .collect();
    let roots: Vec<_> = spans
        .iter()
        .filter(|seen| !ids.contains(seen.span.parent_span_id.as_slice()))
        .collect();
    assert_eq!(
        roots.len(),
        1,
        "one root: {:?}",
        roots.iter().map(|seen| &seen.span.name).collect::<Vec<_>>()
    );
    Ok(())
}

/// A and B hold a tree, C fetches it from both; gives the spans of the trace that C's fetch is in.
fn fetch_over_three_hosts(collector: &Collector, endpoint: SocketAddr) -> Result<Vec<Seen>> {
    let endpoint = format!("http://{endpoint}");
    let lab = Lab::up_with("traces", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)])?;
    let id = lab.offer("a", 60_000_000)?;
    lab.exec(
        "fetcher-b",
        &["/zeroshare", "fetch", &id, "--timeout", "10s"],
    )?;
    lab.wait_offered("b", &id)?;
    // Slow enough that C hears of B's new holding before A alone has given everything. Whether C asks by datagram depends
    // on the filters it has heard.
    lab.slow_down("a", "20mbit")?;
    lab.slow_down("b", "20mbit")?;
    lab.exec(
        "fetcher-c",
        &["/zeroshare", "fetch", &id, "--timeout", "10s"],
    )?;

    let mut trace = Vec::new();
    wait_until("the spans of all hosts are exported", || {
        let seen = collector
            .0
            .lock()
            .map_err(|_| anyhow::anyhow!("poisoned"))?
            .clone();
        let fetch = seen
            .iter()
            .find(|seen| seen.service == "fetcher-c" && seen.span.name == "fetch");
        let Some(fetch) = fetch else { return Ok(false) };
        trace = seen
            .iter()
            .filter(|other| other.span.trace_id == fetch.span.trace_id)
            .cloned()
            .collect();
        let has = |service: &str| trace.iter().any(|seen: &Seen| seen.service == service);
        Ok(has("store-a") && has("store-b"))
    })
    .with_context(|| {
        format!(
            "{:?}",
            trace
                .iter()
                .map(|seen: &Seen| (&seen.service, &seen.span.name))
                .collect::<Vec<_>>()
        )
    })?;
    // Taking the lab down flushes what is still on its way.
    drop(lab);
    let fetch_trace = trace
        .first()
        .map(|seen| seen.span.trace_id.clone())
        .unwrap_or_default();
    let seen = collector
        .0
        .lock()
        .map_err(|_| anyhow::anyhow!("poisoned"))?
        .clone();
    Ok(seen
        .into_iter()
        .filter(|seen| seen.span.trace_id == fetch_trace)
        .collect())
}

/// Prints the trace as text: when, for how long, what called what, and where.
fn print_tree(spans: &[Seen]) {
    let ids: BTreeSet<&[u8]> = spans
        .iter()
        .map(|seen| seen.span.span_id.as_slice())
        .collect();
    let mut children: BTreeMap<&[u8], Vec<&Seen>> = BTreeMap::new();
    for seen in spans {
        let parent = seen.span.parent_span_id.as_slice();
        let parent = if ids.contains(parent) { parent } else { &[] };
        children.entry(parent).or_default().push(seen);
    }
    for below in children.values_mut() {
        below.sort_by_key(|seen| std::cmp::Reverse(seen.span.start_time_unix_nano));
    }
    let start = spans
        .iter()
        .map(|seen| seen.span.start_time_unix_nano)
        .min()
        .unwrap_or(0);
    if let Some(seen) = spans.first() {
        println!("trace {}", HEXLOWER.encode(&seen.span.trace_id));
    }
    let below = |parent: &[u8]| children.get(parent).cloned().unwrap_or_default();
    let mut stack: Vec<(usize, &Seen)> = below(&[]).into_iter().map(|seen| (0, seen)).collect();
    while let Some((depth, seen)) = stack.pop() {
        let span = &seen.span;
        println!(
            "{:>7} µs {:>7} µs  {}{} [{}]",
            (span.start_time_unix_nano - start) / 1000,
            (span.end_time_unix_nano - span.start_time_unix_nano) / 1000,
            "  ".repeat(depth),
            span.name,
            seen.service
        );
        stack.extend(
            below(&span.span_id)
                .into_iter()
                .map(|seen| (depth + 1, seen)),
        );
    }
}
