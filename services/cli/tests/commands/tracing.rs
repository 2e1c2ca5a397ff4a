//! One fetch is one trace, over all services and machines.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use rustix::process::Signal;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use zeroshare_chassis::Lifetime;

use crate::home::{Home, wait_until};

/// A span as the collector got it.
#[derive(Debug, Clone)]
struct Span {
    /// The process that it comes from.
    instance: String,
    name: String,
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    /// The crate that made it.
    module: String,
}

#[derive(Debug, Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut kept = self.0.lock().map_err(|_| Status::internal("poisoned"))?;
        for resource in request.into_inner().resource_spans {
            let attributes = resource
                .resource
                .map(|resource| resource.attributes)
                .unwrap_or_default();
            let instance = text(&attributes, "service.instance.id");
            for span in resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans)
            {
                kept.push(Span {
                    instance: instance.clone(),
                    module: text(&span.attributes, "code.module.name"),
                    name: span.name,
                    trace: span.trace_id,
                    id: span.span_id,
                    parent: span.parent_span_id,
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_fetch_is_one_trace_over_two_machines() {
    let collector = Collector::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let lifetime = Lifetime::new();
    let server = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(collector.clone()))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), lifetime.stopping());
    lifetime.spawn("collector", server);

    let fetching = tokio::task::spawn_blocking(move || fetch_traced(&endpoint));
    fetching.await.unwrap();
    assert!(lifetime.end(Duration::from_secs(10)).await);
    check(&collector.0.lock().unwrap());
}

/// One machine's node gives a tree to another machine's command; both are gone afterwards, and have told all they did.
fn fetch_traced(endpoint: &str) {
    let (one, two) = (Home::new(), Home::new());
    let mut command = one.command(&["node"]);
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_SERVICE_INSTANCE_ID", "one");
    let mut node = one.start_node_by(command);
    one.make_tree("tree", 1);
    let id = one.must(&["add", "tree"]);
    one.wait_until_offered(&id);

    let mut command = two.command(&["fetch", &id, "--from", &one.address()]);
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_SERVICE_INSTANCE_ID", "two");
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    node.signal(Signal::TERM);
    wait_until("the node ends", || one.run(&["status"]).code == Some(1));
    assert_eq!(node.wait().code(), Some(0), "{}", node.err());
}

fn check(spans: &[Span]) {
    let roots: Vec<&Span> = spans
        .iter()
        .filter(|span| span.name == "cli.fetch")
        .collect();
    let [root] = roots.as_slice() else {
        panic!("{} roots among {spans:#?}", roots.len())
    };
    assert!(root.parent.is_empty(), "the command begins the trace");
    let trace: Vec<&Span> = spans
        .iter()
        .filter(|span| span.trace == root.trace)
        .collect();
    let by_id: BTreeMap<&[u8], &Span> = trace.iter().map(|span| (&span.id[..], *span)).collect();
    for span in &trace {
        assert!(
            span.id == root.id || by_id.contains_key(&span.parent[..]),
            "the parent of {span:?} is missing in {}",
            shown(&trace)
        );
    }
    // From the command over the fetcher to the other machine's store, without a gap.
    let far: Vec<&&Span> = trace.iter().filter(|span| span.instance == "one").collect();
    assert!(
        !far.is_empty(),
        "nothing of the other machine in {}",
        shown(&trace)
    );
    let reads = far.iter().any(|span| {
        span.name
            .starts_with("zeroshare.store.v1.StoreService/Read")
    });
    assert!(reads, "{}", shown(&trace));
    for span in far {
        let path = path_to_root(span, &by_id);
        let crosses = path
            .iter()
            .any(|span| span.instance == "two" && span.module.starts_with("zeroshare_fetcher"));
        assert!(
            crosses,
            "{span:?} does not come from the fetcher: {}",
            shown(&trace)
        );
        assert_eq!(path.last().map(|span| &span.id), Some(&root.id));
    }
}

fn path_to_root<'a>(span: &'a Span, by_id: &BTreeMap<&[u8], &'a Span>) -> Vec<&'a Span> {
    let mut path = vec![span];
    let mut at = span;
    while let Some(parent) = by_id.get(&at.parent[..]) {
        path.push(parent);
        at = parent;
        assert!(path.len() <= by_id.len(), "a circle");
    }
    path
}

fn shown(trace: &[&Span]) -> String {
    let hex = |id: &[u8]| {
        id.iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
    };
    let line = |span: &&Span| {
        let (id, parent) = (hex(&span.id), hex(&span.parent));
        format!(
            "\n{id} < {parent} {} {} ({})",
            span.instance, span.name, span.module
        )
    };
    trace.iter().map(line).collect()
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let value = attributes.iter().find(|attribute| attribute.key == key);
    let value = value.and_then(|attribute| attribute.value.as_ref()?.value.as_ref());
    match value {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        _ => String::new(),
    }
}
