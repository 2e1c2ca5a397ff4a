//! The parts of an answer to `ReadPieces`, whose bytes stay in the buffers that HTTP/2 received them in.
//!
//! tonic's own stream puts every message together in one buffer before it decodes it: a copy of all bytes that nobody needs. This
//! one is the same protocol read by hand; what is no data of a manifest or piece is decoded as always.

mod deframe;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::ServiceExt as _;

use zeroshare_wire::pb::store::v1::{ContentHead, PieceHeader, ReadPiecesRequest};

use crate::connect::TracedChannel;
use deframe::{Broken, Deframer};

/// Where stores answer.
const PATH: &str = "/zeroshare.store.v1.StoreService/ReadPieces";

/// A flag and the length of a message.
const PREFIX_BYTES: usize = 5;

/// One part of an answer; bytes of a manifest or piece may come in more parts than they were sent in.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// What comes first.
    Head(ContentHead),
    /// The next bytes of the manifest.
    ManifestData(Bytes),
    /// What begins a piece, or a part of one.
    Header(PieceHeader),
    /// The next bytes of that.
    Data(Bytes),
}

/// An answer on its way in.
#[derive(Debug)]
pub struct PartStream {
    body: Body,
    deframer: Deframer,
    /// What came and was not looked at yet.
    bytes: Bytes,
    /// How the call ended.
    end: Option<Result<(), Status>>,
}

impl PartStream {
    /// Asks, and waits until the answer begins; fails with what the peer says, or with what happened to the connection. May be
    /// dropped midway.
    pub async fn open(channel: TracedChannel, request: &ReadPiecesRequest) -> Result<Self, Status> {
        let unsent = |error: Box<dyn std::error::Error + Send + Sync>| Status::from_error(error);
        let request = http_request(request)?;
        let response = channel.oneshot(request).await.map_err(unsent)?;
        let status = response.status();
        if status != http::StatusCode::OK {
            return Err(Status::unavailable(format!("HTTP says {status}")));
        }
        let (head, body) = response.into_parts();
        if head
            .headers
            .get("grpc-encoding")
            .is_some_and(|encoding| encoding != "identity")
        {
            return Err(Status::internal("an encoding that nobody asked for"));
        }
        // A call that fails at once has its status here.
        if let Some(status) = Status::from_header_map(&head.headers)
            && status.code() != Code::Ok
        {
            return Err(status);
        }
        Ok(Self {
            body,
            deframer: Deframer::default(),
            bytes: Bytes::new(),
            end: None,
        })
    }

    /// Gives the next part; `None` is the end. Fails with the status that the answer ended with, or because it is no answer. May be
    /// dropped midway.
    pub async fn next(&mut self) -> Result<Option<Part>, Status> {
        loop {
            match self.deframer.next(&mut self.bytes) {
                Ok(Some(part)) => return Ok(Some(part)),
                Ok(None) => {}
                Err(Broken) => return Err(Status::out_of_range("its answer is no answer")),
            }
            if let Some(end) = &self.end {
                return match end {
                    Ok(()) if self.deframer.is_between_messages() => Ok(None),
                    Ok(()) => Err(Status::unknown("its answer ended within a message")),
                    Err(status) => Err(status.clone()),
                };
            }
            self.receive().await;
        }
    }

    /// Waits for bytes or the end. May be dropped midway.
    async fn receive(&mut self) {
        match self.body.frame().await {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.bytes = data,
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        self.end = Some(end_of(Status::from_header_map(&trailers)));
                    }
                }
            },
            Some(Err(status)) => self.end = Some(Err(status)),
            None => self.end = Some(end_of(None)),
        }
    }
}

fn end_of(status: Option<Status>) -> Result<(), Status> {
    match status {
        Some(status) if status.code() == Code::Ok => Ok(()),
        Some(status) => Err(status),
        None => Err(Status::unknown("its answer ended without a status")),
    }
}

fn http_request(request: &ReadPiecesRequest) -> Result<Request<Body>, Status> {
    let len = request.encoded_len();
    let too_long = |_| Status::out_of_range("a question that is too long");
    let prefix = u32::try_from(len).map_err(too_long)?;
    let mut message = BytesMut::with_capacity(PREFIX_BYTES + len);
    message.put_u8(0);
    message.put_u32(prefix);
    request
        .encode(&mut message)
        .map_err(|error| Status::internal(error.to_string()))?;
    Request::builder()
        .method(Method::POST)
        .uri(PATH)
        .header(header::TE, HeaderValue::from_static("trailers"))
        .header(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        )
        .body(Body::new(Full::new(message.freeze())))
        .map_err(|error| Status::internal(error.to_string()))
}
