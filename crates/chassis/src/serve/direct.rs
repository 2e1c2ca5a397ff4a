//! Answers that go to HTTP as they are.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame};
use tonic::Status;

/// Bytes of an answer, as gRPC frames messages, in parts of any size.
///
/// A message may begin in one part and end in another; each part becomes one HTTP/2 DATA frame as far as the peer has
/// room. After the last part, or the first failure, it is not asked again.
pub trait Parts: Send {
    /// The next part; `None` is a good end, a failure a bad one.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>>;
}

/// A body made by hand that goes out in place of the answer's own: what a service puts into the extensions of its
/// response.
///
/// A generated service gives messages, and tonic copies each into a buffer of its own before it is sent. Where the
/// bytes of a message are a file's that cost counts.
#[derive(Clone)]
pub struct DirectBody {
    /// Extensions must be `Clone`; there is only one body all the same.
    parts: Arc<Mutex<Option<Box<dyn Parts>>>>,
}

impl DirectBody {
    /// A body of these parts.
    pub fn new(parts: impl Parts + 'static) -> Self {
        Self {
            parts: Arc::new(Mutex::new(Some(Box::new(parts)))),
        }
    }

    /// The body; nothing when it was taken before.
    pub fn into_body(self) -> tonic::body::Body {
        let parts = self
            .parts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        tonic::body::Body::new(Framed { parts })
    }
}

impl fmt::Debug for DirectBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirectBody")
    }
}

/// Parts, and then the status as trailers.
struct Framed {
    /// `None` once the trailers were given.
    parts: Option<Box<dyn Parts>>,
}

impl Body for Framed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(parts) = &mut self.parts else {
            return Poll::Ready(None);
        };
        let part = ready!(parts.poll_part(cx));
        if !matches!(part, Some(Ok(_))) {
            self.parts = None;
        }
        Poll::Ready(Some(Ok(match part {
            Some(Ok(bytes)) => Frame::data(bytes),
            Some(Err(status)) => Frame::trailers(trailers(&status)),
            None => Frame::trailers(good_end()),
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_none()
    }
}

fn good_end() -> HeaderMap {
    let status = HeaderName::from_static("grpc-status");
    HeaderMap::from_iter([(status, HeaderValue::from_static("0"))])
}

/// A status as it stands behind an answer that had begun.
pub(super) fn trailers(status: &Status) -> HeaderMap {
    let mut headers = HeaderMap::new();
    match status.add_header(&mut headers) {
        Ok(()) => headers,
        // Its message cannot be written as a header: the code can.
        Err(status) => status.into_http::<()>().into_parts().0.headers,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use http_body_util::BodyExt as _;
    use tonic::Code;

    use super::*;

    struct Given(VecDeque<Result<Bytes, Status>>);

    impl Parts for Given {
        fn poll_part(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
            Poll::Ready(self.0.pop_front())
        }
    }

    async fn read(parts: impl IntoIterator<Item = Result<Bytes, Status>>) -> (Vec<Bytes>, Code) {
        let direct = DirectBody::new(Given(parts.into_iter().collect()));
        let mut body = direct.clone().into_body();
        let mut read = Vec::new();
        let mut code = None;
        while let Some(frame) = body.frame().await {
            match frame.unwrap().into_data() {
                Ok(data) => read.push(data),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap();
                    code = Status::from_header_map(&trailers).map(|status| status.code());
                }
            }
        }
        let mut again = direct.into_body();
        assert!(again.frame().await.is_none(), "there is only one");
        (read, code.unwrap())
    }

    #[tokio::test]
    async fn each_part_is_a_frame_and_the_end_a_status() {
        let parts = ["one", "two"].map(|part| Bytes::from_static(part.as_bytes()));
        let (read, code) = read(parts.clone().map(Ok)).await;
        assert_eq!((read.as_slice(), code), (parts.as_slice(), Code::Ok));
    }

    #[tokio::test]
    async fn a_failure_ends_it_behind_what_came_before() {
        let part = Bytes::from_static(b"one");
        let failure = Status::data_loss("gone \u{1}\n");
        let (read, code) = read([Ok(part.clone()), Err(failure), Ok(part.clone())]).await;
        assert_eq!((read, code), (vec![part], Code::DataLoss));
    }
}
