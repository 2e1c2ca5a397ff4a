//! A collector of traces in this process.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value,
    trace::v1::Span,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

use super::DEADLINE;
use crate::Lifetime;

/// Takes traces over gRPC until it is finished.
pub(super) struct Collector {
    pub(super) endpoint: String,
    requests: Requests,
    lifetime: Lifetime,
}

#[derive(Clone, Default)]
struct Requests(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

/// What was collected.
pub(super) struct Spans(Vec<ExportTraceServiceRequest>);

impl Collector {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Requests::default();
        let lifetime = Lifetime::new();
        let server = Server::builder()
            .add_service(TraceServiceServer::new(requests.clone()))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), lifetime.stopping());
        drop(lifetime.spawn("collector", server));
        Self {
            endpoint,
            requests,
            lifetime,
        }
    }

    pub(super) async fn finish(self) -> Spans {
        assert!(self.lifetime.end(DEADLINE).await);
        Spans(std::mem::take(&mut self.requests.0.lock().unwrap()))
    }
}

impl Spans {
    /// The one span of this name.
    pub(super) fn named(&self, name: &str) -> Span {
        let resources = self.0.iter().flat_map(|request| &request.resource_spans);
        let all = resources
            .flat_map(|resource| &resource.scope_spans)
            .flat_map(|scope| &scope.spans);
        let found: Vec<_> = all.clone().filter(|span| span.name == name).collect();
        let names: Vec<_> = all.map(|span| &span.name).collect();
        assert_eq!(found.len(), 1, "{name} among {names:?}");
        found[0].clone()
    }

    /// What the sender says about itself.
    pub(super) fn resource(&self, key: &str) -> String {
        let resource = self.0[0].resource_spans[0].resource.as_ref().unwrap();
        let attribute = resource
            .attributes
            .iter()
            .find(|attribute| attribute.key == key)
            .unwrap();
        match attribute
            .value
            .as_ref()
            .and_then(|value| value.value.clone())
        {
            Some(any_value::Value::StringValue(text)) => text,
            other => panic!("{key} is {other:?}"),
        }
    }
}

#[tonic::async_trait]
impl TraceService for Requests {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
