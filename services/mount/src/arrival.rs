//! Keeping lookups of what nobody has waiting for whoever gets it, and getting it where nobody else does.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::{debug, info};
use zeroshare_content::TreeId;
use zeroshare_wire::pb::discovery::v1::AnnounceArrivalRequest;
use zeroshare_wire::pb::fetcher::v1::FollowArrivalRequest;
use zeroshare_wire::pb::fetcher::v1::follow_arrival_response as pb;
use zeroshare_wire::pb::store::v1::DescribeStoreRequest;

use crate::answers::Answer;
use crate::evidence::Claim;
use crate::hold::{ClaimState, Claimant, OPENING, Process, is_waited_for};
use crate::questions::ask;
use crate::root::known;
use crate::shared::Shared;
use crate::traces::{Traces, downloader};

/// Trees that are waited for at once; the lookups of others are not held.
const MAX_COURSES: usize = 32;

/// Between two looks at a process that downloads.
const LOOK: Duration = Duration::from_millis(200);

/// How long whoever was waited for is asked for what it got.
const ASK: Duration = Duration::from_millis(1500);

/// What goes on about one tree that nobody has, for as long as any lookup of it or download lasts.
#[derive(Debug)]
pub(crate) struct Course {
    claims: watch::Receiver<Claims>,
    /// Who downloads it here, and whether others may wait for that.
    goer: watch::Sender<Option<Goer>>,
}

/// Who else looks for it, or gets it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Claims {
    claimants: Vec<Claimant>,
    is_held: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Goer {
    process: Process,
    can_share: bool,
}

/// The process that looks something up, if its lookup may be held.
pub(crate) fn may_be_held(shared: &Shared, process: u32) -> Option<Process> {
    let is_on = !shared.config.hold.is_zero() && shared.config.from.is_empty();
    is_on.then(|| downloader(process)).flatten()
}

/// Joins what goes on about a tree, or begins it: tells others that it is looked for, and hears who else does. `None`: too
/// much goes on.
pub(crate) fn join(shared: &Arc<Shared>, id: TreeId) -> Option<Arc<Course>> {
    let mut courses = shared.courses();
    if let Some(course) = courses.get(&id).and_then(Weak::upgrade) {
        return Some(course);
    }
    courses.retain(|_, course| course.strong_count() > 0);
    if courses.len() >= MAX_COURSES {
        return None;
    }
    let (tell, claims) = watch::channel(Claims::default());
    let (goer, goes) = watch::channel(None);
    let course = Arc::new(Course { claims, goer });
    courses.insert(id, Arc::downgrade(&course));
    drop(courses);
    let own = shared.clone();
    shared.spawn("announce an arrival", announce(own, id, goes.clone()));
    let own = shared.clone();
    shared.spawn("follow an arrival", async move {
        let end = tokio::select! {
            end = follow(&own, id, &tell) => end,
            () = over(goes) => Ok(()),
            () = own.lifetime.stopping() => Ok(()),
        };
        if let Err(status) = end {
            debug!(why = status.message(), "it is not known who else gets it");
        }
        // Whom nobody hears any more nobody waits for.
        tell.send_replace(Claims::default());
    });
    Some(course)
}

impl Course {
    /// Whether this process was told already that nobody has it, and downloads it.
    pub(crate) fn is_taken_by(&self, process: Process) -> bool {
        self.goer
            .borrow()
            .is_some_and(|goer| goer.process == process)
    }

    /// Whether anybody is to be waited for, here or elsewhere.
    fn is_waiting(&self, process: Process, after: Duration) -> bool {
        let goer = *self.goer.borrow();
        goer.is_some_and(|goer| goer.process != process && goer.can_share)
            || is_waited_for(&self.claims.borrow().claimants, after)
    }
}

/// Holds a lookup of what nobody has for as long as somebody gets it and the process may be held; then it is asked for
/// again, and it is this process's turn if nobody has it still. May be dropped midway.
pub(crate) async fn hold(
    shared: &Arc<Shared>,
    id: TreeId,
    process: Process,
    course: &Arc<Course>,
) -> Answer {
    if course.is_taken_by(process) {
        return Answer::Nobody;
    }
    let until = shared.holds().begin(Instant::now(), process);
    if let Some(until) = until {
        let _held = Hold { shared, process };
        if let Some(answer) = wait(shared, id, (process, until), course).await {
            return answer;
        }
    }
    go(shared, id, process, course);
    Answer::Nobody
}

async fn wait(
    shared: &Arc<Shared>,
    id: TreeId,
    (process, until): (Process, Instant),
    course: &Arc<Course>,
) -> Option<Answer> {
    let (mut claims, mut goer) = (course.claims.clone(), course.goer.subscribe());
    let mut since = Instant::now();
    let mut has_waited = false;
    let mut was_held = false;
    let mut was_told = false;
    loop {
        let now = Instant::now();
        if now >= until {
            info!(%id, process = process.id, "waited long enough for whoever gets it");
            return None;
        }
        goer.borrow_and_update();
        let is_held = claims.borrow_and_update().is_held && !was_held;
        let is_waiting = course.is_waiting(process, now.saturating_duration_since(since));
        if is_held || (has_waited && !is_waiting) {
            was_held |= is_held;
            if let Some(answer) = ask_again(shared, id, until).await {
                return Some(answer);
            }
            (since, has_waited) = (Instant::now(), false);
            continue;
        }
        if !is_waiting {
            return None;
        }
        let is_told = course.is_waiting(process, OPENING);
        if is_told && !was_told {
            info!(%id, process = process.id, "somebody gets it: waiting");
        }
        was_told |= is_told;
        has_waited = true;
        let opened = since + OPENING;
        let wake = if opened > now {
            opened.min(until)
        } else {
            until
        };
        tokio::select! {
            changed = claims.changed() => if changed.is_err() {
                return None;
            },
            _ = goer.changed() => {}
            () = sleep_until(wake.into()) => {}
        }
    }
}

