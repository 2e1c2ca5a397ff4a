//! The standard health service, told about several services at once.

use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

/// Says of some services together whether they serve.
///
/// The empty name, which stands for the whole server, follows them.
#[derive(Clone, Debug)]
pub struct Health {
    reporter: HealthReporter,
    names: Vec<&'static str>,
}

impl Health {
    /// A health service that says of these services, by their full names, that they do not serve yet.
    pub async fn new(names: &[&'static str]) -> (Self, HealthServer<HealthService>) {
        let reporter = HealthReporter::new();
        let names = names.iter().copied().chain([""]).collect();
        let health = Self {
            reporter: reporter.clone(),
            names,
        };
        health.not_serving().await;
        (
            health,
            HealthServer::new(HealthService::from_health_reporter(reporter)),
        )
    }

    /// Says that all of them serve.
    pub async fn serving(&self) {
        self.set(ServingStatus::Serving).await;
    }

    /// Says that none of them does: not yet, or no longer.
    pub async fn not_serving(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    async fn set(&self, status: ServingStatus) {
        for name in &self.names {
            self.reporter.set_service_status(name, status).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Request};
    use tonic_health::pb::{
        HealthCheckRequest, health_check_response::ServingStatus as Answer,
        health_server::Health as _,
    };

    use super::*;

    #[tokio::test]
    async fn all_names_follow_and_unknown_ones_are_not_found() {
        let reporter = HealthReporter::new();
        let service = HealthService::from_health_reporter(reporter.clone());
        let health = Health {
            reporter,
            names: vec!["a.B", "c.D", ""],
        };
        for (serving, expected) in [(false, Answer::NotServing), (true, Answer::Serving)] {
            if serving {
                health.serving().await;
            } else {
                health.not_serving().await;
            }
            for name in ["a.B", "c.D", ""] {
                assert_eq!(check(&service, name).await.unwrap(), expected, "{name}");
            }
        }
        assert_eq!(check(&service, "e.F").await.unwrap_err(), Code::NotFound);
    }

    async fn check(service: &HealthService, name: &str) -> Result<Answer, Code> {
        let request = Request::new(HealthCheckRequest {
            service: name.to_owned(),
        });
        let response = service
            .check(request)
            .await
            .map_err(|status| status.code())?;
        Ok(response.into_inner().status())
    }
}
