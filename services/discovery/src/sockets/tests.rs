use std::collections::BTreeSet;

use tokio::{sync::mpsc, time::timeout};

use super::*;

/// Nothing here takes as long.
const LIMIT: Duration = Duration::from_secs(20);

/// Sockets on loopback that hear groups on their unicast port, as those of a machine's first node do.
struct OnLoopback {
    sockets: Sockets,
    index: u32,
    port: u16,
    inbox: mpsc::Receiver<Incoming>,
    now: Instant,
}

impl OnLoopback {
    fn open(roads: &[Road]) -> Self {
        let unicast = UnicastSockets::bind(0, true).unwrap();
        let port = unicast.port();
        let (sender, inbox) = mpsc::channel(64);
        let mut sockets = Sockets::new(port, unicast, sender, Lifetime::new()).unwrap();
        let all = if_addrs::get_if_addrs().unwrap();
        let index = all
            .iter()
            .find_map(|one| one.index.filter(|_| one.name == "lo"));
        let loopback = UsableInterface {
            index: index.unwrap(),
            name: "lo".to_owned(),
            addresses: ["127.0.0.1/8".parse().unwrap()].into(),
            broadcasts: BTreeSet::new(),
            roads: roads.iter().copied().collect(),
        };
        let now = Instant::now();
        let index = loopback.index;
        sockets.set_interfaces(now, vec![loopback]);
        Self {
            sockets,
            index,
            port,
            inbox,
            now,
        }
    }

    fn send(&mut self, destination: Destination, text: &str) -> Option<Vec<Interface>> {
        let payload = text.as_bytes().to_vec();
        let transmit = Transmit {
            destination,
            payload,
        };
        self.sockets.send(self.now, &transmit).news
    }

    fn everybody(&self, road: Road) -> Destination {
        Destination::Everybody {
            interface: self.index,
            road,
        }
    }

    async fn next(&mut self) -> (String, Road) {
        let incoming = timeout(LIMIT, self.inbox.recv()).await.unwrap().unwrap();
        let text = String::from_utf8(incoming.bytes).unwrap();
        (text, incoming.arrival.road)
    }
}

#[tokio::test]
async fn what_everybody_is_told_is_heard_once_by_its_own_road_on_a_shared_port() {
    let mut own = OnLoopback::open(&[Road::Multicast4, Road::Broadcast]);
    own.send(own.everybody(Road::Multicast4), "to the group");
    own.send(own.everybody(Road::Broadcast), "to everybody");
    let localhost = (Ipv4Addr::LOCALHOST, own.port).into();
    // The last, so that every copy that the unicast socket got comes before.
    own.send(Destination::One(localhost), "to one");
    let expected = BTreeSet::from([
        ("to the group".to_owned(), Road::Multicast4),
        ("to everybody".to_owned(), Road::Broadcast),
        ("to one".to_owned(), Road::Unicast),
    ]);
    let heard = BTreeSet::from([own.next().await, own.next().await, own.next().await]);
    assert_eq!(heard, expected);
}

#[tokio::test]
async fn a_road_that_breaks_while_sending_is_told_and_told_again_when_it_works() {
    let mut own = OnLoopback::open(&[Road::Multicast4]);
    let roads = |told: Option<Vec<Interface>>| told.map(|all| all[0].roads.clone());
    assert_eq!(
        roads(own.send(own.everybody(Road::Multicast4), "fits")),
        None
    );
    let too_long = "x".repeat(70_000);
    let told = own.send(own.everybody(Road::Multicast4), &too_long);
    assert_eq!(roads(told), Some(BTreeSet::new()));
    let told = own.send(own.everybody(Road::Multicast4), "lost");
    assert_eq!(roads(told), None, "nothing changed since");
    let retry_at = own.sockets.next_retry().unwrap();
    let told = own.sockets.retry(retry_at);
    assert_eq!(roads(told), Some([Road::Multicast4].into()));
}
