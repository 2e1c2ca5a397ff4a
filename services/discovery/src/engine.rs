//! The task that owns the machine: everything that happens goes in, and what it says is done.

mod asked;
mod astray;
mod lookups;
mod naps;
mod refreshes;
mod views;
mod watchers;
mod zero_share;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{
    net::TcpStream,
    sync::{Semaphore, mpsc, oneshot},
    time::{MissedTickBehavior, interval, sleep_until, timeout},
};
use tracing::{debug, info, warn};
use zeroshare_chassis::Lifetime;
use zeroshare_content::ContentId;
use zeroshare_membership::{
    BanView, Destination, Event, LookupId, Membership, Memory, Mercy, Report, Step, Told, Verdict,
};
use zeroshare_wire::datagram::{Day, HoldingState};

use self::{
    asked::AskedLog, astray::Rounds, lookups::OpenLookups, naps::Naps, refreshes::Refreshes,
    watchers::Watchers,
};
pub(crate) use self::{
    lookups::{FindRequest, LookupKey, News, StepNews, TooManyLookups},
    refreshes::{RefreshWatch, Refreshed},
    views::{CheckView, NetworkView},
    watchers::{PeerChange, PeerWatch},
    zero_share::ZeroShare,
};
use crate::{
    advert::Advert,
    interfaces::UsableInterface,
    sockets::{Incoming, Sockets},
    state::save_memory,
};

/// Datagrams taken in before anything else gets its turn.
const BATCH: usize = 64;

/// The day is looked at, and what was learnt is saved, this often.
const TICK: Duration = Duration::from_mins(1);

/// Callers at a time that want the network to be tried.
const MOST_CHECKERS: usize = 16;

/// Stores that are tried at a time because somebody cast doubt on them.
const MOST_PROBES: usize = 8;

/// How long such a try may take.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// What the engine is told by the rest of the service.
#[derive(Debug)]
pub(crate) enum Command {
    /// A lookup begins.
    Find(FindRequest),
    /// Whoever began a lookup is gone.
    Cancel(LookupKey),
    /// Somebody wants to know of every peer.
    WatchPeers(oneshot::Sender<PeerWatch>),
    /// A provider was used.
    Report(Report),
    /// Somebody wants to know who is banned.
    ListBans(oneshot::Sender<Vec<BanView>>),
    /// Bans are lifted; the answer is how many.
    Forgive(Mercy, oneshot::Sender<usize>),
    /// Somebody wants to know how the network is used.
    Describe(oneshot::Sender<NetworkView>),
    /// Somebody wants the network to be tried.
    Check(oneshot::Sender<CheckView>),
    /// So much of something is held, in 1/255.
    Holding(ContentId, u8),
    /// Something is being got, and so much of it is here.
    Arriving(ContentId, u8, HoldingState),
    /// Somebody else on this machine is getting something, or no more.
    Arrival(ContentId, bool),
    /// The store listens here.
    StorePort(u16),
    /// These are the interfaces.
    Interfaces(Vec<UsableInterface>),
    /// These are the static peers.
    StaticPeers(Vec<SocketAddr>),
    /// A store was tried.
    Probed(SocketAddr, bool),
    /// That nobody had these is forgotten; of none in particular: all.
    Refresh(Vec<ContentId>, oneshot::Sender<()>),
    /// Somebody wants to know of that.
    WatchRefresh(oneshot::Sender<Option<RefreshWatch>>),
}

/// What the engine is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) machine: Membership,
    pub(crate) sockets: Sockets,
    pub(crate) unicast_port: u16,
    /// Where what was learnt is kept; `None`: nowhere.
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) memory: Memory,
    /// The original 0share; `None`: it is not answered.
    pub(crate) zero_share: Option<ZeroShare>,
    /// Zero Install for .NET.
    pub(crate) advert: Advert,
}

/// Owns the machine and its sockets.
#[derive(Debug)]
pub(crate) struct Engine {
    parts: Parts,
    lookups: OpenLookups,
    watchers: Watchers,
    refreshes: Refreshes,
    /// Who waits for the check that runs.
    checkers: Vec<oneshot::Sender<CheckView>>,
    asked: AskedLog,
    naps: Naps,
    rounds: Rounds,
    probes: Arc<Semaphore>,
    /// Back to itself, for probes.
    commands: mpsc::WeakSender<Command>,
    lifetime: Lifetime,
}