/// Asks once more, now that it may have come; `None`: nobody has it.
async fn ask_again(shared: &Arc<Shared>, id: TreeId, until: Instant) -> Option<Answer> {
    shared.answers().void_nobody(&[id]);
    if let Some(answer @ Answer::Shown(_)) = known(shared, id) {
        return Some(answer);
    }
    let mut asked = ask(shared, id)?;
    let end = until.min(Instant::now() + ASK);
    let heard = tokio::time::timeout_at(end.into(), asked.wait_for(Option::is_some)).await;
    let answer = heard.ok()?.ok()?.filter(|answer| *answer != Answer::Nobody);
    if answer.is_some() {
        info!(%id, "it has come");
    }
    answer
}

/// It is this process's turn: others wait for it, as long as it is seen to download.
fn go(shared: &Arc<Shared>, id: TreeId, process: Process, course: &Arc<Course>) {
    let can_share = true;
    let is_first = course.goer.send_if_modified(|goer| {
        let is_free = goer.is_none();
        if is_free {
            *goer = Some(Goer { process, can_share });
        }
        is_free
    });
    if !is_first {
        return;
    }
    info!(%id, process = process.id, "nobody gets it: it is this process's turn");
    let (own, course) = (shared.clone(), course.clone());
    shared.spawn("watch a download", async move {
        tokio::select! {
            () = watch_over(&own, id, process, &course) => {}
            () = own.lifetime.stopping() => {}
        }
        course.goer.send_replace(None);
    });
}

/// Resolves when nothing shows any more that the process downloads it, or when it is here.
async fn watch_over(shared: &Arc<Shared>, id: TreeId, process: Process, course: &Course) {
    let mut claim = Claim::new(Instant::now());
    let stores = shared_stores(shared).await;
    let begun = move || Traces::new(process, id, stores);
    let Ok(traces) = shared.lifetime.spawn_blocking("look", begun).await else {
        return;
    };
    let can_share = traces.can_share();
    course.goer.send_replace(Some(Goer { process, can_share }));
    let traces = Arc::new(traces);
    loop {
        let looking = traces.clone();
        let look = move || looking.look();
        let Ok(seen) = shared.lifetime.spawn_blocking("look", look).await else {
            return;
        };
        let is_here = shared.held().path(&id).is_some();
        if is_here || !claim.handle(Instant::now(), seen) {
            info!(%id, process = process.id, is_here, "its download is over");
            return;
        }
        sleep(LOOK).await;
    }
}

/// The stores of which peers may read, as far as that is said.
async fn shared_stores(shared: &Shared) -> Vec<PathBuf> {
    let described = shared.store().describe_store(DescribeStoreRequest {}).await;
    let roots = described.map(|described| described.into_inner().roots);
    let roots = roots.unwrap_or_default().into_iter();
    roots
        .filter(|root| root.shared)
        .map(|root| PathBuf::from(root.path))
        .collect()
}

/// Tells discovery that it is looked for, and whether it is on its way, until the course is over.
async fn announce(shared: Arc<Shared>, id: TreeId, mut goes: watch::Receiver<Option<Goer>>) {
    let (tell, told) = mpsc::channel(1);
    let telling = async {
        loop {
            let goer = *goes.borrow_and_update();
            let request = AnnounceArrivalRequest {
                content_id: id.to_string(),
                on_its_way: goer.is_some_and(|goer| goer.can_share),
            };
            if tell.send(request).await.is_err() || goes.changed().await.is_err() {
                return;
            }
        }
    };
    let mut discovery = shared.discovery();
    let announcing = discovery.announce_arrival(ReceiverStream::new(told));
    tokio::select! {
        () = telling => {}
        end = announcing => if let Err(status) = end {
            debug!(why = status.message(), "others are not told that it is looked for here");
        },
        () = shared.lifetime.stopping() => {}
    }
}

async fn follow(shared: &Shared, id: TreeId, tell: &watch::Sender<Claims>) -> Result<(), Status> {
    let request = FollowArrivalRequest {
        content_ids: vec![id.to_string()],
    };
    let following = shared.fetcher().follow_arrival(request).await?;
    let mut messages = following.into_inner();
    while let Some(message) = messages.message().await? {
        let claimants = message.claimants.iter().filter_map(claimant).collect();
        let is_held = message.is_held;
        tell.send_replace(Claims { claimants, is_held });
    }
    Ok(())
}

fn claimant(message: &pb::Claimant) -> Option<Claimant> {
    let state = match message.state() {
        pb::ClaimState::Unspecified => return None,
        pb::ClaimState::Opening => ClaimState::Opening,
        pb::ClaimState::Asks => ClaimState::Asks,
        pb::ClaimState::OnItsWay => ClaimState::OnItsWay,
    };
    Some(Claimant {
        state,
        goes_first: message.goes_first,
    })
}

/// Resolves once nobody needs the course any more.
async fn over(mut goes: watch::Receiver<Option<Goer>>) {
    while goes.changed().await.is_ok() {}
}

/// A process that is held; no more once this is dropped.
struct Hold<'a> {
    shared: &'a Shared,
    process: Process,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.shared.holds().end(Instant::now(), self.process);
    }
}
