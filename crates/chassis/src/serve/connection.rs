//! One connection, from its seat to its end.

use std::{pin::pin, sync::Arc, time::Instant};

use hyper::rt::Executor;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    time::{self, MissedTickBehavior},
};
use tonic::{Status, service::Routes};
use tracing::debug;

use super::{
    Bounds, PeerAddress, PeerCredentials, Tls,
    activity::Activity,
    metered::Metered,
    request::{Caller, Calls, Limits, Refusal},
    seats::Seat,
    watchdog::{Verdict, Watchdog},
};
use crate::Lifetime;

/// What HTTP/1 buffers of a request's head, and of an answer.
const HTTP1_BUFFER_BYTES: usize = 64 * 1024;

/// A connection that was let in.
pub(super) struct Guest<I> {
    pub(super) io: I,
    pub(super) seat: Seat,
    pub(super) address: Option<PeerAddress>,
    pub(super) credentials: Option<PeerCredentials>,
    /// What it is told instead of being served.
    pub(super) refusal: Option<Status>,
    /// What it must prove first.
    pub(super) tls: Option<Tls>,
}

/// A connection over which HTTP is spoken, and since when it is there.
struct Talk {
    calls: Calls,
    activity: Arc<Activity>,
    told: Arc<Notify>,
    address: Option<PeerAddress>,
    began: Instant,
}

impl<I> Guest<I> {
    fn caller(&self) -> Caller {
        Caller {
            address: self.address,
            credentials: self.credentials,
            pages: self.seat.pages.clone(),
        }
    }
}

/// Serves a connection until it ends, has to go, or the lifetime stops and its calls are done.
///
/// One that is refused has to go once it was told.
pub(super) async fn serve<I>(
    guest: Guest<I>,
    routes: Routes,
    bounds: Arc<Bounds>,
    lifetime: Lifetime,
) where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let activity = Arc::new(Activity::default());
    let told = Arc::new(Notify::new());
    let calls = Calls {
        routes,
        caller: guest.caller(),
        activity: activity.clone(),
        limits: Limits::of(&bounds),
        refusal: guest.refusal.map(|status| Refusal {
            status,
            told: told.clone(),
        }),
    };
    let Guest {
        io,
        seat,
        address,
        tls,
        ..
    } = guest;
    let talk = Talk {
        calls,
        activity: activity.clone(),
        told,
        address,
        began: Instant::now(),
    };
    let io = Metered::new(io, activity);
    match tls {
        None => converse(io, talk, &bounds, &lifetime).await,
        Some(tls) => {
            let proving = time::timeout(bounds.first_request, tls.accept(io));
            let proven = tokio::select! {
                proven = proving => proven,
                () = lifetime.stopping() => return,
            };
            match proven {
                Ok(Ok(io)) => converse(io, talk, &bounds, &lifetime).await,
                Ok(Err(error)) => {
                    let why = crate::process::chain(&error);
                    debug!(peer = ?address, why, "connection refused");
                }
                Err(_) => {
                    debug!(peer = ?address, "connection cut: it did not prove itself in time");
                }
            }
        }
    }
    drop(seat);
}

/// Speaks HTTP until it ends or has to.
async fn converse<I>(io: I, talk: Talk, bounds: &Bounds, lifetime: &Lifetime)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Talk {
        calls,
        activity,
        told,
        address,
        began,
    } = talk;
    let streams = AbortOnDrop(lifetime.child());
    let builder = builder(bounds, Streams(streams.0.clone()));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), calls));
    let mut watchdog = Watchdog::new(bounds, began);
    let mut looks = time::interval(bounds.look_interval());
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut leaving = pin!(either(lifetime.stopping(), told.notified()));
    let mut drained = pin!(time::sleep(bounds.drain));
    let mut is_draining = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    debug!(peer = ?address, error = &*error, "connection failed");
                }
                break;
            }
            _ = looks.tick() => match watchdog.look(Instant::now(), activity.snapshot()) {
                Verdict::Fine => {}
                Verdict::Retire => connection.as_mut().graceful_shutdown(),
                Verdict::Cut(reason) => {
                    debug!(peer = ?address, ?reason, "connection cut");
                    break;
                }
            },
            () = leaving.as_mut(), if !is_draining => {
                is_draining = true;
                drained.as_mut().reset(time::Instant::now() + bounds.drain);
                connection.as_mut().graceful_shutdown();
            }
            () = drained.as_mut(), if is_draining => break,
        }
    }
}

async fn either(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    tokio::select! {
        () = one => {}
        () = other => {}
    }
}

fn builder(bounds: &Bounds, streams: Streams) -> Builder<Streams> {
    let mut builder = Builder::new(streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.first_request)
        .max_buf_size(HTTP1_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(bounds.streams)
        .max_header_list_size(bounds.header_bytes)
        .max_frame_size(bounds.frame_bytes)
        .initial_stream_window_size(bounds.stream_window_bytes)
        .initial_connection_window_size(bounds.connection_window_bytes)
        .max_send_buf_size(bounds.send_buffer_bytes)
        .keep_alive_interval(bounds.keepalive_interval)
        .keep_alive_timeout(bounds.keepalive_timeout);
    builder
}

/// The calls of one connection: hyper runs each as a task, and none may outlive the connection.
#[derive(Debug, Clone)]
pub(super) struct Streams(pub(super) Lifetime);

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, call: F) {
        drop(self.0.spawn("call", call));
    }
}

/// Takes the calls along, however the connection ends.
struct AbortOnDrop(Lifetime);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
