//! Older programs of the family: archives of what is offered, by HTTP/1.1 on the port of `StoreService`.
//!
//! They prove nothing and are told nothing more than other peers: the same networks may read, the same trees are offered,
//! and an archive takes a slot, room and a share of the limit like any other answer. In a group they get nothing, since
//! they cannot prove to be members.

mod archive;
mod contents;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{ALLOW, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::Service;
use zeroshare_chassis::serve::PageBudget;
use zeroshare_content::ContentId;
use zeroshare_kin::{Kin, PathError, Wanted, fits};
use zeroshare_shelf::{Audience, PieceSource};

use crate::peers::{Door, Peers};
use crate::slots::Slots;
use crate::status;
use crate::store::{Source, Store};
use archive::Archive;

/// Archives at once, and to one peer: each keeps a core busy with compressing.
const MAX_ARCHIVES: usize = 4;
const MAX_ARCHIVES_PER_PEER: usize = 2;

/// What is asked for beside gRPC.
#[derive(Debug, Clone)]
struct Neighbours {
    store: Arc<Store>,
    peers: Peers,
    archives: Slots,
    answered: BTreeSet<Kin>,
}

/// Why there is no archive.
#[derive(Debug)]
enum Refusal {
    Path(PathError),
    Method,
    Status(Status),
}

/// Answers these programs too, where `routes` know no way; those that are not answered are told so in their own words.
pub(crate) fn beside(routes: Routes, store: &Arc<Store>, answered: BTreeSet<Kin>) -> Routes {
    let neighbours = Neighbours {
        store: Arc::clone(store),
        peers: Peers::new(Arc::clone(store), Door::Lan),
        archives: Slots::new(MAX_ARCHIVES, MAX_ARCHIVES_PER_PEER),
        answered,
    };
    let router = routes.into_axum_router();
    router.fallback_service(neighbours).into()
}

impl<B: Send + 'static> Service<Request<B>> for Neighbours {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (neighbours, (head, _)) = (self.clone(), request.into_parts());
        Box::pin(async move { Ok(neighbours.answer(&head).await) })
    }
}

impl Neighbours {
    async fn answer(&self, head: &Parts) -> Response<Body> {
        if head.version > Version::HTTP_11 {
            // A call of gRPC that nobody knows.
            return Status::unimplemented("").into_http();
        }
        match self.archive(head).await {
            Ok(response) => response,
            Err(refusal) => refusal.into_response(),
        }
    }

    async fn archive(&self, head: &Parts) -> Result<Response<Body>, Refusal> {
        let is_read = head.method == Method::GET;
        if !is_read && head.method != Method::HEAD {
            return Err(Refusal::Method);
        }
        let wanted = Wanted::parse(head.uri.path())?;
        if !self.answered.contains(&wanted.kin) {
            return Err(PathError::Unknown.into());
        }
        let caller = self.peers.caller(&head.extensions)?;
        let (content, source) = self.find(&wanted).await?;
        let (manifest, format) = (source.manifest().clone(), wanted.format);
        let fitting = self
            .store
            .on_disk("look through a manifest", move |_| fits(&manifest, format));
        if let Err(why) = fitting.await? {
            tracing::debug!(%caller, %content, %why, "there is no such archive of it");
            return Err(PathError::Unknown.into());
        }
        let body = if is_read {
            let archive_slot = self.archives.take(caller.taker());
            let archive_slot = archive_slot.ok_or_else(status::too_many_transfers)?;
            let slots = [self.peers.slot(&caller)?, archive_slot];
            tracing::info!(%caller, %content, format = ?wanted.format, "reads archive");
            let archive = Archive {
                store: Arc::clone(&self.store),
                content,
                source,
                format: wanted.format,
                pages: head.extensions.get::<PageBudget>().cloned(),
            };
            archive.start(slots)
        } else {
            tracing::debug!(%caller, %content, "asks whether it is held");
            Body::empty()
        };
        let mut response = Response::new(body);
        let media_type = HeaderValue::from_static(wanted.format.media_type());
        response.headers_mut().insert(CONTENT_TYPE, media_type);
        Ok(response)
    }

    /// Opens the tree that is held whole and offered, by any of its names.
    async fn find(&self, wanted: &Wanted) -> Result<(ContentId, Arc<PieceSource>), Refusal> {
        let mut failure = None;
        for tree in &wanted.trees {
            let content = ContentId::from(tree);
            match self.store.open(&content, Audience::Peers).await {
                Ok(Source::Whole(source)) => return Ok((content, source)),
                Ok(Source::Part(_)) => {}
                Err(status) if status.code() == Code::NotFound => {}
                Err(status) => failure = Some(status),
            }
        }
        Err(failure.map_or(PathError::Unknown.into(), Refusal::Status))
    }
}

impl Refusal {
    fn into_response(self) -> Response<Body> {
        let (code, why) = match &self {
            Self::Path(error @ PathError::Unknown) => (StatusCode::NOT_FOUND, error.to_string()),
            Self::Path(error @ PathError::Malformed) => {
                (StatusCode::BAD_REQUEST, error.to_string())
            }
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "archives are read only".to_owned(),
            ),
            Self::Status(status) => (code_of(status), status.message().to_owned()),
        };
        let mut response = Response::new(Body::new(why + "\n"));
        *response.status_mut() = code;
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, text);
        if matches!(self, Self::Method) {
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, allowed);
        }
        response
    }
}

impl From<PathError> for Refusal {
    fn from(error: PathError) -> Self {
        Self::Path(error)
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

fn code_of(status: &Status) -> StatusCode {
    let passing = [Code::ResourceExhausted, Code::Unavailable];
    if status.code() == Code::PermissionDenied {
        StatusCode::FORBIDDEN
    } else if passing.contains(&status.code()) {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    }
}
