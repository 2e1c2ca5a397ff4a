//! Logs to stderr, and traces to a collector when there is one.

#[cfg(test)]
mod tests;

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use opentelemetry::{Key, KeyValue, global, trace::TracerProvider as _};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::{Level, Subscriber, dispatcher::SetGlobalDefaultError, warn};
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry,
    filter::{LevelFilter, Targets},
    fmt::writer::{BoxMakeWriter, MakeWriter},
    layer::SubscriberExt as _,
};

use crate::{Env, settings::LogConfig};

/// How long the last spans may take to the collector.
const FLUSH_DEADLINE: Duration = Duration::from_secs(3);

/// The attribute that tells processes of one service apart.
const INSTANCE: &str = "service.instance.id";

/// What a process calls itself, how it logs, and where its traces go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TelemetrySettings {
    /// The service's name in traces: `zeroshare-store`.
    pub service: String,
    /// Tells processes of one service apart unless `OTEL_RESOURCE_ATTRIBUTES` does; made up from host and process when
    /// empty.
    pub instance: String,
    /// 0: changes of state, 1: also decisions, 2: also every datagram and chunk.
    pub verbosity: u8,
    /// One JSON object a line, instead of text.
    pub log_json: bool,
    /// Filter directives as of `RUST_LOG`, which replace the verbosity.
    pub filter: Option<String>,
    /// The collector, `http://host:4317`; no traces without one.
    pub otlp_endpoint: Option<String>,
}

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("`{filter}` is not a log filter such as debug or zeroshare_store=trace")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The collector's address cannot be used.
    #[error("cannot send traces to {endpoint}")]
    Exporter {
        /// The collector.
        endpoint: String,
        /// What is wrong with it.
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// Something in this process logs already.
    #[error("telemetry was started twice")]
    Twice(#[source] SetGlobalDefaultError),
}

/// Running telemetry; what is not flushed at the end is lost.
#[derive(Debug)]
#[must_use = "spans are lost without `shutdown`"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl TelemetrySettings {
    /// Settings for a service, with filter and collector from the usual variables.
    pub fn new(service: &str, log: LogConfig, env: &Env) -> Self {
        let endpoint = env
            .text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
            .or_else(|| env.text("OTEL_EXPORTER_OTLP_ENDPOINT"));
        Self {
            service: service.to_owned(),
            instance: env
                .text("OTEL_SERVICE_INSTANCE_ID")
                .unwrap_or_default()
                .to_owned(),
            verbosity: log.verbosity,
            log_json: log.json,
            filter: env.text("RUST_LOG").map(str::to_owned),
            otlp_endpoint: endpoint.map(str::to_owned),
        }
    }
}

/// Starts telemetry for the process, once, logging to stderr; needs a runtime when traces are sent.
pub fn start(settings: &TelemetrySettings) -> Result<Telemetry, TelemetryError> {
    start_with_writer(settings, io::stderr().is_terminal(), io::stderr)
}

/// The same, logging through something else, such as what keeps progress bars and lines apart.
pub fn start_with_writer<W>(
    settings: &TelemetrySettings,
    colours: bool,
    writer: W,
) -> Result<Telemetry, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (subscriber, telemetry) = subscriber(settings, colours, BoxMakeWriter::new(writer))?;
    global::set_text_map_propagator(TraceContextPropagator::new());
    tracing::subscriber::set_global_default(subscriber).map_err(TelemetryError::Twice)?;
    Ok(telemetry)
}

/// Logs to stderr what happens on this thread during `work`, for what has to be done before [`start`] can be called.
///
/// Nothing of it is traced.
pub fn before_start<T>(
    settings: &TelemetrySettings,
    work: impl FnOnce() -> T,
) -> Result<T, TelemetryError> {
    let lines_only = TelemetrySettings {
        otlp_endpoint: None,
        ..settings.clone()
    };
    let writer = BoxMakeWriter::new(io::stderr);
    let (subscriber, _nothing_to_flush) =
        subscriber(&lines_only, io::stderr().is_terminal(), writer)?;
    Ok(tracing::subscriber::with_default(subscriber, work))
}

/// What [`start`] installs for the process, to be installed for a thread: tests run many in one process.
pub fn subscriber(
    settings: &TelemetrySettings,
    colours: bool,
    writer: BoxMakeWriter,
) -> Result<(impl Subscriber + Send + Sync + use<>, Telemetry), TelemetryError> {
    let provider = settings
        .otlp_endpoint
        .as_deref()
        .map(|to| provider(settings, to))
        .transpose()?;
    let traces = provider.as_ref().map(|provider| {
        let ours = Targets::new().with_target("zeroshare", Level::DEBUG);
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("zeroshare"))
            .with_filter(ours)
    });
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(colours);
    let lines = if settings.log_json {
        lines
            .json()
            .with_current_span(true)
            .with_span_list(false)
            .boxed()
    } else {
        lines.boxed()
    };
    let subscriber = Registry::default()
        .with(traces)
        .with(lines.with_filter(filter(settings)?));
    Ok((subscriber, Telemetry { provider }))
}

impl Telemetry {
    /// Sends what is left, within a deadline; a collector that is gone must not hold up the end.
    pub async fn shutdown(self) {
        let Some(provider) = self.provider else {
            return;
        };
        // Blocks, and on a runtime with one thread would wait for that very thread.
        let flushing =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_DEADLINE));
        match tokio::time::timeout(FLUSH_DEADLINE, flushing).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => warn!(%error, "the last traces are lost"),
            Ok(Err(_)) | Err(_) => warn!("the last traces are lost"),
        }
    }
}

fn filter(settings: &TelemetrySettings) -> Result<EnvFilter, TelemetryError> {
    let ours = match settings.verbosity {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let filter = settings
        .filter
        .clone()
        .unwrap_or_else(|| format!("warn,zeroshare={ours}"));
    EnvFilter::builder()
        .parse(&filter)
        .map_err(|source| TelemetryError::Filter { filter, source })
}

fn provider(
    settings: &TelemetrySettings,
    endpoint: &str,
) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(FLUSH_DEADLINE)
        .build()
        .map_err(|source| TelemetryError::Exporter {
            endpoint: endpoint.to_owned(),
            source,
        })?;
    let found = Resource::builder().build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource(settings, &found))
        .build())
}

/// What the environment says about this process, with a name for it where that has none.
fn resource(settings: &TelemetrySettings, found: &Resource) -> Resource {
    let attributes = found
        .iter()
        .map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    let builder = Resource::builder_empty()
        .with_attributes(attributes)
        .with_service_name(settings.service.clone());
    if found.get(&Key::from_static_str(INSTANCE)).is_some() {
        return builder.build();
    }
    builder
        .with_attribute(KeyValue::new(INSTANCE, instance(settings)))
        .build()
}

fn instance(settings: &TelemetrySettings) -> String {
    if !settings.instance.is_empty() {
        return settings.instance.clone();
    }
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    format!("{host}-{}", std::process::id())
}