impl Engine {
    pub(crate) fn new(
        parts: Parts,
        commands: mpsc::WeakSender<Command>,
        lifetime: Lifetime,
    ) -> Self {
        Self {
            parts,
            lookups: OpenLookups::default(),
            watchers: Watchers::default(),
            refreshes: Refreshes::new(),
            checkers: Vec::new(),
            asked: AskedLog::default(),
            naps: Naps::default(),
            rounds: Rounds::default(),
            probes: Arc::new(Semaphore::new(MOST_PROBES)),
            commands,
            lifetime,
        }
    }

    /// Runs until the lifetime stops, then says that this node leaves.
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut inbox: mpsc::Receiver<Incoming>,
    ) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = interval(naps::LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopping = self.lifetime.stopping();
        tokio::pin!(stopping);
        loop {
            let due = self.next_due();
            let wake = due.unwrap_or_else(|| Instant::now() + TICK);
            tokio::select! {
                () = &mut stopping => break,
                Some(command) = commands.recv() => self.obey_all(command, &mut commands),
                Some(incoming) = inbox.recv() => self.take_in(incoming, &mut inbox),
                () = sleep_until(wake.into()), if due.is_some() => {}
                _ = tick.tick() => self.tick(),
                _ = look.tick() => self.look(),
            }
            self.do_what_is_due();
            self.flush();
        }
        let now = Instant::now();
        self.parts.machine.leave(now);
        self.flush();
        self.save();
    }

    fn next_due(&self) -> Option<Instant> {
        let machine = self.parts.machine.poll_timeout();
        let retry = self.parts.sockets.next_retry();
        [machine, retry].into_iter().flatten().min()
    }

    fn do_what_is_due(&mut self) {
        let now = Instant::now();
        if self
            .parts
            .machine
            .poll_timeout()
            .is_some_and(|at| at <= now)
        {
            self.parts.machine.handle_timeout(now);
        }
        if self.parts.sockets.next_retry().is_some_and(|at| at <= now)
            && let Some(interfaces) = self.parts.sockets.retry(now)
        {
            self.parts.machine.handle_interfaces(now, interfaces);
        }
    }

    /// Obeys what waits, in its order; lookups that come one after the other begin together.
    fn obey_all(&mut self, first: Command, waiting: &mut mpsc::Receiver<Command>) {
        let mut finds = Vec::new();
        let mut next = Some(first);
        for _ in 0..BATCH {
            match next {
                Some(Command::Find(request)) => finds.push(request),
                Some(other) => {
                    self.begin(std::mem::take(&mut finds));
                    self.obey(other);
                }
                None => break,
            }
            next = waiting.try_recv().ok();
        }
        self.begin(finds);
        if let Some(last) = next {
            self.obey(last);
        }
    }

    fn begin(&mut self, finds: Vec<FindRequest>) {
        if finds.is_empty() {
            return;
        }
        let now = Instant::now();
        // A machine that slept may be in a later day before the next tick, and its names are of that day.
        self.parts.machine.handle_day(now, today());
        self.lookups.begin(now, &mut self.parts.machine, finds);
    }

    fn look(&mut self) {
        self.look_for_nap();
        self.look_for_astray();
    }

    /// After a nap what was heard is old, and others may have given this node up.
    fn look_for_nap(&mut self) {
        if let Some(length) = self.naps.look() {
            info!(
                seconds = length.as_secs(),
                "this machine slept; looking around"
            );
            let now = Instant::now();
            self.parts.machine.handle_day(now, today());
            self.parts.machine.handle_resume(now);
        }
    }

    fn obey(&mut self, command: Command) {
        let now = Instant::now();
        let machine = &mut self.parts.machine;
        match command {
            Command::Find(request) => self.begin(vec![request]),
            Command::Cancel(key) => self.lookups.cancel(machine, key),
            Command::WatchPeers(reply) => {
                let watch = self.watchers.add(machine.peers(now));
                // Whoever asked may be gone.
                drop(reply.send(watch));
            }
            Command::Report(report) => {
                machine.handle_report(now, &report);
                if report.verdict == Verdict::Convicted {
                    warn!(address = %report.address, "a provider contradicted itself");
                    self.save();
                }
            }
            Command::ListBans(reply) => drop(reply.send(machine.bans(now))),
            Command::Forgive(mercy, reply) => {
                let forgiven = machine.forgive(now, mercy);
                info!(?mercy, forgiven, "bans lifted");
                // Whoever asked may be gone.
                reply.send(forgiven).ok();
                self.save();
            }
            Command::Describe(reply) => drop(reply.send(self.describe())),
            Command::Check(reply) => {
                self.checkers.retain(|one| !one.is_closed());
                if self.checkers.len() < MOST_CHECKERS {
                    self.checkers.push(reply);
                    machine.check_network(now);
                }
            }
            Command::Holding(content, part) => machine.handle_holding(now, content, part),
            Command::Arriving(content, part, state) => {
                machine.handle_arriving(now, content, part, state);
            }
            Command::StorePort(port) => {
                machine.handle_store_port(now, port);
                self.parts.advert.set_port(port);
            }
            Command::Arrival(content, true) => machine.handle_arrival(now, content),
            Command::Arrival(content, false) => machine.handle_arrival_over(now, content),
            Command::Interfaces(interfaces) => {
                machine.handle_day(now, today());
                self.parts.advert.set_interfaces(&interfaces);
                let interfaces = self.parts.sockets.set_interfaces(now, interfaces);
                machine.handle_interfaces(now, interfaces);
            }
            Command::StaticPeers(peers) => machine.handle_static_peers(now, &peers),
            Command::Probed(address, reachable) => machine.handle_probe(address, reachable),
            Command::Refresh(contents, reply) => {
                machine.refresh(&contents);
                self.refreshes.tell(contents);
                // Whoever asked may be gone.
                reply.send(()).ok();
            }
            Command::WatchRefresh(reply) => drop(reply.send(self.refreshes.watch())),
        }
    }

    fn take_in(&mut self, first: Incoming, inbox: &mut mpsc::Receiver<Incoming>) {
        let now = Instant::now();
        let mut next = Some(first);
        for _ in 0..BATCH {
            let Some(incoming) = next else {
                return;
            };
            self.hear(now, &incoming);
            // Answers go out between questions, so that what waits to be sent stays small.
            self.flush();
            next = inbox.try_recv().ok();
        }
        if let Some(incoming) = next {
            self.hear(now, &incoming);
        }
    }

    fn hear(&mut self, now: Instant, incoming: &Incoming) {
        if zeroshare_kin::is_0share(&incoming.bytes) {
            self.reply_to_0share(now, incoming);
        } else {
            let Incoming { arrival, bytes } = incoming;
            self.parts.machine.handle_datagram(now, arrival, bytes);
        }
    }

    fn flush(&mut self) {
        let now = Instant::now();
        while let Some(transmit) = self.parts.machine.poll_transmit() {
            let sent = self.parts.sockets.send(now, &transmit);
            if let Some(interfaces) = sent.news {
                self.parts.machine.handle_interfaces(now, interfaces);
            }
            if let Some(refusal) = sent.refusal {
                self.parts.machine.handle_unsent(now, transmit.destination);
                self.tell_all(now, Some(&refusal.to_string()));
            }
        }
        self.tell_all(now, None);
        self.parts
            .advert
            .set_neighbours(self.parts.machine.estimate());
    }

    fn tell_all(&mut self, now: Instant, refusal: Option<&str>) {
        while let Some(event) = self.parts.machine.poll_event() {
            self.tell(now, event, refusal);
        }
    }

    fn tell(&mut self, now: Instant, event: Event, refusal: Option<&str>) {
        match event {
            Event::PeerUp(node) => {
                for peer in self.parts.machine.peers_of(now, node) {
                    debug!(peer = %node, addresses = ?peer.store_addresses, "peer is up");
                    self.watchers.tell(&PeerChange::Up(Box::new(peer)));
                }
            }
            Event::PeerDown(node) => {
                info!(peer = %node, "peer is gone");
                self.watchers.tell(&PeerChange::Down(node));
            }
            Event::Found(lookup, provider) => {
                let news = News::Found(now, provider);
                self.lookups.tell(&mut self.parts.machine, lookup, news);
            }
            Event::Step(lookup, told) => self.tell_step(lookup, *told, refusal),
            Event::Checked(found) => {
                let view = self.check_view(*found);
                for checker in self.checkers.drain(..) {
                    // Whoever asked may be gone.
                    drop(checker.send(view.clone()));
                }
            }
            Event::LookupEnded(lookup) => self.lookups.ended(lookup),
            Event::Probe(address) => self.probe(address),
            Event::Asked(asked) => self.asked.log(now, &asked),
        }
    }

    fn tell_step(&mut self, lookup: LookupId, told: Told, refusal: Option<&str>) {
        let step = StepNews {
            interface: interface_of(&told.step).and_then(|index| self.interface_name(index)),
            refusal: refusal.map(str::to_owned),
            told,
        };
        let news = News::Step(Box::new(step));
        self.lookups.tell(&mut self.parts.machine, lookup, news);
    }

    fn interface_name(&self, index: u32) -> Option<String> {
        let mut interfaces = self.parts.sockets.interfaces().iter();
        let found = interfaces.find(|one| one.index == index);
        found.map(|one| one.name.clone())
    }

    /// Finds out whether a store that somebody cast doubt on can be connected to.
    fn probe(&mut self, address: SocketAddr) {
        let (Ok(permit), Some(commands), Ok(())) = (
            self.probes.clone().try_acquire_owned(),
            self.commands.upgrade(),
            self.parts.sockets.check_way(address),
        ) else {
            return;
        };
        self.lifetime.spawn("probe", async move {
            let connected = timeout(PROBE_TIME, TcpStream::connect(address)).await;
            let reachable = matches!(connected, Ok(Ok(_)));
            debug!(%address, reachable, "store probed");
            drop(commands.send(Command::Probed(address, reachable)).await);
            drop(permit);
        });
    }

    fn tick(&mut self) {
        self.parts.machine.handle_day(Instant::now(), today());
        self.save();
    }

    /// Saves what was learnt, if that changed.
    fn save(&mut self) {
        let Some(state_dir) = self.parts.state_dir.clone() else {
            return;
        };
        let memory = self.parts.machine.memory(Instant::now());
        if !is_news(&memory, &self.parts.memory) {
            return;
        }
        self.parts.memory = memory.clone();
        self.lifetime.spawn_blocking("save memory", move || {
            if let Err(error) = save_memory(&state_dir, &memory, SystemTime::now()) {
                warn!(%error, directory = %state_dir.display(), "cannot save what was learnt");
            }
        });
    }
}

/// The interface that something concerns, by its index.
fn interface_of(step: &Step) -> Option<u32> {
    match step {
        Step::Asked { destination, .. } | Step::Unsent { destination } => match destination {
            Destination::Everybody { interface, .. } => Some(*interface),
            Destination::One(_) => None,
        },
        Step::Answered { interface, .. } => *interface,
        Step::Began(_)
        | Step::OnRecord { .. }
        | Step::NotAsked(_)
        | Step::EchoAsked { .. }
        | Step::Echoed { .. }
        | Step::Silent { .. }
        | Step::PassedOver { .. }
        | Step::Ended(_) => None,
    }
}

/// What day it is.
pub(crate) fn today() -> Day {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Day::of_unix_seconds(since.map_or(0, |since| since.as_secs()))
}

/// Bans run out by themselves; that alone is not worth writing.
fn is_news(now: &Memory, before: &Memory) -> bool {
    let banned = |memory: &Memory| {
        memory
            .bans
            .iter()
            .map(|ban| (ban.address, ban.convictions))
            .collect::<Vec<_>>()
    };
    now.learnt != before.learnt || banned(now) != banned(before)
}

#[cfg(test)]
mod tests;
