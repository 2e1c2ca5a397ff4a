//! Asking whether a service serves.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    connect::{LocalEndpoint, TracedChannel, local_channel},
    deadline,
};

/// A healthy service answers at once; one that does not is not healthy.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// What a service says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It serves.
    Serving,
    /// It starts, or drains.
    NotServing,
    /// The process is there and knows no such service.
    Unknown,
}

/// Asks a process how one of its services is; an empty name asks for the process.
///
/// The error says that nobody answered. Must be called inside a tokio runtime.
pub async fn check_health(endpoint: &LocalEndpoint, service: &str) -> Result<Health, Status> {
    check_health_over(local_channel(endpoint), service).await
}

/// A process that asks a service of this machine how it is, and nothing else, does not get the answer that it wants.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// There is nothing to ask with.
    #[error("cannot ask")]
    Start(#[source] std::io::Error),
    /// Nobody answers there.
    #[error("no {service} answers at {endpoint}")]
    NoAnswer {
        /// Which service is meant.
        service: &'static str,
        /// Where it should listen.
        endpoint: LocalEndpoint,
        /// What came instead.
        source: Box<Status>,
    },
    /// It starts, or drains.
    #[error("the {service} at {endpoint} does not serve")]
    NotServing {
        /// Which service is meant.
        service: &'static str,
        /// Where it listens.
        endpoint: LocalEndpoint,
    },
}

/// Asks the process of a service whether it serves, on a runtime of its own: what `health` commands do.
pub fn health(service: &'static str, endpoint: LocalEndpoint) -> Result<(), HealthError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(HealthError::Start)?;
    let answer = runtime.block_on(async { check_health(&endpoint, "").await });
    match answer {
        Ok(Health::Serving) => Ok(()),
        Ok(Health::NotServing | Health::Unknown) => {
            Err(HealthError::NotServing { service, endpoint })
        }
        Err(status) => Err(HealthError::NoAnswer {
            service,
            endpoint,
            source: Box::new(status),
        }),
    }
}

/// Asks as [`check_health`] does, over a channel that is there already.
pub async fn check_health_over(channel: TracedChannel, service: &str) -> Result<Health, Status> {
    let mut client = HealthClient::new(channel);
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    match deadline::within(ANSWER_TIME, client.check(request)).await {
        Ok(response) => Ok(match response.into_inner().status() {
            ServingStatus::Serving => Health::Serving,
            ServingStatus::NotServing => Health::NotServing,
            ServingStatus::Unknown | ServingStatus::ServiceUnknown => Health::Unknown,
        }),
        Err(status) if status.code() == Code::NotFound => Ok(Health::Unknown),
        Err(status) => Err(status),
    }
}
